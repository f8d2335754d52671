"""What is known of models and requests, and shared by all processes: sums, and regressions that learn outcomes."""

from __future__ import annotations

import math
import threading
from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from askonce.entries.decodable import decodable
from askonce.errors import CodecError
from askonce.estimators.regression import LogisticRegression
from askonce.routing.features import numpy

if TYPE_CHECKING:
    from askonce.estimators.regression import Vector


@decodable
class AnswerOutcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of one answer.

    Attributes:
        learner: the regression that learns from it, such as ``wrong.0``.
        x: the features, as 16-bit floats.
        failed: whether the answer failed.
    """

    learner: str
    x: bytes
    failed: bool


@decodable
class RoutingDelta(msgspec.Struct, frozen=True, array_like=True):
    """What one process adds: amounts by name, and outcomes in their order."""

    sums: dict[str, float]
    outcomes: list[AnswerOutcome]


@decodable
class RoutingSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """All that is known; learners as the bytes of mean and covariance, 32-bit floats."""

    sums: dict[str, float]
    learners: dict[str, tuple[bytes, bytes]]


class RoutingState:
    """Sums by name, and regressions by name. Thread-safe.

    Attributes:
        sums: amounts by name; what was never added to is 0. To be read under ``lock``.
        lock: guards all of it.
        delta_type: see `askonce.changelog.follower.SharedState`.
        snapshot_type: likewise.
    """

    delta_type, snapshot_type = RoutingDelta, RoutingSnapshot

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.sums: defaultdict[str, float] = defaultdict(float)
        self._learners: dict[str, LogisticRegression] = {}
        self._new_sums: defaultdict[str, float] = defaultdict(float)
        self._new_outcomes: list[AnswerOutcome] = []

    def add(self, sums: dict[str, float], outcomes: Iterable[AnswerOutcome] = (), *, shared: bool = True) -> None:
        """Add amounts and outcomes of this process; ``shared`` if other processes learn of them."""
        with self.lock:
            delta = RoutingDelta(sums, list(outcomes))
            self._add(delta)
            if shared:
                for name, amount in sums.items():
                    self._new_sums[name] += amount
                self._new_outcomes += delta.outcomes

    def _add(self, delta: RoutingDelta) -> None:
        for name, amount in delta.sums.items():
            self.sums[name] += amount
        if delta.outcomes:
            np = numpy()
            for outcome in delta.outcomes:
                x = np.frombuffer(outcome.x, np.float16).astype(np.float32)
                self.learner(outcome.learner, len(x)).learn(x, outcome.failed)

    def learner(self, name: str, features: int) -> LogisticRegression:
        """The regression of that name; a new one if there was none, or one over other features."""
        found = self._learners.get(name)
        if found is None or len(found.mean) != features:
            found = self._learners[name] = LogisticRegression.untrained(features)
        return found

    def cost(self, model: int, characters: int) -> float | None:
        """What a call of that model is expected to cost for so long a request: a line fitted by least squares."""
        count, x, xx, y, xy = (self.sums[f"cost.{model}.{name}"] for name in ("n", "x", "xx", "y", "xy"))
        if not count:
            return None
        spread = xx - x * x / count
        slope = max((xy - x * y / count) / spread, 0.0) if spread > 1e-9 * (1 + xx) and count >= 3 else 0.0
        return max(y / count + slope * (characters - x / count), 0.0)

    # -- shared ------------------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a child process: the thread that may have held the lock stayed in the parent."""
        self.lock = threading.RLock()

    @property
    def has_news(self) -> bool:
        """Whether there is anything to `take`."""
        return bool(self._new_sums or self._new_outcomes)

    def take(self) -> RoutingDelta | None:
        """What was added and not given out yet."""
        with self.lock:
            if not self.has_news:
                return None
            delta = RoutingDelta(dict(self._new_sums), self._new_outcomes)
            self._new_sums, self._new_outcomes = defaultdict(float), []
            return delta

    def merge(self, delta: RoutingDelta, *, is_new: bool) -> None:
        """Add what another process added.

        Raises:
            CodecError: its outcomes are not those of finite features.
        """
        np = numpy()
        for outcome in delta.outcomes:
            if not outcome.x or len(outcome.x) % 2 or not np.isfinite(np.frombuffer(outcome.x, np.float16)).all():
                raise CodecError("features that are not finite numbers")
        if is_new:
            with self.lock:
                self._add(delta)

    def snapshot(self) -> tuple[RoutingDelta | None, RoutingSnapshot]:
        """What was not given out, and all that is known."""
        with self.lock:
            learners = {
                name: (one.mean.tobytes(), one.covariance.astype("float32").tobytes())
                for name, one in self._learners.items()
            }
            return self.take(), RoutingSnapshot(dict(self.sums), learners)

    def restart(self, snapshot: RoutingSnapshot | None) -> None:
        """Begin from a snapshot; what was not given out stays added.

        Raises:
            CodecError: its learners are none.
        """
        if snapshot is None:
            return
        learners = {name: _learner(*one) for name, one in snapshot.learners.items()}
        with self.lock:
            self.sums, self._learners = defaultdict(float, snapshot.sums), learners
            self._add(RoutingDelta(self._new_sums, self._new_outcomes))


def _learner(mean: bytes, covariance: bytes) -> LogisticRegression:
    np = numpy()
    try:
        weights = np.frombuffer(mean, np.float32).copy()
        square = np.frombuffer(covariance, np.float32).reshape(len(weights), len(weights)).copy()
    except ValueError as error:
        raise CodecError(f"no regression: {error}") from error
    return LogisticRegression(weights, square)


def outcome(learner: str, x: Vector, failed: bool) -> AnswerOutcome:
    """An outcome to be added."""
    return AnswerOutcome(learner, x.astype("float16").tobytes(), failed)


def cost_sums(model: int, characters: int, weight: float) -> dict[str, float]:
    """What a call adds to the sums behind `RoutingState.cost`."""
    sums = {"n": 1.0, "x": characters, "xx": characters**2, "y": weight, "xy": characters * weight}
    return {f"cost.{model}.{name}": float(amount) for name, amount in sums.items() if math.isfinite(amount)}
