"""`cached`: the one verb by which a model, embeddings or a retriever of LangChain gets a cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack, overload

from langchain_core.embeddings import Embeddings

from askonce.cache import Cache
from askonce.engine.settings import Settings
from askonce.errors import ConfigError
from askonce.langchain.embeddings import CachedEmbeddings
from askonce.langchain.instead import instead_of
from askonce.retrieval.corpus import Corpus
from askonce.stores import Client, Store

if TYPE_CHECKING:  # where they are needed: they take half a second to import, and embeddings need none of them
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.language_models.llms import BaseLLM
    from langchain_core.retrievers import BaseRetriever

    from askonce.langchain.retrieval.retriever import CachedRetriever

Model = TypeVar("Model", bound="BaseChatModel | BaseLLM")


@overload
def cached(
    x: Model,
    store: str | Store | Client | Cache | None = None,
    *,
    name: str | None = None,
    **settings: Unpack[Settings],
) -> Model: ...


@overload
def cached(
    x: Embeddings,
    store: str | Store | Client | Cache | None = None,
    *,
    model: str | None = None,
    **settings: Unpack[Settings],
) -> CachedEmbeddings: ...


@overload
def cached(
    x: BaseRetriever,
    store: str | Store | Client | Cache | None = None,
    *,
    corpus: Corpus | str,
    name: str | None = None,
    depends_on: Sequence[str] | None = None,
    nearest: bool | None = None,
    empty_ttl: float = 60,
    audit: float = 0,
    ignore_case: bool = True,
    ignore_punctuation: bool = True,
    **settings: Unpack[Settings],
) -> CachedRetriever: ...


def cached(x: Any = None, store: str | Store | Client | Cache | None = None, **settings: Any) -> Any:
    """A model, embeddings or a retriever that calls its provider only for what is not in the cache.

        model = cached(ChatOpenAI(model="…"))
        model = cached(ChatAnthropic(model="…"), "redis://localhost:6379", ttl=3600)
        embeddings = cached(OpenAIEmbeddings(model="text-embedding-3-small"))
        retriever = cached(vector_store.as_retriever(), corpus=corpus)

    A *model* comes back as a copy of its own class (of a generated subclass), so that ``bind_tools``, agents,
    structured output and streams work as before. LangChain's own cache is switched off for the copy. Its rate
    limiter counts only calls that go to the provider. Answers are shared with an `AskOnceCache` over the same
    store and namespace, as far as LangChain describes the model to it in the same way. A hit carries
    ``response_metadata["askonce"]``. A model that is cached already comes back as it is, unless a store or settings
    are given. What ``init_chat_model`` gives where fields are configurable comes back as such, and the models that
    it makes are cached.

    *Embeddings* come back as `CachedEmbeddings`, a *retriever* as `CachedRetriever`; see these for their options.

    Args:
        x: a chat model, a completion model, embeddings or a retriever; it stays as it is.
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`, such as ``ttl`` (seconds) and ``namespace``. For a model also ``name``, which
            stands for it and all its settings where these cannot be read; for embeddings also ``model``; for a
            retriever also ``corpus``, which it needs, and the other options of `CachedRetriever`.

    Raises:
        ConfigError: ``x`` is something else (the message says what to wrap instead), an argument is wrong, or the
            store cannot be used.
    """
    if isinstance(x, Embeddings):
        return CachedEmbeddings(x, store, **settings)
    from langchain_core.language_models.chat_models import BaseChatModel
    from langchain_core.language_models.llms import BaseLLM
    from langchain_core.retrievers import BaseRetriever

    if isinstance(x, (BaseChatModel, BaseLLM)):
        from askonce.langchain.models.cached import cached_model

        name = settings.pop("name", None)
        return cached_model(x, store, settings, name)  # type: ignore[arg-type]
    from askonce.langchain.models.cached import cached_choice, is_chosen_at_run_time

    if is_chosen_at_run_time(x):
        return cached_choice(x, store, settings)  # type: ignore[arg-type]
    if isinstance(x, BaseRetriever):
        from askonce.langchain.retrieval.retriever import CachedRetriever

        if settings.get("corpus") is None:
            raise ConfigError(
                "a retriever needs the documents that it searches: cached(retriever, corpus=Corpus(name='…'))"
            )
        return CachedRetriever(x, store, **settings)
    raise ConfigError(f"cached() takes {_TAKES}, not {_article(x)}; {instead_of(x)}")


_TAKES = "a chat model, a completion model, embeddings or a retriever"


def _article(x: Any) -> str:
    return f"the class {x.__name__}" if isinstance(x, type) else f"a {type(x).__name__}"
