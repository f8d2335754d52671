"""`optimize_prefix`: a model whose requests are changed for the provider's prompt cache just before they are sent.

    model = mended(ChatAnthropic(model="…"))

The mended model is a copy whose class is a subclass of the model's own class; it overrides the one method in which
the packages make the body of a request: whole or streamed, sync or async. It composes with `cached`, in either
order, and changes no keys: what a mend changes is no part of them.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel

from askonce.errors import ConfigError
from askonce.prefix.optimize.optimizer import PrefixOptimizer

Model = TypeVar("Model", bound=BaseChatModel)
_PACKAGES = {"langchain_openai": "openai", "langchain_anthropic": "anthropic"}
PARAMETER = "askonce_mend"
"""Among the parameters of a call that callbacks are told: the name of the mend."""


def optimize_prefix(model: Model, optimizer: PrefixOptimizer | None = None) -> Model:
    """A copy of a model whose requests are changed by an optimizer.

    Args:
        model: a chat model of ``langchain-openai`` or ``langchain-anthropic``, or of a class derived from theirs;
            it stays as it is. One that is mended already comes back with the new mend.
        optimizer: by default one that learns its plans.

    Raises:
        ConfigError: it is no such model.
    """
    if _package(type(model)) is None:
        raise ConfigError(
            f"mended() takes a chat model of langchain-openai or langchain-anthropic, not a {type(model).__name__};"
            f" what a boto3 client sends to Bedrock, askonce.prefix.attach(client, mend) mends"
        )
    optimizer = optimizer or PrefixOptimizer()
    own = type(model)
    base: type[Any] = own.__dict__.get("_askonce_unmended", own)
    copy: Any = object.__new__(_class(base, optimizer))
    object.__setattr__(copy, "__dict__", {k: v for k, v in model.__dict__.items() if k != "_serialized"})
    for name in ("__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__"):
        value = getattr(model, name)
        object.__setattr__(copy, name, None if value is None else value.copy())
    mended_model: Model = copy
    return mended_model


def _package(cls: type[Any]) -> str | None:
    found = (_PACKAGES.get(one.__module__.partition(".")[0]) for one in cls.__mro__)
    return next((one for one in found if one is not None), None)


# By base class and mend. A class holds its mend, and lives as long as a model of it.
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
        type.__setattr__(cls, "_askonce_unmended", base)
        _classes[base, optimizer.name] = cls
    return cls
