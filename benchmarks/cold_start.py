"""How soon a semantic cache answers: hits and wrong ones after the first thousands of requests, and why not more.

    python -m benchmarks.cold_start [STREAM …] [--orders 6] [--bound 0.01] [--markdown FILE]

The streams are those of `benchmarks.streams`; the judge knows the labels. Of the candidates that the rule would
serve some are audited, and some are more than the budget allows. With ``--past`` so many questions of the stream
are learned from before the first request.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from askonce.semantic.decision.rule import DecisionRule
from benchmarks import policies, streams
from benchmarks.measure import markdown
from benchmarks.policies import MARKS, Outcome
from benchmarks.streams import Stream

NAMES = ("banking", "many", "zipf", "zipf-many")
REASONS = ("learning", "doubtful", "guard", "budget", "audit", "trusted")
HEADS = ("stream", "requests", "hit (worst order)", "wrong: mean, largest", *REASONS)
SEED = 850
Row = tuple[str, ...]


def rows(name: str, outcomes: Sequence[Outcome]) -> list[Row]:
    """For each mark: hits and errors until then, and what became of the requests since the mark before."""
    table, before = [], 0
    for mark in (mark for mark in MARKS if mark in outcomes[0].early):
        hits, errors = ([one.early[mark][part] for one in outcomes] for part in (0, 1))
        since = []
        for reason in REASONS:
            now = sum(one.early[mark][2][reason] for one in outcomes)
            then = sum(one.early[before][2][reason] for one in outcomes) if before else 0
            since.append(f"{(now - then) / len(outcomes) / (mark - before):.1%}")
        wrong = f"{np.mean(errors):.2%}, {max(errors):.2%}"
        hit = f"{np.mean(hits):.3f} ({min(hits):.3f})"
        table.append((streams.STREAMS[name][0], f"{mark:,}", hit, wrong, *since))
        print(" | ".join(table[-1]), flush=True)
        before = mark
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("streams", nargs="*", metavar="STREAM", help=f"by default {', '.join(NAMES)}")
    parser.add_argument("--orders", type=int, default=6, help="random orders of each stream")
    parser.add_argument("--bound", type=float, default=0.01, help="the rule's max_error")
    parser.add_argument("--requests", type=int, help="of each stream; all by default")
    parser.add_argument("--past", type=int, default=0, help="learn from so many questions of the past first")
    parser.add_argument("--markdown", type=Path, help="write the table there too")
    options = parser.parse_args()
    if not streams.available():
        print(f"Skipped: banking77.npz and qqp.npz are not in {streams.DATA}; ASKONCE_DATA names another folder.")
        return
    table = []
    with threadpool_limits(1):
        for name in options.streams or NAMES:
            outcomes = []
            for seed in range(SEED, SEED + options.orders):
                stream, last = streams.stream(name, seed), options.requests and options.past + options.requests
                stream = Stream(stream.pool, stream.order[:last], stream.labels[:last])
                outcomes.append(policies.ours(stream, DecisionRule(options.bound), seed, past=options.past))
            table += rows(name, outcomes)
    if options.markdown:
        options.markdown.write_text(markdown(HEADS, table) + "\n")


if __name__ == "__main__":
    main()
