"""Over a sealed store nothing that an application handed over can be read in it, and keys can be rotated."""

from __future__ import annotations

import re
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import zstandard

from askonce import Cache, ConfigError, Corpus, Semantic, cache_options
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Source
from askonce.keys.normal_form import NormalForm
from askonce.retrieval.cached_retrieval import cache_and_corpus
from askonce.storage.sealed_store import SealedStore
from askonce.stores import open_store
from askonce.stores.base import Clock, Record, Store
from askonce.stores.memory import MemoryStore
from askonce.testing import StoreConformance
from tests.stores.test_memory import _View
from tests.support import servers

OLD, NEW = b"o" * 32, b"n" * 16


class TestSealed(StoreConformance):
    @pytest.fixture(params=[[NEW], [NEW, OLD]], ids=["one key", "two keys"])
    def open(self, request: pytest.FixtureRequest) -> Callable[..., Store]:
        origin = MemoryStore()

        def opened(clock: Clock = time.time) -> Store:
            return SealedStore(_View(origin, clock), request.param)

        return opened


# -- rotation ------------------------------------------------------------------------------------------------------


def test_what_was_written_under_each_listed_key_is_found_and_deleted() -> None:
    inner = MemoryStore()
    old, both, new = (SealedStore(inner, keys) for keys in ([OLD], [NEW, OLD], [NEW]))
    old.put("n", [Record(b"1", b"old", tags=("t",)), Record(b"2", b"old", tags=("t",)), Record(b"3", b"old")])
    both.put("n", [Record(b"2", b"new", tags=("t",)), Record(b"4", b"new", tags=("t",))])
    assert both.get_many("n", [b"1", b"2", b"3", b"4", b"5"]) == [b"old", b"new", b"old", b"new", None]
    assert sorted(both.scan("n")) == [(b"1", b"old"), (b"2", b"new"), (b"3", b"old"), (b"4", b"new")]
    assert [new.get("n", b"1"), new.get("n", b"4")] == [None, b"new"]
    assert both.delete_tag("n", "t") == 4
    assert list(both.scan("n")) == [(b"3", b"old")]
    both.clear("n")
    assert list(old.scan("n")) == []


def test_events_reach_processes_that_rotate_one_after_the_other() -> None:
    inner = MemoryStore()
    steps = [SealedStore(inner, keys) for keys in ([OLD], [OLD, NEW], [NEW, OLD], [NEW])]
    for writes, reads in ((0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)):
        log = f"{writes} to {reads}"
        at = max((sequence for sequence, _ in steps[reads].log_read(log, 0).events), default=0)
        steps[writes].log_append(log, b"event")
        assert [event for _, event in steps[reads].log_read(log, at).events] == [b"event"]


def test_an_event_that_others_wrote_is_ignored() -> None:
    inner = MemoryStore()
    store = SealedStore(inner, [NEW])
    store.log_append("log", b"event")
    [name] = [name for name, space in inner._spaces.items() if space.log]
    [(_, sealed)] = inner.log_read(name, 0).events
    inner.log_append(name, sealed[:-1] + bytes([sealed[-1] ^ 1]))
    inner.log_append(name, b"+")
    assert [event for _, event in store.log_read("log", 0).events] == [b"event", b"?", b"?"]
    assert [event for _, event in SealedStore(inner, [NEW]).log_read("another log", 0).events] == []


# -- what can be read ----------------------------------------------------------------------------------------------

SECRETS = [
    "tenant-zebra", "base-yak", "tag-walrus", "doc-vulture", "corpus-urchin", "question-tapir", "answer-skunk",
    "model-raven",
]  # fmt: skip
VECTOR = [at / 4 for at in (1, -1, 1, 1, -1, 1, 1, 1, -1, -1, 1, -1, 1, 1, -1, 1)]


def named(cache: Cache, text: str) -> Request:
    form = NormalForm({"text": text}, model="model-raven")
    request = cache.engine.request("answer", lambda: form)
    assert request is not None
    return request


def use(cache: Cache) -> None:
    """Hand over all that an application can."""
    corpus = Corpus(cache, name="corpus-urchin", near_margin=0.0)
    corpus.added([VECTOR])
    corpus.changed(["doc-vulture"])
    with cache_options(namespace="tenant-zebra", tags=["tag-walrus"]):
        request = named(cache, "question-tapir")
        position = cache.engine.position(corpus.log)
        assert position is not None
        source = Source(corpus.log, position.sequence, ids=("doc-vulture",))
        answer = Answer(b"answer-skunk" * 200, sources=(source,), model="model-raven")
        cache.engine.answer(request, lambda: answer, lambda it: it)
        assert isinstance(cache.engine.answer(request, lambda: answer, lambda it: it), Hit)
    cache.flush()


def readable(data: bytes) -> Iterator[bytes]:
    yield data
    for frame in re.finditer(re.escape(b"\x28\xb5\x2f\xfd"), data):
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(data[frame.start() :])


def found_in(data: bytes) -> set[str]:
    packed = {"vector": struct.pack("<16e", *VECTOR), "float32": struct.pack("<16f", *VECTOR)}
    wanted = packed | {secret: secret.encode() for secret in SECRETS}
    return {name for text in readable(data) for name, value in wanted.items() if value in text}


def of_sqlite(folder: Path) -> tuple[str, Callable[[], bytes]]:
    return f"sqlite:///{folder / 'cache.db'}", lambda: b"".join(file.read_bytes() for file in folder.iterdir())


def of_redis(folder: Path) -> tuple[str, Callable[[], bytes]]:
    import redis

    server = servers.start("redis-8.2", private=True)

    def dump() -> bytes:
        with redis.Redis.from_url(server.url) as client:
            whole = b""
            for key in client.scan_iter(count=1000):
                kind = client.type(key)
                whole += key
                if kind == b"hash":
                    whole += b"".join(b"".join(pair) for pair in client.hgetall(key).items())
                elif kind == b"zset":
                    whole += b"".join(client.zrange(key, 0, -1))
                elif kind == b"list":
                    whole += b"".join(client.lrange(key, 0, -1))
                elif kind == b"stream":
                    whole += repr(client.xrange(key)).encode()
                elif kind == b"string":
                    whole += client.get(key) or b""
                else:
                    raise AssertionError(kind)
            return whole

    return server.url, dump


def of_mongodb(folder: Path) -> tuple[str, Callable[[], bytes]]:
    import bson
    import pymongo

    server = servers.start("mongodb", private=True)

    def dump() -> bytes:
        with pymongo.MongoClient[dict[str, Any]](server.url) as client:
            database = client["askonce"]
            return b"".join(
                bson.encode(row) for name in database.list_collection_names() for row in database[name].find({})
            )

    return server.url, dump


@pytest.mark.parametrize("place", [of_sqlite, of_redis, of_mongodb])
def test_nothing_that_an_application_handed_over_can_be_read_in_the_store(
    place: Callable[[Path], tuple[str, Callable[[], bytes]]], tmp_path: Path
) -> None:
    if place is not of_sqlite and (why := servers.available("redis-8.2") or servers.available("mongodb")):
        pytest.skip(why)
    url, dump = place(tmp_path)
    with Cache(url, namespace="base-yak", timeout_seconds=10) as cache:
        use(cache)
        in_the_open = found_in(dump())
    assert {*SECRETS, "vector"} - in_the_open <= {"question-tapir", "tag-walrus", "doc-vulture"}  # digests on Redis
    with Cache(url, namespace="base-yak", timeout_seconds=10) as cache, cache_options(namespace="tenant-zebra"):
        cache.clear()
    sealed_url, sealed_dump = place(tmp_path / "sealed") if place is of_sqlite else place(tmp_path)
    with Cache(sealed_url, namespace="base-yak", timeout_seconds=10, encryption_keys=[NEW, OLD]) as cache:
        use(cache)
        assert found_in(sealed_dump()) == set()
        with cache_options(namespace="tenant-zebra"):
            assert [entry.tags for entry in cache.entries()] == [("tag-walrus", "doc:doc-vulture")]
            assert cache.invalidate("tag-walrus") == 1


def test_vectors_on_the_server_are_refused_with_a_key() -> None:
    semantic = Semantic(lambda text: VECTOR, model="m", search="server")
    with pytest.raises(ConfigError, match="search='process'"):
        Cache("memory://", semantic=semantic, encryption_keys=[NEW])


def test_a_corpus_and_a_cache_of_which_one_has_no_key_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url) as plain, Cache(url, encryption_keys=[NEW]) as sealed:
        with pytest.raises(ConfigError, match="encryption_keys"):
            cache_and_corpus(sealed, Corpus(plain), {})
        assert cache_and_corpus(None, Corpus(sealed), {})[0] is sealed


def test_a_store_that_was_not_sealed_before_begins_anew_under_a_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with Cache(url, timeout_seconds=5) as cache:
        cache.engine.answer(named(cache, "why?"), lambda: b"because", Answer)
    with Cache(url, timeout_seconds=5, encryption_keys=[NEW]) as cache:
        assert cache.engine.answer(named(cache, "why?"), lambda: b"anew", Answer) == b"anew"
        assert cache.stats().corrupt == 0
    with closing(open_store(url, timeout_seconds=5)) as store:
        assert store.size("default").entries == 1
