"""Everything of a person is found and deleted: entries, logs, learned state, and what is left in files."""

from __future__ import annotations

import datetime
import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pymongo
import pytest
import redis

from askonce import Cache, ConfigError, Corpus, Semantic, cache_options
from askonce.engine.erasure import Target
from askonce.entries.entry import Answer, Entry, Place, Slice, Source, Usage
from askonce.entries.values import tagged
from askonce.keys import normal_form
from askonce.keys.normal_form import NormalForm
from askonce.prefix import PrefixTracker
from askonce.semantic.index import file as index_file
from askonce.semantic.types import vector_partition
from askonce.stores.base import Record, VectorSearch, pages
from askonce.testing import FakeClock
from askonce.totals.records import totals_namespace
from tests.stores.sqlite.test_traces import found
from tests.support import servers

FORM = {"messages": [{"role": "user", "content": "who?"}]}
MARKER = "<marker of Jane Doe 4711>"
OTHER = "<marker of others 0815>"
NAMES = ["sqlite", "redis-8.2", "mongodb"]


def raw(url: str, namespace: str) -> str:
    """All that a server has of a namespace, as its own client reads it, with what is compressed opened."""
    import zstandard

    data = b""
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            for name in client.scan_iter(f"askonce:*{namespace}*"):
                kind = client.type(name)
                rows = {
                    b"hash": client.hgetall, b"list": lambda one: client.lrange(one, 0, -1), b"string": client.get,
                    b"zset": lambda one: client.zrange(one, 0, -1),
                }.get(kind, lambda one: b"")(name)  # fmt: skip
                parts = rows.values() if isinstance(rows, dict) else rows if isinstance(rows, list) else [rows]
                data += name + b"".join(parts)
    else:
        with pymongo.MongoClient[dict[str, Any]](url) as client:
            database = client.get_default_database()
            for name in database.list_collection_names():
                for row in database[name].find():
                    if namespace in str(row):
                        data += repr(row).encode() + b"".join(one for one in row.values() if isinstance(one, bytes))
    at = data.find(b"\x28\xb5\x2f\xfd")
    opened = b""
    while at >= 0:
        with suppress(zstandard.ZstdError):
            opened += zstandard.ZstdDecompressor().decompressobj().decompress(data[at:])
        at = data.find(b"\x28\xb5\x2f\xfd", at + 1)
    return (data + opened).decode("latin-1")


@pytest.fixture(params=NAMES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        (tmp_path / "store").mkdir()
        return f"sqlite:///{tmp_path / 'store' / 'cache.db'}"
    if reason := servers.available(request.param):
        pytest.skip(reason)
    return servers.start(request.param).url


@pytest.fixture
def namespace() -> str:
    return f"erase{uuid.uuid4().hex[:12]}"


@pytest.fixture
def stored(url: str, namespace: str, tmp_path: Path) -> Callable[[str], bool]:
    """Whether a text stands anywhere in the store."""

    def stored(text: str) -> bool:
        if url.startswith("sqlite"):
            return bool(found([text.encode()], tmp_path / "store"))
        return text in raw(url, namespace)

    return stored


def answer(cache: Cache, question: str, payload: str, **more: Any) -> None:
    form = NormalForm({"messages": [{"role": "user", "content": question}]})
    request = cache.engine.request("answer", lambda: form)
    assert request is not None
    cache.engine.answer(request, lambda: payload, lambda text: Answer(text.encode(), **more))


def store_semantic(cache: Cache, question: str, payload: str) -> None:
    form = NormalForm({"kind": "chat", "messages": [{"role": "user", "content": question}]})
    request = cache.engine.request("answer", lambda: form, semantic=True)
    assert request is not None
    cache.engine.answer(request, lambda: payload, lambda text: Answer(text.encode(), answer_text=text))


def has(cache: Cache, question: str) -> bool:
    form = NormalForm({"messages": [{"role": "user", "content": question}]})
    request = cache.engine.request("answer", lambda: form)
    assert request is not None
    return cache.store.get(*request.place) is not None


@pytest.fixture
def cache(url: str, namespace: str, tmp_path: Path) -> Iterator[Cache]:
    log = tmp_path / "accesses.log"
    with Cache(url, namespace=namespace, timeout_seconds=20, access_log=log, store_requests=True) as cache:
        answer(cache, "of nobody", f"{OTHER} " * 300)
        yield cache


def long(rng: random.Random) -> str:
    return f"once upon a time {MARKER} " * 100 + rng.randbytes(500).hex()


def test_all_of_a_tenant_is_erased(
    cache: Cache, namespace: str, stored: Callable[[str], bool], tmp_path: Path
) -> None:
    rng, tenant = random.Random(1), "JaneDoe4711"
    for inner in ([], ["a project"]):
        with cache_options(namespace=tenant):
            for one in inner or ["no"]:
                with cache_options(namespace=one) if inner else cache_options():
                    for number in range(20):
                        answer(cache, f"{number}", long(rng))
    with cache_options(namespace="JaneDoe47"):
        answer(cache, "hers", OTHER)
    cache.flush()
    assert stored(MARKER)
    assert stored(tenant)
    accesses = (tmp_path / "accesses.log").stat().st_size
    report = cache.erase(tenant=tenant)
    assert report.total == 40
    assert report.entries == {f"{namespace}/{tenant}": 20, f"{namespace}/{tenant}/a%20project": 20}
    assert report.accesses == 40
    assert (tmp_path / "accesses.log").stat().st_size == accesses - 40 * 48
    assert not stored(MARKER)
    assert not stored(tenant)
    assert has(cache, "of nobody")
    with cache_options(namespace="JaneDoe47"):
        assert has(cache, "hers")
    with cache_options(namespace=tenant):  # it may come back
        answer(cache, "again", OTHER)
        assert has(cache, "again")
    assert cache.erase(tenant=["JaneDoe47", "none"]).total == 0


@pytest.mark.parametrize("where", ["answer", "question", "both"])
def test_all_that_contains_a_text_is_erased(
    cache: Cache, stored: Callable[[str], bool], where: str, tmp_path: Path
) -> None:
    rng = random.Random(2)
    texts_in = {
        "answer": ("why?", long(rng)),
        "question": (f"Who is {MARKER}?", "nobody"),
        "both": (MARKER, long(rng)),
    }
    question, payload = texts_in[where]
    with cache_options(namespace="a tenant"):
        answer(cache, question, payload)
        answer(cache, "in json", '{"name": "' + MARKER + '"}')
    answer(cache, question, payload)
    cache.flush()
    assert stored(MARKER)
    report = cache.erase(text=MARKER)
    assert report.total == 3
    assert MARKER not in report.what
    assert not stored(MARKER)
    assert not has(cache, question)
    assert has(cache, "of nobody")
    assert report.accesses == 3


def test_what_was_made_from_a_text_is_erased_although_no_request_is_stored(url: str, namespace: str) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        answer(cache, f"  {MARKER}\r\n", "a vector")
        answer(cache, "another", "a vector")
        assert cache.erase(text=MARKER).total == 1
        assert not has(cache, f"  {MARKER}\r\n")
        assert has(cache, "another")


@pytest.mark.parametrize("typed", ["JANE doe", "zoë Ångström", "line one\nÉCOLE"])
def test_a_text_is_found_however_its_letters_are_written(cache: Cache, typed: str) -> None:
    for number, one in enumerate((typed.lower(), typed.upper(), typed.title())):
        answer(cache, f"{number}?", f"It was {one} again.")
        answer(cache, f"{number} in json?", json.dumps({"name": one}))
    assert cache.erase(text=typed).total == 6
    assert has(cache, "of nobody")


SAME = [
    ("Anna Weiß", "ANNA WEISS"), ("ANNA WEISS", "Anna Weiß"), ("ANNA WEIẞ", "anna weiß"),
    ("İpek Şahin", "ipek şahin"), ("ipek şahin", "İPEK ŞAHİN"), ("Işık", "IŞIK"), ("νίκος", "ΝΊΚΟΣ"),
    ("Anna\nWeber", "Anna Weber"), ("Anna\u00a0Weber", "Anna Weber"), ("Anna  \t Weber", "anna weber"),
    ("Anna Weber", "Anna\n Weber "), ("Anna\r\nWeber", "Anna Weber"), ("So\ufb01a Berg", "Sofia Berg"),
    ("\uff21\uff4e\uff4e\uff41 Weber", "Anna Weber"), ("Char\u00adlotte", "Charlotte"), 
    ("Anna 😀 Weber", "ANNA 😀 WEBER"),
    ("Zoe\u0308 A\u030angström", "ZOË ÅNGSTRÖM"), ("of C:\\new\\name", "c:\\NEW\\name"), ("\u01c4ak", "džak"),
]  # fmt: skip


@pytest.mark.parametrize(("written", "typed"), SAME)
def test_a_text_is_found_however_it_was_set(written: str, typed: str) -> None:
    with Cache("memory://", store_requests=True) as cache:
        encoded = json.dumps({"said": written})
        answers = [
            f"It was {written}.",
            f"{written}!",
            encoded,
            json.dumps({"arguments": encoded}),
            f"so: {encoded}",
        ]
        for number, one in enumerate(answers):
            answer(cache, f"{number}?", one)
        answer(cache, f"Was it {written}?", "no")
        for number, parts in enumerate(({"a": written, "b": 129}, ["x", written, 0x87], [written] * 3)):
            request = cache.engine.request("answer", lambda number=number: NormalForm({"question": number}))
            assert request is not None
            payload = msgspec.msgpack.encode(parts)
            cache.engine.answer(request, lambda payload=payload: payload, lambda data: Answer(data))
        answer(cache, "of nobody", OTHER)
        assert cache.erase(text=typed).total == len(answers) + 4
        assert has(cache, "of nobody")


@pytest.mark.parametrize("nothing", ["\u200b", "\u00ad\ufeff"])
def test_a_text_that_nobody_sees_is_in_nothing(cache: Cache, nothing: str) -> None:
    answer(cache, "in lines?", f"some{nothing}thing")
    assert cache.erase(text=nothing).total == 0


@pytest.mark.parametrize("question", ["Is Jane DOE “ill”?", "is jane doe ill"])
@pytest.mark.parametrize("store_requests", [True, False])
def test_a_question_to_a_retriever_is_found_as_it_was_typed(
    url: str, namespace: str, question: str, store_requests: bool
) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20, store_requests=store_requests) as cache:
        for text in (question, "who else?"):
            form = NormalForm({"question": normal_form.question(text)})
            request = cache.engine.request("retrieval", lambda form=form: form)  # type: ignore[misc]
            assert request is not None
            cache.engine.answer(request, lambda: Answer(b"found"), lambda one: one)
        if store_requests:
            assert cache.erase(text="“ILL”?").total == 1
        else:
            assert cache.erase(text=question).total == 1
        assert cache.stats().entries == 1


def store_documents(cache: Cache, values: list[Any], apart: int) -> None:
    """A retrieval whose documents hold these values; one of them is stored apart, once for all results."""
    pieces = [msgspec.msgpack.encode(tagged([value, f"{number}" * 600])) for number, value in enumerate(values)]
    payload = msgspec.msgpack.encode([msgspec.Raw(one) for one in pieces])
    at = payload.index(pieces[apart])
    answer = Answer(payload, slices=(Slice(at, at + len(pieces[apart]), ("an id",)),))
    question = uuid.uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))  # no number is in it
    request = cache.engine.request("retrieval", lambda: NormalForm({"question": question}))
    assert request is not None
    cache.engine.answer(request, lambda: answer, lambda one: one)


def test_a_text_is_found_in_typed_values_of_stored_documents(cache: Cache) -> None:
    number = uuid.UUID("12345678-9abc-4def-8123-456789abcdef")
    for value in (datetime.date(1988, 3, 4), (4711, 2.5), {"of": number}, [datetime.date(1988, 3, 5), 471]):
        store_documents(cache, [value, 0], apart=0)
        store_documents(cache, [0, value], apart=0)
    before = cache.stats().entries
    for text in ("1988-03-04", "4711", str(number).upper()):
        assert cache.erase(text=text).total == 2, text
    assert cache.stats().entries == before - 6


def test_a_number_in_a_request_is_a_text_of_it(url: str, namespace: str) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        for number in (4711, 4711.5, 815):
            form = NormalForm(
                {"messages": [{"tool_calls": [{"args": {"customer": number}}]}], "model": {"seed": 99}}
            )
            request = cache.engine.request("answer", lambda form=form: form)
            assert request is not None
            cache.engine.answer(request, lambda: "x", lambda text: Answer(text.encode()))
        assert cache.erase(text="99").total == 0
        assert cache.erase(text="4711.0").total == cache.erase(text="4711.50").total == 1
        assert cache.stats().entries == 1


def test_all_of_a_tag_and_of_a_source_is_erased(
    cache: Cache, namespace: str, stored: Callable[[str], bool]
) -> None:
    rng = random.Random(3)
    corpus = Corpus(cache, name="people")
    with cache_options(tags=["a tag"]):
        answer(cache, "tagged", long(rng))
    position = cache.engine.position(corpus.log)
    assert position is not None
    source = Source(corpus.log, position.sequence, (f"{MARKER}.pdf", "2"))
    answer(cache, "made", OTHER, sources=(source,))
    corpus.changed(["other.pdf"])
    with corpus.writing([f"{MARKER}.pdf"]):
        pass
    answer(cache, "made again", long(rng), sources=(source,))
    assert cache.erase(tag="a tag").total == 1
    assert not has(cache, "tagged")
    assert stored(MARKER)
    report = cache.erase(source=f"{MARKER}.pdf")
    assert report.total == 2
    assert report.logs == [corpus.log]
    assert not stored(MARKER)
    assert has(cache, "of nobody")
    after = cache.engine.position(corpus.log)
    assert after is not None and after.sequence > position.sequence  # its readers notice


@pytest.mark.parametrize("target", ["tag", "text", "entry"])
def test_questions_of_an_answer_go_with_it_and_their_vectors_too(url: str, namespace: str, target: str) -> None:
    search: Any = "server" if url.startswith("redis") else "process"
    settings = Semantic(lambda text: [1.0, 0.0], model="test", max_error=0.5, search=search)
    with Cache(url, namespace=namespace, timeout_seconds=20, semantic=settings) as cache:
        with cache_options(tags=["hers"]):
            store_semantic(cache, "who is it?", MARKER)
        cache.flush()
        [record] = [one for records in pages(cache.store, namespace) for one in records]
        place, codec = Place(namespace, record.key), cache.engine.codec
        entry = codec.decode(record.value, bound_to=place.bound_to)
        assert entry.semantic is not None
        partition = vector_partition(entry.semantic.embedder, entry.semantic.partition)
        alias = Place(namespace, bytes(32))
        semantic = msgspec.structs.replace(entry.semantic, text="her name?", answer_text="", answer=place.key)
        data = codec.encode(Entry(b"", 0.0, semantic=semantic), bound_to=alias.bound_to)
        cache.store.put(namespace, [Record(alias.key, data)])
        vector = np.array([1.0, 0.0], "<f4").tobytes()
        if isinstance(cache.store, VectorSearch):
            cache.store.vector_put(namespace, partition, alias.key, vector)
            assert len(cache.store.vector_search(namespace, partition, vector, 10)) == 2
        targets = {"tag": Target(tag="hers"), "text": Target(text=MARKER), "entry": Target(entry=place)}
        assert cache.engine.erase(targets[target]).total == 2
        assert cache.stats().entries == 0
        if isinstance(cache.store, VectorSearch):
            assert cache.store.vector_search(namespace, partition, vector, 10) == []


def test_one_entry_is_erased_alone(url: str, namespace: str, tmp_path: Path) -> None:
    log = tmp_path / "accesses.log"
    with Cache(url, namespace=namespace, timeout_seconds=20, access_log=log) as cache:
        for tenant in ("a", "b"):
            with cache_options(namespace=tenant):
                answer(cache, "who?", MARKER)
                answer(cache, "of nobody", OTHER)
        with cache_options(namespace="a"):
            request = cache.engine.request("answer", lambda: NormalForm(FORM))
            assert request is not None
        report = cache.engine.erase(Target(entry=request.place))
        assert (report.entries, report.accesses) == ({request.place.namespace: 1}, 1)
        assert cache.engine.erase(Target(entry=request.place)).total == 0
        for tenant, left in (("a", False), ("b", True)):
            with cache_options(namespace=tenant):
                assert (has(cache, "who?"), has(cache, "of nobody")) == (left, True)


def test_learned_state_is_searched(
    url: str, namespace: str, stored: Callable[[str], bool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("askonce.semantic.index.shared._SAVE_INDEX_FROM", 1)

    def embed(text: str) -> list[float]:
        return list(np.random.default_rng(abs(hash(text)) % 2**32).normal(size=8))

    settings = Semantic(embed, model="test", max_error=0.5)
    with Cache(url, namespace=namespace, timeout_seconds=20, semantic=settings) as cache:
        for tenant in (MARKER, OTHER):
            with cache_options(namespace=tenant):
                for number in range(5):
                    store_semantic(cache, f"what of {tenant} {number}?", tenant)
        cache.flush()
    files = list(index_file.folder().glob("*.index"))
    assert len(files) == 1
    payload = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"{MARKER} " * 500}]}
    with PrefixTracker(url, namespace=namespace, keep_text=True, application=MARKER, timeout_seconds=20) as tracker:
        tracker.observe(payload, "openai", None)
    assert stored(MARKER)
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        report = cache.erase(text=MARKER)
        assert report.total == 5
        assert report.learned
        assert report.files == [str(one) for one in files]
        assert not files[0].exists()
        report = cache.erase(tenant=MARKER)
        assert not stored(MARKER)
        with cache_options(namespace=OTHER):
            assert cache.stats().entries == 5


@pytest.mark.parametrize(
    "target", [{"tenant": "Jane"}, {"tag": "user:jane"}, {"source": "4711"}, {"text": "x" * 90}]
)
def test_prompts_that_a_tracker_quotes_go_whosever_they_are(
    url: str,
    namespace: str,
    stored: Callable[[str], bool],
    target: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def send(tracker: PrefixTracker, word: str) -> None:
        messages = [{"role": "system", "content": f"You help {word} today. {'stable text ' * 900}"}]
        payload = {"model": "gpt-4o", "messages": [*messages, {"role": "user", "content": "Why?"}]}
        tracker.observe(payload, "openai", Usage(2_000))
        clock.advance(5)

    clock = FakeClock(time.time())
    options: dict[str, Any] = {"namespace": namespace, "keep_text": True, "timeout_seconds": 20, "clock": clock}
    with PrefixTracker(url, **options) as running:
        with PrefixTracker(url, **options) as ended:
            for word in (MARKER, "x" * len(MARKER)):
                send(ended, word)
        for word in (MARKER, "x" * len(MARKER)):
            send(running, word)
        running.sync()
        assert stored(MARKER)
        meanwhile: list[int] = []
        begun_anew = threading.Event()  # what is sent from there on is sent after the erasure

        def send_on(_: int) -> None:
            if begun_anew.is_set():
                return
            for word in (f"{len(meanwhile):0{len(MARKER)}}", MARKER):
                send(running, word)
                meanwhile.append(1)
            running.sync()

        with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
            erase = cache.store.erase
            monkeypatch.setattr(type(cache.store), "erase", lambda _, places: (begun_anew.set(), erase(places))[1])
            cache.erase(**target, progress=send_on)
        running.sync()  # its thread may be writing just now
        assert meanwhile and not stored(MARKER)
        send(running, "y" * len(MARKER))  # what it writes next is after the erasure
        running.sync()
        assert not stored(MARKER)
        assert sum(row.requests for day in running.days() for row in day.sums) == 5 + len(meanwhile)


def test_what_comes_again_to_an_encrypted_store_is_found_again(url: str, namespace: str) -> None:
    options: dict[str, Any] = {"namespace": namespace, "timeout_seconds": 20, "encryption_keys": [b"k" * 32]}
    with Cache(url, **options) as running:
        corpus = Corpus(running, name="handbook")
        for target in ({"tenant": ["outer", "inner"]}, {"tenant": "outer"}, {"text": MARKER}):
            with cache_options(namespace="outer"), cache_options(namespace="inner"):
                answer(running, f"who is {target}?", f"{MARKER} it is")
            running.flush()
            with Cache(url, totals=False, **options) as other:
                assert other.erase(**target).total == 1, target
        for document in ("a", "b"):
            corpus.changed([document])
            with Cache(url, totals=False, **options) as other:
                assert len(other.erase(source=document).logs) == 1, document


def test_a_log_in_the_open_is_reported_once_by_an_encrypted_cache(url: str, namespace: str) -> None:
    keys = (b"k" * 32,)
    with PrefixTracker(url, namespace=namespace, encryption_keys=keys, timeout_seconds=20) as tracker:
        tracker.observe(
            {"model": "gpt-4o", "messages": [{"role": "user", "content": "why? " * 2_000}]}, "openai", None
        )
    with Cache(url, namespace=namespace, encryption_keys=keys, timeout_seconds=20) as cache:
        for _ in range(2):
            assert cache.erase(text=MARKER).logs == [f"{namespace}:prefix"]


def test_damaged_counts_are_reported(url: str, namespace: str) -> None:
    if not url.startswith("sqlite"):
        pytest.skip("the record is damaged in one store")
    with Cache(url, namespace=namespace) as cache:
        with cache_options(namespace="Jane"):
            answer(cache, "why?", "because")
        cache.flush()
        totals = totals_namespace(namespace)
        for key, value in list(cache.store.scan(totals)):
            cache.store.put(totals, [Record(key, value[:-9])])
        assert cache.erase(tenant="Jane").unreadable == 1


def test_a_running_process_forgets_what_another_one_erases(url: str, namespace: str, tmp_path: Path) -> None:
    def embed(text: str) -> list[float]:
        return [1.0, 0.0]

    settings = Semantic(embed, model="test", max_error=0.5)
    with Cache(url, namespace=namespace, timeout_seconds=20, semantic=settings) as running:
        store_semantic(running, f"who is {MARKER}?", "x")
        running.flush()
        semantic = running.engine.flow.semantic
        assert semantic is not None
        assert running.stats().semantic.questions == 1
        with Cache(url, namespace=namespace, timeout_seconds=20) as other:
            assert other.erase(text=MARKER).total == 1
        deadline = time.monotonic() + 20
        while running.stats().semantic.questions:
            assert time.monotonic() < deadline
            time.sleep(0.1)


@pytest.mark.parametrize("what", ["tenant", "entry"])
def test_a_running_process_drops_what_it_holds_of_what_another_one_erases(
    url: str, namespace: str, what: str
) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20, local_ttl=600) as running:
        with cache_options(namespace="hers"):
            answer(running, "who?", MARKER)
            hers = running.engine.request("answer", lambda: NormalForm(FORM))
            assert hers is not None
        target = Target(tenant=("hers",)) if what == "tenant" else Target(entry=hers.place)
        with Cache(url, namespace=namespace, timeout_seconds=20) as other:
            assert other.engine.erase(target).total == 1
        calls, deadline = [], time.monotonic() + 20
        while not calls:
            assert time.monotonic() < deadline
            with cache_options(namespace="hers"):
                request = running.engine.request("answer", lambda: NormalForm(FORM))
            assert request is not None
            running.engine.answer(request, lambda: calls.append(1), lambda _: None)
            time.sleep(0.1)


def test_a_cache_named_multiplexer_holds_entries(url: str) -> None:
    with Cache(url, namespace="multiplexer", timeout_seconds=20) as cache:
        cache.store.log_append("multiplexer/others/judge", b"of routing")
        with cache_options(namespace=(tenant := f"jane {uuid.uuid4().hex}")):
            answer(cache, "hers", MARKER)
        assert cache.erase(text=MARKER).total == 1
        with cache_options(namespace=tenant):
            answer(cache, "hers", MARKER)
        assert cache.erase(tenant=tenant).total == 1
        cache.store.erase({"multiplexer/others/judge": None})


def test_an_encrypted_cache_is_searched_too(url: str, namespace: str, stored: Callable[[str], bool]) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=[b"k" * 32]) as cache:
        with cache_options(namespace=MARKER):
            answer(cache, "hers", MARKER)
            with cache_options(namespace="within"):
                answer(cache, "hers too", OTHER)
        with cache_options(namespace=OTHER):
            answer(cache, "of her", MARKER)
            answer(cache, "of nobody", OTHER)
        assert cache.erase(tenant=MARKER).total == 2
        assert cache.erase(text=MARKER).total == 1
        with cache_options(namespace=OTHER):
            assert has(cache, "of nobody")
        assert MARKER not in " ".join(cache.store.namespaces())
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=[b"l" * 32]) as other:
        report = other.erase(text=OTHER)
        assert report.total == 0
        assert report.encrypted > 0
    with Cache(url, namespace=namespace, timeout_seconds=20) as other:
        assert other.erase(text=OTHER).encrypted > 0
        answer(other, "of nobody", OTHER)
        places = [Place(namespace, key) for key, _ in other.store.scan(namespace)]
        found = [other.engine.erase(Target(entry=place)) for place in places]
        assert [(one.total, one.encrypted) for one in found] == [(1, 0)]  # it is in no other namespace


def test_an_encrypted_cache_knows_all_namespaces_that_it_made(url: str, namespace: str) -> None:
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=[b"k" * 32]) as cache:
        before = cache.erase(text=MARKER).encrypted  # of others, on a server that tests share
        answer(cache, "of nobody", OTHER)
        with cache_options(namespace="cleared"):
            cache.clear()
        with cache_options(namespace="invalidated"):
            cache.invalidate("a tag")
        with cache_options(namespace="failed"):
            request = cache.engine.request("answer", lambda: NormalForm({"a": 1}))
        assert request is not None
        with pytest.raises(ZeroDivisionError):
            cache.engine.answer(request, lambda: 1 / 0, lambda one: None)
        cache.erase(tenant="erased")
        cache.flush()
        assert cache.erase(text=MARKER).encrypted == before
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=[b"k" * 32]) as cache:
        assert cache.erase(text=MARKER).encrypted == before


def test_other_caches_that_have_the_name_are_reported(url: str, namespace: str) -> None:
    names = [namespace, *(f"{namespace} {number}" for number in range(3))]
    for name, tenant, tags in zip(names, (MARKER, MARKER, OTHER, OTHER), ((), (), (MARKER,), ()), strict=True):
        with Cache(url, namespace=name, timeout_seconds=20) as cache, cache_options(namespace=tenant, tags=tags):
            answer(cache, "why?", OTHER)
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        assert cache.erase(tenant=MARKER).elsewhere == names[1:2]
        assert cache.erase(tag=MARKER).elsewhere == names[2:3]
        assert cache.erase(text=MARKER).elsewhere == []
    with Cache(url, namespace=names[1], timeout_seconds=20) as cache:
        assert cache.erase(tenant=MARKER).total == 1
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        assert cache.erase(tenant=MARKER).elsewhere == []


@pytest.mark.parametrize("kind", ["tenant", "tag"])
def test_what_other_caches_have_in_the_open_is_reported_by_an_encrypted_one(
    url: str, namespace: str, kind: str
) -> None:
    other, keys, name = f"{namespace} 1", [b"k" * 32], f"of {namespace}"
    with Cache(url, namespace=other, timeout_seconds=20) as cache, cache_options(namespace=name, tags=[name]):
        answer(cache, "why?", OTHER)
    with Cache(url, namespace=other, timeout_seconds=20) as cache:
        for one in cache.store.namespaces():
            if one.startswith(other.replace(" ", "%20")) and not one.endswith(":totals"):
                cache.store.erase({one: None})
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=keys) as cache:
        with cache_options(namespace=name, tags=[name]):
            answer(cache, "why?", OTHER)
        report = cache.erase(tenant=name) if kind == "tenant" else cache.erase(tag=name)
        assert report.elsewhere == [other]
        assert report.total == 1


def test_an_encrypted_cache_erases_what_it_had_in_the_open_before(
    url: str, namespace: str, stored: Callable[[str], bool]
) -> None:
    for keys in ([], [b"k" * 32]):
        with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=keys) as cache:
            with cache_options(namespace="hers"):
                answer(cache, "why?", MARKER)
            answer(cache, "of nobody", OTHER)
    assert stored(MARKER)
    with Cache(url, namespace=namespace, timeout_seconds=20, encryption_keys=[b"k" * 32]) as cache:
        report = cache.erase(text=MARKER)
        assert report.total == 2 and not report.unreadable
        assert has(cache, "of nobody")
    assert not stored(MARKER)
    with Cache(url, namespace=namespace, timeout_seconds=20) as cache:
        assert has(cache, "of nobody")


def test_what_to_erase_is_named_once(cache: Cache) -> None:
    for wrong in ({}, {"tag": "a", "text": "b"}, {"text": ""}, {"tenant": [""]}):
        with pytest.raises(ConfigError):
            cache.erase(**wrong)
    assert has(cache, "of nobody")


@pytest.mark.parametrize(
    "target",
    [
        {"text": " "},
        {"text": ""},
        {"text": 3},
        {"source": 5},
        {"tag": ""},
        {},
        {"tenant": None},
        {"tenant": 5},
        {"tenant": [None]},
        {"tenant": None, "tag": "a"},
        {"source": "caf\udce9"},
        {"tag": "caf\udce9"},
        {"tenant": ["caf\udce9"]},
    ],
)
def test_what_is_to_be_erased_is_named_by_a_text(target: Any) -> None:
    with Cache("memory://") as cache, pytest.raises(ConfigError):
        cache.erase(**target)
