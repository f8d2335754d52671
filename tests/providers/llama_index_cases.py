"""Ways to make and call the models of LlamaIndex's providers, one thing changed at a time: the pairs of the wire.

A class is made with its base, and called with "hi"; then each of its cases is made and called likewise, with one
argument of the constructor or the call, one environment variable or one client changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from askonce import Cache
from askonce.llama_index import cached
from tests.support.wire import Case, Exempt, Row, Seen, captured, observe

A, B = "http://a.invalid", "http://b.invalid"
NO_ENV = (
    "OPENAI_API_KEY OPENAI_API_BASE OPENAI_BASE_URL OPENAI_API_VERSION OPENAI_ORG_ID OPENAI_PROJECT_ID"
    " OPENAI_CUSTOM_HEADERS AZURE_OPENAI_ENDPOINT AZURE_OPENAI_API_KEY ANTHROPIC_API_KEY ANTHROPIC_BASE_URL"
    " ANTHROPIC_CUSTOM_HEADERS OLLAMA_HOST OLLAMA_API_KEY AWS_REGION AWS_DEFAULT_REGION AWS_PROFILE"
    " AWS_ENDPOINT_URL"
    " GOOGLE_API_KEY GEMINI_API_KEY GOOGLE_CLOUD_PROJECT GOOGLE_CLOUD_LOCATION GOOGLE_GENAI_USE_VERTEXAI"
    " GOOGLE_GEMINI_BASE_URL HTTP_PROXY HTTPS_PROXY http_proxy https_proxy"
).split()


@dataclass(frozen=True)
class CapturedRequest:
    """One class.

    Attributes:
        module: where it is.
        name: of the class.
        base: arguments of the constructor that all its models have.
        fields: other values of single arguments.
        calls: arguments of single calls; ``how`` is the endpoint, ``about`` the question.
        env: environment variables.
        made: arguments that are made anew for each model, such as clients.
        without: arguments of the base that a case leaves out, by the case's name.
        pairs: further pairs of cases, by name.
        how: the endpoint that is called.
    """

    module: str
    name: str
    base: Mapping[str, Any]
    fields: tuple[tuple[str, Any], ...] = ()
    calls: tuple[Mapping[str, Any], ...] = ()
    env: tuple[Mapping[str, str], ...] = ()
    made: Mapping[str, Callable[[], Mapping[str, Any]]] = field(default_factory=dict)
    without: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pairs: tuple[tuple[str, str], ...] = ()
    how: str = "chat"

    def cases(self) -> dict[str, Case]:
        cases = [Case(f"{name}={_shown(value)}"[:120], fields={name: value}) for name, value in self.fields]
        cases += [
            Case("call " + ", ".join(f"{k}={v!r}" for k, v in one.items())[:70], call=one) for one in self.calls
        ]
        cases += [Case("env " + ", ".join(f"{k}={v}" for k, v in one.items()), env=one) for one in self.env]
        cases += [Case(name, prepare=make) for name, make in self.made.items()]
        return {case.name: case for case in cases}


def row_of(sample: CapturedRequest, cache: Cache, exempt: tuple[Exempt, ...]) -> Row:
    """Compare all pairs of a class."""
    row, cases = Row(), sample.cases()
    with no_environment(), captured() as wires, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seen = {name: _seen(sample, case, cache, wires) for name, case in cases.items()}
        hows = {case.call.get("how", sample.how) for case in cases.values()}
        base = {how: _seen(sample, Case("base", call={"how": how}), cache, wires) for how in hows}
        for name, case in cases.items():
            row.compare(f"{sample.name}: {name}", base[case.call.get("how", sample.how)], seen[name], exempt)
        for one, other in sample.pairs:
            row.compare(f"{sample.name}: {one} | {other}", seen[one], seen[other], exempt)
    return row


@contextlib.contextmanager
def no_environment() -> Iterator[None]:
    with mock.patch.dict(os.environ, {"AWS_EC2_METADATA_DISABLED": "true"}):
        for name in NO_ENV:
            os.environ.pop(name, None)
        yield


def _seen(sample: CapturedRequest, case: Case, cache: Cache, wires: Any) -> Seen:
    left = sample.without.get(case.name, ())
    base = {name: value for name, value in sample.base.items() if name not in left}
    with mock.patch.dict(os.environ, dict(case.env)):
        try:
            cls = getattr(importlib.import_module(sample.module), sample.name)
            model = cls(**{**_copied(base), **_copied(case.fields), **case.prepare()})
        except Exception as error:
            return Seen((), None, f"{type(error).__name__}: {error}"[:300])
        return observe(cache, wires, lambda: _call(cached(model, cache), sample.how, dict(case.call)))


def _shown(value: Any) -> str:
    return getattr(value, "__qualname__", None) or repr(value)


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: dict(value) if type(value) is dict else value for name, value in values.items()}


def _call(model: Any, how: str, call: dict[str, Any]) -> None:
    how, about = call.pop("how", how), call.pop("about", None)
    if how in ("chat", "achat"):
        from llama_index.core.llms import ChatMessage

        blocks = about() if callable(about) else [ChatMessage(role="user", content=about or "hi")]
        result = getattr(model, how)(blocks, **call)
    else:
        result = getattr(model, how)(about or "hi", **call)
    if asyncio.iscoroutine(result):
        asyncio.run(_awaited(result))


async def _awaited(result: Any) -> Any:
    return await result


# -- what the calls hold -----------------------------------------------------------------------------------------


def to_prompt(messages: Any) -> str:
    return "prompt"


def wrapped(prompt: str) -> str:
    return f"wrapped {prompt}"


def add_header(request: Any) -> None:
    request.headers["x-hook"] = "set"


async def aadd_header(request: Any) -> None:
    request.headers["x-hook"] = "set"


def template() -> Any:
    from llama_index.core.prompts import PromptTemplate

    return PromptTemplate("Q: {query_str}")


def messages(*blocks: Any, **kwargs: Any) -> Callable[[], Any]:
    def made() -> Any:
        from llama_index.core.base.llms.types import ChatMessage, TextBlock

        parts = [TextBlock(text=block) if isinstance(block, str) else block for block in blocks]
        return [ChatMessage(role="user", blocks=parts, **kwargs)]

    made.__qualname__ = f"messages{blocks}{kwargs}"
    return made


def conversation() -> Any:
    from llama_index.core.base.llms.types import ChatMessage

    return [ChatMessage(role="system", content="Be kind."), ChatMessage(role="user", content="hi")]


def tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties or {"a": {"type": "integer"}}}
    return {"type": "function", "function": {"name": name, "description": "", "parameters": schema}}


def httpx_client(asynchronous: bool = False, **settings: Any) -> Any:
    import httpx

    return (httpx.AsyncClient if asynchronous else httpx.Client)(**settings)


def client_of(package: str, name: str, **settings: Any) -> Any:
    return getattr(importlib.import_module(package), name)(**{"api_key": "k", **settings})


PROMPTS: tuple[tuple[str, Any], ...] = (
    ("system_prompt", "Be kind."),
    ("messages_to_prompt", to_prompt),
    ("completion_to_prompt", wrapped),
    ("pydantic_program_mode", "llm"),
)
HEADERS: tuple[tuple[str, Any], ...] = (
    ("default_headers", {"x-tenant": "a"}),
    ("default_headers", {"x-tenant": "b"}),
    ("default_headers", {"user-agent": "mine"}),
)
MESSAGES: tuple[Mapping[str, Any], ...] = (
    {"about": "ho"},
    {"about": messages("hi", "")},
    {"about": messages("hi", "ho")},
    {"about": conversation},
)

# -- OpenAI --------------------------------------------------------------------------------------------------------

OPENAI_BASE = {"model": "gpt-4o", "api_key": "k", "api_base": f"{A}/v1", "max_retries": 0}
OPENAI_ENV: tuple[Mapping[str, str], ...] = (
    {"OPENAI_ORG_ID": "org-1"},
    {"OPENAI_PROJECT_ID": "proj-1"},
    {"OPENAI_CUSTOM_HEADERS": "x-tenant: a"},
    {"OPENAI_BASE_URL": f"{B}/v1"},
    {"OPENAI_API_BASE": f"{B}/v1"},
    {"OPENAI_API_KEY": "other"},
    {"OPENAI_API_VERSION": "2"},
)


def over_openai(name: str = "OpenAI", argument: str = "openai_client", **settings: Any) -> Callable[[], Any]:
    return lambda: {argument: client_of("openai", name, **{"base_url": f"{A}/v1", **settings})}


def over_http(argument: str = "http_client", **settings: Any) -> Callable[[], Any]:
    return lambda: {argument: httpx_client(argument.startswith("async"), **settings)}


OPENAI_CLIENTS: dict[str, Callable[[], Any]] = {
    "openai_client": over_openai(),
    "openai_client of another base_url": over_openai(base_url=f"{B}/v1"),
    "openai_client with organization": over_openai(organization="org-1"),
    "openai_client with project": over_openai(project="proj-1"),
    "openai_client with default_headers": over_openai(default_headers={"X-Tenant": "a"}),
    "openai_client with default_query": over_openai(default_query={"tenant": "a"}),
    "openai_client with timeout": over_openai(timeout=3, max_retries=5),
    "openai_client over an http_client with headers": lambda: over_openai(
        http_client=httpx_client(headers={"x-tenant": "a"})
    )(),
    "openai_client of Azure": over_openai("AzureOpenAI", base_url=None, azure_endpoint=A, api_version="1"),
    "async_openai_client of another base_url": over_openai(
        "AsyncOpenAI", "async_openai_client", base_url=f"{B}/v1"
    ),
}
HTTP_CLIENTS: dict[str, Callable[[], Any]] = {
    "http_client": over_http(),
    "http_client with headers": over_http(headers={"x-tenant": "a"}),
    "http_client with other headers": over_http(headers={"x-tenant": "b"}),
    "http_client with params": over_http(params={"tenant": "a"}),
    "http_client with base_url": over_http(base_url=B),
    "http_client with hooks": over_http(event_hooks={"request": [add_header]}),
    "http_client with cookies": over_http(cookies={"session": "a"}),
    "http_client with timeout": over_http(timeout=3, follow_redirects=True),
    "async_http_client with headers": over_http("async_http_client", headers={"x-tenant": "a"}),
}
NEUTRAL: tuple[tuple[str, Any], ...] = (("timeout", 3.0), ("max_retries", 1), ("api_key", "other"))
OPENAI_FIELDS = (
    ("model", "gpt-4o-mini"),
    ("model", "gpt-3.5-turbo-instruct"),
    ("temperature", 0.5),
    ("temperature", 0.1),
    ("additional_kwargs", {"seed": 1}),
    ("additional_kwargs", {"extra_headers": {"x-tenant": "a"}}),
    ("additional_kwargs", {"extra_query": {"tenant": "a"}}),
    ("api_base", f"{B}/v1"),
    ("api_base", f"{A}/v1/"),
    ("api_version", "2"),
    ("strict", True),
    *NEUTRAL,
    *HEADERS,
    *PROMPTS,
)
OPENAI_CALLS: tuple[Mapping[str, Any], ...] = (
    {"temperature": 0.5},
    {"temperature": 0.1},
    {"temperature": None},
    {"stop": ["x"]},
    {"user": "u"},
    {"timeout": 3},
    {"extra_headers": {"x-tenant": "a"}},
    {"extra_headers": {"authorization": "Bearer other"}},
    {"extra_query": {"tenant": "a"}},
    {"extra_body": {"top_k": 4}},
    {"tools": [tool("add"), tool("multiply")]},
    {"tools": [tool("multiply"), tool("add")]},
    {"tools": [tool("add", a={"type": "string"}, b={"type": "string"})]},
    {"tools": [tool("add", b={"type": "string"}, a={"type": "string"})]},
    {"tools": []},
    {"tool_choice": "required"},
    {"metadata": {"run": "1"}},
    {"service_tier": "flex"},
    {"prompt_cache_key": "x"},
    *MESSAGES,
)
COMPLETIONS: tuple[Mapping[str, Any], ...] = (
    {"how": "complete", "about": "ho"},
    {"how": "complete", "formatted": True},
    {"how": "complete", "formatted": False},
)
CHAT_OPENAI = CapturedRequest(
    "llama_index.llms.openai",
    "OpenAI",
    OPENAI_BASE,
    fields=(
        *OPENAI_FIELDS,
        ("max_tokens", 5),
        ("logprobs", True),
        ("logprobs", False),
        ("top_logprobs", 3),
        ("reuse_client", False),
        ("reasoning_effort", "low"),
        ("modalities", ["text"]),
        ("audio_config", {"voice": "x"}),
        ("query_wrapper_prompt", template()),
    ),
    calls=(
        *OPENAI_CALLS,
        *COMPLETIONS,
        {"max_tokens": 5},
        {"seed": 1},
        {"response_format": {"type": "json_object"}},
        {"how": "achat", "about": "ho"},
    ),
    env=OPENAI_ENV,
    made={**OPENAI_CLIENTS, **HTTP_CLIENTS},
    without={
        "env OPENAI_API_BASE=http://b.invalid/v1": ("api_base",),
        "env OPENAI_BASE_URL=http://b.invalid/v1": ("api_base",),
    },
    pairs=(
        ("temperature=0.5", "call temperature=0.5"),
        ("openai_client with default_headers", "default_headers={'x-tenant': 'a'}"),
        ("http_client with headers", "default_headers={'x-tenant': 'a'}"),
        ("env OPENAI_ORG_ID=org-1", "openai_client with organization"),
        ("env OPENAI_CUSTOM_HEADERS=x-tenant: a", "default_headers={'x-tenant': 'a'}"),
        ("api_base='http://b.invalid/v1'", "openai_client of another base_url"),
        ("api_base='http://b.invalid/v1'", "env OPENAI_API_BASE=http://b.invalid/v1"),
    ),
)
ASYNC_OPENAI = CapturedRequest(
    "llama_index.llms.openai",
    "OpenAI",
    OPENAI_BASE,
    how="achat",
    made={
        "openai_client of another base_url": over_openai(base_url=f"{B}/v1"),
        **{
            name: over_openai("AsyncOpenAI", "async_openai_client", **settings)
            for name, settings in {
                "async_openai_client": {},
                "async_openai_client with base_url": {"base_url": f"{B}/v1"},
                "async_openai_client with headers": {"default_headers": {"x-tenant": "a"}},
                "async_openai_client with organization": {"organization": "org-1"},
            }.items()
        },
        "http_client with headers": over_http(headers={"x-tenant": "a"}),
        "async_http_client with headers": over_http("async_http_client", headers={"x-tenant": "a"}),
        "async_http_client with hooks": over_http("async_http_client", event_hooks={"request": [aadd_header]}),
        "async_http_client with params": over_http("async_http_client", params={"tenant": "a"}),
    },
    env=OPENAI_ENV[:3],
)
RESPONSES = CapturedRequest(
    "llama_index.llms.openai",
    "OpenAIResponses",
    OPENAI_BASE,
    fields=(
        *(one for one in OPENAI_FIELDS if "instruct" not in str(one)),
        ("top_p", 0.5),
        ("max_output_tokens", 5),
        ("reasoning_options", {"effort": "low"}),
        ("include", ["reasoning.encrypted_content"]),
        ("instructions", "Be kind."),
        ("store", True),
        ("built_in_tools", [{"type": "web_search"}]),
        ("built_in_tools", [{"type": "mcp", "server_url": "https://m.invalid", "server_label": "m"}]),
        ("truncation", "auto"),
        ("user", "u"),
        ("call_metadata", {"run": "1"}),
        ("context_window", 100),
        ("previous_response_id", "resp_1"),
    ),
    calls=tuple(one for one in OPENAI_CALLS if "stop" not in one and "tool_choice" not in one)
    + COMPLETIONS
    + ({"instructions": "Be kind."}, {"previous_response_id": "resp_1"}, {"max_output_tokens": 5}),
    env=OPENAI_ENV[:3],
    made={name: make for name, make in {**OPENAI_CLIENTS, **HTTP_CLIENTS}.items() if "Azure" not in name},
    pairs=(("temperature=0.5", "call temperature=0.5"),),
)
LIKE = CapturedRequest(
    "llama_index.llms.openai_like",
    "OpenAILike",
    {**OPENAI_BASE, "model": "llama", "is_chat_model": True},
    fields=(
        ("model", "llama2"),
        *OPENAI_FIELDS[2:],
        ("max_tokens", 5),
        ("is_chat_model", False),
        ("context_window", 100),
        ("is_function_calling_model", True),
        ("should_use_structured_outputs", True),
    ),
    calls=(*OPENAI_CALLS, *COMPLETIONS[:2]),
    env=OPENAI_ENV[:3],
    made={**dict(list(OPENAI_CLIENTS.items())[:8]), **HTTP_CLIENTS},
    pairs=(("temperature=0.5", "call temperature=0.5"),),
)
AZURE_BASE = {
    "model": "gpt-4o",
    "engine": "one",
    "api_key": "k",
    "azure_endpoint": A,
    "api_version": "1",
    "max_retries": 0,
}
AZURE_FIELDS: tuple[tuple[str, Any], ...] = (
    ("azure_endpoint", B),
    ("azure_endpoint", f"{A}/"),
    ("api_version", "2"),
    ("azure_deployment", "two"),
    *NEUTRAL,
    *HEADERS,
)
AZURE = CapturedRequest(
    "llama_index.llms.azure_openai",
    "AzureOpenAI",
    AZURE_BASE,
    fields=(
        ("model", "gpt-4o-mini"),
        ("engine", "two"),
        ("temperature", 0.5),
        ("max_tokens", 5),
        ("additional_kwargs", {"seed": 1}),
        ("reuse_client", False),
        *AZURE_FIELDS,
        *PROMPTS,
    ),
    calls=(*OPENAI_CALLS[:10], *MESSAGES, *COMPLETIONS),
    env=(
        {"AZURE_OPENAI_ENDPOINT": B},
        {"OPENAI_API_VERSION": "2"},
        {"OPENAI_ORG_ID": "org-1"},
        {"AZURE_OPENAI_API_KEY": "other"},
    ),
    made={
        **HTTP_CLIENTS,
        "api_base": lambda: {"api_base": f"{B}/openai", "azure_endpoint": None},
        "azure_ad_token_provider": lambda: {
            "use_azure_ad": True,
            "azure_ad_token_provider": lambda: "token",
            "api_key": None,
        },
    },
    without={
        "env AZURE_OPENAI_ENDPOINT=http://b.invalid": ("azure_endpoint",),
        "env OPENAI_API_VERSION=2": ("api_version",),
    },
    pairs=(("temperature=0.5", "call temperature=0.5"),),
)

# -- Anthropic, Ollama, Bedrock, Google --------------------------------------------------------------------------

NO_TEMPERATURE = "claude-opus-4-7"  # the newest SDK has no temperature, which the class sends for other models
ANTHROPIC = CapturedRequest(
    "llama_index.llms.anthropic",
    "Anthropic",
    {"model": NO_TEMPERATURE, "api_key": "k", "base_url": A, "max_retries": 0},
    fields=(
        ("model", "claude-opus-4-8"),
        ("temperature", 0.5),
        ("temperature", 0.1),
        ("max_tokens", 5),
        ("base_url", B),
        ("base_url", f"{A}/"),
        ("additional_kwargs", {"extra_body": {"top_k": 4}}),
        ("additional_kwargs", {"extra_headers": {"x-tenant": "a"}}),
        ("cache_idx", 0),
        ("thinking_dict", {"type": "enabled", "budget_tokens": 1024}),
        ("tools", [{"type": "web_search_20250305", "name": "web_search"}]),
        ("default_headers", {"anthropic-beta": "one"}),
        *NEUTRAL,
        *HEADERS,
        *PROMPTS,
    ),
    calls=(
        {"max_tokens": 5},
        {"stop_sequences": ["x"]},
        {"metadata": {"user_id": "u"}},
        {"extra_headers": {"x-tenant": "a"}},
        {"extra_query": {"tenant": "a"}},
        {"extra_body": {"x": 1}},
        {"timeout": 3},
        {"tools": [{"name": "a", "input_schema": {"type": "object"}}]},
        {"tool_choice": {"type": "any"}},
        {"service_tier": "auto"},
        *MESSAGES,
        *COMPLETIONS,
    ),
    env=(
        {"ANTHROPIC_BASE_URL": B},
        {"ANTHROPIC_API_KEY": "other"},
        {"ANTHROPIC_CUSTOM_HEADERS": "x-tenant: a"},
    ),
    made={
        "aws_region": lambda: {"aws_region": "eu-west-1", "aws_access_key_id": "k", "aws_secret_access_key": "s"},
        "another aws_region": lambda: {
            "aws_region": "us-east-1",
            "aws_access_key_id": "k",
            "aws_secret_access_key": "s",
        },
    },
    without={"env ANTHROPIC_BASE_URL=http://b.invalid": ("base_url",)},
    pairs=(
        ("aws_region", "another aws_region"),
        ("env ANTHROPIC_CUSTOM_HEADERS=x-tenant: a", "default_headers={'x-tenant': 'a'}"),
        ("base_url='http://b.invalid'", "env ANTHROPIC_BASE_URL=http://b.invalid"),
    ),
)


def over_ollama(argument: str = "client", host: str = A, **settings: Any) -> Callable[[], Any]:
    name = "AsyncClient" if argument.startswith("async") else "Client"
    return lambda: {argument: getattr(importlib.import_module("ollama"), name)(host=host, **settings)}


OLLAMA = CapturedRequest(
    "llama_index.llms.ollama",
    "Ollama",
    {"model": "llama", "base_url": A, "context_window": 1000},
    fields=(
        ("model", "llama2"),
        ("base_url", B),
        ("base_url", f"{A}/"),
        ("temperature", 0.5),
        ("context_window", 2000),
        ("request_timeout", 3.0),
        ("prompt_key", "p"),
        ("json_mode", True),
        ("additional_kwargs", {"seed": 1}),
        ("additional_kwargs", {"num_predict": 5}),
        ("is_function_calling_model", False),
        ("keep_alive", "1h"),
        ("thinking", True),
        ("headers", {"x-tenant": "a"}),
        ("headers", {"Authorization": "Bearer other"}),
        *PROMPTS,
    ),
    calls=(
        {"format": "json"},
        {"think": True},
        {"tools": [tool("add")]},
        {"temperature": 0.5},
        *MESSAGES,
        *COMPLETIONS,
    ),
    env=({"OLLAMA_HOST": B}, {"OLLAMA_API_KEY": "other"}),
    made={
        "client": over_ollama(),
        "client of another host": over_ollama(host=B),
        "client with headers": over_ollama(headers={"x-tenant": "a"}),
        "client with params": over_ollama(params={"tenant": "a"}),
        "client with timeout": over_ollama(timeout=3),
        "async_client of another host": over_ollama("async_client", host=B),
    },
    pairs=(
        ("client of another host", "base_url='http://b.invalid'"),
        ("client with headers", "headers={'x-tenant': 'a'}"),
    ),
)
AWS = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s", "max_retries": 1}


def over_boto(**settings: Any) -> Callable[[], Any]:
    given = {"region_name": "us-east-1", "aws_access_key_id": "k", "aws_secret_access_key": "s", **settings}
    return lambda: {"client": importlib.import_module("boto3").client("bedrock-runtime", **given)}


AWS_CASES: dict[str, Any] = {
    "client": over_boto(),
    "client of another region": over_boto(region_name="eu-west-1"),
    "client of another endpoint": over_boto(endpoint_url=B),
    "botocore_config": lambda: {
        "botocore_config": importlib.import_module("botocore.config").Config(region_name="eu-west-1")
    },
}
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
BEDROCK = CapturedRequest(
    "llama_index.llms.bedrock_converse",
    "BedrockConverse",
    {"model": CLAUDE, **AWS},
    fields=(
        ("model", "anthropic.claude-3-sonnet-20240229-v1:0"),
        ("temperature", 0.5),
        ("max_tokens", 5),
        ("region_name", "eu-west-1"),
        ("endpoint_url", B),
        ("use_ssl", False),
        ("verify", False),
        ("timeout", 3.0),
        ("max_retries", 2),
        ("aws_access_key_id", "other"),
        ("system_prompt_caching", True),
        ("tool_caching", True),
        ("guardrail_identifier", "g"),
        ("trace", "ENABLED"),
        ("application_inference_profile_arn", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"),
        ("supports_forced_tool_calls", False),
        ("additional_kwargs", {"additionalModelRequestFields": {"top_k": 4}}),
        *PROMPTS,
    ),
    calls=(
        {"temperature": 0.5},
        {"temperature": 0.1},
        {"max_tokens": 5},
        {"tools": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {"type": "object"}}}}]}},
        *MESSAGES,
        *COMPLETIONS,
    ),
    env=({"AWS_DEFAULT_REGION": "eu-west-1"}, {"AWS_ENDPOINT_URL": B}),
    made=AWS_CASES,
    without={"env AWS_DEFAULT_REGION=eu-west-1": ("region_name",)},
    pairs=(
        ("temperature=0.5", "call temperature=0.5"),
        ("region_name='eu-west-1'", "client of another region"),
        ("region_name='eu-west-1'", "env AWS_DEFAULT_REGION=eu-west-1"),
    ),
)
GOOGLE_MADE: dict[str, Any] = {
    "http_options with base_url": lambda: {"http_options": {"base_url": B}},
    "http_options with api_version": lambda: {"http_options": {"api_version": "v1"}},
    "http_options with headers": lambda: {"http_options": {"headers": {"x-tenant": "a"}}},
    "http_options with extra_body": lambda: {"http_options": {"extra_body": {"x": 1}}},
    "http_options with timeout": lambda: {"http_options": {"timeout": 3000}},
    "http_options with client_args": lambda: {"http_options": {"client_args": {"headers": {"x-tenant": "a"}}}},
}
GOOGLE_ENV: tuple[Mapping[str, str], ...] = ({"GOOGLE_GEMINI_BASE_URL": B}, {"GOOGLE_API_KEY": "other"})


def google(kind: str, **settings: Any) -> Any:
    types: Any = importlib.import_module("google.genai.types")
    return getattr(types, kind)(**settings)


GOOGLE = CapturedRequest(
    "llama_index.llms.google_genai",
    "GoogleGenAI",
    {"model": "gemini-2.5-flash", "api_key": "k", "max_tokens": 100, "context_window": 1000, "max_retries": 0},
    fields=(
        ("model", "gemini-2.5-pro"),
        ("temperature", 0.5),
        ("temperature", 0.1),
        ("max_tokens", 5),
        ("context_window", 2000),
        ("max_retries", 1),
        ("api_key", "other"),
        ("cached_content", "cachedContents/x"),
        ("is_function_calling_model", False),
        ("file_mode", "inline"),
        *PROMPTS,
    ),
    calls=(
        {"generation_config": {"temperature": 0.5}},
        {"generation_config": {"temperature": 0.1}},
        {"generation_config": {"seed": 1}},
        *MESSAGES,
        *COMPLETIONS,
    ),
    env=GOOGLE_ENV,
    made={
        **GOOGLE_MADE,
        "built_in_tool": lambda: {"built_in_tool": google("Tool", google_search=google("GoogleSearch"))},
        "generation_config": lambda: {"generation_config": google("GenerateContentConfig", top_k=4)},
    },
)

# -- embeddings ----------------------------------------------------------------------------------------------------

TEXT = "get_text_embedding"
EMBEDDED: tuple[Mapping[str, Any], ...] = (
    {"about": "ho"},
    {"about": "a\nb"},
    {"about": " hi "},
    {"how": "get_query_embedding", "about": "ho"},
    {"how": "aget_text_embedding", "about": "ho"},
)
SMALL = "text-embedding-3-small"
OPENAI_EMBEDDING = CapturedRequest(
    "llama_index.embeddings.openai",
    "OpenAIEmbedding",
    {"model": SMALL, "api_key": "k", "api_base": f"{A}/v1", "max_retries": 1},
    how=TEXT,
    fields=(
        ("model", "text-embedding-3-large"),
        ("mode", "similarity"),
        ("dimensions", 256),
        ("dimensions", 128),
        ("additional_kwargs", {"dimensions": 256}),
        ("additional_kwargs", {"user": "u"}),
        ("embed_batch_size", 5),
        ("num_workers", 2),
        ("reuse_client", False),
        ("api_base", f"{B}/v1"),
        ("api_base", f"{A}/v1/"),
        ("api_version", "2"),
        *NEUTRAL,
        *HEADERS,
    ),
    calls=EMBEDDED,
    env=OPENAI_ENV,
    made=HTTP_CLIENTS,
    without={
        "env OPENAI_API_BASE=http://b.invalid/v1": ("api_base",),
        "env OPENAI_BASE_URL=http://b.invalid/v1": ("api_base",),
    },
    pairs=(
        ("dimensions=256", "additional_kwargs={'dimensions': 256}"),
        ("http_client with headers", "default_headers={'x-tenant': 'a'}"),
        ("env OPENAI_CUSTOM_HEADERS=x-tenant: a", "default_headers={'x-tenant': 'a'}"),
    ),
)
AZURE_EMBEDDING = CapturedRequest(
    "llama_index.embeddings.azure_openai",
    "AzureOpenAIEmbedding",
    {"model": SMALL, "azure_deployment": "one", "api_key": "k", "azure_endpoint": A, "api_version": "1"},
    how=TEXT,
    fields=(("dimensions", 256), ("additional_kwargs", {"user": "u"}), *AZURE_FIELDS),
    calls=EMBEDDED,
    env=({"AZURE_OPENAI_ENDPOINT": B}, {"OPENAI_API_VERSION": "2"}, {"OPENAI_ORG_ID": "org-1"}),
    made=HTTP_CLIENTS,
    without={
        "env AZURE_OPENAI_ENDPOINT=http://b.invalid": ("azure_endpoint",),
        "env OPENAI_API_VERSION=2": ("api_version",),
    },
)
OLLAMA_EMBEDDING = CapturedRequest(
    "llama_index.embeddings.ollama",
    "OllamaEmbedding",
    {"model_name": "nomic", "base_url": A},
    how=TEXT,
    fields=(
        ("model_name", "other"),
        ("base_url", B),
        ("base_url", f"{A}/"),
        ("ollama_additional_kwargs", {"num_ctx": 5}),
        ("query_instruction", "search"),
        ("text_instruction", "text"),
        ("keep_alive", "1h"),
        ("embed_batch_size", 5),
        ("client_kwargs", {"headers": {"x-tenant": "a"}}),
        ("client_kwargs", {"params": {"tenant": "a"}}),
        ("client_kwargs", {"timeout": 3}),
    ),
    calls=EMBEDDED,
    env=({"OLLAMA_HOST": B}, {"OLLAMA_API_KEY": "other"}),
)
BEDROCK_EMBEDDING = CapturedRequest(
    "llama_index.embeddings.bedrock",
    "BedrockEmbedding",
    {"model_name": "amazon.titan-embed-text-v2:0", **AWS},
    how=TEXT,
    fields=(
        ("model_name", "amazon.titan-embed-text-v1"),
        ("region_name", "eu-west-1"),
        ("additional_kwargs", {"dimensions": 256}),
        ("additional_kwargs", {"normalize": False}),
        ("application_inference_profile_arn", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x"),
        ("timeout", 3.0),
        ("max_retries", 2),
        ("aws_access_key_id", "other"),
    ),
    calls=EMBEDDED,
    env=({"AWS_DEFAULT_REGION": "eu-west-1"}, {"AWS_ENDPOINT_URL": B}),
    made=AWS_CASES,
    without={"env AWS_DEFAULT_REGION=eu-west-1": ("region_name",)},
)
GOOGLE_EMBEDDING = CapturedRequest(
    "llama_index.embeddings.google_genai",
    "GoogleGenAIEmbedding",
    {"model_name": "gemini-embedding-001", "api_key": "k", "retries": 1},
    how=TEXT,
    fields=(
        ("model_name", "other"),
        ("embedding_config", {"output_dimensionality": 256}),
        ("embedding_config", {"title": "t"}),
        ("timeout", 3),
        ("retries", 2),
        ("retry_exponential_base", 3.0),
        ("embed_batch_size", 5),
        ("api_key", "other"),
    ),
    calls=EMBEDDED,
    env=GOOGLE_ENV,
    made=GOOGLE_MADE,
)

ALWAYS = {
    "OpenAI": CHAT_OPENAI,
    "OpenAI, asynchronous": ASYNC_OPENAI,
    "OpenAIResponses": RESPONSES,
    "OpenAIEmbedding": OPENAI_EMBEDDING,
}
"""What `make test` tries, as their packages are there."""
ALL = {
    **ALWAYS,
    "OpenAILike": LIKE,
    "AzureOpenAI": AZURE,
    "Anthropic": ANTHROPIC,
    "Ollama": OLLAMA,
    "BedrockConverse": BEDROCK,
    "GoogleGenAI": GOOGLE,
    "AzureOpenAIEmbedding": AZURE_EMBEDDING,
    "OllamaEmbedding": OLLAMA_EMBEDDING,
    "BedrockEmbedding": BEDROCK_EMBEDDING,
    "GoogleGenAIEmbedding": GOOGLE_EMBEDDING,
}

EXEMPT: tuple[Exempt, ...] = (
    # Other wire, one key.
    Exempt(r".*: (api_key|aws_access_key_id)=.*", "identity: credentials are no part of a key"),
    Exempt(r".*: env (\w+_API_KEY)=other", "identity: credentials"),
    Exempt(r".*: call extra_headers=\{'authorization'.*", "identity: a header that is a credential"),
    Exempt(r"Ollama: headers=\{'Authorization'.*", "identity: a header that is a credential"),
    Exempt(r"AzureOpenAI: azure_ad_token_provider", "identity: a token in place of a key"),
    Exempt(r".*: call metadata=\{.*", "billing: what a provider stores beside the request"),
    Exempt(r".*: call service_tier=.*", "billing: how soon the request is served"),
    Exempt(r".*: call prompt_cache_key='x'", "billing: a mark for the provider's prompt cache"),
    Exempt(r"Ollama(Embedding)?: keep_alive='1h'", "transport: how long the server holds the model in memory"),
    Exempt(r"Bedrock\w+: client", "transport: LlamaIndex names itself in the user agent of a client that it makes"),
    Exempt(r"BedrockConverse: region_name='eu-west-1' \| client of.*", "transport: the same user agent"),
    Exempt(r".*: call tools=\[\]", "normalization: no tools and an empty list of them"),
    Exempt(r"GoogleGenAI: call about=.*messages\('hi', ''\).*", "normalization: an empty text says nothing; the"
           " class sends the text beside it twice"),
    # Equal wire, two keys.
    Exempt(r"OpenAI: (logprobs=False|reasoning_effort='low')", "a field that the class sends for some values, or"
           " some models, only"),
    Exempt(r"OpenAILike: ((messages|completion)_to_prompt=.*|call how='complete', formatted=True)",
           "used where the model is no chat model, or the prompt not formatted"),
    Exempt(r"Anthropic: temperature=0.5", "the class sends none to this model"),
    Exempt(r"AzureOpenAI: model=.*", "the model behind the deployment, which prices and entries are named by"),
    Exempt(r"BedrockConverse: (guardrail_identifier|trace)=.*", "sent only with the guardrail's version"),
    Exempt(r"GoogleGenAI: file_mode='inline'", "says how files are sent, and there is none"),
    Exempt(r"GoogleGenAI: call generation_config=\{'temperature': 0.1\}", "the model's own value, within a map"),
    Exempt(r"Ollama: call temperature=0.5", "an option that the class does not take from a call"),
    Exempt(r"OllamaEmbedding: query_instruction='search'", "sent with queries, and a text is embedded"),
)  # fmt: skip
