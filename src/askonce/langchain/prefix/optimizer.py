"""`optimize_prefix`: a model or a client whose requests are changed for the provider's prompt cache.

An optimized model is a copy whose class is a subclass of the model's own class. It overrides the one method in
which the packages make the body of a request, whole or streamed, sync or async. It composes with `cached` in either
order, and changes no cache keys: breakpoints are not part of them.
"""

from __future__ import annotations

import weakref
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, closing
from contextvars import ContextVar
from typing import Any, TypeVar

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

from askonce.errors import ConfigError
from askonce.prefix.optimize import clients
from askonce.prefix.optimize.optimizer import OptimizedRequest, PrefixOptimizer
from askonce.prefix.requests.usage import usage_of

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
            request = optimizer.start(body, "deepseek" if deepseek else package)
            if (call := _calls.get()) is not None:
                call.append(request)
            return request.body

        def _get_invocation_params(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
            return {**base._get_invocation_params(self, *args, **kwargs), PARAMETER: optimizer.name}

        body = {
            **_reporting(base),
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


# -- what was reported -----------------------------------------------------------------------------------------

# The requests that the call in this context makes; one, or none if a cache answers.
_calls: ContextVar[list[OptimizedRequest] | None] = ContextVar("askonce_optimized", default=None)


def _reporting(base: type[Any]) -> dict[str, Any]:
    """The methods that call a model, each of which passes on the usage that the provider reported."""

    def _generate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
        with _Reported() as reported:
            result: ChatResult = reported.within(lambda: base._generate(self, *args, **kwargs))
            reported.add(result.generations)
        return result

    async def _agenerate(self: Any, *args: Any, **kwargs: Any) -> ChatResult:
        with _Reported() as reported:
            token = _calls.set(reported.requests)
            try:
                result: ChatResult = await base._agenerate(self, *args, **kwargs)
            finally:
                _calls.reset(token)
            reported.add(result.generations)
        return result

    def _stream(self: Any, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        chunks = base._stream(self, *args, **kwargs)
        with _Reported() as reported, closing(chunks):
            while (chunk := reported.within(lambda: next(chunks, None))) is not None:
                reported.add([chunk])
                yield chunk

    async def _astream(self: Any, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        chunks = base._astream(self, *args, **kwargs)
        with _Reported() as reported:
            async with aclosing(chunks):
                while True:
                    token = _calls.set(reported.requests)
                    try:
                        chunk = await anext(chunks, None)
                    finally:
                        _calls.reset(token)
                    if chunk is None:
                        break
                    reported.add([chunk])
                    yield chunk

    return {"_generate": _generate, "_agenerate": _agenerate, "_stream": _stream, "_astream": _astream}


class _Reported:
    """The usage of one call, given to its request at the end."""

    def __init__(self) -> None:
        self.requests: list[OptimizedRequest] = []
        self._usage: UsageMetadata | None = None

    def __enter__(self) -> _Reported:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, GeneratorExit):
            for request in self.requests[-1:]:
                request.answered(usage_of(self._usage))

    def within(self, call: Callable[[], Any]) -> Any:
        """Call where the requests that are made are recorded."""
        token = _calls.set(self.requests)
        try:
            return call()
        finally:
            _calls.reset(token)

    def add(self, generations: Sequence[ChatGeneration | ChatGenerationChunk]) -> None:
        """Take in an answer, or a part of it."""
        for one in generations[:1]:
            reported = getattr(one.message, "usage_metadata", None)
            if reported is not None:
                self._usage = add_usage(self._usage, reported)
