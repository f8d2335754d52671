"""Which model asks the cache: LangChain tells a cache of it by a text, which says less than the model itself.

The call in which LangChain asks is still running: the model, and what it was called with, stand in its frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import CodeType, FrameType
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.language_models.llms import BaseLLM

from askonce.keys.normal_form import Uncacheable
from askonce.langchain.keys.model import Parameters, parameters_of_model

_DEPTH = 12
"""So many calls may lie between LangChain's and ours: those of a cache of the application's own around this one."""
_ASKING: frozenset[CodeType] = frozenset(
    method.__code__
    for cls, names in (
        (BaseChatModel, ("_generate_with_cache", "_agenerate_with_cache")),
        (BaseLLM, ("generate", "agenerate")),
    )
    for name in names
    if hasattr(method := getattr(cls, name, None), "__code__")
)
_ELSEWHERE = "langchain_core/runnables/config.py"
"""Where a call begins that LangChain moved to another thread: its caller is not to be seen."""


def asking_model(frame: FrameType | None) -> tuple[Any, list[str] | None, Mapping[str, Any]] | None:
    """The model that asks a cache, with the stop words and arguments of its call.

    Args:
        frame: of the call to the cache.

    Returns:
        ``None`` if the application itself asks.

    Raises:
        Uncacheable: a model asks that is not to be seen.
    """
    for _ in range(_DEPTH):
        if frame is None:
            return None
        if frame.f_code in _ASKING:
            told = frame.f_locals
            return told["self"], told.get("stop"), told.get("kwargs") or {}
        if frame.f_code.co_filename.endswith(_ELSEWHERE):
            raise Uncacheable("the model that asks is not to be seen from another thread; wrap it: cached(model)")
        frame = frame.f_back
    return None


def parameters_of_call(
    asked: tuple[Any, list[str] | None, Mapping[str, Any]] | None, asynchronous: bool
) -> Parameters:
    """What the answer to a model's call depends on besides the prompt.

    Raises:
        Uncacheable: something that the answer depends on cannot be read.
    """
    assert asked is not None
    model, stop, kwargs = asked
    return parameters_of_model(model, stop, dict(kwargs), asynchronous=asynchronous)
