"""What is known of the classes of LangChain's providers: which fields reach a request, and by which client.

What is not known here counts, or makes a model without a key. A package is listed after a look at what it sends.
"""

from __future__ import annotations

import functools

import msgspec

_NOTHING: frozenset[str] = frozenset()
_PROXIES = frozenset({"openai_proxy", "anthropic_proxy", "groq_proxy", "http_client", "http_async_client"})
_ADDED = _PROXIES | {"default_headers", "default_query"}


class Provider(msgspec.Struct, frozen=True):
    """What is known of the models of a package.

    Attributes:
        through_client: fields that reach a request only through the client, which was made of them.
        late_clients: properties that make the synchronous and the asynchronous client when they are first read.
        unsent: fields that LangChain applies before it calls, or that are not used. Not of others' subclasses.
        one_limit: ``max_completion_tokens`` is another name of ``max_tokens``. Not of others' subclasses.
        overrides: what a call gives replaces what the constructor gave, in the request that is sent.
        omits_empty: an empty map or list is sent as nothing is. Not of others' subclasses.
    """

    through_client: frozenset[str] = _NOTHING
    late_clients: tuple[str, str] | None = None
    unsent: frozenset[str] = _NOTHING
    overrides: bool = True
    one_limit: bool = False
    omits_empty: bool = False


@functools.lru_cache(maxsize=512)
def provider_of(cls: type) -> Provider:
    """What is known of a class, by the packages of its bases."""
    packages = [base.__module__.partition(".")[0] for base in cls.__mro__]
    known = [_PROVIDERS[package] for package in packages if package in _PROVIDERS]
    own = _PROVIDERS.get(packages[0])
    return Provider(
        _NOTHING.union(*(one.through_client for one in known)),
        next((one.late_clients for one in known if one.late_clients), None),
        _NOTHING if own is None else _NOTHING.union(*(one.unsent for one in known)),
        any(one.overrides for one in known),
        own is not None and own.one_limit,
        own is not None,
    )


def _through(names: str, more: frozenset[str] = _NOTHING, *, unsent: str = "", one_limit: bool = False) -> Provider:
    return Provider(frozenset(names.split()) | more, unsent=frozenset(unsent.split()), one_limit=one_limit)


_PROVIDERS = {
    "langchain_openai": _through(
        "openai_api_base openai_organization azure_endpoint", _ADDED, unsent="disabled_params", one_limit=True
    ),
    "langchain_deepseek": _through("api_base"),
    "langchain_xai": _through("xai_api_base", unsent="search_parameters"),
    "langchain_anthropic": Provider(_ADDED | {"anthropic_api_url"}, ("_client", "_async_client")),
    "langchain_groq": _through("groq_api_base", _ADDED),
    "langchain_fireworks": _through("fireworks_api_base"),
    "langchain_mistralai": _through("endpoint"),
    "langchain_ollama": _through("base_url client_kwargs async_client_kwargs sync_client_kwargs"),
    "langchain_google_genai": _through("base_url additional_headers client_args api_version _client_cleanup"),
    "langchain_aws": _through(
        "endpoint_url region_name config credentials_profile_name bedrock_client",
        unsent="supports_tool_choice_values",
    ),
    "langchain_openrouter": _through(
        "openrouter_api_base app_url app_title app_categories default_headers default_query"
    ),
    "langchain_cohere": Provider(frozenset({"base_url"}), unsent=frozenset({"stop"}), overrides=False),
    "langchain_perplexity": Provider(),
    "langchain_litellm": Provider(),
}
