"""`optimize_prefix`: an LLM or a client whose requests are changed for the provider's prompt cache.

An optimized LLM is a copy that sends through a copy of the SDK's client, in all its endpoints: plain, streaming and
asynchronous.
"""

from __future__ import annotations

from typing import Any, TypeVar

from llama_index.core.llms import LLM

from askonce.errors import ConfigError
from askonce.prefix.optimize import clients
from askonce.prefix.optimize.optimizer import PrefixOptimizer

T = TypeVar("T")
_PACKAGES = ("llama_index.llms.openai.", "llama_index.llms.anthropic.")


def optimize_prefix(x: T, optimizer: PrefixOptimizer | None = None) -> T:
    """A copy of an LLM that changes its requests for the provider's prompt cache just before they are sent.

        Settings.llm = optimize_prefix(Anthropic(model="…"))

    What is changed cannot change the answer: the order of tools and of the keys in their JSON, cache breakpoints,
    the cache key, the retention. It may be cached, or be cached afterwards.

    Args:
        x: an LLM of ``llama-index-llms-openai`` or ``llama-index-llms-anthropic``, or of a class derived from
            theirs, or an SDK's client, as `askonce.prefix.optimize_prefix` takes it; it stays as it is.
        optimizer: says what is changed; by default a new one, which learns from the requests that pass.

    Raises:
        ConfigError: it is another LLM or client, or an LLM that makes a new client for each request.
    """
    if not isinstance(x, LLM):
        return clients.optimize_prefix(x, optimizer)
    if not any(cls.__module__.startswith(_PACKAGES) for cls in type(x).__mro__):
        raise ConfigError(
            f"optimize_prefix() takes LLMs of llama-index-llms-openai or -anthropic, not a {type(x).__name__}; for"
            " Bedrock, give the LLM client=optimize_prefix(boto3.client('bedrock-runtime'))"
        )
    if getattr(x, "reuse_client", True) is False:
        raise ConfigError(
            "an LLM with reuse_client=False makes a client for each request, which cannot be optimized"
        )
    optimizer = optimizer or PrefixOptimizer()
    copy: Any = x.model_copy()
    private = dict(copy.__pydantic_private__ or {})
    for name, get in (("_client", "_get_client"), ("_aclient", "_get_aclient")):
        client = getattr(x, get)() if hasattr(x, get) else private.get(name)
        if client is not None:
            private[name] = clients.optimize_prefix(client, optimizer)
    object.__setattr__(copy, "__pydantic_private__", private)
    optimized: T = copy
    return optimized
