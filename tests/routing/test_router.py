"""What the router decides, what holds of it, and what processes share; without a framework."""

from __future__ import annotations

import gc
import math
import multiprocessing
import random
import subprocess
import sys
import threading
import time
import uuid
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from askonce.cache import Cache
from askonce.errors import StoreUnavailable
from askonce.routing import Cascade, Confidence, Learned, Strategy
from askonce.routing.features import WIDEST, features
from askonce.routing.router import Router
from askonce.routing.runner import Following, follow
from askonce.routing.state import RoutingState, outcome
from askonce.routing.types import ModelResponse, Opinion, RoutingRequest
from askonce.stores import open_store
from askonce.stores.base import Store
from askonce.stores.health import Lane
from askonce.stores.memory import MemoryStore
from tests.support import servers
from tests.support.application import collect

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


def route(router: Router, question: str, *answers: Any, embedding: Any = None) -> dict[str, Any]:
    """Put a question to models that answer so; an exception is raised."""

    def model(index: int) -> ModelResponse:
        if isinstance(answers[index], Exception):
            raise answers[index]
        return ModelResponse(answers[index], cost_usd=10.0 ** (index - 5), response=answers[index])

    following = Following(router.steps(RoutingRequest(question, len(question)), embedding))
    follow(following, model)
    assert following.mark is not None
    return following.mark


# -- the floor -----------------------------------------------------------------------------------------------------


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
            mark = route(one, "word", "b" if bad else "a", "a", embedding=FEW)
            wrong += mark["model"] == "m0" and bad
            passed_floor = passed_floor or wrong > 0.2 * (number + 1)
        broken += passed_floor
    assert broken <= 2


def test_feedback_that_never_comes_counts_as_wrong() -> None:
    one = router(Learned(feedback=True, min_quality=0.8))
    cheap = sum(route(one, "word", "a", "a")["model"] == "m0" for _ in range(100))
    assert 0 < cheap <= 20
    assert one.stats().quality_at_least == pytest.approx(1 - cheap / 100)


def test_what_no_judge_can_decide_counts_as_wrong() -> None:
    def silent(question: str, answer: str, reference: str) -> None:
        raise ValueError("no")

    one = router(Learned(judge=silent, min_quality=0.8, seed=1))
    alone = sum(route(one, "word", "a", "a", embedding=FEW)["calls"] == ["m0"] for _ in range(300))
    assert alone < 0.2 * 300 and (one.stats().quality_at_least or 0) >= 0.8


def test_an_audit_of_which_the_last_model_fails_gives_the_cheap_answer() -> None:
    one = router(Learned(judge=same, seed=1))
    mark = route(one, "word", "a", RuntimeError("down"))
    assert (mark["model"], mark["why"]) == ("m0", "the last model failed")
    assert one.stats().quality_at_least == 0


@pytest.mark.parametrize("vector", [None, [math.nan, 1.0]])
def test_a_question_that_cannot_be_embedded_goes_to_the_last_model(
    vector: Any, caplog: pytest.LogCaptureFixture
) -> None:
    one = router(Learned(judge=same, seed=1, embed=lambda question: vector))
    marks = [route(one, "word", "a", "b", embedding=one.embed("word")) for _ in range(3)]
    assert [(mark["model"], mark["why"]) for mark in marks] == [("m1", "the question could not be embedded")] * 3
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_what_judges_cost_is_in_the_totals_of_all_processes() -> None:
    def judge(question: str, answer: str, reference: str | None = None) -> Opinion:
        return Opinion(answer == reference, "a judge", cost_usd=0.002, seconds=0.5)

    store = MemoryStore()
    one = router(Learned(judge=judge, seed=1), store)
    for _ in range(20):
        route(one, "word", "a", "a", embedding=FEW)
    judged = one.stats().calls["a judge"]
    assert judged
    assert one._cache is not None and one._cache.flush()
    with Cache(store) as cache:
        row = cache.totals(by="layer").rows["routing"]
        assert (row.spent_usd, row.spent_seconds) == (pytest.approx(judged * 0.002), pytest.approx(judged * 0.5))
        assert cache.totals(by="model").rows["a judge"].spent_usd == pytest.approx(judged * 0.002)


# -- what is learned -----------------------------------------------------------------------------------------------


def test_it_learns_which_requests_the_cheap_one_can_answer() -> None:
    rng = random.Random(3)
    one = router(Learned(judge=same, min_quality=0.9, seed=3))
    cheap_alone: dict[bool, list[int]] = {True: [], False: []}
    for _ in range(700):
        easy = rng.random() < 0.5
        question = f"{'translate this' if easy else 'prove that theorem'} {rng.randrange(50)}"
        mark = route(one, question, "a" if easy else "b", "a")
        cheap_alone[easy].append(mark["calls"] == ["m0"])
    assert sum(cheap_alone[True][-100:]) > 60 and sum(cheap_alone[False][-100:]) < 5
    assert one.stats().saved_usd > 0.1 * one.stats().always_last_usd


def test_with_a_verifier_it_learns_where_to_begin() -> None:
    one = router(Learned(verifier=_is_good), models=3)
    marks = []
    for number in range(150):
        easy = number % 2 == 0
        answer = "good" if easy else "bad"
        marks.append((easy, route(one, "simple sum" if easy else "hard proof", answer, answer, "good")["calls"]))
    assert [calls for easy, calls in marks[-20:] if easy] == [["m0"]] * 10
    assert [calls for easy, calls in marks[-20:] if not easy] == [["m2"]] * 10


def test_a_model_that_was_never_called_is_taken_for_cheaper_than_those_after_it() -> None:
    unpriced = router(Learned(feedback=True, min_quality=0.5), priced=False)
    for _ in range(60):
        answered = route(unpriced, "word", "a", "a")
        unpriced.feedback(answered, wrong=False)
    assert unpriced.stats().answers["m0"] > 40
    middle = router(Learned(verifier=_is_good), models=3, priced=False)
    route(middle, "word", "bad", RuntimeError("down"), "good")
    assert [route(middle, "word", "bad", "good", "good")["model"] for _ in range(20)] == ["m1"] * 20


def _is_good(response: str) -> bool:
    return response == "good"


def test_a_verifier_that_fails_accepts_nothing() -> None:
    mark = route(router(Cascade(Confidence(0.5, score=_odd))), "q", "a", "b")
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


# -- what is shared ------------------------------------------------------------------------------------------------


def test_a_snapshot_is_what_it_was_made_of() -> None:
    state, again = RoutingState(), RoutingState()
    x = np.linspace(0, 1, 20).astype(np.float32)
    state.add({"requests": 3.0, "floor.2": math.inf}, [outcome("wrong.0", x, True)])
    new, snapshot = state.snapshot()
    assert new is not None and new.sums == state.sums and not state.has_news
    again.restart(snapshot)
    assert again.sums == state.sums
    assert again.learner("wrong.0", 20).predict(x) == pytest.approx(state.learner("wrong.0", 20).predict(x))


WORDS = "where is my parcel from Wandsbek"


def test_nothing_that_is_learned_stands_in_the_store_unsealed(tmp_path: Path) -> None:
    """Embeddings and hashed words of users' questions are personal data as the questions are."""
    embedding = [0.7, 0.2, 0.5]
    vector = features(RoutingRequest(WORDS, len(WORDS)), (), embedding).astype("float16").tobytes()
    markers = [vector, vector[:6], b"wrong.0", b"requests", b"answered.1"]
    for keys, sealed in (([], False), ([b"k" * 32], True)):
        path = tmp_path / f"{sealed}.db"
        with Cache(f"sqlite:///{path}", encryption_keys=keys) as cache:
            judged = Router(["a", "b"], Learned(judge=same), state=lambda: "s", store=cache, costs=COSTS)
            for one in (
                judged,
                Router(["a", "b"], Learned(feedback=True, min_quality=0.1), state=str, store=cache),
            ):
                for _ in range(3):
                    route(one, WORDS, "a", "b", embedding=embedding)
                one._shared._follower.save()
                one.close()
        content = b"".join(file.read_bytes() for file in tmp_path.glob(f"{path.name}*"))
        assert [marker in content for marker in markers] == [not sealed] * len(markers)


def test_a_store_that_is_down_is_not_called() -> None:
    store = MemoryStore()
    one = router(Learned(judge=same), store)
    breaker = one._cache.engine.breaker
    calls: list[str] = []
    for name in ("read", "put", "delete", "log_append", "lease", "release"):
        for _ in range(3):
            breaker.health.failed(Lane(name), StoreUnavailable("down"), math.inf)
    for name in ("get", "get_many", "put", "delete", "log_append", "log_read", "lease", "release"):
        setattr(store, name, lambda *_, name=name: calls.append(name))
    for _ in range(3):
        one.feedback(route(one, "word", "a", "a"), wrong=False)
        one.sync()
    one.close()
    assert calls == [] and one.stats().store == "down"


WORK = """
import sys
from askonce import Cache
from askonce.routing import Learned
from askonce.routing.types import ModelResponse, RoutingRequest
from askonce.routing.runner import Following, follow
from askonce.routing.router import Router

judged = Learned(judge=lambda *texts: True, name=sys.argv[2])
one = Router(["m0", "m1"], judged, state=str, store=Cache(sys.argv[1], timeout_seconds=30), costs=(1, 10))
for number in range(25):
    steps = one.steps(RoutingRequest(f"question {number}"), (1.0, 0.0))
    follow(Following(steps), lambda index: ModelResponse("a"))
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
    monkeypatch.setattr("askonce.routing.replica._SNAPSHOT_AFTER", 3)
    store = MemoryStore()
    first, second = router(Learned(judge=same), store), router(Learned(judge=same), store)
    for _ in range(12):
        for one in (first, second):
            route(one, "word", "a", "a")
            one.sync()
    page = store.log_read("multiplexer/s/judge", 0)
    store.log_append("multiplexer/s/judge", page.events[3][1])  # sent again, since no answer came
    third = router(Learned(judge=same), store)
    first.sync()
    assert store.get("multiplexer/s/judge", b"snapshot") is not None
    assert first.stats().requests == third.stats().requests == 24


def test_a_store_that_is_down_stops_nothing_and_gets_it_later(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.stores.health._FIRST_PAUSE_SECONDS", 0.01)
    store = _Flaky()
    one = router(Learned(judge=same), store)
    store.down = True
    assert route(one, "word", "a", "a")["model"] == "m1"
    for _ in range(5):
        one.sync()
        time.sleep(0.05)  # longer than a pause
    assert one.stats().store == "down" and caplog.text.count("store memory:// ") == 1
    store.down = False
    one._cache.engine.breaker.after_fork()  # and not within a second
    one.sync()
    assert one.stats().store == "up" and router(Learned(judge=same), store).stats().requests == 1


def test_what_a_judge_bounded_is_no_room_for_answers_that_wait_for_feedback() -> None:
    store = MemoryStore()
    judged = router(Learned(judge=same, min_quality=0.8, seed=1), store)
    for _ in range(100):
        route(judged, "word", "a", "a", embedding=FEW)
    judged.close()
    fed_back = router(Learned(feedback=True, min_quality=0.8), store)
    assert sum(route(fed_back, "word", "b", "a", embedding=FEW)["model"] == "m0" for _ in range(50)) <= 0.2 * 50


def test_those_that_name_the_same_store_share_its_connections(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    both = [Router(["a", "b"], Learned(judge=same), state=lambda: "s", store=url) for _ in range(2)]
    gc.collect()
    assert both[0]._cache is both[1]._cache


def test_what_is_learned_after_closing_is_published_too() -> None:
    store = MemoryStore()
    one = router(Learned(judge=same), store)
    for _ in range(2):
        route(one, "word", "a", "a")
        one.close()
    assert router(Learned(judge=same), store).stats().requests == 2


@pytest.mark.usefixtures("quick_collector")
def test_one_that_is_collected_while_it_publishes_ends_its_thread() -> None:
    store = _Collecting()
    one = router(Learned(judge=same), store)
    holder: list[Any] = [one]
    holder.append(holder)
    route(one, "word", "a", "a")
    thread = one._shared._worker._thread
    assert thread is not None
    store.doomed = weakref.ref(one)
    del one, holder
    store.collects.set()
    thread.join(timeout=60)
    assert not thread.is_alive() and router(Learned(judge=same), store).stats().requests == 1


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_counts_each_request_once_and_waits_for_no_lock(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'state.db'}"
    one = Router(["a", "b"], Learned(judge=same), state=lambda: "s", store=url, costs=COSTS)
    route(one, "word", "a", "a")  # not published yet
    with one._shared.state.lock:
        child = multiprocessing.get_context("fork").Process(target=_route_in_child, args=(one,))
        held = threading.Thread(target=child.start)  # so that the lock is another thread's
        held.start()
        held.join()
        child.join(20)
    code = child.exitcode
    child.kill()
    one.close()
    again = Router(["a", "b"], Learned(judge=same), state=lambda: "s", store=url, costs=COSTS)
    assert code == 0 and again.stats().requests == 3


def _route_in_child(one: Router) -> None:
    for _ in range(2):
        route(one, "word", "a", "a")
    one.close()


class _Collecting(MemoryStore):
    """The collector runs where it will, and so within a call of the store."""

    def __init__(self) -> None:
        super().__init__()
        self.collects = threading.Event()
        self.doomed: Callable[[], object] = object

    def log_append(self, namespace: str, event: bytes) -> int:
        assert self.collects.wait(60)
        collect(self.doomed)
        return super().log_append(namespace, event)


class _Flaky(MemoryStore):
    down = False

    def log_append(self, namespace: str, event: bytes) -> int:
        if self.down:
            raise StoreUnavailable("down")
        return super().log_append(namespace, event)
