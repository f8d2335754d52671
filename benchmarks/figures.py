"""Measure, and write the figures into the documentation: the tables between ``figures`` comments.

    python -m benchmarks.figures [--quick] [--rounds 5] [--dry-run]

`benchmarks.hits` and `benchmarks.hit_path` measure. ``--quick`` does without the 100 kB prompts and the million
entries, whose tables then stay as they were.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import os
import platform
import re
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import redis

from benchmarks import hit_path, hits
from benchmarks.measure import Claim, Series, markdown
from tests.support import servers

ROOT = Path(__file__).parents[1]
DOCS = tuple(ROOT / name for name in ("docs/explanation/speed.md", "docs/architecture.md", "README.md"))
_BLOCK = re.compile(r"(<!-- figures: (?P<name>[\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


def machine() -> str:
    """The kind of machine, and how busy it is: on a busy one the spreads are wide."""
    load = f", load {os.getloadavg()[0]:.0f}" if hasattr(os, "getloadavg") else ""
    system = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores{load}"
    return f"{system}, Python {platform.python_version()}"


def claims_table(claims: list[Claim]) -> str:
    """Ratios with their spread, beside what is aimed at."""
    return markdown(("what", "median (spread)", "target", ""), [claim.row() for claim in claims])


def series_table(title: str, series: Mapping[str, Series], unit: str) -> str:
    """Each subject's time as a multiple of one of them, with its spread."""
    rows = [(one.name, str(one.over(series[unit]))) for one in series.values()]
    return markdown((title, f"times {unit} (spread)"), rows)


def measured(rounds: int, *, quick: bool) -> dict[str, str]:
    """The tables, by the name of their block."""
    warnings.filterwarnings("ignore", module="langchain_community")  # a default that it leaves as it is
    url = servers.start("redis-8.2").url
    tables: dict[str, str] = {}
    claims: list[Claim] = []
    with tempfile.TemporaryDirectory() as small, tempfile.TemporaryDirectory() as large:
        for size, directory in ((2_000, small), (100_000, large)):
            if size > 2_000 and quick:
                continue
            print(f"lookups of {size:,} characters …", flush=True)
            series, found = hits.lookups(rounds, size, directory, url)
            title = f"lookup, {size // 1000} kB prompt"
            tables[f"lookups-{size // 1000}kb"] = series_table(title, series, "askonce, SQLite")
            claims += found
            redis.Redis.from_url(url).flushall()
        print("whole calls …", flush=True)
        series, found = hits.whole_calls(rounds, small)
        tables["whole-calls"] = series_table("whole call", series, "invoke: InMemoryCache")
        claims += found
        print("concurrency, counting, imports …", flush=True)
        claims += asyncio.run(hits.concurrency(rounds, url))
        claims += hits.counting(rounds, small)
        claims += hits.imports(rounds, small)
        if not quick:
            print("a million entries …", flush=True)
            tables["many-entries"] = claims_table(hits.many_entries(rounds, 1_000_000, small, url))
    tables["ratios"] = claims_table(claims)
    return tables


def counted() -> str:
    """The table of what one hit passes through."""
    rows = []
    for name, make in hit_path.PATHS.items():
        try:
            with hit_path.fresh_store() as store:
                count = hit_path.counted(make(store))
        except ImportError:
            continue
        rows.append((name, str(len(count.calls)), str(len(count.files)), str(count.deepest)))
    return markdown(("a hit, SQLite", "calls", "files", "deepest"), rows)


def write(tables: Mapping[str, str], made: str) -> list[str]:
    """Put the tables into their blocks; returns the names of those that no document has a block for."""
    written = set()

    def block(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in tables:
            return match[0]
        written.add(name)
        return f"{match[1]}\n{tables[name]}\n\n*{made}*\n\n{match[3]}"

    for path in DOCS:
        text = path.read_text()
        changed = _BLOCK.sub(block, text)
        if changed != text:
            path.write_text(changed)
    return sorted(tables.keys() - written)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="no 100 kB prompts, no million entries")
    parser.add_argument("--dry-run", action="store_true", help="print the tables, and write nothing")
    options = parser.parse_args()
    tables = {**measured(options.rounds, quick=options.quick), "hit-path": counted()}
    print("\n\n".join(tables.values()))
    command = "make figures" + (" ARGS=--quick" if options.quick else "")
    made = f"Measured on {datetime.date.today():%Y-%m-%d} with `{command}`: {machine()}."
    if not options.dry_run and (homeless := write(tables, made)):
        sys.exit(f"no document has a block for {', '.join(homeless)}")


if __name__ == "__main__":
    main()
