"""What is changed, one at a time, of each of LangChain's provider classes: the pairs of the wire's oracle."""

from __future__ import annotations

import importlib
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from langchain_core.globals import set_llm_cache

from askonce import Cache
from askonce.langchain import AskOnceCache, cached
from tests.providers.langchain_turns import structured, turns
from tests.support.wire import Case, Exempt, Row, Seen, captured, observe

NOWHERE, ELSEWHERE = "http://127.0.0.1:1/one", "http://127.0.0.1:1/two"


@dataclass(frozen=True)
class Provider:
    """A class of models, and what changes it.

    Attributes:
        package: the one it is in.
        name: of the class.
        base: arguments that it needs.
        values: of fields whose type does not say which values they take.
        env: variables that it or its package reads, each with two values.
        skipped: fields that are no arguments in truth, or that take what no test can give.
        address: arguments that say where requests go.
    """

    package: str
    name: str
    base: dict[str, Any]
    values: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    env: dict[str, tuple[str, str]] = field(default_factory=dict)
    skipped: frozenset[str] = frozenset()
    address: str = "base_url"


def urls(*names: str) -> dict[str, tuple[str, str]]:
    return dict.fromkeys(names, (NOWHERE, ELSEWHERE))


_EFFORT = {"reasoning_effort": ("low", "high")}
_OPENAI: dict[str, tuple[Any, ...]] = {
    **_EFFORT,
    "logit_bias": ({1: 2}, {1: 3}),
    "default_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
    "default_query": ({"v": "1"}, {"v": "2"}),
    "extra_body": ({"top_k": 1}, {"top_k": 2}),
    "model_kwargs": ({"user": "a"}, {"user": "b"}),
    "service_tier": ("flex", "priority"),
    "verbosity": ("low", "high"),
    "truncation": ("auto", "disabled"),
    "reasoning": ({"effort": "low"}, {"effort": "high"}),
    "context_management": ([{"type": "compaction"}], [{"type": "compaction", "compact_threshold": 5}]),
    "include": (["reasoning.encrypted_content"], ["file_search_call.results"]),
    "output_version": ("v1", "responses/v1"),
    "disabled_params": ({"parallel_tool_calls": None}, {"seed": None}),
    "http_client": (httpx.Client(headers={"X-Tenant": "a"}), httpx.Client(headers={"X-Tenant": "b"})),
    "request_timeout": (5, httpx.Timeout(7, connect=2)),
    "openai_proxy": ("http://127.0.0.1:2", "http://127.0.0.1:3"),
    "prompt_cache_options": ({"mode": "explicit"}, {"mode": "implicit"}),
}
_AWS = {"region_name": "us-east-1", "aws_access_key_id": "stub", "aws_secret_access_key": "stub"}
_NO_ARGUMENT = frozenset(
    "cache callbacks custom_get_token_ids rate_limiter client async_client root_client root_async_client"
    " metadata http_async_client http_socket_options bedrock_client credentials profile config".split()
)
PROVIDERS = [
    Provider(
        "langchain-openai",
        "ChatOpenAI",
        {"model": "gpt-4.1", "api_key": "stub"},
        _OPENAI,
        urls("OPENAI_BASE_URL", "OPENAI_API_BASE")
        | {
            "OPENAI_PROJECT_ID": ("a", "b"),
            "OPENAI_ORG_ID": ("a", "b"),
            "OPENAI_CUSTOM_HEADERS": ("X-A: 1", "X-A: 2"),
        },
    ),
    Provider(
        "langchain-anthropic",
        "ChatAnthropic",
        {"model": "claude-x", "api_key": "stub"},
        {
            "default_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "model_kwargs": ({"user": "a"}, {"user": "b"}),
            "thinking": ({"type": "adaptive"}, {"type": "enabled", "budget_tokens": 1024}),
            "output_config": ({"effort": "low"}, {"effort": "high"}),
            "reasoning_effort": ("low", "high"),
            "mcp_servers": (
                [{"type": "url", "url": "https://a/mcp", "name": "a", "authorization_token": "t"}],
                [{"type": "url", "url": "https://a/mcp", "name": "a", "authorization_token": "u"}],
            ),
            "context_management": ({"edits": []}, {"edits": [{"type": "clear_tool_uses_20250919"}]}),
            "container": ("container_a", {"id": "container_b"}),
            "betas": (["a-1"], ["b-1"]),
            "anthropic_proxy": ("http://127.0.0.1:2", "http://127.0.0.1:3"),
        },
        urls("ANTHROPIC_BASE_URL", "ANTHROPIC_API_URL") | {"ANTHROPIC_CUSTOM_HEADERS": ("X-A: 1", "X-A: 2")},
    ),
    Provider(
        "langchain-ollama",
        "ChatOllama",
        {"model": "llama"},
        {
            "format": ("json", {"type": "object", "properties": {"a": {"type": "string"}}}),
            "client_kwargs": ({"headers": {"X-Tenant": "a"}}, {"headers": {"X-Tenant": "b"}}),
            "sync_client_kwargs": ({"headers": {"X-Tenant": "a"}}, {"timeout": 5}),
            "async_client_kwargs": ({"headers": {"X-Tenant": "a"}}, {"timeout": 5}),
        },
        {"OLLAMA_HOST": ("127.0.0.1:1", "127.0.0.1:2"), "OLLAMA_API_KEY": ("a", "b")},
        frozenset({"validate_model_on_init"}),
    ),
    Provider(
        "langchain-mistralai",
        "ChatMistralAI",
        {"model": "mistral-small", "api_key": "stub"},
        {"model_kwargs": ({"a": 1}, {"a": 2})},
        urls("MISTRAL_BASE_URL"),
    ),
    Provider(
        "langchain-groq",
        "ChatGroq",
        {"model": "llama", "api_key": "stub"},
        {
            **_EFFORT,
            "default_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "default_query": ({"v": "1"}, {"v": "2"}),
            "model_kwargs": ({"user": "a"}, {"user": "b"}),
            "request_timeout": (5, httpx.Timeout(7, connect=2)),
            "http_client": (httpx.Client(headers={"X-Tenant": "a"}), httpx.Client(headers={"X-Tenant": "b"})),
        },
        urls("GROQ_API_BASE", "GROQ_BASE_URL"),
        frozenset({"groq_proxy"}),
    ),
    Provider(
        "langchain-google-genai",
        "ChatGoogleGenerativeAI",
        {"model": "gemini-2.5-flash", "google_api_key": "stub"},
        {
            "additional_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "client_args": ({"headers": {"X-Tenant": "a"}}, {"headers": {"X-Tenant": "b"}}),
            "image_config": ({"aspect_ratio": "1:1"}, {"aspect_ratio": "16:9"}),
            "thinking_config": ({"thinking_budget": 1}, {"thinking_budget": 2}),
            "reasoning_effort": ("low", "high"),
            "response_modalities": (["TEXT"], ["IMAGE"]),
            "media_resolution": ("MEDIA_RESOLUTION_LOW", "MEDIA_RESOLUTION_HIGH"),
            "safety_settings": (
                {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"},
                {"HARM_CATEGORY_HARASSMENT": "BLOCK_ONLY_HIGH"},
            ),
            "response_mime_type": ("application/json", "text/plain"),
            "api_version": ("v1", "v1alpha"),
            "labels": ({"a": "1"}, {"a": "2"}),
            "model_kwargs": ({"cached_content": "a"}, {"cached_content": "b"}),
        },
        urls("GOOGLE_GEMINI_BASE_URL") | {"GOOGLE_CLOUD_LOCATION": ("eu", "us")},
        frozenset({"vertexai", "project", "location"}),
    ),
    Provider(
        "langchain-aws",
        "ChatBedrockConverse",
        {"model": "anthropic.claude-3-haiku-20240307-v1:0", **_AWS},
        {
            "default_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "system": (["be kind"], ["be brief"]),
            "region_name": ("us-west-2", "eu-central-1"),
            "guardrail_config": (
                {"guardrailIdentifier": "a", "guardrailVersion": "1"},
                {"guardrailIdentifier": "b", "guardrailVersion": "1"},
            ),
            "additional_model_request_fields": ({"top_k": 1}, {"top_k": 2}),
            "additional_model_response_field_paths": (["/a"], ["/b"]),
            "performance_config": ({"latency": "standard"}, {"latency": "optimized"}),
            "request_metadata": ({"a": "1"}, {"a": "2"}),
            "reasoning_effort": ("low", "high"),
            "output_config": ({"effort": "low"}, {"effort": "high"}),
            "supports_tool_choice_values": (("auto",), ("any",)),
            "raw_blocks": ([{"text": "a"}], [{"text": "b"}]),
        },
        {
            "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": (NOWHERE, ELSEWHERE),
            "AWS_ENDPOINT_URL": (NOWHERE, ELSEWHERE),
        },
        frozenset({"credentials_profile_name", "provider", "base_model_id", "bedrock_api_key"}),
    ),
    Provider(
        "langchain-xai",
        "ChatXAI",
        {"model": "grok-4", "api_key": "stub"},
        _OPENAI | {"search_parameters": ({"mode": "on"}, {"mode": "off"})},
        urls("XAI_API_BASE", "OPENAI_BASE_URL") | {"OPENAI_ORG_ID": ("a", "b"), "OPENAI_PROJECT_ID": ("a", "b")},
    ),
    Provider(
        "langchain-deepseek",
        "ChatDeepSeek",
        {"model": "deepseek-chat", "api_key": "stub"},
        _OPENAI,
        urls("DEEPSEEK_API_BASE", "OPENAI_BASE_URL") | {"OPENAI_ORG_ID": ("a", "b")},
    ),
    Provider(
        "langchain-cohere",
        "ChatCohere",
        {"model": "command-a", "cohere_api_key": "stub"},
        {},
        urls("CO_API_URL"),
    ),
    Provider(
        "langchain-openrouter",
        "ChatOpenRouter",
        {"model": "openai/gpt-4o", "api_key": "stub"},
        {
            "default_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "model_kwargs": ({"user": "a"}, {"user": "b"}),
            "reasoning": ({"effort": "low"}, {"effort": "high"}),
            "openrouter_provider": ({"order": ["a"]}, {"order": ["b"]}),
            "plugins": ([{"id": "web"}], [{"id": "file-parser"}]),
            "route": ("fallback", "sort"),
            "trace": ({"trace_id": "a"}, {"trace_id": "b"}),
        },
        urls("OPENROUTER_API_BASE")
        | {"OPENROUTER_APP_TITLE": ("a", "b"), "OPENROUTER_SESSION_ID": ("a", "b")}
        | {"OPENROUTER_HTTP_REFERER": ("a", "b"), "OPENROUTER_X_OPEN_ROUTER_TITLE": ("a", "b")},
    ),
    Provider(
        "langchain-litellm",
        "ChatLiteLLM",
        {"model": "openai/gpt-4o", "api_key": "stub"},
        {
            "extra_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
            "model_kwargs": ({"user": "a"}, {"user": "b"}),
            "custom_llm_provider": ("openai", "openai_like"),
            "stream_options": ({"include_usage": True}, {"include_usage": False}),
        },
        urls("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        frozenset({"base_model"}),
        "api_base",
    ),
    Provider(
        "langchain-perplexity",
        "ChatPerplexity",
        {"model": "sonar", "api_key": "stub"},
        {
            "model_kwargs": ({"a": 1}, {"a": 2}),
            "web_search_options": ({"search_context_size": "low"}, {"search_context_size": "high"}),
            "media_response": ({"overrides": {"return_images": True}}, {"overrides": {"return_videos": True}}),
        },
        urls("PERPLEXITY_BASE_URL") | {"PERPLEXITY_CUSTOM_HEADERS": ("X-A: 1", "X-A: 2")},
    ),
    Provider(
        "langchain-fireworks",
        "ChatFireworks",
        {"model": "llama", "api_key": "stub"},
        {**_EFFORT, "model_kwargs": ({"user": "a"}, {"user": "b"}), "request_timeout": (5, 7)},
        urls("FIREWORKS_API_BASE", "FIREWORKS_BASE_URL")
        | {"FIREWORKS_CUSTOM_HEADERS": ("X-A: 1", "X-A: 2"), "FIREWORKS_ACCOUNT_ID": ("a", "b")},
    ),
]

EXEMPT = [
    Exempt(r".*: turn, id of the call", "documented normalization: ids of calls are renamed in their order"),
    Exempt(r".*: turn, (result|question): blocks", "documented normalization: a list of one text is that text"),
    Exempt(r".*: order of tools", "documented normalization: tools are sorted by name"),
    Exempt(r".*: stop empty", "documented normalization: an empty list is none"),
    Exempt(r".*: output_version", "the answer comes back in another form"),
    Exempt(r".*: (\w+_)?api_key", "identity: a rotated key loses nothing"),
    Exempt(r".*: (aws_access_key_id|aws_secret_access_key|aws_session_token)", "identity: of AWS"),
    Exempt(r".*: env OLLAMA_API_KEY", "identity: of Ollama"),
    Exempt(r".*: (call )?service_tier", "billing: how fast and at what price, not what"),
    Exempt(r".*: (call )?metadata", "identity: a note for the provider's logs"),
    Exempt(r".*: prompt_cache_options", "billing: of the provider's prompt cache"),
    Exempt(r".*: (call )?(streaming|stream_usage|stream_options|disable_streaming)", "streaming or not"),
    Exempt(r".*: (call )?logprobs=False.*", "documented normalization: the default, spelt out"),
    Exempt(r".*: (call )?n=1.*", "documented normalization: the default, spelt out"),
]


def _values(provider: Provider, name: str, annotation: Any) -> tuple[Any, ...]:
    if name in provider.values:
        return provider.values[name]
    if provider.address in (name,) or "base" in name or name.endswith(("_url", "endpoint")):
        return NOWHERE, ELSEWHERE
    kinds = [annotation, *typing.get_args(annotation)]
    kinds += [inner for kind in kinds for inner in typing.get_args(kind)]
    literal = [one for kind in kinds if typing.get_origin(kind) is typing.Literal for one in typing.get_args(kind)]
    if len(literal) > 1:
        return literal[0], literal[1]
    shown = {getattr(kind, "__name__", str(kind)) for kind in kinds}
    if "SecretStr" in shown:
        return "sk-one", "sk-two"
    for kind, values in (
        (bool, (True, False)),
        (int, (3, 4)),
        (float, (0.25, 0.75)),
        (list, (["one"], ["two"])),
        (str, ("one", "two")),
    ):
        if kind in kinds or any(typing.get_origin(one) is kind for one in kinds):
            return values
    if types.NoneType in kinds and any(typing.get_origin(one) is list for one in kinds):
        return ["one"], ["two"]
    return ()


def cases(provider: Provider, cls: Any) -> Iterator[tuple[str, Case, Case]]:
    """The pairs of a class: what is changed, and the two ways; at most three for one field."""
    plain = Case("plain")
    for name, declared in cls.model_fields.items():
        given = declared.alias or name
        if name in _NO_ARGUMENT | provider.skipped or given in provider.skipped:
            continue
        values = _values(provider, name, declared.annotation)
        made = [Case(name, {given: value}) for value in values[:2]]
        for one, other in zip([plain, *made], made, strict=False):
            yield name, one, other
    for name, values in provider.env.items():
        one, other = (Case(name, env={name: value}) for value in values)
        yield f"env {name}", plain, one
        yield f"env {name}", one, other
    yield from _calls(plain)
    yield from _equals(provider, cls, plain)


def _calls(plain: Case) -> Iterator[tuple[str, Case, Case]]:
    """Arguments of the call."""
    given: dict[str, tuple[Any, Any]] = {
        "temperature": (0.25, 0.75),
        "max_tokens": (5, 6),
        "stop": (["one"], ["two"]),
        "top_p": (0.5, 0.6),
        "seed": (1, 2),
        "tools": (_tool("a", "b"), _tool("b", "a")),
        "tool_choice": ("auto", "none"),
        "response_format": (_schema("a", "b"), _schema("b", "a")),
        "user": ("a", "b"),
        "model": ("one", "two"),
        "extra_headers": ({"X-Tenant": "a"}, {"X-Tenant": "b"}),
        "extra_body": ({"x": 1}, {"x": 2}),
        "reasoning_effort": ("low", "high"),
    }
    for name, (one, other) in given.items():
        yield f"call {name}", plain, Case(name, call={name: one})
        yield f"call {name}", Case(name, call={name: one}), Case(name, call={name: other})


def _equals(provider: Provider, cls: Any, plain: Case) -> Iterator[tuple[str, Case, Case]]:
    """What mostly sends the same."""
    fields = {name: declared.alias or name for name, declared in cls.model_fields.items()}
    taken = {*fields, *fields.values()}
    yield "again", plain, Case("again")
    model = provider.base["model"]
    yield "call model as constructed", plain, Case("model", call={"model": model})
    for name, value in {"temperature": 0.25, "max_tokens": 5, "stop": ["one"], "top_p": 0.5, "seed": 1}.items():
        if name in taken:
            yield f"{name} bound", Case(name, {name: value}), Case(name, call={name: value})
    for name in ("max_retries", "request_timeout", "timeout", "timeout_seconds"):
        if name in taken:
            yield f"{name} given", plain, Case(name, {name: 11})
    for name, value in {"tags": ["a"], "metadata": {"a": "b"}, "verbose": True, "n": 1, "logprobs": False}.items():
        if name in taken:
            yield f"{name}={value} given", plain, Case(name, {name: value})
    for name in ("default_headers", "default_query", "model_kwargs", "stop", "extra_body", "client_kwargs"):
        if name in taken:
            yield f"{name} empty", plain, Case(name, {name: [] if name == "stop" else {}})
    address = provider.address
    if address in taken:
        yield "closing slash", Case("url", {address: NOWHERE}), Case("url/", {address: f"{NOWHERE}/"})
    both = [*_tool("a", "b"), *_tool("b", "a", name="other")]
    yield "order of tools", Case("tools", call={"tools": both}), Case("tools", call={"tools": both[::-1]})


def _schema(*names: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
    return {"type": "json_schema", "json_schema": {"name": "Answer", "schema": schema}}


def _tool(*names: str, name: str = "look") -> list[dict[str, Any]]:
    parameters = {"type": "object", "properties": {one: {"type": "string"} for one in names}}
    return [{"type": "function", "function": {"name": name, "description": "Looks.", "parameters": parameters}}]


def later_turns(provider: Provider, cls: Any) -> Iterator[tuple[str, Case, Case]]:
    """The pairs of second turns and of structured calls."""
    yield from turns()
    yield from structured()


def row_of(
    provider: Provider, cache: Cache, pairs: Callable[[Provider, Any], Iterator[tuple[str, Case, Case]]] = cases
) -> tuple[Row, list[str]]:
    """What is found of a class, and the cases in which `cached` and the global cache differ."""
    cls, row = class_of(provider), Row()
    known: dict[str, tuple[Seen, Seen]] = {}

    def both(case: Case) -> tuple[Seen, Seen]:
        at = f"{case.fields}{case.call}{case.env}"
        if at not in known:
            known[at] = seen(provider, cls, case, cache)
        return known[at]

    for what, one, other in pairs(provider, cls):
        row.compare(f"{provider.name}: {what}", both(one)[0], both(other)[0], EXEMPT)
    differently = [
        at
        for at, (ours, theirs) in known.items()
        if not ours.error and (ours.key, ours.wire) != (theirs.key, theirs.wire)
    ]
    return row, differently


def class_of(provider: Provider) -> Any:
    return getattr(importlib.import_module(provider.package.replace("-", "_")), provider.name)


def seen(provider: Provider, cls: Any, case: Case, cache: Cache) -> tuple[Seen, Seen]:
    """What a case sends, and its key: through `cached`, and through LangChain's global cache."""
    with pytest.MonkeyPatch.context() as patch, captured() as wires:
        for name, value in case.env.items():
            patch.setenv(name, value)
        try:
            model = cls(**{**provider.base, **case.fields, **case.prepare()})
        except Exception as refused:
            return (Seen((), None, f"{type(refused).__name__}: {refused}"[:200]),) * 2
        ours = observe(cache, wires, lambda: _invoke(cached(model, cache), case.call))
        set_llm_cache(AskOnceCache(cache))
        try:
            return ours, observe(cache, wires, lambda: _invoke(model, case.call))
        finally:
            set_llm_cache(None)


def _invoke(model: Any, call: Mapping[str, Any]) -> None:
    options = dict(call)
    about, wanted = options.pop("about", "hi"), options.pop("structured", None)
    if wanted is not None:
        schema, how, _ = wanted
        model = model.with_structured_output(schema, **how)
    model.invoke(about, **options)
