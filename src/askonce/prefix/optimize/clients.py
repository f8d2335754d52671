"""`optimize_prefix` for the clients of the providers' own packages: openai, anthropic, and boto3 for Bedrock."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from askonce.entries.entry import Usage
from askonce.errors import ConfigError
from askonce.prefix.optimize.optimizer import OptimizedRequest, PrefixOptimizer
from askonce.prefix.requests.usage import usage_of

Client = TypeVar("Client")

# Where requests are made, in the packages ``openai`` and ``anthropic``.
_RESOURCES = (("chat", "completions"), ("responses",), ("messages",), ("beta", "messages"))
_METHODS = ("create", "parse", "stream")
_COPIES = ("copy", "with_options")
_BEDROCK = ("Converse", "ConverseStream")


def optimize_prefix(client: Client, optimizer: PrefixOptimizer | None = None) -> Client:
    """A copy of an SDK's client that changes its requests for the provider's prompt cache before they are sent.

        client = optimize_prefix(anthropic.Anthropic())
        bedrock = optimize_prefix(boto3.client("bedrock-runtime"))

    The copy shares the connections of the client, which stays as it is. What is changed cannot change the answer:
    the order of tools and of the keys in their JSON, cache breakpoints, the cache key, the retention.

    Args:
        client: of the package ``openai`` or ``anthropic``, sync or async, or a ``bedrock-runtime`` client of
            ``boto3``, of which the requests to Converse are changed.
        optimizer: says what is changed; by default a new one, which learns from the requests that pass.

    Raises:
        ConfigError: it is another client.
    """
    optimizer = optimizer or PrefixOptimizer()
    package = type(client).__module__.partition(".")[0]
    service = getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", "")
    if service == "bedrock-runtime":
        bedrock: Client = _optimized_bedrock(client, optimizer)
        return bedrock
    if package not in ("openai", "anthropic"):
        raise ConfigError(
            "optimize_prefix() takes a client of openai or anthropic, or a bedrock-runtime client of boto3, not a"
            f" {type(client).__name__}"
        )
    return _optimized_client(client, optimizer, package)


def optimizer_of(client: Any) -> PrefixOptimizer | None:
    """The optimizer of a client that `optimize_prefix` made, or ``None``."""
    found: PrefixOptimizer | None = getattr(client, "__dict__", {}).get("_askonce_optimizer")
    return found


# -- openai and anthropic --------------------------------------------------------------------------------------


def _optimized_client(client: Client, optimizer: PrefixOptimizer, package: str) -> Client:
    optimized = copy.copy(client)
    optimized.__dict__["_askonce_optimizer"] = optimizer
    for path in _RESOURCES:
        resource: Any = client
        for name in path:
            resource = getattr(resource, name, None)
        if resource is not None:
            _put(optimized, path, _optimized_resource(resource, optimizer, package))
    for name in _COPIES:
        optimized.__dict__[name] = _optimized_copy(getattr(client, name), optimizer)
    return optimized


def _optimized_copy(method: Callable[..., Any], optimizer: PrefixOptimizer) -> Callable[..., Any]:
    @functools.wraps(method)
    def copied(*args: Any, **kwargs: Any) -> Any:
        return optimize_prefix(method(*args, **kwargs), optimizer)

    return copied


def _put(client: Any, path: tuple[str, ...], resource: Any) -> None:
    for name in path[:-1]:
        client.__dict__[name] = client = copy.copy(getattr(client, name))
    client.__dict__[path[-1]] = resource


def _optimized_resource(resource: Any, optimizer: PrefixOptimizer, provider: str) -> Any:
    optimized = copy.copy(resource)
    for name in _METHODS:
        method = getattr(resource, name, None)
        if method is not None:
            optimized.__dict__[name] = _optimized_method(method, optimizer, provider)
    return optimized


def _optimized_method(method: Callable[..., Any], optimizer: PrefixOptimizer, provider: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def send(*args: Any, **kwargs: Any) -> Any:
        request = optimizer.start(_as_sent(kwargs), provider)
        answer = method(*args, **request.body)
        if inspect.isawaitable(answer):
            return _awaited(answer, request)
        return _reported(answer, request)

    return send


async def _awaited(answer: Awaitable[Any], request: OptimizedRequest) -> Any:
    return _reported(await answer, request)


def _reported(answer: Any, request: OptimizedRequest) -> Any:
    """Take the usage out of an answer, or out of a stream when it has ended."""
    events = getattr(answer, "_iterator", None)
    if isinstance(events, Iterator):
        answer._iterator = _watched(events, request)
    elif isinstance(events, AsyncIterator):
        answer._iterator = _awatched(events, request)
    else:
        request.answered(usage_of(getattr(answer, "usage", None)))
    return answer


def _watched(events: Iterator[Any], request: OptimizedRequest) -> Iterator[Any]:
    usage: Usage | None = None
    try:
        for event in events:
            usage = _usage_in(event) or usage
            yield event
    finally:
        request.answered(usage)


async def _awatched(events: AsyncIterator[Any], request: OptimizedRequest) -> AsyncIterator[Any]:
    usage: Usage | None = None
    try:
        async for event in events:
            usage = _usage_in(event) or usage
            yield event
    finally:
        request.answered(usage)


def _usage_in(event: Any) -> Usage | None:
    """The usage of a stream's event: of itself, of its message or of its response."""
    places = (event, getattr(event, "message", None), getattr(event, "response", None))
    if getattr(event, "type", "") == "message_delta":  # Anthropic's: of the answer alone
        return None
    return next((found for one in places if (found := usage_of(getattr(one, "usage", None))) is not None), None)


_PROMPT = ("messages", "input", "system", "tools")


def _as_sent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, with the prompt as the SDK sends it: answers given back as JSON, any iterable as a list."""
    return {name: _plain(value) if name in _PROMPT else value for name, value in arguments.items()}


def _plain(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is not None:
        excluded = getattr(value, "__api_exclude__", None)
        return dump(mode="json", exclude_unset=True, exclude=excluded, warnings=False)
    if isinstance(value, Mapping):
        return {**value, "content": _plain(value["content"])} if "content" in value else value
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return value


# -- boto3 -----------------------------------------------------------------------------------------------------


def _optimized_bedrock(client: Any, optimizer: PrefixOptimizer) -> Any:
    # Not by `copy`: it would look on the new client, which has nothing yet, for a way to set its state.
    optimized = object.__new__(type(client))
    optimized.__dict__.update(client.__dict__, meta=copy.copy(client.meta))
    events = optimized.meta.events = copy.copy(client.meta.events)

    def change(params: dict[str, Any], context: dict[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        request = optimizer.start(params, "bedrock")
        if context is not None:
            context["askonce"] = request
        return dict(request.body)

    def answered(parsed: Any, context: dict[str, Any] | None = None, **_: Any) -> None:
        request = (context or {}).get("askonce")
        if isinstance(request, OptimizedRequest):
            request.answered(usage_of((parsed or {}).get("usage")))

    for operation in _BEDROCK:
        events.register(f"provide-client-params.bedrock-runtime.{operation}", change)
        events.register(f"after-call.bedrock-runtime.{operation}", answered)
    return optimized
