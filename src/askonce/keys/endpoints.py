"""Where an SDK's client sends requests, and what it adds to them: what no field of a model says of the endpoint.

A client is known by its class. What it holds is read, whether it came by an argument, an environment variable or
another client; nothing is sent. A client of an unknown class is not read, so that its model has no key.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from types import ModuleType
from typing import Any

from askonce.keys.model_identity import fingerprint_of, show_inside
from askonce.keys.normal_form import Uncacheable, is_credential_in_request, plain
from askonce.keys.own.code import class_form, code_of, digest_of
from askonce.keys.own.in_place import read_clients_with

Endpoint = dict[str, Any]
"""``url``, ``headers``, ``default_query`` and what else names the endpoint; headers may hold credentials still."""

# SDKs that are generated alike.
_GENERATED = frozenset("openai anthropic groq fireworks perplexity together cerebras writerai".split())
_HTTP_PACKAGES = _GENERATED | {"httpx", "httpx2", "google", "ollama", "langchain_openai", "langchain_anthropic"}
_HTTP = frozenset(f"{package}.{name}" for package in ("httpx", "httpx2") for name in ("Client", "AsyncClient"))
_PLAIN_TRANSPORT = re.compile(r"httpx2?\.(Async)?HTTPTransport")
# Of one attempt, or of the SDK's version.
_TELEMETRY = re.compile(
    r"accept|accept-encoding|connection|content-length|host|x-stainless-.*|x-fern-.*|x-goog-api-client|x-client-name"
)
_OWN_AGENT = re.compile(
    r"\w+/Python |(python-httpx2?|python-requests|ollama-python|llama-index|langchain|google-genai-sdk|cohere|Boto3"
    r"|Botocore|speakeasy-sdk|huggingface|unknown)[/;\-_]?",
    re.IGNORECASE,
)
_BOTO_PACKAGES = frozenset({"botocore", "boto3", "s3transfer", "aiobotocore", "langchain_aws", "llama_index"})
_LITELLM = (
    "api_base api_version organization headers drop_params modify_params model_alias_map vertex_project"
    " vertex_location use_litellm_proxy add_function_to_prompt"
).split()
_ENDPOINT_VARIABLE = re.compile(
    r"[A-Z0-9_]*(API_BASE|BASE_URL|API_URL|ENDPOINT|ENDPOINT_URL|API_VERSION|_HOST|_REGION|REGION_NAME|_PROJECT"
    r"|PROJECT_ID|_LOCATION|VERTEXAI_[A-Z]+|ORGANIZATION|ORG_ID|USE_LITELLM_PROXY)(_[A-Z0-9_]*RUNTIME)?"
)


def endpoint_of(client: Any) -> Endpoint | None:
    """What a client adds to the requests of a model; ``None`` if it is no client of a known class.

    Raises:
        Uncacheable: a client of a known class is set up with something that cannot be read.
    """
    read = _reader(client)
    return None if read is None else {name: one for name, one in read(client).items() if one not in (None, {}, [])}


def endpoint_in_code(client: Any) -> Endpoint | None:
    """`endpoint_of` for a client that own code uses, sessions of HTTP among them, which have no URL."""
    name = _name(client)
    read = {"requests.sessions.Session": _of_requests, "aiohttp.client.ClientSession": _of_aiohttp}.get(name)
    if read is None:
        return endpoint_of(client)
    return {name: one for name, one in read(client).items() if one not in (None, {}, [])}


def _of_requests(session: Any) -> Endpoint:
    """Of a session of requests; proxies and certificates are of the connection."""
    show_inside(
        type(session),
        lambda one: [[*one.headers.items()], _cookies(one.cookies), one.params, one.auth, one.hooks, one.adapters],
    )
    for adapter in session.adapters.values():
        if _name(adapter) != "requests.adapters.HTTPAdapter":
            raise Uncacheable(f"a {_name(adapter)} may change requests on their way")
    return {
        "headers": _headers(session.headers),
        "default_query": _query(session.params or {}),
        "cookies": _cookies(session.cookies),
        "hooks": [
            _hook_code(one) for event in session.hooks.values() for one in (event if _is_list(event) else [event])
        ],
        "auth": _auth(session.auth),
    }


def _of_aiohttp(session: Any) -> Endpoint:
    show_inside(type(session), lambda one: [[*one.headers.items()], _morsels(one.cookie_jar), one._base_url])
    base = getattr(session, "_base_url", None)
    return {
        "url": None if base is None else str(base),
        "headers": _headers(session.headers),
        "cookies": _morsels(session.cookie_jar),
        "hooks": [
            _hook_code([*hooks])
            for one in getattr(session, "_trace_configs", None) or ()
            for hooks in vars(one).values()
            if isinstance(hooks, Iterable) and [*hooks]
        ],
    }


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def _hook_code(value: Any) -> str | None:
    """What a function that is given each response says to code that uses it."""

    def using() -> None: ...

    using.__module__, using.__kwdefaults__ = "", {"hook": value}
    return code_of(using)


def _cookies(jar: Any) -> list[list[str]]:
    """The cookies that the application gave, by digests: they say for whom a request is. Servers set others."""
    if not jar:
        return []
    given = [
        one
        for one in getattr(jar, "jar", jar)
        if not one.domain
        or (one.domain_specified and one._rest == {"HttpOnly": None} and one.expires is None and not one.secure)
    ]
    return sorted([one.name, one.domain, one.path, digest_of(f"credential {one.value!r}")] for one in given)


def _morsels(jar: Any) -> list[list[str]]:
    given = [one for one in jar if not one["domain"] or not one["expires"]]
    return sorted([one.key, one["domain"], one["path"], digest_of(f"credential {one.value!r}")] for one in given)


def is_client(value: Any) -> bool:
    """Whether a value is a client of a known class."""
    return _reader(value) is not None


def is_asynchronous(client: Any) -> bool | None:
    """Whether a client serves asynchronous calls alone; ``None`` if it serves both."""
    names = [one.__name__ for one in type(client).__mro__]
    if any(name.startswith("Async") for name in names):
        return True
    package = type(client).__module__.partition(".")[0]
    return None if package in _SERVE_BOTH else False


_SERVE_BOTH = frozenset({"google", "openrouter", "botocore", "builtins"})


def _reader(value: Any) -> Callable[[Any], Endpoint] | None:
    cls: type = type(value)
    return None if cls is ModuleType and value.__name__ != "litellm" else _reader_of(cls)


@functools.lru_cache(maxsize=512)
def _reader_of(cls: type) -> Callable[[Any], Endpoint] | None:
    if cls is ModuleType:
        return _of_litellm
    names = [f"{one.__module__}.{one.__qualname__}" for one in cls.__mro__]
    package = cls.__module__.partition(".")[0]
    if package in _HTTP_PACKAGES and not _HTTP.isdisjoint(names):
        return _of_http
    if package in _GENERATED:
        if f"{package}._base_client.BaseClient" in names:
            return _of_generated
        if f"{package}._resource.SyncAPIResource" in names or f"{package}._resource.AsyncAPIResource" in names:
            return _of_resource
    if names[0] in ("ollama._client.Client", "ollama._client.AsyncClient"):
        return _of_ollama
    if names[0] == "google.genai.client.Client":
        return _of_google
    if package == "cohere" and not {"BaseCohere", "AsyncBaseCohere"}.isdisjoint(
        one.__name__ for one in cls.__mro__
    ):
        return _of_cohere
    if package == "openrouter" and cls.__name__ in ("OpenRouter", "Chat"):
        return _of_openrouter
    if package == "huggingface_hub" and cls.__name__ in ("InferenceClient", "AsyncInferenceClient"):
        return _of_hugging_face
    if "botocore.client.BaseClient" in names:
        return _of_boto
    if names[0] in ("boto3.session.Session", "aioboto3.session.Session"):
        return lambda session: {"region": session.region_name}
    return None


_SHOWN_OF_HTTP = attrgetter(
    "headers.raw", "params", "base_url", "_auth", "_event_hooks", "_transport", "_mounts", "_cookies.jar._cookies"
)


def _of_http(client: Any) -> Endpoint:
    """Of a client of httpx: what it adds to each request, and what may change requests on their way."""
    show_inside(
        type(client),
        _SHOWN_OF_HTTP,
    )
    transports = [client._transport, *client._mounts.values()]
    return {
        "url": str(client.base_url).rstrip("/"),
        "headers": _headers(client.headers),
        "default_query": _query(client.params),
        "hooks": [_hook(hook) for hook in client.event_hooks.get("request", ())],
        "response_hooks": [_hook_code(hook) for hook in client.event_hooks.get("response", ())],
        "cookies": _cookies(client.cookies),
        "auth": _auth(client.auth),
        "transports": [
            described for one in transports if one is not None and (described := _transport(one)) is not None
        ],
    }


def _http_of(client: Any) -> Endpoint:
    """Of the HTTP client within another one."""
    return _read_by(_of_http, client)


def _read_by(reader: Callable[[Any], Endpoint], client: Any) -> Endpoint:
    """Of a client within another one, if it is of the kind that a reader is for."""
    if _reader(client) is not reader:
        raise Uncacheable(f"a {_name(client)} may change requests on their way")
    return reader(client)


def _hook(hook: Any) -> str:
    """A function that is given each request: of a provider's package its name, any other may do what it likes."""
    name = importable_name(hook)
    if name.partition(".")[0] not in _HTTP_PACKAGES:
        raise Uncacheable(f"{name} may change requests on their way")
    return name.replace("._async_", "._")  # the same of an asynchronous client


def _auth(auth: Any) -> dict[str, Any] | None:
    """What signs each request: of a package's class nothing counts, of the application's own what it may add.

    Numbers are left out, which say until when a token is good.
    """
    if auth is None:
        return None
    form: dict[str, Any] = dict(class_form(type(auth)))
    if "code" not in form:
        function = getattr(auth, "_func", None)
        return None if function is None else {"function": function_form(function)}
    show_inside(type(auth), attrgetter("__dict__", "__class__"))
    for name, value in vars(auth).items():
        of_one_token = isinstance(value, (int, float)) and not isinstance(value, bool)
        if value is None or of_one_token or is_credential_in_request(name) or is_client(value):
            continue
        try:
            form[name] = plain(value)
        except Uncacheable as error:
            raise Uncacheable(f"a {_name(auth)} may change requests on their way: {error}") from error
    return form


def _transport(transport: Any) -> Any:
    """A transport of the application's: its class, if it holds nothing; ``None`` for one of HTTP to any host."""
    if _PLAIN_TRANSPORT.fullmatch(_name(transport)):
        socket = getattr(getattr(transport, "_pool", None), "_uds", None)
        return None if socket is None else {"socket": str(socket)}
    if getattr(transport, "__dict__", None):
        raise Uncacheable(f"a {_name(transport)} may change requests on their way")
    return function_form(type(transport))


def _of_generated(client: Any) -> Endpoint:
    """Of an SDK's client: its own additions win over those of its HTTP client."""
    settings = [name for name in ("organization", "project") if hasattr(client, name)]
    show_inside(type(client), attrgetter("_client", "base_url", "_custom_headers", "_custom_query", *settings))
    http = _http_of(client._client)
    middleware = [_hook(one) for one in getattr(client, "_middleware", None) or ()]
    return {
        **http,
        "url": str(client.base_url).rstrip("/"),
        "headers": {**http["headers"], **_headers(client.default_headers)},
        "default_query": {**http["default_query"], **_query(client.default_query)},
        "middleware": middleware,
        "project": getattr(client, "project_id", None),  # of Vertex AI; OpenAI's is a header
    }


def _of_resource(resource: Any) -> Endpoint:
    """Of a part of an SDK's client, such as its chat completions."""
    show_inside(type(resource), attrgetter("_client", "__class__"))
    return _read_by(_of_generated, resource._client)


def _of_ollama(client: Any) -> Endpoint:
    show_inside(type(client), lambda one: [one._client])
    return _http_of(client._client)


def _of_google(client: Any) -> Endpoint:
    api = client._api_client
    if _name(api) != "google.genai._api_client.BaseApiClient":
        raise Uncacheable(f"a {_name(api)} may answer from elsewhere")
    show_inside(type(client), attrgetter("_api_client._http_options", "_api_client._httpx_client"))
    options = api._http_options
    http: list[Endpoint] = []
    for one in (api._httpx_client, api._async_httpx_client):
        if one is not None:
            http.append(_http_of(one))
    return {
        "url": options.base_url and options.base_url.rstrip("/"),
        "api_version": options.api_version,
        "scope": options.base_url_resource_scope and str(options.base_url_resource_scope),
        "extra_body": options.extra_body,
        "vertexai": bool(api.vertexai) or None,
        "project": api.project if api.vertexai else None,
        "location": api.location if api.vertexai else None,
        "headers": {**(http[0]["headers"] if http else {}), **_headers(options.headers or {})},
        "http": [one for one in http if one["hooks"] or one["transports"] or one["default_query"]],
    }


def _of_boto(client: Any) -> Endpoint:
    meta = client.meta
    show_inside(type(client), lambda one: [_before_sending(one)])
    for handler in _before_sending(client):
        module = str(getattr(handler, "__module__", None) or type(handler).__module__)
        if module.partition(".")[0] not in _BOTO_PACKAGES:
            raise Uncacheable(f"{handler!r} may change requests on their way")
    return {
        "url": meta.endpoint_url and meta.endpoint_url.rstrip("/"),
        "region": meta.region_name,
        "service": meta.service_model.service_name,
        "api_version": meta.service_model.api_version,
    }


def _of_cohere(client: Any) -> Endpoint:
    wrapper = client._client_wrapper
    show_inside(type(client), lambda one: [str(one._client_wrapper._base_url), one._client_wrapper.get_headers()])
    http = _http_of(wrapper.httpx_client.httpx_client)
    return {
        **http,
        "url": str(wrapper.get_base_url()).rstrip("/"),
        "headers": {**http["headers"], **_headers(wrapper.get_headers())},
    }


def _of_openrouter(client: Any) -> Endpoint:
    setup = client.sdk_configuration
    show_inside(type(client), lambda one: [_of_openrouter(one)])
    http = _http_of(setup.client) if setup.client is not None else {}
    named = {name: value for name, value in vars(setup.globals).items() if isinstance(value, str)}
    url = setup.server_url or setup.server or "production"  # the name of a server, which the first request sets
    return {**http, "url": url.rstrip("/"), "globals": named}


def _of_hugging_face(client: Any) -> Endpoint:
    show_inside(type(client), lambda one: [_of_hugging_face(one)])
    return {
        "model": client.model,
        "provider": getattr(client, "provider", None),
        "url": getattr(client, "base_url", None),
        "headers": _headers(client.headers or {}),
    }


def _of_litellm(module: ModuleType) -> Endpoint:
    """LiteLLM is a module, and reads the environment at each call."""
    show_inside(ModuleType, lambda one: [_of_litellm(one)] if is_client(one) else [])
    variables = {name: value for name, value in os.environ.items() if _ENDPOINT_VARIABLE.fullmatch(name)}
    settings = {name: getattr(module, name, None) for name in _LITELLM}
    return {**{name: value for name, value in settings.items() if value}, "environment": variables}


def _before_sending(client: Any) -> list[Any]:
    """What is called before a request is sent, of the client's events: they are a trie."""
    events = client.meta.events
    root = getattr(getattr(getattr(events, "_emitter", events), "_handlers", None), "_root", None)
    found, pending = [], [root] if root else []
    while pending:
        node = pending.pop()
        for group in node["values"] or ():
            found += group
        pending += (node["children"] or {}).values()
    return [getattr(one, "func", one) for one in found]


def _headers(headers: Mapping[str, Any]) -> dict[str, str]:
    """Headers by their names in small letters, less what says nothing but which version of an SDK sends them."""
    fields = {}
    for name, value in headers.items():
        name = name.lower()
        if not isinstance(value, str) or _TELEMETRY.fullmatch(name):
            continue  # SDKs mark a header that is not sent by an object
        is_own_agent = name == "user-agent" and _OWN_AGENT.match(value)
        if is_own_agent or (name, value) == ("content-type", "application/json"):
            continue
        fields[name] = value
    return fields


def _query(query: Any) -> dict[str, Any]:
    if hasattr(query, "multi_items"):
        return {name: query.get_list(name) if len(query.get_list(name)) > 1 else query[name] for name in query}
    return dict(query)


def _name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def function_form(value: Any) -> str | dict[str, str]:
    """The name of a function or class that stands in a module; of one of the application's own with its code.

    Raises:
        Uncacheable: it stands in none.
    """
    name = importable_name(value)
    code = code_of(value)
    return name if code is None else {"name": name, "code": code}


def importable_name(value: Any) -> str:
    """The name of a function or class that stands in a module.

    Raises:
        Uncacheable: it does not.
    """
    module, qualname = getattr(value, "__module__", None), getattr(value, "__qualname__", "")
    found: Any = sys.modules.get(module or "")
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not value:
        raise Uncacheable(f"{qualname or value!r} is not a function at the top of a module")
    return f"{module}.{qualname}"


read_clients_with(endpoint_in_code, fingerprint_of)
