"""Two stores in two places are two, whatever they have in common; what a process holds in memory is what it is."""

from __future__ import annotations

import copy
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import numpy as np
import pytest
import sqlalchemy
from langchain_classic.retrievers import ParentDocumentRetriever
from langchain_classic.storage import LocalFileStore, create_kv_docstore
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_text_splitters import CharacterTextSplitter
from pydantic import PrivateAttr

from askonce import Cache, ConfigError, Corpus
from askonce.langchain import CachedRetriever, cached, watch
from askonce.langchain.retrieval.identity import Identity
from tests.langchain.retrieval.library import Words, animals, found, library, text_of


class Server(VectorStore):
    """Has a client, and names of what it is for."""

    def __init__(self, **held: Any) -> None:
        self._embeddings = Words()
        vars(self).update(held)

    @classmethod
    def from_texts(cls, *args: Any, **kwargs: Any) -> Any: ...
    def similarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        return []


class Client:
    """Holds an address."""

    def __init__(self, **held: Any) -> None:
        vars(self).update(held)


def engine(url: str) -> Server:
    return Server(collection_name="animals", _engine=sqlalchemy.create_engine(url))


PAIRS: dict[str, tuple[Callable[[], Server], Callable[[], Server]]] = {
    "a URL": (lambda: Server(url="http://a:1"), lambda: Server(url="http://b:1")),
    "a URL of the client": (
        lambda: Server(name="x", _client=Client(base_url="http://a")),
        lambda: Server(name="x", _client=Client(base_url="http://b")),
    ),
    "a port of the client": (
        lambda: Server(name="x", client=Client(host="a", port=1)),
        lambda: Server(name="x", client=Client(host="a", port=2)),
    ),
    "a tenant": (
        lambda: Server(_client=Client(url="http://a", tenant="ann")),
        lambda: Server(_client=Client(url="http://a", tenant="bob")),
    ),
    "a directory": (lambda: Server(persist_directory="one"), lambda: Server(persist_directory="two")),
    "a path": (lambda: Server(root=Path("one")), lambda: Server(root=Path("two"))),
    "connection arguments": (
        lambda: Server(_connection_args={"uri": "http://a"}),
        lambda: Server(_connection_args={"uri": "http://b"}),
    ),
    "a file of SQLite": (lambda: engine("sqlite:///one.db"), lambda: engine("sqlite:///two.db")),
    "SQLite in memory": (lambda: engine("sqlite://"), lambda: engine("sqlite://")),
    "a store inside": (lambda: Server(inner=Server(url="http://a")), lambda: Server(inner=Server(url="http://b"))),
}


class Notes(BaseRetriever):
    """Reads the notes of whoever the engine is for."""

    engine: Any

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        with self.engine.connect() as connection:
            return [Document(one.text) for one in connection.execute(sqlalchemy.text("SELECT text FROM notes"))]


class Translated(Notes):
    """The same, of a table whose schema the engine's options name."""

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        columns = sqlalchemy.Column("text"), sqlalchemy.Column("owner")
        table = sqlalchemy.Table("notes", sqlalchemy.MetaData(), *columns, schema="own")
        with self.engine.connect() as connection:
            return [Document(one.text) for one in connection.execute(sqlalchemy.select(table))]


def attached(connection: Any, file: Path) -> None:
    for user in ("ann", "bob"):
        connection.execute(f"ATTACH '{file.parent / user}.db' AS {user}")


def by_schema(file: Path, user: str) -> Notes:
    shared = sqlalchemy.create_engine(f"sqlite:///{file}")
    sqlalchemy.event.listen(shared, "connect", lambda connection, _: attached(connection, file))
    return Translated(engine=shared.execution_options(schema_translate_map={"own": user}))


def by_arguments(file: Path, user: str) -> Notes:
    given = {"factory": {"ann": Ann, "bob": Bob}[user]}
    return Notes(engine=sqlalchemy.create_engine(f"sqlite:///{file}", connect_args=given))


def by_creator(file: Path, user: str) -> Notes:
    def connected() -> sqlite3.Connection:
        return sqlite3.connect(file.parent / f"{user}.db")

    return Notes(engine=sqlalchemy.create_engine(f"sqlite:///{file}", creator=connected))


def by_listener(file: Path, user: str) -> Notes:
    engine = sqlalchemy.create_engine(f"sqlite:///{file}")

    @sqlalchemy.event.listens_for(engine, "before_cursor_execute", retval=True)
    def filtered(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> tuple[str, Any]:
        return f"{statement} WHERE owner = '{user}'", parameters

    return Notes(engine=engine)


class Ann(sqlite3.Connection):
    def execute(self, sql: str, *parameters: Any) -> Any:
        return super().execute(sql, *parameters)

    def cursor(self, *_: Any) -> Any:
        return Own(self, "ann")


class Bob(Ann):
    def cursor(self, *_: Any) -> Any:
        return Own(self, "bob")


class Own(sqlite3.Cursor):
    """Shows the rows of one owner."""

    def __init__(self, connection: sqlite3.Connection, user: str) -> None:
        super().__init__(connection)
        self.user = user

    def execute(self, sql: str, *parameters: Any) -> Any:
        return super().execute(f"{sql} WHERE owner = '{self.user}'" if "notes" in sql else sql, *parameters)


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", [None, "notes"])
@pytest.mark.parametrize("make", [by_schema, by_arguments, by_creator, by_listener])
def test_whose_rows_an_engine_shows_counts(
    make: Callable[[Path, str], Notes], name: str | None, tmp_path: Path
) -> None:
    for file in ("shared", "ann", "bob"):
        with sqlite3.connect(tmp_path / f"{file}.db") as connection:
            connection.execute("CREATE TABLE notes (text, owner)")
            for user in ("ann", "bob"):
                if file in ("shared", user):
                    connection.execute("INSERT INTO notes VALUES (?, ?)", (f"salary of {user}", user))
    cache = Cache("memory://")
    for user in ("ann", "bob", "ann"):
        retriever = cached(make(tmp_path / "shared.db", user), cache, corpus="notes", name=name)
        assert text_of(retriever.invoke("salary?")) == f"salary of {user}"
    assert cache.stats().hits == 1


def test_what_an_engine_is_given_that_cannot_be_read_needs_a_name(tmp_path: Path) -> None:
    rows = iter([1])
    engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/x.db", creator=lambda: next(rows))
    with pytest.raises(ConfigError, match="name="):
        cached(Notes(engine=engine), "memory://", corpus="notes")
    cached(Notes(engine=engine), "memory://", corpus="notes", name="notes")


def test_a_socket_is_another_server() -> None:
    def of(socket: str) -> Any:
        transport = httpx.HTTPTransport(uds=socket)
        return identity(Server(session=httpx.Client(base_url="http://docs", transport=transport)))[0]

    assert of("/run/ann.sock") == of("/run/ann.sock") != of("/run/bob.sock")


def identity(store: VectorStore) -> tuple[Any, Identity]:
    one = Identity({})
    return one.of(store.as_retriever()), one


@pytest.mark.parametrize("pair", PAIRS)
def test_what_is_in_two_places_is_two(pair: str) -> None:
    (one, reading), (other, _) = (identity(make()) for make in PAIRS[pair])
    assert one != other
    assert reading.nameless == []


@pytest.mark.parametrize("pair", sorted(PAIRS.keys() - {"SQLite in memory"}))
def test_another_client_for_the_same_place_changes_nothing(pair: str) -> None:
    assert identity(PAIRS[pair][0]())[0] == identity(PAIRS[pair][0]())[0]


def test_whose_credentials_they_are_counts_and_not_the_password() -> None:
    def store(user: str, secret: str) -> Any:
        held = {"dsn": f"host=a password={secret}", "_client": Client(url=f"http://{user}:{secret}@a")}
        return identity(Server(url=f"postgresql://{user}:{secret}@a/hr", **held))[0]

    assert store("ann", "one") == store("ann", "two") != store("bob", "two")


@pytest.mark.parametrize(
    "make",
    [
        lambda token: Server(url="http://a", api_key=token),
        lambda token: Server(url=f"http://a/?api_key={token}"),
        lambda token: Server(_client=Client(url="http://a", token=token)),
        lambda token: Server(url="http://a", user=Client(token=token)),
    ],
)
def test_a_token_of_an_own_store_says_whose_it_is_by_a_digest(make: Callable[[str], Server]) -> None:
    one, other = identity(make("s3cret"))[0], identity(make("another"))[0]
    assert one == identity(make("s3cret"))[0] != other
    assert "s3cret" not in str(one)


class Role(Enum):
    USER = 1


class Rank(Enum):
    USER = 1


def at_night(_: Any) -> bool:
    return True


def for_user(user: str) -> Callable[[], str]:
    return lambda: user


OWN: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "an object": (lambda: Client(group="a"), lambda: Client(group="b")),
    "an object in an object": (lambda: Client(of=Client(group="a")), lambda: Client(of=Client(group="b"))),
    "a list in an object": (lambda: Client(groups=["a"]), lambda: Client(groups=["b"])),
    "a closure": (lambda: for_user("a"), lambda: for_user("b")),
    "a lambda": (lambda: lambda: "a", lambda: lambda: "b"),
    "a partial": (lambda: partial(at_night, "a"), lambda: partial(at_night, "b")),
    "a method": (lambda: Shelf([Document("a")]).__iter__, lambda: Shelf([Document("b")]).__iter__),
    "a list": (lambda: ["a"], lambda: ["b"]),
    "a map": (lambda: {"a": 1}, lambda: {"a": 2}),
    "a set": (lambda: {"a"}, lambda: {"b"}),
    "a number": (lambda: 1, lambda: 1.0),
    "an enumeration": (lambda: Role.USER, lambda: Rank.USER),
    "a time": (lambda: datetime(2026, 1, 1), lambda: datetime(2026, 1, 2)),
    "an object of a package": (lambda: CharacterTextSplitter(chunk_overlap=9), lambda: CharacterTextSplitter()),
}


@pytest.mark.parametrize("attribute", ["user", "_client", "tags"])
@pytest.mark.parametrize("what", OWN)
def test_all_that_an_own_store_holds_beside_its_place_counts(what: str, attribute: str) -> None:
    one, same, other = (
        identity(Server(url="http://a", **{attribute: make()}))[0] for make in (OWN[what][0], *OWN[what])
    )
    assert one == same != other


@pytest.mark.parametrize("what", sorted(OWN.keys() - {"a list", "a map", "a set", "a list in an object"}))
def test_and_so_in_one_that_holds_its_documents(what: str) -> None:
    one, same, other = (
        identity(OwnStoreOf([Document("x", id="1")], make()))[0] for make in (OWN[what][0], *OWN[what])
    )
    assert one == same != other


def test_clients_and_locks_of_an_own_store_say_nothing() -> None:
    def of(**more: Any) -> Any:
        return identity(Server(url="http://a", **more))[0]

    held = {"session": httpx.Client(), "lock": threading.Lock(), "log": logging.getLogger("x"), "lazy": None}
    assert of() == of(**held)


def test_a_store_may_be_known_to_what_it_holds() -> None:
    def of(group: str) -> Any:
        store = Server(url="http://a", user=Client(group=group))
        store.user.store = store  # type: ignore[attr-defined]
        return identity(store)[0]

    assert of("a") == of("a") != of("b")


def test_what_cannot_be_read_in_a_store_needs_a_name() -> None:
    store = Server(url="http://a", rows=iter([1]))
    with pytest.raises(ConfigError, match=r"rows: .*list_iterator.*name="):
        CachedRetriever(store.as_retriever(), "memory://", corpus="x")
    CachedRetriever(store.as_retriever(), "memory://", corpus="x", name="mine").invoke("?")


@pytest.mark.parametrize("name", [None, "outer"])
def test_a_cached_retriever_holds_cached_ones_of_its_corpus_only(name: str | None) -> None:
    cache = Cache("memory://")
    one = Corpus(cache, name="one")

    def outer(corpus: Corpus) -> CachedRetriever:
        return CachedRetriever(
            Having(CachedRetriever(Having([Document("a")]), corpus=one)), corpus=corpus, name=name
        )

    assert outer(one).invoke("?") == [Document("a")]
    for other in (Corpus(cache, name="two"), Corpus(Cache("memory://"), name="one")):
        with pytest.raises(ConfigError, match="of another corpus"):
            outer(other)


def test_a_directory_is_the_same_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    one = identity(Server(persist_directory="documents"))[0]
    assert identity(Server(persist_directory=str(tmp_path / "documents")))[0] == one
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    assert identity(Server(persist_directory="documents"))[0] != one


def test_what_is_on_this_machine_is_not_shared_with_others_by_a_shared_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def key(store: Server, url: str) -> Any:
        retriever = CachedRetriever(store.as_retriever(), "memory://", corpus="x")
        monkeypatch.setattr(retriever.cache.store, "url", url, raising=False)
        return retriever._identity(Identity({})).get("machine")

    local, remote = Server(url="http://localhost:8000"), Server(url="http://chroma:8000")
    assert key(local, "redis://cache:6379")
    assert key(Server(persist_directory="x"), "mongodb://cache")
    for store, url in ((local, "redis://localhost"), (local, "sqlite:///x.db"), (remote, "redis://cache:6379")):
        assert key(store, url) is None


class Collection:
    """As Chroma has it."""

    def __init__(self, number: int) -> None:
        self.name, self.id = "langchain", UUID(int=number)


Collection.__module__ = "chromadb.api.models.Collection"


class Chroma(InMemoryVectorStore):
    """Of a fixed content, in a collection of the default name."""

    def __init__(self, number: int) -> None:
        super().__init__(Words())
        self._collection_name, self._chroma_collection = "langchain", Collection(number)


@pytest.mark.parametrize("how", [{}, {"corpus": "prices"}, {"name": "prices"}])
def test_collections_of_one_name_are_apart(how: dict[str, str]) -> None:
    cache = Cache("memory://")
    for number in (1, 2):
        CachedRetriever(Chroma(number).as_retriever(), cache, **how).invoke("owl")  # type: ignore[arg-type]
    assert cache.stats().misses == 2
    CachedRetriever(Chroma(1).as_retriever(), cache, **how).invoke("owl")  # type: ignore[arg-type]
    assert cache.stats().hits == 1


# -- in memory -----------------------------------------------------------------------------------------------------


def index(corpus: Corpus, *ids: str, name: str | None = None) -> tuple[InMemoryVectorStore, CachedRetriever]:
    """As each worker of a server loads it."""
    store = InMemoryVectorStore(Words())
    store.add_documents([one for one in animals() if one.id in ids])
    store = watch(store, corpus)
    return store, CachedRetriever(store.as_retriever(), corpus=corpus, name=name)


@pytest.mark.parametrize("name", [None, "animals"])
def test_processes_that_loaded_the_same_share_until_one_writes(name: str | None) -> None:
    corpus = Corpus("memory://", name="animals")
    (one, first), (_, second) = index(corpus, "cat", name=name), index(corpus, "cat", name=name)
    first.invoke("who?")
    second.invoke("who?")
    assert corpus.cache.stats().hits == 1
    one.add_documents([animals(dog="the dog barks")[0]])
    assert found(second.invoke("who?")) == ["cat"]
    assert sorted(map(str, found(first.invoke("who?")))) == ["cat", "dog"]
    one.delete(["cat"])
    assert found(second.invoke("who?")) == ["cat"]
    assert found(first.invoke("who?")) == ["dog"]


def test_changes_that_nobody_reported_are_seen_in_memory() -> None:
    corpus = Corpus("memory://", name="animals")
    store, retriever = index(corpus, "cat")
    assert len(retriever.invoke("who?")) == 1
    InMemoryVectorStore.add_documents(store, animals(owl="the owl"))
    assert len(retriever.invoke("who?")) == 2
    InMemoryVectorStore.add_documents(store, animals(owl="another owl"))
    assert "another owl" in [one.page_content for one in retriever.invoke("who?")]


def test_a_copy_of_an_index_goes_its_own_way() -> None:
    corpus = Corpus("memory://", name="animals")
    store, retriever = index(corpus, "cat")
    store.add_documents(animals(dog="the dog"))
    other = InMemoryVectorStore(Words())
    vars(other).update(copy.deepcopy(vars(store)))
    store.add_documents(animals(owl="the owl"))
    copied = CachedRetriever(other.as_retriever(), corpus=corpus)
    assert len(retriever.invoke("who?")) == 3
    assert len(copied.invoke("who?")) == 2


def by_parts(tmp_path: Path, in_memory: bool) -> BaseRetriever:
    parents: Any = InMemoryStore() if in_memory else create_kv_docstore(LocalFileStore(tmp_path))
    return ParentDocumentRetriever(
        vectorstore=InMemoryVectorStore(Words()), docstore=parents, child_splitter=CharacterTextSplitter()
    )


def apples(number: int) -> list[Document]:
    return [Document(f"apple {one}") for one in range(number)]


def by_words(*documents: Document) -> BaseRetriever:
    from langchain_community.retrievers import BM25Retriever  # says at its import that it is being sunset

    return BM25Retriever(vectorizer=Ranks([one.page_content for one in documents]), docs=list(documents))


class Ranks:
    """Scores of words in texts, as BM25 has them."""

    def __init__(self, texts: list[str]) -> None:
        self.doc_freqs = [dict.fromkeys(one.split(), 1) for one in texts]

    def get_top_n(self, query: list[str], documents: list[Document], n: int) -> list[Document]:
        return documents[-n:]


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("in_memory", [True, False])
def test_a_retriever_of_parents_needs_no_name(in_memory: bool, tmp_path: Path) -> None:
    retriever = CachedRetriever(by_parts(tmp_path, in_memory), "memory://", corpus="fruit")
    retriever.invoke("apple")
    retriever.invoke("apple")
    assert retriever.cache.stats().hits == 1


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("name", [None, "words"])
def test_a_large_bm25_needs_no_name_and_is_what_it_holds(name: str | None) -> None:
    cache = Cache("memory://")
    for number, last in ((500, "apple 499"), (501, "apple 500"), (500, "apple 499")):
        retriever = CachedRetriever(by_words(*apples(number)), cache, corpus="fruit", name=name)
        assert retriever.invoke("apple")[-1].page_content == last
    assert cache.stats().hits == 1


class Weights:
    """A vectorizer whose scores depend on how it is set."""

    def __init__(self, texts: list[str], **settings: Any) -> None:
        self.texts = [one.split() for one in texts]
        vars(self).update(settings)
        self._stop_words_id = id(settings.get("stop_words"))  # as scikit-learn's

    def get_top_n(self, query: list[str], documents: list[Document], n: int) -> list[Document]:
        return documents[:n]


def in_lower_case(text: str) -> list[str]:
    return text.lower().split()


def by_letters(text: str) -> list[str]:
    return [*text]


SETTINGS: list[tuple[Callable[[], dict[str, Any]], Callable[[], dict[str, Any]]]] = [
    (lambda: {"tokenizer": in_lower_case}, lambda: {"tokenizer": by_letters}),
    (lambda: {"tokenizer": lambda text: text.split()}, lambda: {"tokenizer": lambda text: text.split(",")}),
    (lambda: {"stop_words": ["pie"]}, lambda: {"stop_words": ["tart"]}),
    (lambda: {"stop_words": {"pie"}}, lambda: {"stop_words": ["pie"]}),
    (lambda: {"ngram_range": (1, 1)}, lambda: {"ngram_range": (2, 2)}),
    (lambda: {"vocabulary": {"pie": 0}}, lambda: {"vocabulary": {"tart": 0}}),
    (lambda: {"idf": np.zeros(2000)}, lambda: {"idf": np.ones(2000)}),
    (lambda: {"inner": Weights(["a"])}, lambda: {"inner": Weights(["b"])}),
    (lambda: {"k": 1}, lambda: {"k": 1.0}),
]


def weighted(texts: list[str], **settings: Any) -> BaseRetriever:
    from langchain_community.retrievers import BM25Retriever

    return BM25Retriever(vectorizer=Weights(texts, **settings), docs=apples(2))


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize(("one", "other"), SETTINGS)
def test_how_a_vectorizer_is_set_counts(one: Any, other: Any) -> None:
    corpus = Corpus(Cache("memory://"), name="fruit")
    for make in (one, one, other):
        CachedRetriever(weighted(["apple"], **make()), corpus=corpus).invoke("apple")
    assert (corpus.cache.stats().hits, corpus.cache.stats().misses) == (1, 2)


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("count", [2, 1500])
def test_a_vectorizer_of_other_texts_is_another(count: int) -> None:
    corpus = Corpus(Cache("memory://"), name="fruit")
    texts = [f"apple {one}" for one in range(count)]
    for given in (texts, texts[:], texts[::-1]):
        CachedRetriever(weighted(given), corpus=corpus).invoke("apple")
    assert (corpus.cache.stats().hits, corpus.cache.stats().misses) == (1, 2)


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
def test_what_a_vectorizer_is_set_to_later_counts() -> None:
    inner = weighted([f"apple {one}" for one in range(50)], stop_words=["pie"])
    retriever = CachedRetriever(inner, "memory://", corpus="fruit")
    held = inner.vectorizer  # type: ignore[attr-defined]
    for change in (
        lambda: None,
        lambda: held.stop_words.append("tart"),
        lambda: held.texts.__setitem__(0, ["pear"]),
        lambda: setattr(held, "texts", [["pear"]] * 50),
    ):
        before = retriever.cache.stats().misses
        change()
        for _ in range(2):
            retriever.invoke("apple")
        assert retriever.cache.stats().misses == before + 1


@pytest.mark.filterwarnings("ignore:.*langchain-community.*:DeprecationWarning")
@pytest.mark.parametrize("change", [{"id": "2"}, {"page_content": "pear"}, {"metadata": {"source": "2026.pdf"}}])
def test_a_few_documents_are_all_that_they_hold(change: dict[str, Any]) -> None:
    cache = Cache("memory://")
    document = Document(id="1", page_content="apple", metadata={"source": "2025.pdf", "at": date(2025, 1, 1)})
    for one in (document, document.model_copy(update=change), document.model_copy(deep=True)):
        retriever = by_words(one)
        assert CachedRetriever(retriever, cache, corpus="fruit").invoke("apple") == [one]
    assert cache.stats().hits == 1


class Ruled(InMemoryVectorStore):
    """Searches by the rules that are set on the store of its parents."""

    def __init__(self, parents: InMemoryStore) -> None:
        super().__init__(Words())
        self.parents: Any = parents

    def similarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        rule = self.parents.rule
        return [Document(rule(self) if callable(rule) else str(rule))]


@pytest.mark.parametrize(
    ("one", "other"), [("a", "b"), (["a"], ["b"]), ({"a": 1}, {"a": 2}), (lambda _: "a", lambda _: "b")]
)
def test_what_is_set_on_a_store_within_a_store_counts(one: Any, other: Any) -> None:
    cache, parents = Cache("memory://"), InMemoryStore()
    retriever = CachedRetriever(Ruled(parents).as_retriever(), cache, corpus="animals")
    for rule in (one, other, one):
        parents.rule = rule  # type: ignore[attr-defined]
        assert text_of(retriever.invoke("?")) == (rule(None) if callable(rule) else str(rule))
    assert cache.stats().hits == 1


class Having(BaseRetriever):
    """Holds documents, or a store, in one of its fields or in a private attribute."""

    held: Any = None
    _held: Any = PrivateAttr(default=None)

    def __init__(self, held: Any = None, *, private: Any = None) -> None:
        super().__init__()
        self.held, self._held = held, private

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [next(texts_in(self.held or self._held))]


def texts_in(held: Any) -> Iterator[Document]:
    if isinstance(held, Document):
        yield held
    elif isinstance(held, (dict, list)):
        for one in held.values() if isinstance(held, dict) else held:
            yield from texts_in(one)
    elif isinstance(held, BaseRetriever):
        yield from held.invoke("?")
    elif callable(held):
        yield from texts_in(held())
    else:
        yield from held.similarity_search("?") if isinstance(held, VectorStore) else texts_in(held.held)


class Holder:
    def __init__(self, held: Any) -> None:
        self.held, self.holder = held, self


def in_memory(*documents: Document) -> InMemoryVectorStore:
    store = InMemoryVectorStore(Words())
    store.add_documents(list(documents))
    return store


HOLDING: dict[str, Callable[[Document], BaseRetriever]] = {
    "a list": lambda one: Having([one]),
    "a long list": lambda one: Having([one] * 40),
    "a map": lambda one: Having({"a": {"b": [one]}}),
    "a long map": lambda one: Having(dict.fromkeys(map(str, range(2000)), one)),
    "a private attribute": lambda one: Having(private=[one]),
    "a private store": lambda one: Having(private=in_memory(one)),
    "an object": lambda one: Having(Holder(in_memory(one))),
    "a function": lambda one: Having(lambda: in_memory(one)),
    "a retriever inside": lambda one: Having({"a": in_memory(one).as_retriever()}),
    "a store without a key": lambda one: Having(
        in_memory(one).as_retriever(search_kwargs={"filter": lambda _: True})
    ),
}


@pytest.mark.parametrize("how", HOLDING)
def test_a_name_says_nothing_of_the_documents(how: str) -> None:
    cache = Cache("memory://")
    for text in ("old", "new", "old"):
        retriever = CachedRetriever(HOLDING[how](Document(text, id="1")), cache, corpus="x", name="mine")
        assert [one.page_content for one in retriever.invoke("?")] == [text]
    assert cache.stats().hits == 1


def test_what_is_found_after_the_first_change_stays_until_it_is_concerned() -> None:
    store, corpus = library()
    retriever = CachedRetriever(store.as_retriever(search_kwargs={"k": 1}), corpus=corpus)
    retriever.invoke("flies at night")
    store.delete(["dog"])
    retriever.invoke("flies at night")
    assert corpus.cache.stats().hits == 1


@dataclass
class Shelf:
    rows: list[Document]

    def __iter__(self) -> Iterator[Document]:
        return iter(self.rows)


class OwnStoreOf(Server):
    def __init__(self, docs: Any, held: Any) -> None:
        super().__init__(docs=docs, held=held)


class OwnStore(Server):
    """Of the application: holds its documents itself, in a list or in maps."""

    def __init__(self, docs: Any) -> None:
        super().__init__()
        self.docs = docs

    def similarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        rows = self.docs.values() if isinstance(self.docs, dict) else self.docs
        return [row["document"] if isinstance(row, dict) else row for row in rows]


@pytest.mark.parametrize(
    "hold",
    [
        list,
        lambda some: {one.id: one for one in some},
        lambda some: {"x": {"document": some[-1]}},
        lambda some: np.array(some, dtype=object),
        lambda some: Shelf(list(some)),
    ],
)
def test_an_own_store_is_what_its_lists_and_maps_hold(hold: Any) -> None:
    corpus = Corpus("memory://", name="animals")

    def texts(store: VectorStore) -> list[str]:
        retriever = CachedRetriever(store.as_retriever(), corpus=corpus)
        first, again = retriever.invoke("?"), retriever.invoke("?")
        assert first == again
        return [one.page_content for one in first]

    one, other = OwnStore(hold([Document("old", id="1")])), OwnStore(hold([Document("new", id="1")]))
    assert (texts(one), texts(other)) == (["old"], ["new"])
    assert texts(OwnStore(hold([Document("old", id="1")]))) == ["old"]
    assert corpus.cache.stats().kinds["retrieval"].misses == 2
    one.docs = hold([Document("old", id="1"), Document("newer", id="2")])
    assert texts(one)[-1] == "newer"
    if isinstance(one.docs, list):
        one.docs.append(Document("newest", id="3"))
        assert texts(one) == ["old", "newer", "newest"]


def test_an_own_store_that_cannot_be_read_shares_nothing(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache("memory://")
    for _ in range(2):
        store = Server(connection=sqlite3.connect(":memory:"))
        for _ in range(2):
            CachedRetriever(store.as_retriever(), cache, corpus="x").invoke("?")
    assert (cache.stats().misses, cache.stats().hits) == (2, 2)
    assert caplog.text.count("cannot be read") == 1
