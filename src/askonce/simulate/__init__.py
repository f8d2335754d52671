"""What if the cache were larger, or evicted otherwise? Replays the access log of a cache against settings.

    from askonce.simulate import simulate

    report = simulate("accesses.log", sizes=["10MB", "100MB"], policies=["gdsf", "lru"])
    print(report.best)

``log`` reads what ``Cache(access_log=…)`` wrote, ``replay`` follows one setting request by request, ``bound`` says
what no setting can exceed, ``sweep`` joins them and ``plot`` draws. The extra ``cli`` brings numpy.
"""

from askonce.errors import MissingExtraError

try:
    import numpy  # noqa: F401
except ModuleNotFoundError as error:
    raise MissingExtraError("askonce.simulate", "cli") from error

from askonce.simulate.bound import upper_bound
from askonce.simulate.log import Trace, read_log
from askonce.simulate.plot import draw
from askonce.simulate.replay import Outcome, replay
from askonce.simulate.sweep import Bound, Point, Report, simulate

__all__ = ["Bound", "Outcome", "Point", "Report", "Trace", "draw", "read_log", "replay", "simulate", "upper_bound"]
