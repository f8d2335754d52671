"""The proxy beside LiteLLM's, and beside bare servers; all in turns, in one run.

    python -m benchmarks.proxy [--quick] [--rounds 3] [--no-rivals] [--rows] [--write]

LiteLLM and starlette get an environment of their own in ``.benchmarks``. F is starlette on uvicorn[standard] with a
fixed body. Each subject has one process unless it is said to have two. The prompt has 0.8 kB, the answer 1.2 kB, a
stream 24 events. The load is wrk's: one thread, which costs a fraction of what F does.
"""

from __future__ import annotations

import argparse
import datetime
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import machine, write
from benchmarks.measure import markdown
from benchmarks.proxy import aims, programs, rounds, rows


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round of 16 connections")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-rivals", action="store_true", help="without LiteLLM")
    parser.add_argument("--rows", action="store_true", help="only the table of right answers")
    parser.add_argument("--write", action="store_true", help="write the table into the documentation")
    options = parser.parse_args()
    try:
        programs.environment(), programs.wrk()
    except programs.NotToBeHad as error:
        print(f"Skipped: {error}")
        return
    rivals = not options.no_rivals
    if options.rows:
        tables = {"proxy-rows": rows.table(log, rivals=rivals)}
    else:
        tables = {"proxy": measured(1 if options.quick else options.rounds, quick=options.quick, rivals=rivals)}
    print("\n".join(tables.values()))
    command = "make bench BENCH=proxy" + (" ARGS=--rows" if options.rows else "")
    made = (
        f"Measured on {datetime.date.today():%Y-%m-%d} with `{command}`, LiteLLM {programs.LITELLM}: {machine()}."
    )
    if options.write and (homeless := write(tables, made)):
        sys.exit(f"no document has a block for {', '.join(homeless)}")


def measured(number: int, *, quick: bool, rivals: bool) -> str:
    """Print all figures, and return the table of what is aimed at."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        figures = rounds.measured(Path(folder), log, rounds=number, quick=quick, rivals=rivals)
    print("\n\n".join(aims.tables(figures)), "\n")
    for line in figures.skipped:
        print(f"Not as it should be: {line}")
    heads = ("what", "median (spread)", "must", "good", "reached")
    return markdown(heads, [one.row() for one in aims.aims(figures)])


def log(line: str) -> None:
    """Print the progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
