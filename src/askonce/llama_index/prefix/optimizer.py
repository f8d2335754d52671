"""`optimize_prefix`: an LLM whose requests are changed for the provider's prompt cache just before they are sent.

    Settings.llm = mended(Anthropic(model="…"))

The mended LLM is a copy that sends through a copy of the SDK's client, in all its endpoints: plain, streaming, and
asynchronous.
"""

from __future__ import annotations

from typing import Any, TypeVar

from llama_index.core.llms import LLM

from askonce.errors import ConfigError
from askonce.prefix.optimize.clients import optimized_client
from askonce.prefix.optimize.optimizer import PrefixOptimizer

L = TypeVar("L", bound=LLM)
_PACKAGES = ("llama_index.llms.openai.", "llama_index.llms.anthropic.")


def optimize_prefix(llm: L, optimizer: PrefixOptimizer | None = None) -> L:
    """A copy of an LLM whose requests are changed by an optimizer.

    Args:
        llm: an LLM of ``llama-index-llms-openai`` or ``llama-index-llms-anthropic``, or of a class derived from
            theirs; it stays as it is. It may be cached, or be cached afterwards.
        optimizer: by default one that learns its plans.

    Raises:
        ConfigError: it is no such LLM, or it makes a new client for each request.
    """
    if not any(cls.__module__.startswith(_PACKAGES) for cls in type(llm).__mro__):
        raise ConfigError(
            f"mended() takes an LLM of llama-index-llms-openai or -anthropic, not a {type(llm).__name__}; what a "
            f"boto3 client sends to Bedrock, askonce.prefix.attach(client, mend) mends"
        )
    if getattr(llm, "reuse_client", True) is False:
        raise ConfigError("an LLM with reuse_client=False makes a client for each request, which cannot be mended")
    optimizer = optimizer or PrefixOptimizer()
    copy: Any = llm.model_copy()
    private = dict(copy.__pydantic_private__ or {})
    for name, get in (("_client", "_get_client"), ("_aclient", "_get_aclient")):
        client = getattr(llm, get)() if hasattr(llm, get) else private.get(name)
        if client is not None:
            private[name] = optimized_client(client, optimizer)
    object.__setattr__(copy, "__pydantic_private__", private)
    mended_llm: L = copy
    return mended_llm
