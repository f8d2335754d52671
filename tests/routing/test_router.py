"""What the router decides, what holds of it, and what processes share; without a framework."""

from __future__ import annotations

import gc
import math
import random
import subprocess
import sys
import threading
import uuid
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.errors import StoreUnavailable
from askonce.routing import Cascade, Confidence, Learned, Strategy
from askonce.routing.features import WIDEST, features
from askonce.routing.floor import RATES, Floor, penalties, usable
from askonce.routing.regression import Failing, probability
from askonce.routing.router import Router
from askonce.routing.runner import Following, follow
from askonce.routing.state import Knowledge, outcome
from askonce.routing.types import ModelResponse, RoutingRequest
from askonce.stores import open_store
from askonce.stores.base import Store
from askonce.stores.memory import MemoryStore
from tests.support import servers

np = pytest.importorskip("numpy")
COSTS = (0.001, 0.01)
FEW = (1.0, 0.0)
"""An embedding of few dimensions, where many requests are to take little time."""


def same(question: str, answer: str, reference: str) -> bool:
    return answer == reference


def router(strategy: Strategy, store: Store | None = None, models: int = 2, *, priced: bool = True) -> Router:
    costs = None if not priced else COSTS if models == 2 else (0.001, 0.003, 0.01)
    names = [f"m{at}" for at in range(models)]
    return Router(names, strategy, state=lambda: "s", store=store or MemoryStore(), costs=costs)


def ask(router: Router, question: str, *answers: Any, embedding: Any = None) -> dict[str, Any]:
    """Put a question to models that answer so; an exception is raised."""

    def model(index: int) -> ModelResponse:
        if isinstance(answers[index], Exception):
            raise answers[index]
        return ModelResponse(answers[index], cost_usd=10.0 ** (index - 5), response=answers[index])

    following = Following(router.course(RoutingRequest(question, len(question)), embedding))
    follow(following, model)
    assert following.mark is not None
    return following.mark


# -- the floor -----------------------------------------------------------------------------------------------------


@given(st.lists(st.floats(0, 30), min_size=len(RATES), max_size=len(RATES)))
def test_the_bound_is_where_the_martingale_reaches_its_limit(evidence: list[float]) -> None:
    floor = Floor(0.95, 0.95)
    bound = floor.bound(evidence)
    reached = sum(math.exp(rate * bound - known) for rate, known in zip(RATES, evidence, strict=True)) / len(RATES)
    assert bound == 0 or reached == pytest.approx(20, rel=1e-3)


@given(st.floats(0.01, 0.99))
def test_the_martingale_stays_where_it_is_on_average(p: float) -> None:
    for rate, penalty, ends in zip(RATES, penalties(p), usable(p), strict=True):
        if ends == 0:
            assert (1 - p) * math.exp(rate) + p * math.exp(-penalty) == pytest.approx(1)
        else:
            assert penalty == math.inf


@pytest.mark.parametrize("failing", [1.0, 0.5, 0.08])
def test_the_floor_holds_at_every_moment_on_hostile_streams(failing: float) -> None:
    """The stream turns bad once it has gained trust; 20 streams, of which at most 10% may pass the floor."""
    broken = 0
    for seed in range(20):
        rng = random.Random(seed)
        one = router(Learned(judge=same, min_quality=0.8, confidence=0.9, seed=seed))
        wrong, passed_floor = 0, False
        for number in range(260):
            bad = number > 130 and rng.random() < failing
            mark = ask(one, "word", "b" if bad else "a", "a", embedding=FEW)
            wrong += mark["model"] == "m0" and bad
            passed_floor = passed_floor or wrong > 0.2 * (number + 1)
        broken += passed_floor
    assert broken <= 2


def test_feedback_that_never_comes_counts_as_wrong() -> None:
    one = router(Learned(feedback=True, min_quality=0.8))
    cheap = sum(ask(one, "word", "a", "a")["model"] == "m0" for _ in range(100))
    assert 0 < cheap <= 20
    assert one.stats().quality_at_least == pytest.approx(1 - cheap / 100)


def test_what_no_judge_can_tell_counts_as_wrong() -> None:
    def silent(question: str, answer: str, reference: str) -> None:
        raise ValueError("no")

    one = router(Learned(judge=silent, min_quality=0.8, seed=1))
    alone = sum(ask(one, "word", "a", "a", embedding=FEW)["calls"] == ["m0"] for _ in range(300))
    assert alone < 0.2 * 300 and (one.stats().quality_at_least or 0) >= 0.8


def test_an_audit_of_which_the_last_model_fails_gives_the_cheap_answer() -> None:
    one = router(Learned(judge=same, seed=1))
    mark = ask(one, "word", "a", RuntimeError("down"))
    assert (mark["model"], mark["why"]) == ("m0", "the last model failed")
    assert one.stats().quality_at_least == 0


@pytest.mark.parametrize("vector", [None, [math.nan, 1.0]])
def test_a_question_that_cannot_be_embedded_goes_to_the_last_model(
    vector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = router(Learned(judge=same, seed=1, embed=lambda question: vector))
    marks = [ask(one, "word", "a", "b", embedding=one.embed("word")) for _ in range(3)]
    assert [(mark["model"], mark["why"]) for mark in marks] == [("m1", "the question could not be embedded")] * 3
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


# -- what is learned -----------------------------------------------------------------------------------------------


def test_it_learns_which_requests_the_cheap_one_can_answer() -> None:
    rng = random.Random(3)
    one = router(Learned(judge=same, min_quality=0.9, seed=3))
    asked: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(700):
        easy = rng.random() < 0.5
        question = f"{'translate this' if easy else 'prove that theorem'} {rng.randrange(50)}"
        mark = ask(one, question, "a" if easy else "b", "a")
        asked[easy].append(mark["calls"] == ["m0"])
    assert sum(asked[True][-100:]) > 60 and sum(asked[False][-100:]) < 5
    assert one.stats().saved_usd > 0.1 * one.stats().always_last_usd


def test_with_a_verifier_it_learns_where_to_begin() -> None:
    one = router(Learned(verifier=_is_good), models=3)
    marks = []
    for number in range(150):
        easy = number % 2 == 0
        said = "good" if easy else "bad"
        marks.append((easy, ask(one, "simple sum" if easy else "hard proof", said, said, "good")["calls"]))
    assert [calls for easy, calls in marks[-20:] if easy] == [["m0"]] * 10
    assert [calls for easy, calls in marks[-20:] if not easy] == [["m2"]] * 10


def test_a_model_that_was_never_asked_is_taken_for_cheaper_than_those_after_it() -> None:
    told = router(Learned(feedback=True, min_quality=0.5), priced=False)
    for _ in range(60):
        told_of = ask(told, "word", "a", "a")
        told.feedback(told_of, wrong=False)
    assert told.stats().answers["m0"] > 40
    middle = router(Learned(verifier=_is_good), models=3, priced=False)
    ask(middle, "word", "bad", RuntimeError("down"), "good")
    assert [ask(middle, "word", "bad", "good", "good")["model"] for _ in range(20)] == ["m1"] * 20


def _is_good(response: str) -> bool:
    return response == "good"


def test_a_verifier_that_fails_accepts_nothing() -> None:
    mark = ask(router(Cascade(Confidence(0.5, score=_odd))), "q", "a", "b")
    assert mark["calls"] == ["m0", "m1"]


def _odd(response: str) -> float:
    raise KeyError(response)


def test_long_embeddings_are_folded_and_keep_their_angles() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3072))
    mixed = first + 0.5 * second
    folded = [features(RoutingRequest(""), (), vector)[:WIDEST] / 3 for vector in (first, second, mixed)]
    for at, a in enumerate((first, second, mixed)):
        for other, b in enumerate((first, second, mixed)):
            cosine = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            assert folded[at] @ folded[other] == pytest.approx(cosine, abs=0.1)


def test_regression_learns_and_knows_how_sure_it_is() -> None:
    one, rng = Failing.unknowing(8), np.random.default_rng(0)
    weights = rng.normal(size=8)
    start = one.predict(np.ones(8, np.float32))[1]
    for _ in range(2000):
        x = rng.normal(size=8).astype(np.float32)
        one.learn(x, bool(rng.random() < 1 / (1 + np.exp(-x @ weights))))
    assert one.predict(np.ones(8, np.float32))[1] < start / 5
    assert np.abs(one.mean - weights).max() < 0.3 and 0 < probability(*one.predict(weights.astype(np.float32))) < 1


# -- what is shared ------------------------------------------------------------------------------------------------


def test_a_snapshot_is_what_it_was_made_of() -> None:
    known = Knowledge()
    x = np.linspace(0, 1, 20).astype(np.float32)
    known.add({"requests": 3.0, "floor.2": math.inf}, [outcome("wrong.0", x, True)])
    again = Knowledge.of(known.snapshot())
    assert again.sums == known.sums
    assert again.learner("wrong.0", 20).predict(x) == pytest.approx(known.learner("wrong.0", 20).predict(x))


WORK = """
import sys
from askonce.routing import Learned
from askonce.routing.types import Asked, Told
from askonce.routing.runner import Following, follow
from askonce.routing.router import Router

judged = Learned(judge=lambda *texts: True, name=sys.argv[2])
one = Router(["m0", "m1"], judged, state=str, store=sys.argv[1], costs=(1, 10))
for number in range(25):
    follow(Following(one.course(Asked(f"question {number}"), (1.0, 0.0))), lambda index: Told("a"))
    if number % 5 == 0:
        one.sync()
one.close()
"""


@pytest.mark.parametrize("kind", ["sqlite", "redis-8.2", "mongodb"])
def test_eight_processes_add_up_each_once_and_a_restart_loses_nothing(kind: Any, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}" if kind == "sqlite" else servers.start(kind).url
    name = uuid.uuid4().hex
    open_store(url).close()
    workers = [subprocess.Popen([sys.executable, "-W", "error", "-c", WORK, url, name]) for _ in range(8)]
    assert [worker.wait(timeout=200) for worker in workers] == [0] * 8
    for _ in range(2):
        store = open_store(url)
        stats = router(Learned(judge=same, name=name), store).stats()
        assert (stats.requests, stats.calls["m1"] + stats.answers["m0"]) == (200, 200)
        store.close()


def test_snapshots_and_repeated_batches_count_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("askonce.routing.shared._SNAPSHOT_EVERY_EVENTS", 3)
    store = MemoryStore()
    first, second = router(Learned(judge=same), store), router(Learned(judge=same), store)
    for _ in range(12):
        for one in (first, second):
            ask(one, "word", "a", "a")
            one.sync()
    page = store.log_read("multiplexer/s/judge", 0)
    store.log_append("multiplexer/s/judge", page.events[3][1])  # sent again, since no answer came
    third = router(Learned(judge=same), store)
    first.sync()
    assert store.get("multiplexer/s/judge", b"snapshot") is not None
    assert first.stats().requests == third.stats().requests == 24


def test_a_store_that_is_down_stops_nothing_and_gets_it_later(caplog: pytest.LogCaptureFixture) -> None:
    store = _Flaky()
    one = router(Learned(judge=same), store)
    store.down = True
    assert ask(one, "word", "a", "a")["model"] == "m1"
    one.sync()
    one.sync()
    assert one.stats().store == "down" and caplog.text.count("not shared for now") == 1
    store.down = False
    one.sync()
    assert one.stats().store == "up" and router(Learned(judge=same), store).stats().requests == 1


def test_what_a_judge_bounded_is_no_room_for_answers_that_wait_for_feedback() -> None:
    store = MemoryStore()
    judged = router(Learned(judge=same, min_quality=0.8, seed=1), store)
    for _ in range(100):
        ask(judged, "word", "a", "a", embedding=FEW)
    judged.close()
    told = router(Learned(feedback=True, min_quality=0.8), store)
    assert sum(ask(told, "word", "b", "a", embedding=FEW)["model"] == "m0" for _ in range(50)) <= 0.2 * 50


def test_those_that_name_the_same_store_share_its_connections(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    both = [Router(["a", "b"], Learned(judge=same), state=lambda: "s", store=url) for _ in range(2)]
    gc.collect()
    assert both[0]._shared._store is both[1]._shared._store


def test_what_is_learned_after_closing_is_published_too() -> None:
    store = MemoryStore()
    one = router(Learned(judge=same), store)
    for _ in range(2):
        ask(one, "word", "a", "a")
        one.close()
    assert router(Learned(judge=same), store).stats().requests == 2


def test_one_that_is_collected_while_it_publishes_ends_its_thread() -> None:
    store = _Collecting()
    one = router(Learned(judge=same), store)
    holder: list[Any] = [one]
    holder.append(holder)
    ask(one, "word", "a", "a")
    thread = one._shared._thread
    assert thread is not None
    del one, holder
    store.collects.set()
    thread.join(timeout=10)
    assert not thread.is_alive() and router(Learned(judge=same), store).stats().requests == 1


class _Collecting(MemoryStore):
    """The collector runs where it will, and so within a call of the store."""

    def __init__(self) -> None:
        super().__init__()
        self.collects = threading.Event()

    def log_append(self, namespace: str, event: bytes) -> int:
        assert self.collects.wait(10)
        gc.collect()
        return super().log_append(namespace, event)


class _Flaky(MemoryStore):
    down = False

    def log_append(self, namespace: str, event: bytes) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return super().log_append(namespace, event)
