"""How exactly the prefix tracker foresees what a provider's cache does, and how surely it names what broke it.

    python -m benchmarks.prefix_emulator [--requests 10000] [--conversations 100] [--markdown FILE]

The provider is the emulated one of the tests, over HTTP; the clients are the real ones of LangChain and
LlamaIndex, sync, async and streaming. First agents, chats and RAG, mixed: of how many requests the tracker foresaw
length, reads and writes to the token. Then conversations of which the last request is broken in one way: how often
that is named.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import time
from pathlib import Path

from askonce.testing import FakeClock
from benchmarks.measure import markdown
from tests.support.provider import Provider
from tests.support.workload.breakages import BREAKAGES, Breakage, broken
from tests.support.workload.conversations import interleaved
from tests.support.workload.driving import LANES, NAMES, Exchange, Lane, drive

NAMED = 0.99
AT_ONCE = 100


async def foreseen(lane: Lane, provider: Provider, requests: int) -> list[Exchange]:
    """So many requests, of new applications after each few hundred."""
    exchanges: list[Exchange] = []
    while len(exchanges) < requests:
        provider.forget()
        clock = provider.clock = FakeClock()
        async with lane.watched(provider, clock) as (client, diagnosed):
            script = interleaved(lane.setting(client, str(len(exchanges))), min(AT_ONCE, requests - len(exchanges)))
            exchanges += await drive(client, script, provider, clock, diagnosed)
    return exchanges


def foreseen_row(lane: Lane, exchanges: list[Exchange], seconds: float) -> list[str]:
    rows = [one.row for one in exchanges if one.row]
    tokens = sum(row.input for row in rows)
    shares = [sum(row.read for row in rows) / tokens, sum(sum(row.written.values()) for row in rows) / tokens]
    wrong = sum(not one.equal for one in exchanges)
    return [
        str(lane),
        f"{len(exchanges):,}",
        f"{tokens / 1e6:.1f} M",
        *(f"{share:.1%}" for share in shares),
        f"{wrong:,}",
        f"{1000 * seconds / len(exchanges):.0f} ms",
    ]


async def named(lane: Lane, breakage: Breakage, provider: Provider, seeds: range) -> collections.Counter[str]:
    """What the conversations were called that were not named rightly."""
    provider.forget()
    clock = provider.clock = FakeClock()
    wrong: collections.Counter[str] = collections.Counter()
    async with lane.watched(provider, clock) as (client, diagnosed):
        for seed in seeds:
            clock.advance(7200)
            *_, last = await drive(client, broken(breakage, seed, lane.rule), provider, clock, diagnosed)
            if not NAMES[breakage.name](last.diagnosis):
                wrong[str(last.diagnosis)[:60]] += 1
    return wrong


async def all_foreseen(provider: Provider, requests: int) -> tuple[list[list[str]], bool]:
    table, holds = [], True
    for lane in LANES:
        started = time.perf_counter()
        each = -(-requests // sum(other.provider == lane.provider for other in LANES))
        exchanges = await foreseen(lane, provider, each)
        holds &= all(one.equal for one in exchanges)
        table.append(foreseen_row(lane, exchanges, time.perf_counter() - started))
        print(*table[-1], flush=True)
    return table, holds


async def all_named(provider: Provider, conversations: int) -> tuple[list[list[str]], bool]:
    table, holds = [], True
    for breakage in BREAKAGES:
        row = [breakage.name]
        for rule in ("steps", "boundaries", "marks"):
            lanes = [lane for lane in LANES if lane.rule == rule and rule in breakage.rules]
            wrong: collections.Counter[str] = collections.Counter()
            for number, lane in enumerate(lanes):
                wrong += await named(lane, breakage, provider, range(number, conversations, len(lanes)))
            right = conversations - wrong.total()
            holds &= right >= NAMED * conversations
            row.append(f"{right}/{conversations}" if lanes else "–")
            if wrong:
                print(f"{breakage.name}, {rule}, called: {wrong}")
        table.append(row)
        print(*row, flush=True)
    return table, holds


async def run(requests: int, conversations: int) -> tuple[str, bool]:
    with Provider() as provider:
        equality, equal = await all_foreseen(provider, requests)
        names, right = await all_named(provider, conversations)
    heads = ["client", "requests", "tokens", "read", "written", "not as foreseen", "a request"]
    kinds = ["broken by", "OpenAI to 5.5", "OpenAI from 5.6", "Anthropic"]
    return f"{markdown(heads, equality)}\n\n{markdown(kinds, names)}\n", equal and right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="of mixed conversations, for each provider")
    parser.add_argument("--conversations", type=int, default=100, help="for each breakage and caching rule")
    parser.add_argument("--markdown", type=Path, help="where the tables go")
    arguments = parser.parse_args()
    text, holds = asyncio.run(run(arguments.requests, arguments.conversations))
    print(f"\n{text}\n{'All as claimed.' if holds else 'FALLS SHORT'}")
    if arguments.markdown:
        arguments.markdown.write_text(text)
    if not holds:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
