"""Prompt prefixes on a real trace: is every possible read found, at what speed, and what do breakpoints cost?

    make bench BENCH=prefix

The trace is Mooncake's conversation trace (FAST'25, Apache-2.0): 12,031 requests of one hour, each as the ids of
its blocks of 512 tokens; equal ids are equal prefixes. It tells no messages and no texts, so that here a block is a
segment: the first, which all requests share, is the system prompt. A request goes on with a conversation if its
second block is known. The last block of a request is mostly not full; what extends it has another id, so that
nobody can read it: it is computed, whatever is marked.

Three questions:

* *Found*: what the history predicts and the diagnosis reads, against the bound that follows from the ids and times
  alone, without a lifetime and with that of the rule; to the token.
* *Speed*: blocks a second of the same, and what the history takes.
* *Money*: the plan is made from the first part of the hour alone, and paid for on the rest, as all others are. The
  lower bound is offline: each block by itself, with the future known, is computed, written for 5 minutes, for an
  hour, or read, whichever costs least in all (dynamic programming over its occurrences); no limit of marks, no
  look-back, no contiguity, one machine. No plan can cost less, and the true optimum costs more.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import itertools
import json
import math
import os
import random
import statistics
import sys
import time
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from askonce.prefix.optimize.plan import input_price, plan, rules_of_others
from askonce.prefix.optimize.replay import key_of, marked, replayed
from askonce.prefix.optimize.statistics import Mark, statistics_of
from askonce.prefix.requests.chain import Chain, Segment
from askonce.prefix.requests.rules import Level, Lifetime, ProviderRule, rule_for
from askonce.prefix.tracking.diagnosis import diagnose
from askonce.prefix.tracking.history import History, Sent
from benchmarks.measure import Ratio, markdown

FILE = "mooncake_conversation.jsonl.gz"
BLOCK = 512
LEARNED = 0.3
"""The share of the requests from which the plan is made."""
MODELS = (
    ("anthropic", "claude-sonnet-4-5"),
    ("openai", "gpt-5.6"),
    ("openai", "gpt-5"),
)


@dataclass(frozen=True)
class PromptParts:
    """One request of the trace."""

    at: float
    tokens: int
    blocks: tuple[int, ...]
    goes_on: bool


def trace() -> list[PromptParts]:
    """The requests in the order of their times."""
    folder = Path(os.environ.get("ASKONCE_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not (folder / FILE).exists():
        sys.exit(f"{FILE} is not in {folder}: set ASKONCE_DATA to the folder that has it")
    with gzip.open(folder / FILE, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    known: set[int] = set()
    asked = []
    for row in rows:
        ids = tuple(row["hash_ids"])
        asked.append(
            PromptParts(row["timestamp"] / 1000, row["input_length"], ids, len(ids) > 1 and ids[1] in known)
        )
        known.update(ids)
    return asked


def chains(asked: Iterable[PromptParts], provider: str, model: str, *, whole: bool) -> list[Sent]:
    """The requests as chains.

    Args:
        asked: the trace.
        provider: whose caches they meet.
        model: of that provider.
        whole: leave out last blocks that are not full. Their tokens are computed in any case.
    """
    sent = []
    for one in asked:
        last = one.tokens - BLOCK * (len(one.blocks) - 1)
        sizes = [BLOCK] * (len(one.blocks) - 1) + [last]
        ids = one.blocks[:-1] if whole and last < BLOCK else one.blocks
        if not ids:
            continue
        segments = []
        for number, (block, tokens) in enumerate(zip(ids, sizes, strict=False)):
            level: Level = "messages" if number else "system"
            digest = block.to_bytes(8)
            role = "assistant" if one.goes_on and number == 1 else "user"
            label = f"message {number} ({role})" if number else "system prompt"
            segments.append(Segment(level, label, "text", digest, digest, digest, 4 * tokens, tokens, ending=True))
        steps = tuple(segment.running for segment in segments)
        ends = tuple(itertools.accumulate(segment.tokens for segment in segments))
        route = segments[0].running
        chain = Chain(provider, model, "", None, True, {}, tuple(segments), route, steps, ends, exact=True)
        sent.append(Sent(chain, one.at))
    return sent


# -- found -----------------------------------------------------------------------------------------------------


def bound(asked: Iterable[PromptParts], minimum: int, lifetime: float) -> int:
    """The tokens that can be read: the leading blocks that were sent within the lifetime, by their ids alone."""
    last: dict[int, float] = {}
    found = 0
    for one in asked:
        if one.tokens < minimum:
            continue
        ends = [min(BLOCK * (number + 1), one.tokens) for number in range(len(one.blocks))]
        long_enough = [(block, end) for block, end in zip(one.blocks, ends, strict=True) if end >= minimum]
        read = 0
        for block, end in long_enough:
            if block not in last or one.at >= last[block] + lifetime:
                break
            read = end
        found += read
        last.update((block, one.at) for block, _ in long_enough)
    return found


def found(sent: Sequence[Sent], rule: ProviderRule, most: int) -> tuple[int, int, float, History]:
    """Tokens that are predicted, tokens that the diagnosis reads, seconds, and the history afterwards."""
    history, predicted, read = History(most), 0, 0
    started = time.perf_counter()
    for one in sent:
        diagnosis = diagnose(one.chain, history, rule, None, one.at)
        read += diagnosis.predicted_read_tokens
        predicted += history.note(one, rule, 0, one.at).read_tokens
    return predicted, read, time.perf_counter() - started, history


def rule_with(minimum: int, idle_seconds: float) -> ProviderRule:
    """An automatic cache that reads whole blocks on one machine."""
    rule = rule_for("openai", "gpt-5")
    assert rule is not None
    lifetime = Lifetime("kept", 1.0, idle_seconds)
    return msgspec.structs.replace(
        rule, minimum_tokens=minimum, step_tokens=1, lifetimes=(lifetime,), requests_per_minute=None
    )


def shown_found(asked: Sequence[PromptParts], runs: int) -> bool:
    sent = chains(asked, "openai", "gpt-5", whole=False)
    blocks = sum(len(one.blocks) for one in asked)
    tokens = sum(one.tokens for one in asked)
    rows, right = [], True
    for name, minimum, idle in (
        ("no lifetime, no minimum", 1, math.inf),
        ("5 minutes, no minimum", 1, 300.0),
        ("5 minutes, 1,024 tokens", 1024, 300.0),
    ):
        rule, exact = rule_with(minimum, idle), bound(asked, minimum, idle)
        seconds = []
        for _ in range(runs):
            gc.collect()
            predicted, read, took, _ = found(sent, rule, 400_000)
            seconds.append(took)
        right = right and predicted == read == exact
        rows.append(
            (
                name,
                f"{exact:,} ({exact / tokens:.1%})",
                f"{predicted:,}",
                f"{read:,}",
                "equal" if predicted == read == exact else "DIFFER",
                f"{statistics.median(blocks / one for one in seconds):,.0f}",
            )
        )
    tracemalloc.start()
    *_, history = found(sent[:6000], rule_with(1024, 300.0), 50_000)
    memory = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    print(f"{len(asked):,} requests, {tokens:,} tokens, {blocks:,} blocks; median of {runs} runs\n")
    print(markdown(("cache", "bound, tokens", "predicted", "diagnosed", "", "blocks/s"), rows))
    print(f"\nA history of 50,000 prefixes takes {memory / 2**20:.0f} MB ({len(history._prefixes):,} in it).\n")
    return right


# -- money -----------------------------------------------------------------------------------------------------


def cheapest(sent: Iterable[Sent], rule: ProviderRule) -> float:
    """The lower bound, in input tokens: each block by itself, with the future known."""
    times: dict[bytes, list[float]] = {}
    tokens: dict[bytes, int] = {}
    for one in sent:
        for segment in one.chain.segments:
            times.setdefault(segment.digest, []).append(one.at)
            tokens[segment.digest] = segment.tokens
    return sum(tokens[block] * _cheapest_of(at, rule) for block, at in times.items())


def _cheapest_of(times: Sequence[float], rule: ProviderRule) -> float:
    """The least cost of a block's occurrences, by the state in which each leaves it: gone, or kept for so long."""
    states: dict[float, float] = {0.0: 0.0}
    before = -math.inf
    for at in times:
        after: dict[float, float] = {}
        for idle, cost in states.items():
            if at - before < idle:
                after[idle] = min(after.get(idle, math.inf), cost + rule.read_multiple)
                continue
            after[0.0] = min(after.get(0.0, math.inf), cost + 1)
            for lifetime in rule.lifetimes:
                kept = lifetime.idle_seconds
                after[kept] = min(after.get(kept, math.inf), cost + lifetime.write_multiple)
        states, before = after, at
    return min(states.values())


def paid(
    sent: Sequence[Sent], rule: ProviderRule, marks: Sequence[Mark], keys: int = 1, retention: str | None = None
) -> float:
    """What the requests cost, in input tokens, played by the rule."""
    return replayed(
        (
            replace(
                one,
                chain=replace(
                    marked(one.chain, marks, rule) if rule.marking != "automatic" else one.chain,
                    cache_key=key_of(one.chain, keys),
                    retention=retention,
                ),
            )
            for one in sent
        ),
        rule,
    )


def costs(asked: Sequence[PromptParts], provider: str, model: str, share: float) -> tuple[dict[str, float], str]:
    """Dollars for the requests behind the share from which the plan is made, by rule of marking; and the plan."""
    rule = rule_for(provider, model)
    price = input_price(model)
    if rule is None or price is None:
        sys.exit(f"no rule or no price for {model}")
    learned = int(share * len(asked))
    first, rest = (chains(part, provider, model, whole=True) for part in (asked[:learned], asked[learned:]))
    computed = sum(one.tokens for one in asked[learned:])
    aside = computed - sum(one.chain.tokens for one in rest)  # in last blocks that are not full
    made = plan(statistics_of(first, rule), sent=first)
    tokens: dict[str, float] = {"no caching": computed}
    if rule.marking == "automatic":
        tokens["automatic"] = paid(rest, rule, ()) + aside
    for name, marks in rules_of_others(rule).items():
        if marks:
            tokens[name] = paid(rest, rule, marks) + aside
    tokens["our plan"] = paid(rest, rule, made.marks, made.keys, made.retention) + aside
    tokens["lower bound"] = cheapest(rest, rule) + aside
    return {name: price * number for name, number in tokens.items()}, made.explain()


def shown_money(asked: Sequence[PromptParts], shares: Sequence[float]) -> bool:
    right = True
    for provider, model in MODELS:
        several = [costs(asked, provider, model, share) for share in shares]
        ours = [one["our plan"] for one, _ in several]
        rows = []
        for name in several[0][0]:
            dollars = [one[name] for one, _ in several]
            ratio = Ratio([mine / theirs for mine, theirs in zip(ours, dollars, strict=True)])
            rows.append((name, f"{statistics.median(dollars):,.2f}", str(ratio)))
            right = right and (name == "lower bound" or max(ratio.rounds) <= 1)
        print(f"{model}, plan made from the first {', '.join(f'{one:.0%}' for one in shares)} of the requests\n")
        print(markdown(("marking", "US dollars for the rest", "our plan ÷ this"), rows))
        print("\n" + several[len(several) // 2][1] + "\n")
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how often speed is measured, and plans are made")
    parser.add_argument("--requests", type=int, default=None, help="only so many of the trace's requests")
    parser.add_argument("--only", choices=("found", "money"))
    given = parser.parse_args()
    random.seed(0)
    asked = trace()[: given.requests]
    right = given.only == "money" or shown_found(asked, given.runs)
    shares = [LEARNED + 0.1 * (number - given.runs // 2) for number in range(given.runs)]
    right = (given.only == "found" or shown_money(asked, shares)) and right
    print("All that was claimed holds." if right else "NOT all that was claimed holds.")
    sys.exit(not right)


if __name__ == "__main__":
    main()
