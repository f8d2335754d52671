"""Prompt prefixes: what the provider's prompt cache read, what it missed, what that cost, and why.

From the ground up:

    rules        the providers' rules, as data
    wire         a request's body -> blocks in the order in which they are hashed
    tokens       how many tokens a block has: counted, or learned
    chain        blocks -> segments with running digests and lengths
    prediction   chain + rule + what the provider keeps -> what is read and written
    history      what was sent lately, in memory;  shared  it, with other processes
    losses       what could have been read and was not;  difference  the smallest difference of two texts
    diagnosis    what became of a request, and why;  costs  what was lost in money
    aggregates   sums for reports
    report       sums -> what was lost, to what;  advice  what to change;  page  both as HTML
    tracker      joins them: `PrefixTracker`
    statistics   what marks would read and write;  replay  what requests cost with them
    plan         those of least expected cost: `plan.plan`
    breakpoints  a plan -> a request's body;  optimizer  learns plans and applies them: `PrefixOptimizer`
    clients      the providers' own clients: `optimized_client`, `attach`
"""

from askonce.prefix.optimize.clients import attach, optimized_client
from askonce.prefix.optimize.optimizer import PrefixOptimizer
from askonce.prefix.optimize.plan import BreakpointPlan
from askonce.prefix.optimize.statistics import statistics_of
from askonce.prefix.report.report import PrefixReport
from askonce.prefix.tracker import PrefixTracker, TrackedCall

__all__ = [
    "BreakpointPlan",
    "PrefixOptimizer",
    "PrefixReport",
    "PrefixTracker",
    "TrackedCall",
    "attach",
    "optimized_client",
    "statistics_of",
]
