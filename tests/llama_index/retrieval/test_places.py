"""Two stores in two places are two, whatever they have in common; what a process holds in memory is what it is."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import partial, reduce
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
import sqlalchemy
from llama_index.core import QueryBundle, StorageContext, SummaryIndex, VectorStoreIndex, load_index_from_storage
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import MockLLM
from llama_index.core.retrievers import BaseRetriever, QueryFusionRetriever, VectorIndexRetriever
from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.core.vector_stores import SimpleVectorStore
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    VectorStoreQuery,
    VectorStoreQueryResult,
)

from askonce import Cache, ConfigError, Corpus
from askonce.llama_index import CachedRetriever, watch
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.llama_index.retrieval.colours import Topics

pytestmark = LLAMA_INDEX_WARNINGS


class Server(BasePydanticVectorStore):
    """Has a client, and names of what it is for."""

    stores_text: bool = True
    url: str | None = None
    uri: str = "./default.db"  # which it keeps, whatever it is given
    table_name: str = "colours"
    persist_dir: str | None = None
    _client: Any = PrivateAttr()

    def __init__(self, client: Any = None, **fields: Any) -> None:
        super().__init__(**fields)
        self._client = client

    @property
    def client(self) -> Any:
        return self._client

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        return []

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None: ...
    def query(self, query: Any, **kwargs: Any) -> VectorStoreQueryResult:
        return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])


class Client:
    """Holds an address."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


def engine(url: str) -> Server:
    return Server(sqlalchemy.create_engine(url))


PAIRS: dict[str, tuple[Callable[[], Server], Callable[[], Server]]] = {
    "a URL": (lambda: Server(url="http://a"), lambda: Server(url="http://b")),
    "a table": (lambda: Server(url="http://a"), lambda: Server(url="http://a", table_name="other")),
    "a directory": (lambda: Server(persist_dir="one"), lambda: Server(persist_dir="two")),
    "a client": (lambda: Server(Client(host="a", port=1)), lambda: Server(Client(host="a", port=2))),
    "a database": (
        lambda: Server(Client(url="http://a", database="one")),
        lambda: Server(Client(url="http://a", database="two")),
    ),
    "a file of SQLite": (lambda: engine("sqlite:///one.db"), lambda: engine("sqlite:///two.db")),
    "SQLite in memory": (lambda: engine("sqlite://"), lambda: engine("sqlite://")),
}


def misses(cache: Cache, store: Server, corpus: str | None = "colours") -> int:
    index = VectorStoreIndex.from_vector_store(store, embed_model=Topics())
    CachedRetriever(index.as_retriever(), cache, corpus=corpus).retrieve("red")
    return cache.stats().kinds["retrieval"].misses


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_in_two_places_is_two(pair: str, cache: Cache) -> None:
    one, other = (make() for make in PAIRS[pair])
    assert [misses(cache, one, None), misses(cache, other, None), misses(cache, one, None)] == [1, 2, 2]


@pytest.mark.parametrize("pair", sorted(PAIRS.keys() - {"SQLite in memory"}))
def test_another_client_for_the_same_place_changes_nothing(pair: str, cache: Cache) -> None:
    assert [misses(cache, PAIRS[pair][0]()) for _ in range(2)] == [1, 1]


class Configured(Server):
    """Of the application, which sets how it searches."""

    _held: Any = PrivateAttr()

    def __init__(self, held: Any, **fields: Any) -> None:
        super().__init__(**fields)
        self._held = held


class Role(Enum):
    USER = 1


class Rank(Enum):
    USER = 1


class Pair(NamedTuple):
    name: str
    number: int


@dataclass(frozen=True, slots=True)
class Group:
    name: str


class Struct(msgspec.Struct):
    name: str


def for_user(user: str) -> Callable[[], str]:
    return lambda: user


def encode_terms(texts: list[str]) -> Any: ...


OWN: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "an object": (lambda: Client(group="a"), lambda: Client(group="b")),
    "a list in an object": (lambda: Client(groups=["a"]), lambda: Client(groups=["b"])),
    "a function": (lambda: encode_terms, lambda: for_user),
    "a closure": (lambda: for_user("a"), lambda: for_user("b")),
    "a partial": (lambda: partial(encode_terms, ["a"]), lambda: partial(encode_terms, ["b"])),
    "a list": (lambda: ["a"], lambda: ["b"]),
    "a map": (lambda: {"a": 1}, lambda: {"a": 2}),
    "a number": (lambda: 1, lambda: 1.0),
    "a list or a tuple": (lambda: [1], lambda: (1,)),
    "a list or a set": (lambda: [1], lambda: {1}),
    "a set that cannot change": (lambda: {1}, lambda: frozenset({1})),
    "a tuple in a map": (lambda: {"a": [1]}, lambda: {"a": (1,)}),
    "keys of two types": (lambda: {1: "a"}, lambda: {"1": "a"}),
    "a map of another class": (lambda: {"a": 1}, lambda: OrderedDict(a=1)),
    "a client of HTTP": (lambda: httpx.Client(headers={"x-of": "a"}), lambda: httpx.Client(headers={"x-of": "b"})),
    "a URL of a client": (lambda: httpx.Client(base_url="http://a"), lambda: httpx.Client(base_url="http://b")),
    "a namespace": (lambda: SimpleNamespace(group="a"), lambda: SimpleNamespace(group="b")),
    "an object in a namespace": (
        lambda: SimpleNamespace(a=Client(b=[1])),
        lambda: SimpleNamespace(a=Client(b=[2])),
    ),
    "parsed arguments": (lambda: Namespace(group="a"), lambda: Namespace(group="b")),
    "a named tuple": (lambda: Pair("a", 1), lambda: Pair("a", 2)),
    "another named tuple": (lambda: Pair("a", 1), lambda: ("a", 1)),
    "a dataclass": (lambda: Group("a"), lambda: Group("b")),
    "a struct": (lambda: Struct("a"), lambda: Struct("b")),
    "an enumeration": (lambda: Role.USER, lambda: Rank.USER),
    "a time": (lambda: datetime(2026, 1, 1), lambda: datetime(2026, 1, 2)),
    "a token in a URL": (lambda: "https://a/?token=a", lambda: "https://a/?token=b"),
}


@pytest.mark.parametrize("url", ["http://a", None])
@pytest.mark.parametrize("what", OWN)
def test_all_that_an_own_store_holds_beside_its_place_counts(what: str, url: str | None, cache: Cache) -> None:
    makes = (OWN[what][0], *OWN[what], OWN[what][0])
    assert [misses(cache, Configured(make(), url=url)) for make in makes] == [1, 1, 2, 2]


@pytest.mark.parametrize(("one", "other"), [("a", "b"), (["a"], ["b"]), (for_user("a"), for_user("b"))])
def test_what_is_set_on_a_store_in_memory_counts(one: Any, other: Any, cache: Cache) -> None:
    index = SummaryIndex([TextNode(text="red", id_="a")])
    retriever = CachedRetriever(index.as_retriever(), cache, corpus="colours")
    for rule in (one, other, one):
        index.docstore.rule = rule  # type: ignore[attr-defined]
        retriever.retrieve("red")
    assert cache.stats().kinds["retrieval"].misses == 2


def test_the_user_of_a_database_counts_and_not_the_password(cache: Cache) -> None:
    accounts = ("ann:1", "ann:2", "bob:2")
    assert [misses(cache, Server(url=f"postgresql://{one}@db/hr")) for one in accounts] == [1, 1, 2]


def test_what_cannot_be_read_in_a_store_needs_a_name(cache: Cache) -> None:
    with pytest.raises(ConfigError, match=r"Configured\._held: .*list_iterator.*name="):
        misses(cache, Configured(iter([1]), url="http://a"))


class Raising:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Unbound:
    """A proxy for what is not there now, as web frameworks' of the request."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("outside of a request")


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class OfUnhashable(metaclass=Unhashable): ...


def nested(depth: int) -> list[Any]:
    return reduce(lambda inner, _: [inner], range(depth), list[Any]())


@pytest.mark.parametrize("name", [None, "odd"])
@pytest.mark.parametrize("make", [Raising, Unbound, OfUnhashable, lambda: nested(3000), lambda: sys])
def test_whatever_a_part_raises_it_is_read_or_needs_a_name(make: Any, name: str | None, cache: Cache) -> None:
    store, refusal = Configured(make(), url="http://a"), ""
    index = VectorStoreIndex.from_vector_store(store, embed_model=Topics())
    try:
        CachedRetriever(index.as_retriever(), cache, corpus="colours", name=name)
    except ConfigError as error:
        refusal = str(error)
    assert not refusal or "name=" in refusal or "depends_on=" in refusal
    CachedRetriever(index.as_retriever(), cache, corpus="colours", name="odd", depends_on=[])


class Lazy(Server):
    """Makes its connection when it is first needed."""

    _rows: Any = PrivateAttr(default=None)

    def query(self, query: Any, **kwargs: Any) -> VectorStoreQueryResult:
        if self._rows is None:
            self._rows = iter([1])
        return super().query(query, **kwargs)


def test_what_a_store_makes_in_a_search_leaves_hits(cache: Cache) -> None:
    index = VectorStoreIndex.from_vector_store(Lazy(url="http://a"), embed_model=Topics())
    retriever = CachedRetriever(index.as_retriever(), cache, corpus="colours")
    for _ in range(3):
        retriever.retrieve("red")
    assert cache.stats().kinds["retrieval"].hits == 1


@pytest.mark.parametrize("name", [None, "outer"])
def test_a_cached_retriever_holds_cached_ones_of_its_corpus_only(name: str | None, cache: Cache) -> None:
    one = Corpus(cache, name="one")
    inner = CachedRetriever(one_text(TextNode(text="red", id_="a")).as_retriever(), corpus=one, name="inner")
    fusion = QueryFusionRetriever([inner], llm=MockLLM(), num_queries=1, use_async=False)
    assert texts(CachedRetriever(fusion, corpus=one, name=name)) == ["red"]
    for other in (Corpus(cache, name="two"), Corpus(Cache("memory://"), name="one")):
        with pytest.raises(ConfigError, match="of another corpus"):
            CachedRetriever(fusion, corpus=other, name=name)


def test_a_store_that_shows_no_place_needs_a_corpus(cache: Cache) -> None:
    with pytest.raises(ConfigError, match=r"Server does not show where.*corpus="):
        misses(cache, Server(object()), None)
    assert misses(cache, Server(object()), "colours") == 1


def texts(retriever: CachedRetriever) -> list[str]:
    return sorted(one.text for one in retriever.retrieve("red"))


@pytest.mark.parametrize("kind", [VectorStoreIndex, SummaryIndex])
def test_processes_that_loaded_the_same_share_until_one_writes(kind: Any, cache: Cache, tmp_path: Path) -> None:
    kind([TextNode(text="red", id_="a")], embed_model=Topics()).storage_context.persist(str(tmp_path))
    corpus = Corpus(cache, name="colours")

    def worker() -> tuple[Any, CachedRetriever]:
        stored = StorageContext.from_defaults(persist_dir=str(tmp_path))
        index = load_index_from_storage(stored, embed_model=Topics())
        watch(index, corpus)
        inner = VectorIndexRetriever(index) if isinstance(index, VectorStoreIndex) else index.as_retriever()
        return index, CachedRetriever(inner, corpus=corpus)

    (one, first), (_, second) = worker(), worker()
    assert texts(first) == texts(second) == ["red"]
    assert cache.stats().kinds["retrieval"].misses == 1
    one.insert_nodes([TextNode(text="red too", id_="b")])
    assert texts(second) == ["red"]
    assert texts(first) == ["red", "red too"]
    one.delete_nodes(["a"])
    assert texts(second) == ["red"]
    assert texts(first) == ["red too"]


def test_changes_that_nobody_reported_are_seen_in_memory(cache: Cache) -> None:
    index = VectorStoreIndex([TextNode(text="red", id_="a")], embed_model=Topics())
    retriever = CachedRetriever(VectorIndexRetriever(index), cache, corpus="colours", name="colours")
    assert texts(retriever) == ["red"]
    index.insert_nodes([TextNode(text="red too", id_="b")])
    assert texts(retriever) == ["red", "red too"]


def test_vectors_belong_to_their_nodes(cache: Cache) -> None:
    for red, blue in (([1.0, 0, 0, 0], [0, 1.0, 0, 0]), ([0, 1.0, 0, 0], [1.0, 0, 0, 0])):
        nodes = [TextNode(text="red", id_="a", embedding=red), TextNode(text="blue", id_="b", embedding=blue)]
        inner = VectorIndexRetriever(VectorStoreIndex(nodes, embed_model=Topics()), similarity_top_k=1)
        retriever = CachedRetriever(inner, cache, corpus="colours", name="colours")
        assert texts(retriever) == [one.node.get_content() for one in inner.retrieve("red")]


def test_nodes_are_found_by_the_ids_that_they_have_in_this_process(cache: Cache) -> None:
    for given in ("a", "b", "a"):
        index = VectorStoreIndex([TextNode(text="red", id_=given)], embed_model=Topics())
        retriever = CachedRetriever(VectorIndexRetriever(index), cache, corpus="colours", name="colours")
        assert [one.node_id for one in retriever.retrieve("red")] == [given]
    assert cache.stats().kinds["retrieval"].hits == 1


class OwnStore(Server):
    """Of the application: holds its nodes itself."""

    _nodes: list[TextNode] = PrivateAttr(default_factory=list)

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self._nodes.extend(nodes)
        return [one.node_id for one in nodes]

    def query(self, query: Any, **kwargs: Any) -> VectorStoreQueryResult:
        nodes = list(self._nodes)
        return VectorStoreQueryResult(nodes=nodes, similarities=[1.0] * len(nodes), ids=[one.id_ for one in nodes])


def test_an_own_store_is_what_its_lists_and_maps_hold(cache: Cache) -> None:
    def of(*words: str) -> tuple[OwnStore, CachedRetriever]:
        store = OwnStore()
        store.add([TextNode(text=word, id_=str(at)) for at, word in enumerate(words)])
        index = VectorStoreIndex.from_vector_store(store, embed_model=Topics())
        return store, CachedRetriever(index.as_retriever(), cache, corpus="colours")

    (one, first), (_, second), (_, third) = of("red"), of("blue"), of("red")
    assert [texts(first), texts(second), texts(third)] == [["red"], ["blue"], ["red"]]
    assert cache.stats().kinds["retrieval"].misses == 2
    one.add([TextNode(text="red too", id_="more")])
    assert texts(first) == ["red", "red too"]


class Having(BaseRetriever):
    """Of the application: holds another retriever, an index, a store or nodes."""

    def __init__(self, held: Any) -> None:
        self._held = held
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        held = self._held
        while isinstance(held, (list, dict, Holder, SimpleNamespace, FunctionType)):
            if isinstance(held, FunctionType):
                held = held()
            else:
                held = held[0] if isinstance(held, list) else held["a"] if isinstance(held, dict) else held.held
        if isinstance(held, TextNode):
            return [NodeWithScore(node=held)]
        return (VectorIndexRetriever(held) if isinstance(held, VectorStoreIndex) else held).retrieve(query_bundle)


class Holder:
    def __init__(self, held: Any) -> None:
        self.held, self.holder = held, self


def one_text(node: TextNode) -> VectorStoreIndex:
    return VectorStoreIndex([node], embed_model=Topics())


def default_of(held: Any, *, named: bool) -> Any:
    if named:

        def give(*, inner: Any = held) -> Any:
            return inner
    else:

        def give(inner: Any = held) -> Any:  # type: ignore[misc]
            return inner

    return give


HOLDING: dict[str, Callable[[TextNode], Any]] = {
    "a retriever": lambda node: VectorIndexRetriever(one_text(node)),
    "an index": one_text,
    "a map of retrievers": lambda node: {"a": one_text(node).as_retriever()},
    "an object": lambda node: Holder(one_text(node)),
    "a namespace": lambda node: SimpleNamespace(held=one_text(node)),
    "a default argument": lambda node: default_of(one_text(node), named=False),
    "a default argument by name": lambda node: default_of(one_text(node), named=True),
    "a list": lambda node: [node],
    "a long list": lambda node: [node] * 2000,
    "a retriever of its own": lambda node: Having(Holder([node])),
}


@pytest.mark.parametrize("how", HOLDING)
def test_a_name_says_nothing_of_the_documents(how: str, cache: Cache) -> None:
    for text in ("red", "blue", "red"):
        held = HOLDING[how](TextNode(text=text, id_="a"))
        retriever = CachedRetriever(Having(held), cache, corpus="colours", name="mine")
        assert texts(retriever) == [text]
    assert cache.stats().kinds["retrieval"].hits == 1


class OfTenant(SimpleVectorStore):
    """A tenant's documents; whose it is comes from elsewhere."""

    tenant: str = Field(default_factory=lambda: TENANT[0])

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        return VectorStoreQueryResult(nodes=[TextNode(text=self.tenant, id_="a")], similarities=[1.0], ids=["a"])


TENANT = ["ann"]


def test_a_default_of_an_own_stores_field_counts(cache: Cache) -> None:
    found = []
    for TENANT[0] in ("ann", "bob", "ann"):
        index = VectorStoreIndex(
            [], storage_context=StorageContext.from_defaults(vector_store=OfTenant()), embed_model=Topics()
        )
        found += texts(CachedRetriever(VectorIndexRetriever(index), cache, corpus="tenants"))
    assert found == ["ann", "bob", "ann"]
