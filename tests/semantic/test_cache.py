"""Semantic hits through the core cache, over real stores and several processes."""

from __future__ import annotations

import logging
import multiprocessing
import shutil
import threading
import time
from pathlib import Path

import pytest

from askonce import Cache, ConfigError, Semantic, StoreUnavailable, cache_options
from askonce.entries.entry import Hit
from askonce.semantic.types import Comparison
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.semantic.faq import (
    NEW,
    TOPICS,
    Desk,
    embed,
    form_of,
    pack,
    questions,
    semantic_hit,
    semantic_hits,
    topic_of,
)
from tests.support import servers


class WordyDesk(Desk):
    """Its model words each answer differently."""

    def _model(self, question: str) -> str:
        return f"{super()._model(question)}This was answer {self.calls}."


def equal(comparison: Comparison) -> bool:
    return comparison.fresh_answer == comparison.cached_answer


def semantic(**settings: object) -> Semantic:
    return Semantic(embed, **{"max_error": 0.05, "judge": equal, **settings})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def learned_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of which a cache has learned to serve."""
    path = tmp_path_factory.mktemp("semantic") / "learned.db"
    with Cache(f"sqlite:///{path}", semantic=semantic()) as cache:
        Desk(cache).work(500)
    return path


@pytest.fixture
def url(learned_file: Path, tmp_path: Path) -> str:
    return f"sqlite:///{shutil.copy(learned_file, tmp_path / 'cache.db')}"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_reworded_question_hits_after_some_hundred_requests(asynchronous: bool) -> None:
    with Cache("memory://", semantic=semantic()) as cache:
        desk = Desk(cache)
        found = desk.work(500, asynchronous=asynchronous)
        hits, stats = semantic_hits(found), cache.stats()
        assert len(hits) > 50 and not semantic_hits(found[:200])
        assert desk.wrong <= 0.05 * 500
        assert desk.calls + stats.hits == 500 and stats.semantic_hits == len(hits)
        assert stats.semantic is not None
        assert stats.semantic.hits == len(hits) and stats.semantic.audits > 0
        assert stats.semantic.error_low <= stats.semantic.estimated_error <= stats.semantic.error_high
    mark = hits[-1].mark()
    assert mark["hit"] == "semantic" and 0 < mark["similarity"] < 1 and 0.5 < mark["probability"] <= 1
    assert any(topic in mark["question"] for topic in TOPICS)


def test_answers_in_other_words_each_time_are_learned_from_as_fast_as_equal_ones(tmp_path: Path) -> None:
    def same_topic(comparison: Comparison) -> bool:
        return topic_of(comparison.fresh_answer) == topic_of(comparison.cached_answer)

    url, hits = f"sqlite:///{tmp_path}/cache.db", []
    for desk_of, store in ((Desk, "memory://"), (WordyDesk, url)):
        with Cache(store, semantic=semantic(judge=same_topic)) as cache:
            desk = desk_of(cache)
            hits.append(len(semantic_hits(desk.work(500))))
            assert desk.wrong <= 0.05 * 500
    assert hits[1] > 0.8 * hits[0] > 40
    with Cache(url, semantic=semantic(judge=same_topic)) as cache:  # and another process has it too
        wordy = WordyDesk(cache)
        assert semantic_hits([wordy.answer(question) for question in NEW])
        assert all(entry.payload for entry in cache.entries())  # each question has its own answer


@pytest.mark.parametrize("server", ["redis-7.0", "redis-8.2", "redis-cluster", "mongodb"])
def test_what_is_learned_is_stored_on_servers(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if reason := servers.available(server):
        pytest.skip(reason)
    monkeypatch.setattr("askonce.semantic.decision.rule.WARM_LABELS", 60)
    url, search = servers.start(server).url, "server" if server == "redis-8.2" else "process"
    settings = {"namespace": f"semantic-{time.time_ns()}", "timeout_seconds": 20.0}
    with Cache(url, semantic=semantic(search=search, max_error=0.2), **settings) as cache:  # type: ignore[arg-type]
        desk = Desk(cache)
        for number, question in zip(range(160), questions(8), strict=False):
            desk.answer(question)
            if number % 20 == 0:
                assert cache.flush(60)
    with Cache(url, semantic=semantic(search=search, max_error=0.2), **settings) as cache:  # type: ignore[arg-type]
        assert semantic_hit(Desk(cache))
        cache.clear()
        assert semantic_hit(Desk(cache)) is None


def test_server_search_needs_a_server_with_vector_search(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="search='process'"):
        Cache(f"sqlite:///{tmp_path}/cache.db", semantic=semantic(search="server"))


def test_a_restart_loses_nothing(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        found = semantic_hit(Desk(cache))
        stats = cache.stats().semantic
    assert found is not None and found.kind == "semantic" and found.entry.payload.startswith(b"About your")
    assert stats is not None and stats.judged > 200 and stats.questions > 200


def test_all_but_the_question_must_be_equal(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        assert semantic_hit(Desk(cache, system="You are a pirate.")) is None
        with cache_options(namespace="tenant-7"):
            assert semantic_hit(Desk(cache)) is None


def test_skipped_questions_are_not_served(url: str) -> None:
    with Cache(url, semantic=semantic(skip=lambda question: "please" in question)) as cache:
        assert semantic_hit(Desk(cache)) is None
    with Cache(url, semantic=semantic()) as cache, cache_options(semantic=False):
        assert semantic_hit(Desk(cache)) is None
    with Cache(url, semantic=semantic()) as cache, cache_options(refresh=True):
        assert semantic_hit(Desk(cache)) is None


def test_equal_answers_are_stored_once_and_their_questions_hit_exactly(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        entries = list(cache.entries())
        aliases = [entry for entry in entries if entry.semantic is not None and entry.semantic.answer]
        assert len(entries) - len(aliases) == len(TOPICS)
        assert len(aliases) > 200 and not any(alias.payload for alias in aliases)
        again = aliases[0].semantic
        assert again is not None
        hit = Desk(cache).answer(again.text)
        assert isinstance(hit, Hit) and hit.kind == "exact" and hit.entry.payload.startswith(b"About your")


def test_feedback_deletes_a_wrong_answer_and_outweighs_the_judge(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        hit = semantic_hit(Desk(cache))
        assert hit is not None and hit.match is not None
        assert cache.feedback(hit.mark(), wrong=True)
        assert cache.stats().semantic.reported_wrong == 1  # type: ignore[union-attr]
        exact = cache.engine.lookup(cache.engine.request("answer", lambda: form_of(hit.match.question)))  # type: ignore[arg-type]
        assert not isinstance(exact, Hit)
        assert not cache.feedback({}, wrong=True)


def test_feedback_on_a_fresh_answer_deletes_it(tmp_path: Path) -> None:
    with Cache(f"sqlite:///{tmp_path}/cache.db", semantic=semantic()) as cache:
        desk = Desk(cache)
        desk.answer("where is my refund?")
        assert cache.feedback(cache.engine.mark_of_fresh(desk._request("where is my refund?")), wrong=True)
        assert not isinstance(desk.answer("where is my refund?"), Hit)


def test_invalidated_and_cleared_answers_are_not_served_to_other_questions(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        desk = Desk(cache)
        assert semantic_hit(desk)
        assert cache.flush()
        cache.clear()
        assert cache.stats().semantic.questions == 0  # type: ignore[union-attr]
        assert semantic_hit(desk) is None


def test_invalidating_an_answer_invalidates_its_aliases(tmp_path: Path) -> None:
    with Cache(f"sqlite:///{tmp_path}/cache.db", semantic=semantic()) as cache:
        desk = Desk(cache)
        with cache_options(tags=["vouchers"]):
            desk.answer("where is my voucher?")
        assert cache.flush()
        desk.answer("where is my voucher today?")
        assert cache.flush()
        assert isinstance(desk.answer("where is my voucher today?"), Hit)
        assert cache.invalidate("vouchers") == 1
        assert not isinstance(desk.answer("where is my voucher today?"), Hit)


def test_expired_answers_are_not_served_to_other_questions(tmp_path: Path, clock: FakeClock) -> None:
    with Cache("memory://", semantic=semantic(), ttl=3600, clock=clock) as cache:
        desk = Desk(cache)
        assert semantic_hits(desk.work(500))
        clock.advance(3601)
        assert semantic_hit(desk) is None


def test_no_request_waits_for_a_judge_that_fails_or_is_slow(caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    def slow(comparison: Comparison) -> bool:
        released.wait(30)
        raise RuntimeError("no judgement")

    cache = Cache("memory://", semantic=semantic(judge=slow))
    desk = Desk(cache)
    answers = [desk.answer(question) for question, _ in zip(questions(3), range(20), strict=False)]
    assert len(answers) == 20
    released.set()
    with caplog.at_level(logging.CRITICAL):
        cache.close()


def test_without_an_embedding_the_model_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def fails(text: str) -> list[float]:
        raise RuntimeError("the embedding model is down")

    with Cache("memory://", semantic=Semantic(fails, judge=equal, model="fails")) as cache:
        desk = Desk(cache)
        assert desk.answer("where is my refund?") == desk._model("where is my refund?")
        assert isinstance(desk.answer("where is my refund?"), Hit)
    assert "the embeddings raise: RuntimeError" in caplog.text and "model is down" not in caplog.text


def test_without_a_store_the_model_is_called() -> None:
    def fail(*_: object) -> object:
        raise StoreUnavailable("down")

    store = MemoryStore()
    for name in ("get", "get_many", "put", "scan", "log_append", "log_read", "lease", "touch"):
        setattr(store, name, fail)
    cache = Cache(store, semantic=semantic())
    assert not isinstance(Desk(cache).answer("where is my refund?"), Hit)
    cache.close()


def test_an_encrypted_store_holds_no_question_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "sealed.db"
    with Cache(f"sqlite:///{path}", semantic=semantic(), encryption_keys=[b"k" * 32]) as cache:
        Desk(cache).work(20)
    content = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert b"voucher" not in content and b"customers" not in content


def _request_many(url: str, seed: int, start: threading.Barrier) -> None:
    with Cache(url, semantic=semantic()) as cache:
        desk = Desk(cache)
        start.wait()
        for question, _ in zip(questions(seed), range(100), strict=False):
            desk.answer(question)


def test_processes_that_learn_at_once_count_each_request_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    Cache(url).close()
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(4)
    processes = [context.Process(target=_request_many, args=(url, seed, start)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    with Cache(url, semantic=semantic()) as cache:
        Desk(cache).answer("where is my refund, finally?")
        assert cache.flush()
        stats = cache.stats().semantic
    assert stats is not None
    exact_twice = 400 - stats.requests + 1
    assert 0 <= exact_twice < 100 and stats.questions > 100 and stats.judged > 100


def test_a_second_process_learns_of_questions_through_the_log(url: str) -> None:
    with Cache(url, semantic=semantic()) as one, Cache(url, semantic=semantic()) as other:
        assert semantic_hit(Desk(other))
        before = other.stats().semantic
        Desk(one).work(20, seed=77)
        Desk(one).answer("who planted the trees in front of the town hall?")
        assert one.flush() and other.flush()
        after = other.stats().semantic
    assert before is not None and after is not None
    assert after.requests > before.requests and after.questions > before.questions


@pytest.mark.parametrize(
    "settings",
    [{"max_error": 0}, {"max_error": 1}, {"judge": 3}, {"confidence": 2}, {"search": "cloud"}, {"skip": "all"}],
)
def test_invalid_settings_are_refused_at_construction(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        semantic(**settings)


def test_unusable_embeddings_are_refused_at_construction() -> None:
    with pytest.raises(ConfigError):
        Cache("memory://", semantic=Semantic(object()))


def test_the_whole_answer_is_what_a_stream_replays(url: str) -> None:
    with Cache(url, semantic=semantic()) as cache:
        desk, chunks = Desk(cache), []
        for question in NEW:
            fresh = f"{desk._model(question)}!"
            chunks += cache.engine.stream(
                desk._request(question),
                lambda fresh=fresh: iter([fresh]),
                lambda fresh=fresh: pack(fresh),
                lambda hit: iter(hit.entry.payload.decode().partition(":")),
            )
    assert any(chunk == ":" for chunk in chunks)
