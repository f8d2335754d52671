"""For tests: a clock to move, and the suite of tests that every store passes.

``StoreConformance`` needs ``pytest`` and ``hypothesis``; it is loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from askonce.testing.clock import FakeClock
from askonce.testing.model import StoreModel

if TYPE_CHECKING:
    from askonce.testing.conformance import StoreConformance

__all__ = ["FakeClock", "StoreConformance", "StoreModel"]


def __getattr__(name: str) -> object:
    if name == "StoreConformance":
        from askonce.testing.conformance import StoreConformance

        return StoreConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
