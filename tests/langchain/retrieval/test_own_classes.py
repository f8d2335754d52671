"""Retrievers of the application's own classes: what they are made of is all part of the key."""

from __future__ import annotations

import functools
import json
import logging
import re
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import httpx
import numpy as np
import pytest
import requests
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_core.documents import BaseDocumentCompressor, Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import BaseModel, PrivateAttr

from askonce import Cache, ConfigError
from askonce.langchain import cached
from askonce.langchain.retrieval.identity import Identity
from tests.langchain.retrieval.library import Words, animals


class Calling(BaseRetriever):
    """Finds what a private part of it says."""

    _say: Any = PrivateAttr()

    def __init__(self, say: Any) -> None:
        super().__init__()
        self._say = say

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(str(self._say))]


class Client:
    def __init__(self, place: str) -> None:
        self.place = place


class Role(Enum):
    USER = 1


class Rank(Enum):
    USER = 1


class Fields(BaseRetriever):
    verbose: bool = False
    client: Any = None
    timeout: int = 0
    api_key: str | None = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [
            Document(
                f"{self.client and self.client.place} {self.timeout} {self.tags} {self.metadata} {self.verbose}"
            )
        ]


def of_one_name(place: str) -> BaseRetriever:
    class Local(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document(place)]

    return Local()


def compressing(place: str) -> BaseRetriever:
    class Compressor(BaseDocumentCompressor):
        def compress_documents(self, documents: Any, query: str, callbacks: Any = None) -> list[Document]:
            return [Document(place)]

    store = InMemoryVectorStore(Words())
    store.add_documents(animals())
    return ContextualCompressionRetriever(base_retriever=store.as_retriever(), base_compressor=Compressor())


@pytest.mark.parametrize(
    "make",
    [
        of_one_name,
        compressing,
        lambda place: Fields(client=Client(place)),
        lambda place: Fields(timeout=len(place)),
        lambda place: Fields(tags=[place]),
        lambda place: Fields(metadata={"place": place}),
        lambda place: Calling([place]),
        lambda place: Calling(datetime(2026, 1, len(place))),
        lambda place: Calling(Decimal(len(place))),
        lambda place: Calling(ZoneInfo("UTC" if place == "a" else "Europe/Berlin")),
        lambda place: Calling(re.compile(place)),
        lambda place: Calling(re.compile("a", re.I if place == "a" else re.M)),
        lambda place: Calling(deque([place])),
        lambda place: Calling(range(len(place))),
        lambda place: Calling(np.array([len(place)])),
        lambda place: Calling(1 if place == "a" else 1.0),
        lambda place: Calling([place] if place == "a" else ("bb",)),
        lambda place: Calling(dict.fromkeys(["a", "bb"] if place == "a" else ["bb", "a"])),
        lambda place: Calling(Role.USER if place == "a" else Rank.USER),
        lambda place: Calling(f"postgresql://{place}:1@db/hr"),
        lambda place: Fields(verbose=place == "a"),
    ],
)
def test_two_that_differ_share_nothing(make: Callable[[str], BaseRetriever]) -> None:
    cache = Cache("memory://")
    for place in ("a", "bb", "a"):
        retriever = make(place)
        expected = retriever.invoke("where?")
        assert cached(retriever, cache, corpus="one").invoke("where?") == expected
    assert cache.stats().hits == 1


class Users(httpx.Auth):
    def __init__(self, user: str) -> None:
        self.user = user


class OwnClient(httpx.Client):
    def __init__(self, tenant: str, **given: Any) -> None:
        super().__init__(**given)
        self.tenant = tenant


def session(**held: Any) -> requests.Session:
    made = requests.Session()
    vars(made).update(held)
    made.headers["x-tenant"] = held.pop("tenant", "none")
    return made


CLIENTS: dict[str, Callable[[str], Any]] = {
    "URL": lambda one: httpx.Client(base_url=f"http://{one}"),
    "asynchronous": lambda one: httpx.AsyncClient(base_url=f"http://{one}"),
    "header": lambda one: httpx.Client(base_url="http://a", headers={"x-tenant": one}),
    "header alone": lambda one: httpx.Client(headers={"x-tenant": one}),
    "token": lambda one: httpx.Client(headers={"authorization": f"Bearer of-{one}"}),
    "parameter": lambda one: httpx.Client(params={"tenant": one}),
    "cookie": lambda one: httpx.Client(cookies={"user": one}),
    "password": lambda one: httpx.Client(auth=(f"of-{one}", "s3cret")),
    "own signing": lambda one: httpx.Client(auth=Users(one)),
    "own client": lambda one: OwnClient(one),
    "URL of an own client": lambda one: OwnClient("a", base_url=f"http://{one}"),
    "session": lambda one: session(tenant=one),
    "session's user": lambda one: session(auth=(f"of-{one}", "s3cret")),
    "session's parameter": lambda one: session(params={"tenant": one}),
}


OPENED: list[sqlite3.Connection] = []


def connection() -> Any:
    OPENED.append(sqlite3.connect(":memory:", check_same_thread=False))
    return OPENED[-1]


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.mark.parametrize("kind", CLIENTS)
@pytest.mark.parametrize(
    "of", [lambda client: Fields(client=client), lambda client: Extended(client).as_retriever()]
)
def test_a_client_of_http_counts_by_what_it_sends(of: Any, kind: str) -> None:
    one, same, other = (Identity({}).of(of(CLIENTS[kind](name))) for name in ("ann", "ann", "bob"))
    assert one == same != other
    assert "of-ann" not in json.dumps(one) + json.dumps(other)


def test_a_store_is_placed_by_its_client_of_http() -> None:
    def nameless(client: Any) -> list[str]:
        identity = Identity({})
        identity.of(Extended(client).as_retriever())
        return identity.nameless

    assert nameless(httpx.Client(base_url="http://a")) == []
    assert nameless(httpx.Client()) == ["Extended"]


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Calling(connection()), "_say: .*Connection.*name="),
        (lambda: Calling(lambda: "a"), "_say: .*lambda.*name="),
        (lambda: Calling(functools.partial(print, "a")), "_say: .*partial.*name="),
        (lambda: Fields(api_key="of ann"), "api_key: a credential.*name="),
        (lambda: Calling("https://a/?token=of-ann"), "_say: a credential in a URL.*name="),
    ],
)
def test_a_part_that_cannot_be_read_needs_a_name(make: Callable[[], BaseRetriever], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        cached(make(), "memory://", corpus="one")
    assert cached(make(), "memory://", corpus="one", name="of ann").invoke("where?")


def test_locks_and_loggers_say_nothing_of_what_is_found() -> None:
    cache = Cache("memory://")
    for part in (threading.Lock(), threading.Lock(), logging.getLogger("a")):
        cached(Calling(part), cache, corpus="one").invoke("where?")
    assert cache.stats().hits == 2


PROGRAM = """
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from askonce.langchain import cached

    class Search(BaseRetriever):
        def _get_relevant_documents(self, query, *, run_manager):
            return [Document("{found}")]

    print(cached(Search(), "sqlite:///cache.db", corpus="one").invoke("where?")[0].page_content)
"""


def test_an_edited_program_finds_what_it_says_now(tmp_path: Path) -> None:
    def run(found: str) -> str:
        (tmp_path / "main.py").write_text(textwrap.dedent(PROGRAM).format(found=found))
        return subprocess.run(
            [sys.executable, "main.py"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60
        ).stdout.strip()

    assert [run("before"), run("after")] == ["before", "after"]


class OfUser(BaseRetriever):
    user: ClassVar[str] = "ann"
    calls: ClassVar[int] = 0

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.__class__.calls += 1
        return [Document(f"of {self.user}")]


def test_what_a_class_was_set_to_later_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache("memory://")
    retriever = cached(OfUser(), cache, corpus="one")
    for user in ("ann", "bob", "ann"):
        monkeypatch.setattr(OfUser, "user", user)
        assert retriever.invoke("where?")[0].page_content == f"of {user}"
    assert cache.stats().hits == 1


class Raising:
    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"no {name}")


class Unbound:
    """A proxy for what is not there now, as web frameworks' of the request."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise RuntimeError("outside of a request")


class Everything:
    def __getattr__(self, name: str) -> Any:
        return self


class RaisingMap(dict[str, Any]):
    def items(self) -> Any:
        raise RuntimeError("no items")


class Odd(type):
    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("not to be compared")

    __hash__ = type.__hash__


class Unhashable(type):
    def __eq__(cls, other: object) -> bool:
        return cls is other

    __hash__ = None  # type: ignore[assignment]


class OfOdd(metaclass=Odd): ...


class OfUnhashable(metaclass=Unhashable): ...


def nested(depth: int) -> list[Any]:
    return functools.reduce(lambda inner, _: [inner], range(depth), list[Any]())


class Extended(InMemoryVectorStore):
    """A store of the application's own."""

    def __init__(self, extra: Any) -> None:
        super().__init__(Words())
        self.extra = extra


ODD: dict[str, Callable[[], Any]] = {
    "what raises": Raising,
    "a proxy": Unbound,
    "what has any attribute": Everything,
    "a map": lambda: RaisingMap(a=1),
    "of an odd class": OfOdd,
    "an odd class": lambda: OfOdd,
    "of a class without a hash": OfUnhashable,
    "a class without a hash": lambda: OfUnhashable,
    "deep": lambda: nested(3000),
    "a module": lambda: sys,
}


@pytest.mark.parametrize("name", [None, "odd"])
@pytest.mark.parametrize(
    "make", [Calling, lambda part: Calling({"a": [Client(part)]}), lambda part: Extended(part).as_retriever()]
)
@pytest.mark.parametrize("what", ODD)
def test_whatever_a_part_raises_it_is_read_or_needs_a_name(what: str, make: Any, name: str | None) -> None:
    retriever, refusal = make(ODD[what]()), ""
    try:
        cached(retriever, "memory://", corpus="one", name=name)
    except ConfigError as error:
        refusal = str(error)
    assert not refusal or (name is None and "name=" in refusal)


@pytest.mark.parametrize("make", [Calling, lambda part: Extended(part).as_retriever()])
def test_what_is_nested_deeply_is_refused_long_before_the_interpreters_limit(make: Any) -> None:
    with pytest.raises(ConfigError, match=r"nested more than 50 deep.*name="):
        cached(make(nested(60)), "memory://", corpus="one")


class Lazy(BaseRetriever):
    """Makes its client when it is first needed."""

    make: Any
    _client: Any = PrivateAttr(default=None)

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        if self._client is None:
            self._client = self.make()
        return [Document("found")]


class LazyStore(InMemoryVectorStore):
    """Makes a client that no attribute was for."""

    def similarity_search(self, *args: Any, **kwargs: Any) -> list[Document]:
        if not hasattr(self, "http"):
            self.http = iter([1])
        return [Document("found")]


def locked() -> Any:
    client = Client("http://a")
    client.lock, client.rows = threading.Lock(), iter([1])  # type: ignore[attr-defined]
    return client


@pytest.mark.parametrize("make", [locked, connection, httpx.Client])
def test_a_client_that_is_made_in_a_search_leaves_hits(make: Any) -> None:
    cache = Cache("memory://")
    for _ in range(2):
        retriever = cached(Lazy(make=make), cache, corpus="one")
        for _ in range(3):
            retriever.invoke("where?")
    assert cache.stats().hits >= 3
    retriever.retriever._client = iter([2])  # type: ignore[attr-defined]  # which the application puts there
    hits = cache.stats().hits
    retriever.invoke("where?")
    assert cache.stats().hits == hits


def test_a_client_that_a_store_makes_in_a_search_leaves_hits() -> None:
    retriever = cached(LazyStore(Words()).as_retriever(), "memory://", corpus="one")
    for _ in range(3):
        retriever.invoke("where?")
    assert retriever.cache.stats().hits == 1


class Rule:
    def __init__(self, group: str) -> None:
        self.group = group
        self.uses = 0


class OfGroups(BaseRetriever):
    groups: ClassVar[list[str]] = ["a"]
    rules: ClassVar[dict[str, list[str]]] = {"see": ["a"]}
    rule: ClassVar[Rule] = Rule("a")
    log: ClassVar[list[str]] = []
    logs: ClassVar[dict[str, list[str]]] = {}

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.log.append(query)
        note(query)
        self.rule.uses += 1
        return [Document(f"{self.groups} {self.rules} {self.rule.group}")]


def note(query: str) -> None:
    OfGroups.logs.setdefault(query, []).append(query)


def test_lists_maps_and_objects_of_a_class_count_as_they_are_now(monkeypatch: pytest.MonkeyPatch) -> None:
    retriever, inner = cached(OfGroups(), "memory://", corpus="one"), OfGroups()
    monkeypatch.setattr(OfGroups, "groups", ["a"])
    monkeypatch.setattr(OfGroups, "rules", {"see": ["a"]})
    monkeypatch.setattr(OfGroups, "rule", Rule("a"))
    for change in (
        lambda: None,
        lambda: OfGroups.groups.append("b"),
        lambda: setattr(OfGroups, "groups", ["c"]),
        lambda: OfGroups.rules["see"].append("b"),
        lambda: setattr(OfGroups.rule, "group", "b"),
    ):
        change()
        for _ in range(2):
            assert retriever.invoke("which?") == inner.invoke("which?")
    assert retriever.cache.stats().hits == 5


class Counting(Words):
    """Embeddings with settings, which count their calls."""

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.calls, self.log = 0, list[str]()
        vars(self).update(settings)

    def embed_query(self, text: str) -> list[float]:
        self.calls += 1
        self.log.append(text)
        return super().embed_query(getattr(self, "instead", text))


class Untold(BaseModel, Embeddings):
    """Embeddings that do not show which model they are."""

    instead: str = "owl"
    calls: int = 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return Words().embed_documents(texts)

    def embed_query(self, text: str) -> list[float]:
        self.calls += 1
        return Words().embed_query(self.instead)


@pytest.mark.parametrize("make", [Counting, Untold])
def test_a_setting_of_embeddings_that_changes_later_counts_and_a_counter_does_not(make: Any) -> None:
    store, embeddings = InMemoryVectorStore(Words()), make(instead="owl")
    store.add_documents(animals())
    store.embedding = embeddings
    retriever = cached(store.as_retriever(search_kwargs={"k": 1}), "memory://", corpus="one")
    for instead in ("owl", "owl", "ant", "ant", "owl"):
        embeddings.instead = instead
        assert retriever.invoke("which?")[0].id == instead
    assert retriever.cache.stats().hits == 3


class Exact(BaseRetriever):
    """Shows what it holds, or what a call gives it, to the letter."""

    held: Any = None

    def _get_relevant_documents(self, query: str, *, run_manager: Any, given: Any = None) -> list[Document]:
        return [Document(repr(self.held if given is None else given))]


@pytest.mark.parametrize("name", [None, "exact"])
def test_kinds_of_values_in_fields_and_calls_count(name: str | None) -> None:
    values: list[Any] = [
        1,
        1.0,
        True,
        "1",
        [1],
        (1,),
        {1},
        frozenset({1}),
        deque([1]),
        {"a": 1, "b": 2},
        {"b": 2, "a": 1},
    ]
    cache = Cache("memory://")
    for one in values * 2:
        assert cached(Exact(), cache, corpus="x", name=name).invoke("?", given=one)[0].page_content == repr(one)
        if name is None:
            assert cached(Exact(held=one), cache, corpus="x").invoke("?")[0].page_content == repr(one)
    assert cache.stats().hits == len(values) * (2 if name is None else 1)
