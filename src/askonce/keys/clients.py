"""Where a model's requests really go: read from the client of the provider's package that the model holds.

A base URL, an organization or a header may come from an argument, from an environment variable that only the
package reads, or with a client that the application made. The client knows. What is read of one is plain data::

    {"base_url": "https://…", "organization": …, "default_headers": {…}, "default_query": {…}, …}

with a closing slash of the URL, and headers that say nothing but the client's name and version, left out. Which
attributes of which classes tell it stands in `_PLANS`; these classes are known by their name and their package, a
subclass from elsewhere is not. No package is imported here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

Plan = tuple[tuple[str, str], ...]
"""The attributes of a class, and what each tells; that of an attribute whose value is a client does not matter."""

_STAINLESS: Plan = (
    ("base_url", "base_url"),
    ("organization", "organization"),
    ("project", "project"),
    ("account_id", "account"),
    ("project_id", "project"),
    ("region", "region"),
    ("aws_region", "region"),
    ("workspace_id", "workspace"),
    ("_api_version", "api_version"),
    ("_azure_deployment", "deployment"),
    ("_custom_query", "default_query"),
    ("_custom_headers", "default_headers"),
    ("_middleware", "hooks"),
    ("_client", "beneath"),
)
_HTTPX: Plan = (
    ("base_url", "base_url"),
    ("params", "default_query"),
    ("headers", "default_headers"),
    ("event_hooks", "hooks"),
)
# By the first part of the module's name, and the class; * is any.
_PLANS: Mapping[tuple[str, str], Plan] = {
    ("httpx", "Client"): _HTTPX,
    ("httpx", "AsyncClient"): _HTTPX,
    ("httpx2", "Client"): _HTTPX,
    ("httpx2", "AsyncClient"): _HTTPX,
    ("*", "SyncAPIResource"): (("_client", ""),),
    ("*", "AsyncAPIResource"): (("_client", ""),),
    ("*", "SyncAPIClient"): _STAINLESS,
    ("*", "AsyncAPIClient"): _STAINLESS,
    ("ollama", "BaseClient"): (("_client", ""),),
    ("cohere", "BaseCohere"): (("_client_wrapper", ""),),
    ("cohere", "AsyncBaseCohere"): (("_client_wrapper", ""),),
    ("cohere", "BaseClientWrapper"): (
        ("_base_url", "base_url"),
        ("_client_name", "client_name"),
        ("_headers", "default_headers"),
        ("httpx_client", ""),
    ),
    ("cohere", "HttpClient"): (("httpx_client", "beneath"),),
    ("cohere", "AsyncHttpClient"): (("httpx_client", "beneath"),),
    ("google", "Client"): (("_api_client", ""),),
    ("google", "BaseApiClient"): (
        ("vertexai", "vertexai"),
        ("project", "project"),
        ("location", "location"),
        ("_http_options", ""),
        ("_httpx_client", "beneath"),
    ),
    ("google", "HttpOptions"): (
        ("base_url", "base_url"),
        ("api_version", "api_version"),
        ("headers", "default_headers"),
        ("extra_body", "extra_body"),
    ),
    ("openrouter", "OpenRouter"): (("sdk_configuration", ""),),
    ("openrouter", "SDKConfiguration"): (
        ("server_url", "base_url"),
        ("server", "server"),
        ("globals", ""),
        ("client", "beneath"),
    ),
    ("openrouter", "Globals"): (
        ("http_referer", "http_referer"),
        ("x_open_router_title", "title"),
        ("x_open_router_categories", "categories"),
    ),
    ("botocore", "BaseClient"): (("meta", ""),),
    ("botocore", "ClientMeta"): (("endpoint_url", "base_url"), ("region_name", "region")),
    ("huggingface_hub", "InferenceClient"): (
        ("model", "model"),
        ("provider", "provider"),
        ("base_url", "base_url"),
        ("headers", "default_headers"),
    ),
    ("huggingface_hub", "AsyncInferenceClient"): (
        ("model", "model"),
        ("provider", "provider"),
        ("base_url", "base_url"),
        ("headers", "default_headers"),
    ),
}
_DEEPER = ("", "beneath")
"""What an attribute tells whose value is read further."""
_STAINLESS_PACKAGES = frozenset("openai anthropic groq fireworks perplexity together cerebras writerai".split())
_LITELLM = (
    "api_base api_version organization headers drop_params modify_params model_alias_map vertex_project"
    " vertex_location use_litellm_proxy add_function_to_prompt"
).split()
_ENDPOINT_VARIABLE = re.compile(
    r"[A-Z0-9_]*(API_BASE|BASE_URL|API_URL|ENDPOINT|ENDPOINT_URL|API_VERSION|_HOST|_REGION|REGION_NAME|_PROJECT"
    r"|PROJECT_ID|_LOCATION|VERTEXAI_[A-Z]+|ORGANIZATION|ORG_ID|USE_LITELLM_PROXY)(_[A-Z0-9_]*RUNTIME)?"
)
_VERSIONS = re.compile(r"(?i)\S*(python|httpx|sdk|langchain|cohere|boto)\S*(\s.*)?")
_OF_THE_CLIENT = re.compile(
    r"accept|accept-encoding|connection|content-type|content-length|x-stainless-.*|x-fern-.*|x-goog-api-client"
    r"|anthropic-version|x-client-name"
)
# Of the running program, and none of the model's business.
_INERT = frozenset(
    "_thread threading logging asyncio concurrent weakref _weakref _weakrefset _asyncio queue".split()
)
plans: dict[type[Any], tuple[Plan, bool | None] | None] = {}
"""Of the classes that were seen, by `plan_of`."""


def plan_of(cls: type[Any]) -> tuple[Plan, bool | None] | None:
    """What is read of a class of clients, and whether it is asynchronous if it is one of two; else ``None``."""
    try:
        return plans[cls]
    except KeyError:
        plan = plans[cls] = _find_plan(cls)
        return plan


def _find_plan(cls: type[Any]) -> tuple[Plan, bool | None] | None:
    home = cls.__module__.partition(".")[0]
    for base in cls.__mro__:
        package = base.__module__.partition(".")[0]
        plan = _PLANS.get((package, base.__name__))
        if plan is None and package in _STAINLESS_PACKAGES:
            plan = _PLANS.get(("*", base.__name__))
        # A class of the application's own may do anything with its requests.
        if plan is not None and home in _HOMES:
            names = [one.__name__ for one in cls.__mro__]
            if any(name.startswith("Async") for name in names):
                return plan, True
            return plan, None if package in ("google", "openrouter", "botocore") else False
    return None


_HOMES = (
    _STAINLESS_PACKAGES
    | {package for package, _ in _PLANS if package != "*"}
    | {"langchain_openai", "langchain_anthropic", "boto3"}
)


def is_client(value: Any) -> bool:
    """Whether it is known where a value, such as a client or a part of one, sends its requests."""
    return plan_of(type(value)) is not None or _is_litellm(value)


def is_inert(value: Any) -> bool:
    """Whether a value is a part of the running program, such as a lock, that says nothing of a model."""
    return type(value).__module__.partition(".")[0] in _INERT


def is_asynchronous(client: Any) -> bool | None:
    """Whether a client serves asynchronous calls alone; ``None`` if it serves both."""
    plan = plan_of(type(client))
    return None if plan is None else plan[1]


def state_of(clients: list[Any]) -> list[Any]:
    """What `endpoint_of` would read of clients, as it stands: to see at little cost whether it has changed."""
    state: list[Any] = []
    pending, seen = list(clients), set[int]()
    while pending:
        owner = pending.pop()
        if id(owner) in seen:
            continue
        seen.add(id(owner))
        if type(owner) is ModuleType:
            state.append(_litellm(owner) if owner.__name__ == "litellm" else owner)
            continue
        plan = plans.get(type(owner))
        for attribute, what in plan[0] if plan else ():
            value = getattr(owner, attribute, None)
            kind = type(value)
            if (plans[kind] if kind in plans else plan_of(kind)) is not None:
                if what in _DEEPER:
                    pending.append(value)
            elif isinstance(value, dict):
                state.append(repr(value))  # what is in it may change
            else:
                state.append(getattr(value, "raw", value) if attribute == "headers" else value)
    return state


def endpoint_of(client: Any) -> dict[str, Any]:
    """Where a client's requests go, and what it adds to each: plain data, and functions under ``hooks``."""
    if _is_litellm(client):
        return _litellm(client)
    told: dict[str, Any] = {}
    headers: list[Any] = []
    pending = [(client, "")]
    while pending:
        owner, role = pending.pop()
        plan = plan_of(type(owner))
        for attribute, what in plan[0] if plan else ():
            value = getattr(owner, attribute, None)
            if value is None or (role == "beneath" and what == "base_url"):
                continue  # a client beneath another is given whole URLs
            if plan_of(type(value)) is not None:
                if what in _DEEPER:  # Anthropic's "organization" is a part that leads back to the client
                    pending.append((value, what or role))
            elif what == "default_headers":
                headers.append(value)
            elif what == "hooks":
                hooks = value.get("request", ()) if isinstance(value, Mapping) else value
                if hooks:
                    told["hooks"] = [*told.get("hooks", ()), *hooks]
            elif (plain := _plain(value)) not in ("", [], {}):
                told[what] = {**plain, **told[what]} if what in told and isinstance(plain, dict) else plain
    for name, value in (item for some in reversed(headers) for item in dict(some).items()):
        told.setdefault("default_headers", {})[str(name).lower()] = str(value)
    if "default_headers" in told:
        told["default_headers"] = {
            name: value for name, value in told["default_headers"].items() if _says_something(name, value)
        }
    return {name: value for name, value in told.items() if value not in ("", [], {})}


def _says_something(name: str, value: str) -> bool:
    if name in ("user-agent", "x-client-name"):
        return _VERSIONS.fullmatch(value) is None
    return _OF_THE_CLIENT.fullmatch(name) is None


def _plain(value: Any) -> Any:
    """Of URLs, queries and the like."""
    if isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (Mapping,)) or hasattr(value, "multi_items"):
        items = value.multi_items() if hasattr(value, "multi_items") else value.items()
        return {
            str(name): item if isinstance(item, (dict, list, int, float, bool)) else str(item)
            for name, item in items
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    shown = str(value)
    return shown.rstrip("/") if "://" in shown else shown


def _is_litellm(value: Any) -> bool:
    return isinstance(value, ModuleType) and value.__name__ == "litellm"


def _litellm(module: Any) -> dict[str, Any]:
    """LiteLLM is a module, and reads the environment at each call."""
    settings = {
        name: value for name in _LITELLM if (value := getattr(module, name, None)) not in (None, False, {}, [])
    }
    variables = {name: value for name, value in os.environ.items() if _ENDPOINT_VARIABLE.fullmatch(name)}
    return {**settings, **({"environment": variables} if variables else {})}
