"""Providers' prompt caches: what they read of each prompt, what they missed, what that cost, and how to improve it.

`PrefixTracker` reports what was read and lost, and why. `optimize_prefix` changes what an SDK's client sends, so
that more of it is read. ``askonce.langchain`` and ``askonce.llama_index`` have both for their models.

From the ground up:

    requests/  what a provider is sent and what it reports: its rules (``rules``), the blocks of a request
               (``wire``), tokens (``tokens``), segments with running digests (``chain``), usage (``usage``)
    tracking/  what a request should read (``prediction``), what was sent lately (``history``), what was lost and
               why (``losses``, ``difference``, ``diagnosis``), what that cost (``costs``), sums (``aggregates``)
    report/    sums -> what was lost, to what, and what to do about it, as text and as HTML
    tracker    joins them: `PrefixTracker`
    optimize/  what cache breakpoints would read and write (``statistics``, ``replay``), the cheapest (``plan``),
               written into requests (``breakpoints``): `PrefixOptimizer`; SDKs' clients (``clients``)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from askonce.prefix.optimize.clients import optimize_prefix
    from askonce.prefix.optimize.optimizer import PrefixOptimizer
    from askonce.prefix.optimize.plan import BreakpointPlan
    from askonce.prefix.report.report import PrefixReport
    from askonce.prefix.tracker import PrefixTracker, TrackedCall

__all__ = [
    "BreakpointPlan",
    "PrefixOptimizer",
    "PrefixReport",
    "PrefixTracker",
    "TrackedCall",
    "optimize_prefix",
]

_WHERE = {
    "BreakpointPlan": "optimize.plan",
    "PrefixOptimizer": "optimize.optimizer",
    "PrefixReport": "report.report",
    "PrefixTracker": "tracker",
    "TrackedCall": "tracker",
    "optimize_prefix": "optimize.clients",
}


def __getattr__(name: str) -> Any:
    # On first use: the command line needs the figures alone.
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
