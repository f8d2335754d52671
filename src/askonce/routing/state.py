"""What is known of models and requests: sums and regressions, to which batches of outcomes are added.

All processes that share it add the same batches, each once: a batch carries its writer and its number. So what each
knows is the same, but for the batches that are under way.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from askonce.routing.features import numpy
from askonce.routing.floor import RATES
from askonce.routing.regression import Failing

if TYPE_CHECKING:
    from askonce.routing.regression import Vector

_MOST_WRITERS = 1000


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """What became of one answer.

    Attributes:
        learner: the regression that learns from it, such as ``wrong.0``.
        x: the features, as 16-bit floats.
        failed: whether the answer failed.
    """

    learner: str
    x: bytes
    failed: bool


class Batch(msgspec.Struct, array_like=True):
    """What one process adds at once.

    Attributes:
        writer: the process.
        number: counted by the writer from 1.
        sums: amounts by name.
        outcomes: in their order.
    """

    writer: str
    number: int
    sums: dict[str, float]
    outcomes: list[Outcome]


class Snapshot(msgspec.Struct, array_like=True):
    """All that is known as of a position in the log; learners as the bytes of mean and covariance."""

    position: int
    applied: dict[str, int]
    sums: dict[str, float]
    learners: dict[str, tuple[bytes, bytes]]


class Knowledge:
    """Sums by name, and regressions by name. Not thread-safe.

    Attributes:
        sums: amounts by name; what was never added to is 0.
        position: of the last event of the log that was taken in.
    """

    def __init__(self) -> None:
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.position = 0
        self._applied: dict[str, int] = {}
        self._learners: dict[str, Failing] = {}

    def take(self, batch: Batch) -> bool:
        """Add a batch, unless it was; returns whether it is new."""
        if batch.number <= self._applied.get(batch.writer, 0):
            return False
        self.add(batch.sums, batch.outcomes)
        self.mark(batch)
        return True

    def mark(self, batch: Batch) -> None:
        """Note that a batch is in."""
        self._applied.pop(batch.writer, None)
        self._applied[batch.writer] = batch.number
        while len(self._applied) > _MOST_WRITERS:
            del self._applied[next(iter(self._applied))]

    def add(self, sums: dict[str, float], outcomes: Sequence[Outcome]) -> None:
        """Add amounts and outcomes."""
        for name, amount in sums.items():
            self.sums[name] += amount
        if outcomes:
            np = numpy()
            for outcome in outcomes:
                x = np.frombuffer(outcome.x, np.float16).astype(np.float32)
                self.learner(outcome.learner, len(x)).learn(x, outcome.failed)

    def learner(self, name: str, features: int) -> Failing:
        """The regression of that name; a new one if there was none, or one over other features."""
        found = self._learners.get(name)
        if found is None or len(found.mean) != features:
            found = self._learners[name] = Failing.unknowing(features)
        return found

    def evidence(self) -> list[float]:
        """``G`` of the floor, for each of its rates."""
        return [self.sums[f"floor.{at}"] for at in range(len(RATES))]

    def cost(self, model: int, characters: int) -> float | None:
        """What a call of that model is expected to cost for so long a request: a line fitted by least squares."""
        count, x, xx, y, xy = (self.sums[f"cost.{model}.{name}"] for name in ("n", "x", "xx", "y", "xy"))
        if not count:
            return None
        spread = xx - x * x / count
        slope = max((xy - x * y / count) / spread, 0.0) if spread > 1e-9 * (1 + xx) and count >= 3 else 0.0
        return max(y / count + slope * (characters - x / count), 0.0)

    # -- as bytes ----------------------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """All of it, as of now."""
        learners = {
            name: (one.mean.tobytes(), one.covariance.astype("float32").tobytes())
            for name, one in self._learners.items()
        }
        return Snapshot(self.position, dict(self._applied), dict(self.sums), learners)

    @classmethod
    def of(cls, snapshot: Snapshot) -> Knowledge:
        """What a snapshot holds."""
        found = cls()
        found.position, found._applied = snapshot.position, dict(snapshot.applied)
        found.sums.update(snapshot.sums)
        if snapshot.learners:
            np = numpy()
            for name, (mean, covariance) in snapshot.learners.items():
                weights = np.frombuffer(mean, np.float32).copy()
                square = np.frombuffer(covariance, np.float32).reshape(len(weights), len(weights)).copy()
                found._learners[name] = Failing(weights, square)
        return found


def outcome(learner: str, x: Vector, failed: bool) -> Outcome:
    """An outcome to be added."""
    return Outcome(learner, x.astype("float16").tobytes(), failed)


def cost_sums(model: int, characters: int, weight: float) -> dict[str, float]:
    """What a call adds to the sums behind `Knowledge.cost`."""
    told = {"n": 1.0, "x": characters, "xx": characters**2, "y": weight, "xy": characters * weight}
    return {f"cost.{model}.{name}": float(amount) for name, amount in told.items() if math.isfinite(amount)}
