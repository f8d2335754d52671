"""Which model calls LangChain's cache. LangChain describes it by a text, which says less than the model itself.

The call in which LangChain uses its cache is still running: the model, and the arguments of the call, stand in its
frame.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

import msgspec
from langchain_core.caches import BaseCache

from askonce.keys.normal_form import Uncacheable

_MODELS = frozenset({"langchain_core.language_models.chat_models", "langchain_core.language_models.llms"})
_CALLS = frozenset({"_generate_with_cache", "generate"})
_ASYNC_CALLS = frozenset({"_agenerate_with_cache", "agenerate"})
_ELSEWHERE = ("langchain_core.runnables.config", "asyncio.", "concurrent.futures.", "threading")
"""Where tasks and threads begin."""
_DEPTH = 60
"""So many calls may lie between LangChain's and ours: those of a cache of the application's own around this one."""


class Caller(msgspec.Struct, frozen=True):
    """A model's call, which looks up and then updates.

    Attributes:
        model: the model.
        stop: its stop words.
        kwargs: its other arguments.
        run_manager: its callbacks.
        asynchronous: its asynchronous client sends the request.
    """

    model: Any
    stop: list[str] | None
    kwargs: dict[str, Any]
    run_manager: Any
    asynchronous: bool

    def streams(self) -> bool:
        """Whether LangChain streams the answer, as it does for callbacks too."""
        try:
            arguments = {"run_manager": self.run_manager, **self.kwargs}
            return any(self.model._should_stream(async_api=api, **arguments) for api in (False, True))
        except Exception:  # a model that is not built on LangChain's classes
            return False


def find_caller(frame: FrameType | None) -> tuple[Caller, FrameType] | None:
    """The call of a model that uses the cache, and its frame.

    Args:
        frame: of the call to the cache.

    Returns:
        ``None`` if the application itself uses the cache.

    Raises:
        Uncacheable: a model uses it that cannot be seen.
    """
    is_model = is_application = False
    for _ in range(_DEPTH):
        if frame is None:
            break
        module = frame.f_globals.get("__name__", "")
        if module in _MODELS:
            is_model, called = True, frame.f_code.co_name
            if called in _CALLS or called in _ASYNC_CALLS:
                local = frame.f_locals
                model, kwargs, manager = local["self"], local.get("kwargs") or {}, local.get("run_manager")
                is_async = called in _ASYNC_CALLS and _has_async_call(type(model))
                return Caller(model, local.get("stop"), kwargs, manager, is_async), frame
        elif module.startswith(_ELSEWHERE):
            if not is_application:  # a task or a thread that began in a cache: who began it is not to be seen
                is_model = True
            break
        elif not isinstance(frame.f_locals.get("self"), BaseCache):  # a cache of the application's own around this
            is_application = True
        frame = frame.f_back
    if is_model:
        raise Uncacheable("the model that uses the cache cannot be seen from here; wrap it: cached(model)")
    return None


def _has_async_call(cls: type[Any]) -> bool:
    """Whether a class calls its provider on the event loop; others do in a thread, by their synchronous client."""
    own = getattr(cls, "_agenerate", None)
    return getattr(own, "__module__", None) not in _MODELS
