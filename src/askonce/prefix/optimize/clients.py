"""Clients of the providers' own packages, with an optimizer between them and the wire."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from askonce.errors import ConfigError
from askonce.prefix.optimize.optimizer import PrefixOptimizer

Client = TypeVar("Client")

# Where requests are made, in the packages ``openai`` and ``anthropic``.
_RESOURCES = (("chat", "completions"), ("responses",), ("messages",), ("beta", "messages"))
_METHODS = ("create", "parse", "stream")
_COPIES = ("copy", "with_options")
_BEDROCK = ("Converse", "ConverseStream")


def optimized_client(client: Client, optimizer: PrefixOptimizer) -> Client:
    """A copy of a client of the package ``openai`` or ``anthropic``, sync or async, whose requests are optimized.

    It shares the connections of the client, which stays as it is.

    Raises:
        ConfigError: it is another client.
    """
    package = type(client).__module__.partition(".")[0]
    if package not in ("openai", "anthropic"):
        raise ConfigError(f"a client of openai or anthropic is wanted, got a {type(client).__name__}")
    made = copy.copy(client)
    made.__dict__["_askonce_optimizer"] = optimizer
    for path in _RESOURCES:
        resource: Any = client
        for name in path:
            resource = getattr(resource, name, None)
        if resource is not None:
            _put(made, path, _optimized_resource(resource, optimizer, package))
    for name in _COPIES:
        made.__dict__[name] = _optimized_copy(getattr(client, name), optimizer)
    return made


def _optimized_copy(method: Callable[..., Any], optimizer: PrefixOptimizer) -> Callable[..., Any]:
    @functools.wraps(method)
    def copied(*args: Any, **kwargs: Any) -> Any:
        return optimized_client(method(*args, **kwargs), optimizer)

    return copied


def optimizer_of(client: Any) -> PrefixOptimizer | None:
    """The optimizer of a client that `optimized_client` made, or ``None``."""
    found: PrefixOptimizer | None = getattr(client, "__dict__", {}).get("_askonce_optimizer")
    return found


def _put(client: Any, path: tuple[str, ...], resource: Any) -> None:
    for name in path[:-1]:
        client.__dict__[name] = client = copy.copy(getattr(client, name))
    client.__dict__[path[-1]] = resource


def _optimized_resource(resource: Any, optimizer: PrefixOptimizer, provider: str) -> Any:
    made = copy.copy(resource)
    for name in _METHODS:
        method = getattr(resource, name, None)
        if method is not None:
            made.__dict__[name] = _optimized_method(method, optimizer, provider)
    return made


def _optimized_method(method: Callable[..., Any], optimizer: PrefixOptimizer, provider: str) -> Callable[..., Any]:
    @functools.wraps(method)
    def send(*args: Any, **kwargs: Any) -> Any:
        return method(*args, **optimizer.sending(_as_sent(kwargs), provider))

    return send


_PROMPT = ("messages", "input", "system", "tools")


def _as_sent(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """With what stands for the prompt as the SDK sends it: answers given back as JSON, any iterable as a list."""
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


def attach(client: Any, optimizer: PrefixOptimizer) -> Callable[[], None]:
    """Optimize what a ``bedrock-runtime`` client of ``boto3`` sends with Converse, whoever uses it.

    Returns:
        a function that undoes it.

    Raises:
        ConfigError: it is another client.
    """
    events = getattr(getattr(client, "meta", None), "events", None)
    service = getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", "")
    if events is None or service != "bedrock-runtime":
        raise ConfigError(f"a bedrock-runtime client of boto3 is wanted, got a {type(client).__name__}")

    def change(params: dict[str, Any], **_: Any) -> dict[str, Any]:
        return dict(optimizer.sending(params, "bedrock"))

    def detach() -> None:
        for name in names:
            events.unregister(name, change)

    names = [f"provide-client-params.bedrock-runtime.{operation}" for operation in _BEDROCK]
    for name in names:
        events.register(name, change)
    return detach
