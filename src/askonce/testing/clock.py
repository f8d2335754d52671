"""A clock that tests move by hand."""

from __future__ import annotations

import time


class FakeClock:
    """Seconds since the epoch that pass only when moved; give it as ``clock=`` to a store or a cache.

    Args:
        now: where it starts; by default at the present whole second, so that servers with clocks of their own
            do not treat everything as expired.
    """

    def __init__(self, now: float | None = None) -> None:
        self.now = float(int(time.time())) if now is None else now

    def __call__(self) -> float:
        """Now."""
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds
