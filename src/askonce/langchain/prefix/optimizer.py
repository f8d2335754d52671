"""`optimize_prefix`: a model or a client whose requests are changed for the provider's prompt cache.

An optimized model is a copy whose class is a subclass of the model's own class. It overrides the one method in
which the packages make the body of a request, whole or streamed, sync or async. It composes with `cached` in either
order, and changes no cache keys: breakpoints are not part of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.runnables import Runnable

from askonce.errors import ConfigError
from askonce.prefix.optimize import clients
from askonce.prefix.optimize.optimizer import PrefixOptimizer

T = TypeVar("T")
_PACKAGES = {"langchain_openai": "openai", "langchain_anthropic": "anthropic"}
PARAMETER = "askonce_prefix_optimizer"
"""Among the parameters of a call that LangChain shows to callbacks: the name of the optimizer."""


def optimize_prefix(x: T, optimizer: PrefixOptimizer | None = None) -> T:
    """A copy of a chat model that changes its requests for the provider's prompt cache just before they are sent.

        model = optimize_prefix(ChatAnthropic(model="…"))
        model = ChatBedrockConverse(client=optimize_prefix(boto3.client("bedrock-runtime")), model="…")

    What is changed cannot change the answer: the order of tools and of the keys in their JSON, cache breakpoints,
    the cache key, the retention. It may be cached, or be cached afterwards.

    Args:
        x: a chat model of ``langchain-openai`` or ``langchain-anthropic``, or of a class derived from theirs, or an
            SDK's client, as `askonce.prefix.optimize_prefix` takes it; it stays as it is. A model that is optimized
            already comes back with the new optimizer.
        optimizer: says what is changed; by default a new one, which learns from the requests that pass.

    Raises:
        ConfigError: it is another model or client.
    """
    own: Any = type(x)
    if _package(own) is None or not isinstance(x, BaseChatModel):
        if isinstance(x, Runnable):
            raise ConfigError(
                "optimize_prefix() takes chat models of langchain-openai or langchain-anthropic, not a"
                f" {own.__name__}; for Bedrock, give it client=optimize_prefix(boto3.client('bedrock-runtime'))"
            )
        return clients.optimize_prefix(x, optimizer)
    optimizer = optimizer or PrefixOptimizer()
    base: type[Any] = own.__dict__.get("_askonce_not_optimized", own)
    copy: Any = object.__new__(_class(base, optimizer))
    object.__setattr__(copy, "__dict__", {k: v for k, v in x.__dict__.items() if k != "_serialized"})
    for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        value = getattr(x, name)
        object.__setattr__(copy, name, None if value is None else value.copy())
    optimized: T = copy
    return optimized


def _package(cls: type[Any]) -> str | None:
    found = (_PACKAGES.get(one.__module__.partition(".")[0]) for one in cls.__mro__)
    return next((one for one in found if one is not None), None)


# By base class and optimizer. A class holds its optimizer, and lives as long as a model of it.
_classes: weakref.WeakValueDictionary[tuple[type[Any], str], type[Any]] = weakref.WeakValueDictionary()


def _class(base: type[Any], optimizer: PrefixOptimizer) -> type[Any]:
    cls = _classes.get((base, optimizer.name))
    if cls is None:
        package = _package(base) or ""

        def _get_request_payload(self: Any, *args: Any, **kwargs: Any) -> Mapping[str, Any]:
            body = base._get_request_payload(self, *args, **kwargs)
            deepseek = "deepseek" in str(body.get("model", "")).lower()
            return optimizer.sending(body, "deepseek" if deepseek else package)

        def _get_invocation_params(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**base._get_invocation_params(self, *args, **kwargs), PARAMETER: optimizer.name}

        body = {
            "_get_request_payload": _get_request_payload,
            "_get_invocation_params": _get_invocation_params,
            "__module__": base.__module__,
            "__qualname__": base.__qualname__,
            "__doc__": base.__doc__,
        }
        metaclass: Any = type(base)
        cls = metaclass(base.__name__, (base,), body)
        type.__setattr__(cls, "_askonce_not_optimized", base)
        _classes[base, optimizer.name] = cls
    return cls
