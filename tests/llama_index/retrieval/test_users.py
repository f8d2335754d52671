"""What a retriever of the application's own finds for one user is not given to another."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import pytest
from llama_index.core import QueryBundle, VectorStoreIndex
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever
from llama_index.core.schema import NodeWithScore, TextNode

from askonce import Cache, ConfigError, Corpus
from askonce.llama_index import CachedRetriever
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.retrieval.colours import Topics
from tests.llama_index.retrieval.test_places import OwnStore

pytestmark = [*LLAMA_INDEX_WARNINGS, pytest.mark.filterwarnings("ignore:askonce")]

user: ContextVar[Any] = ContextVar("user")
request: ContextVar[str] = ContextVar("request", default="")
api_key: ContextVar[str] = ContextVar("api_key", default="")


@dataclass
class Account:
    name: str

    def __str__(self) -> str:
        return self.name


def of_user() -> list[NodeWithScore]:
    return [NodeWithScore(node=TextNode(text=f"of {user.get()}", id_="x"), score=1.0)]


class OfUser(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return of_user()


class Helper:
    def find(self) -> list[NodeWithScore]:
        return of_user()


class ByFunction(BaseRetriever):
    """Finds what an object or a function finds."""

    def __init__(self, find: Callable[[], list[NodeWithScore]]) -> None:
        self._find = find
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return self._find()


class ByVariable(BaseRetriever):
    """Finds by the variable that it was given."""

    def __init__(self, variable: ContextVar[Any]) -> None:
        self._variable = variable
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=f"of {self._variable.get()}", id_="x"), score=1.0)]


class StoreOfUser(OwnStore):
    def query(self, query: Any, **kwargs: Any) -> Any:
        result = super().query(query, **kwargs)
        result.nodes = [one.node for one in of_user()]
        return result


def over_own_store() -> BaseRetriever:
    store = StoreOfUser()
    store.add([TextNode(text="red", id_="a")])
    return VectorStoreIndex.from_vector_store(store, embed_model=Topics()).as_retriever()


READING: dict[str, tuple[Callable[[], BaseRetriever], str | None]] = {
    "its own code": (OfUser, "mine"),
    "a function that it holds": (lambda: ByFunction(of_user), "mine"),
    "an object that it holds": (lambda: ByFunction(Helper().find), "mine"),
    "a variable that it holds": (lambda: ByVariable(user), "mine"),
    "one within another": (
        lambda: QueryFusionRetriever([OfUser()], llm=MockLLM(), num_queries=1, use_async=False),
        "mine",
    ),
    "a vector store": (over_own_store, None),
}


def found(retriever: CachedRetriever, who: Any, *, runs: bool = False) -> str:
    def find() -> str:
        user.set(who)
        nodes = asyncio.run(retriever.aretrieve("q")) if runs else retriever.retrieve("q")
        return nodes[0].text

    return contextvars.copy_context().run(find)


@pytest.mark.parametrize("how", READING)
def test_each_user_has_documents_of_their_own(how: str, cache: Cache) -> None:
    make, name = READING[how]
    retriever = CachedRetriever(make(), cache, corpus="of all", name=name)
    for who in ("ann", "bob", "ann"):
        assert found(retriever, who) == f"of {who}"
    assert found(retriever, "bob", runs=True) == "of bob"
    assert cache.stats().kinds["retrieval"].hits == 2


def test_a_user_may_be_an_object(cache: Cache) -> None:
    retriever = CachedRetriever(OfUser(), cache, corpus="of all", name="mine")
    for who in ("ann", "bob", "ann"):
        assert found(retriever, Account(who)) == f"of {who}"
    assert cache.stats().kinds["retrieval"].hits == 1


class Unreadable:
    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


def test_what_cannot_be_read_is_not_cached(cache: Cache) -> None:
    retriever = CachedRetriever(OfUser(), cache, corpus="of all", name="mine")
    for who in ("ann", "bob", "ann"):
        assert found(retriever, Unreadable(who)) == f"of {who}"
    assert cache.stats().kinds["retrieval"].hits == 0


class Logging(OfUser):
    """Says which request it serves, and uses a key."""

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        print(request.get(), len(api_key.get()))
        return super()._retrieve(query_bundle)


def test_only_what_results_depend_on_counts_if_it_is_named(cache: Cache) -> None:
    every = CachedRetriever(Logging(), cache, corpus="of all", name="mine")
    found(every, "ann")
    assert cache.stats().kinds["retrieval"].misses == 0  # a credential is in no key
    named = CachedRetriever(Logging(), cache, corpus="of all", name="mine", depends_on=["user"])
    for number, who in enumerate(("ann", "bob", "ann")):
        request.set(str(number))
        assert found(named, who) == f"of {who}"
    assert cache.stats().kinds["retrieval"].hits == 1
    with pytest.raises(ConfigError, match="list of names"):
        CachedRetriever(Logging(), cache, corpus=Corpus(cache, name="of all"), name="mine", depends_on="user")
