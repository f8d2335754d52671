"""For tests: a clock to move, and the suite of tests that every store passes.

``StoreConformance`` needs ``pytest`` and ``hypothesis``; it is loaded at first use.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from askonce.errors import ConfigError
from askonce.testing.clock import FakeClock
from askonce.testing.model import StoreModel

if TYPE_CHECKING:
    from askonce.testing.conformance import StoreConformance

__all__ = ["FakeClock", "StoreConformance", "StoreModel"]


def __getattr__(name: str) -> object:
    if name == "StoreConformance":
        try:
            import pytest

            # Before they are imported, so that their assertions show what was compared.
            parts = ("_fixtures", "_records", "_budgets", "_sharing")
            if f"{__name__}.conformance" not in sys.modules:
                pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in parts))
            from askonce.testing.conformance import StoreConformance
        except ModuleNotFoundError as error:
            if error.name not in ("pytest", "hypothesis"):
                raise
            raise ConfigError(
                f"askonce.testing.StoreConformance needs {error.name}: pip install {error.name}"
            ) from error

        return StoreConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
