"""Replays the access log of a cache against sizes, eviction policies and times to live.

    from askonce.simulate import simulate

    report = simulate("accesses.log", sizes=["10MB", "100MB"], policies=["gdsf", "lru"])
    print(report.best)

``log`` reads what ``Cache(access_log=…)`` wrote, ``replay`` follows one setting request by request, ``bound``
computes what no setting can exceed, ``sweep`` joins them and ``plot`` draws. The extra ``cli`` brings numpy.
"""

from askonce.errors import MissingExtraError

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("askonce.simulate", "cli") from error

from askonce.simulate.plot import draw
from askonce.simulate.sweep import Report, simulate

__all__ = ["Report", "draw", "simulate"]
