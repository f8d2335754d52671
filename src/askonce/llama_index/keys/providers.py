"""What is known of the classes of LlamaIndex's providers: which fields reach a request, and by which client.

What is not known here counts, or makes a model without a key: a class is listed only after a look at what it sends.
"""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from askonce.keys.endpoints import Endpoint, endpoint_of
from askonce.keys.normal_form import Uncacheable

_NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Provider:
    """What is known of a class.

    Attributes:
        endpoint: what its endpoint is; `None` if it has no client.
        through_client: fields and private attributes that reach a request only through the client.
        unsent: fields that its endpoints neither send nor use otherwise: LlamaIndex applies them before it calls an
            endpoint, or reports them. ``formatted`` is the argument of completions. Not of subclasses.
        only_with: fields that are sent only if another one is set. Not of subclasses.
        overridden: settings of the model that those of a call replace. Not of subclasses.
        as_sent: a text as it is sent to be embedded. Not of subclasses.
        calls_alike: calls of tools in ``additional_kwargs`` are sent as those of blocks. Not of subclasses.
    """

    endpoint: Callable[[Any, bool], Endpoint | None] | None = None
    through_client: frozenset[str] = _NOTHING
    unsent: frozenset[str] = _NOTHING
    only_with: Mapping[str, str] = field(default_factory=dict)
    overridden: frozenset[str] = _NOTHING
    as_sent: Callable[[str], str] | None = None
    calls_alike: bool = False

    def leaves_out(self, name: str, fields: Mapping[str, Any]) -> bool:
        """Whether a field or private attribute cannot change a request."""
        if name in self.through_client or name in self.unsent:
            return True
        return name in self.only_with and not fields.get(self.only_with[name])


@functools.lru_cache(maxsize=512)
def provider_of(cls: type) -> Provider:
    """What is known of a class; of a subclass of a known one, what holds for its client."""
    for at, base in enumerate(cls.__mro__):
        known = _PROVIDERS.get(f"{base.__module__}.{base.__qualname__}")
        if known is not None:
            return known if at == 0 else Provider(known.endpoint, known.through_client)
    return Provider()


def environment() -> tuple[str | None, ...]:
    """The environment variables that a client reads when it is made."""
    return tuple(map(os.environ.get, _ENVIRONMENT))


_ENVIRONMENT = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS", "OPENAI_BASE_URL")


def makes_client_later(model: Any, asynchronous: bool) -> bool:
    """Whether the client that a model will use is not made yet, so that the environment counts."""
    if not isinstance(getattr(model, "reuse_client", None), bool):
        return False
    return not model.reuse_client or getattr(model, "_aclient" if asynchronous else "_client", None) is None


# -- endpoints -------------------------------------------------------------------------------------------------


def _held(sync: str, asynchronous: str) -> Callable[[Any, bool], Endpoint | None]:
    """Of a class that makes both of its clients at once."""

    def endpoint(model: Any, is_async: bool) -> Endpoint | None:
        return _read(getattr(model, asynchronous if is_async else sync))

    return endpoint


def _read(client: Any) -> Endpoint:
    endpoint = endpoint_of(client)
    if endpoint is None:
        raise Uncacheable(
            f"where a {type(client).__module__}.{type(client).__qualname__} sends requests is not known"
        )
    return endpoint


def _of_openai(model: Any, is_async: bool) -> Endpoint | None:
    """Of a class that makes its client when it first needs it, unless it was given one."""
    if not makes_client_later(model, is_async):
        return _read(model._aclient if is_async else model._client)
    make = type(model)._get_aclient if is_async else type(model)._get_client
    if not make.__module__.startswith("llama_index."):
        raise Uncacheable(f"which client {make.__qualname__} makes is not known")
    azure = hasattr(model, "azure_endpoint")
    settings = _azure_settings(model) if azure else model._get_credential_kwargs(is_async=is_async)
    given = model._async_http_client if is_async else model._http_client
    name = f"{'Async' if is_async else ''}{'Azure' if azure else ''}OpenAI"
    return _read(_not_yet_made(name, {**settings, "http_client": given}))


def _azure_settings(model: Any) -> dict[str, Any]:
    """Those that say where requests go; the class itself would fetch a token."""
    return {
        "azure_endpoint": model.azure_endpoint,
        "azure_deployment": model.azure_deployment,
        "base_url": model.api_base,
        "api_version": model.api_version,
        "default_headers": model.default_headers,
    }


def _not_yet_made(name: str, settings: Mapping[str, Any]) -> Any:
    """The client of OpenAI's SDK that these settings and the environment make."""
    sdk, httpx = importlib.import_module("openai"), importlib.import_module("httpx")
    http = settings["http_client"]
    if http is None:  # without certificates, which take long to load and are not needed to look
        make = httpx.AsyncClient if name.startswith("Async") else httpx.Client
        http = make(verify=False, trust_env=False)
    return getattr(sdk, name)(**{**settings, "http_client": http, "api_key": "unused"})


def _of_ollama(model: Any, is_async: bool) -> Endpoint | None:
    client = model._async_client if is_async else model._client
    if client is None:
        ollama = importlib.import_module("ollama")
        client = ollama.Client(host=model.base_url, headers=model.headers or {}, verify=False, trust_env=False)
    return _read(client)


def _of_bedrock(model: Any, is_async: bool) -> Endpoint | None:
    """An asynchronous client is made for each call, from a session of the same settings."""
    if not is_async:
        return _read(model._client)
    given = getattr(model, "_async_client", None)
    if given is not None:
        return _read(given)
    made = _read(model._client)
    session = model._asession
    if session is None or session.region_name in (None, made.get("region")):
        return made
    return {**made, "session": _read(session)}


# -- classes ---------------------------------------------------------------------------------------------------


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROMPTS = "system_prompt messages_to_prompt completion_to_prompt query_wrapper_prompt pydantic_program_mode"
_TEMPERATURE = frozenset({"temperature"})
_OPENAI_CLIENT = _words("api_base default_headers api_version _client _aclient _http_client _async_http_client")
_AZURE_CLIENT = _OPENAI_CLIENT | _words(
    "azure_endpoint azure_deployment azure_ad_token_provider use_azure_ad _azure_ad_token"
)
_AWS_CLIENT = _words(
    "region_name endpoint_url api_version use_ssl verify profile_name botocore_session botocore_config"
    " _config _client _asession _async_client _boto_client_kwargs"
)
_OPENAI_LLM = Provider(
    endpoint=_of_openai,
    through_client=_OPENAI_CLIENT,
    unsent=_words(f"{_PROMPTS} strict formatted"),
    only_with={"top_logprobs": "logprobs"},
    overridden=_TEMPERATURE,
    calls_alike=True,
)
_OPENAI_RESPONSES = Provider(
    endpoint=_held("_client", "_aclient"),
    through_client=_OPENAI_CLIENT,
    unsent=_words(f"{_PROMPTS} strict formatted context_window"),
    overridden=_TEMPERATURE,
)


def _without_newlines(text: str) -> str:
    return text.replace("\n", " ")


_OPENAI_EMBEDDING = Provider(
    endpoint=_of_openai,
    through_client=_OPENAI_CLIENT,
    unsent=_words("dimensions"),  # stands in the additional_kwargs, too
    as_sent=_without_newlines,
)

_PROVIDERS: dict[str, Provider] = {
    "llama_index.llms.openai.base.OpenAI": _OPENAI_LLM,
    "llama_index.llms.azure_openai.base.AzureOpenAI": Provider(
        _of_openai, _AZURE_CLIENT, _OPENAI_LLM.unsent, _OPENAI_LLM.only_with, _TEMPERATURE, calls_alike=True
    ),
    "llama_index.llms.openai_like.base.OpenAILike": Provider(
        endpoint=_of_openai,
        through_client=_OPENAI_CLIENT,
        unsent=_words(
            "system_prompt query_wrapper_prompt pydantic_program_mode strict should_use_structured_outputs"
            " is_function_calling_model"
        ),
        only_with={"top_logprobs": "logprobs", "context_window": "tokenizer"},
        overridden=_TEMPERATURE,
        calls_alike=True,
    ),
    "llama_index.llms.openai.responses.OpenAIResponses": _OPENAI_RESPONSES,
    "llama_index.llms.azure_openai.responses.AzureOpenAIResponses": Provider(
        _OPENAI_RESPONSES.endpoint, _AZURE_CLIENT, _OPENAI_RESPONSES.unsent, {}, _TEMPERATURE
    ),
    "llama_index.llms.anthropic.base.Anthropic": Provider(
        endpoint=_held("_client", "_aclient"),
        through_client=_words("base_url _client _aclient"),
        unsent=_words(f"{_PROMPTS} formatted cache_idx"),
        overridden=_TEMPERATURE,
    ),
    "llama_index.llms.ollama.base.Ollama": Provider(
        endpoint=_of_ollama,
        through_client=_words("base_url headers _client _async_client"),
        unsent=_words(f"{_PROMPTS} formatted prompt_key is_function_calling_model keep_alive"),
    ),
    "llama_index.llms.bedrock_converse.base.BedrockConverse": Provider(
        endpoint=_of_bedrock,
        through_client=_AWS_CLIENT,
        unsent=_words(f"{_PROMPTS} formatted system_prompt_caching tool_caching supports_forced_tool_calls"),
        overridden=_TEMPERATURE,
    ),
    "llama_index.llms.google_genai.base.GoogleGenAI": Provider(
        endpoint=_held("_client", "_client"),
        through_client=_words("_client _max_tokens _model_meta"),
        # The first three are sent as they stand in the private configuration.
        unsent=_words(
            f"temperature cached_content built_in_tool {_PROMPTS} formatted"
            " context_window is_function_calling_model"
        ),
    ),
    "llama_index.embeddings.openai.base.OpenAIEmbedding": _OPENAI_EMBEDDING,
    "llama_index.embeddings.azure_openai.base.AzureOpenAIEmbedding": Provider(
        _of_openai, _AZURE_CLIENT, _OPENAI_EMBEDDING.unsent, as_sent=_without_newlines
    ),
    "llama_index.embeddings.ollama.base.OllamaEmbedding": Provider(
        endpoint=_held("_client", "_async_client"),
        through_client=_words("base_url _client _async_client"),
        unsent=_words("keep_alive"),
        as_sent=str.strip,
    ),
    "llama_index.embeddings.bedrock.base.BedrockEmbedding": Provider(_of_bedrock, _AWS_CLIENT),
    "llama_index.embeddings.google_genai.base.GoogleGenAIEmbedding": Provider(
        endpoint=_held("_client", "_client"),
        through_client=_words("_client"),
        unsent=_words("retry_exponential_base"),
    ),
}
