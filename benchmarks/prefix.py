"""Prompt prefixes on a real trace: is every possible read found, at what speed, and what do breakpoints cost?

    make bench BENCH=prefix

The trace is Mooncake's conversation trace (FAST'25, Apache-2.0): 12,031 requests of one hour, each as the ids of
its blocks of 512 tokens; equal ids are equal prefixes. It has no messages and no texts, so that here a block is a
segment: the first, which all requests share, is the system prompt. A request goes on with a conversation if its
second block is known. The last block of a request is mostly not full; what extends it has another id, so that
nobody can read it: it is computed, whatever is marked.

Four questions:

* *Found*: what the history predicts and the diagnosis reads, against the bound that follows from the ids and times
  alone, without a lifetime and with that of the rule; to the token.
* *Speed*: blocks a second of the same, and what the history takes.
* *Bills*: what `PrefixOptimizer` makes of the bill, as a user has it, on generated workloads of many kinds, well
  marked ones among them, by the ledger of the tests' emulated provider, whose rules and prices are its own.
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
from typing import Any

import msgspec

from askonce.entries.entry import Usage
from askonce.prefix import PrefixOptimizer
from askonce.prefix.optimize.plan import input_price, plan, rules_of_others
from askonce.prefix.optimize.replay import key_of, marked, replayed
from askonce.prefix.optimize.statistics import Mark, statistics_of
from askonce.prefix.requests.chain import Chain, Segment
from askonce.prefix.requests.rules import Level, Lifetime, ProviderRule, rule_for
from askonce.prefix.tracking.diagnosis import diagnose
from askonce.prefix.tracking.history import History, Sent
from askonce.testing import FakeClock
from benchmarks.measure import Ratio, markdown
from tests.support.provider import Provider

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
    seen: set[int] = set()
    records = []
    for row in rows:
        ids = tuple(row["hash_ids"])
        records.append(
            PromptParts(row["timestamp"] / 1000, row["input_length"], ids, len(ids) > 1 and ids[1] in seen)
        )
        seen.update(ids)
    return records


def chains(records: Iterable[PromptParts], provider: str, model: str, *, whole: bool) -> list[Sent]:
    """The requests as chains.

    Args:
        records: the trace.
        provider: whose caches they meet.
        model: of that provider.
        whole: leave out last blocks that are not full. Their tokens are computed in any case.
    """
    sent = []
    for one in records:
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


def bound(records: Iterable[PromptParts], minimum: int, lifetime: float) -> int:
    """The tokens that can be read: the leading blocks that were sent within the lifetime, by their ids alone."""
    last: dict[int, float] = {}
    found = 0
    for one in records:
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
        predicted += history.record(one, rule, 0, one.at).read_tokens
    return predicted, read, time.perf_counter() - started, history


def rule_with(minimum: int, idle_seconds: float) -> ProviderRule:
    """An automatic cache that reads whole blocks on one machine."""
    rule = rule_for("openai", "gpt-5")
    assert rule is not None
    lifetime = Lifetime("kept", 1.0, idle_seconds)
    return msgspec.structs.replace(
        rule, minimum_tokens=minimum, step_tokens=1, lifetimes=(lifetime,), requests_per_minute=None
    )


def shown_found(records: Sequence[PromptParts], runs: int) -> bool:
    sent = chains(records, "openai", "gpt-5", whole=False)
    blocks = sum(len(one.blocks) for one in records)
    tokens = sum(one.tokens for one in records)
    rows, right = [], True
    for name, minimum, idle in (
        ("no lifetime, no minimum", 1, math.inf),
        ("5 minutes, no minimum", 1, 300.0),
        ("5 minutes, 1,024 tokens", 1024, 300.0),
    ):
        rule, exact = rule_with(minimum, idle), bound(records, minimum, idle)
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
    print(f"{len(records):,} requests, {tokens:,} tokens, {blocks:,} blocks; median of {runs} runs\n")
    print(markdown(("cache", "bound, tokens", "predicted", "diagnosed", "", "blocks/s"), rows))
    print(f"\nA history of 50,000 prefixes takes {memory / 2**20:.0f} MB ({len(history._prefixes):,} in it).\n")
    return right


# -- bills -----------------------------------------------------------------------------------------------------

BILLED = ("claude-opus-4-8", "gpt-5.6", "gpt-5", "gpt-4.1")
MARKINGS = ("none", "end", "system prompt and end", "system prompt")
NOISE = 1.02


@dataclass(frozen=True)
class Workload:
    """The requests of one application: the interface, the gap before each in seconds, and the body."""

    name: str
    interface: str
    requests: list[tuple[float, dict[str, Any]]]


def workload(seed: int, requests: int) -> Workload:
    """Chats, questions or both, one after the other, with or without breakpoints, tools and a clock."""
    chance = random.Random(seed)
    model, marking = chance.choice(BILLED), chance.choice(MARKINGS)
    kinds = chance.choice([("chats",), ("questions",), ("chats", "questions"), ("questions", "chats")])
    chats, turns = chance.choice([1, 5, 30]), chance.choice([3, 8, 20])
    tools, clock = chance.choice(["no", "steady", "shuffled"]), chance.random() < 0.2
    gap, length = chance.choice([1.0, 3.0, 40.0, 500.0]), chance.choice([100, 600, 3000])
    system = _text(length, f"{seed} system")
    described = [(f"tool{number}", _text(60, number)) for number in range(6)]
    running: dict[int, list[str]] = {}
    made = []
    for number in range(requests):
        kind = kinds[number * len(kinds) // requests]
        chat = chance.randrange(chats)
        texts = running.setdefault(chat, []) if kind == "chats" else []
        if len(texts) >= 2 * turns:
            texts.clear()
        texts.append(_text(chance.choice([20, 200]), f"{seed} {number} asked"))
        offered = list(described) if tools != "no" else []
        if tools == "shuffled":
            chance.shuffle(offered)
        head = f"It is {number} o'clock. {system}" if clock else system
        made.append((chance.expovariate(1 / gap), _body(model, marking, head, texts, offered)))
        texts.append(_text(150, f"{seed} {number} answered"))
    where = f", breakpoints: {marking}" if model.startswith("claude") else ""
    name = f"{model}, {' then '.join(kinds)}{where}, {tools} tools{', clock' if clock else ''}, each {gap:g} s"
    return Workload(name, "messages" if model.startswith("claude") else "chat", made)


def _text(words: int, seed: object) -> str:
    chance = random.Random(str(seed))
    return " ".join(chance.choice(("order", "policy", "always", "refund", "never", "rules")) for _ in range(words))


def _body(
    model: str, marking: str, system: str, texts: Sequence[str], tools: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    roles = itertools.cycle(("user", "assistant"))
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    if not model.startswith("claude"):
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=False)]
        offered = [
            {"type": "function", "function": {"name": name, "description": text, "parameters": schema}}
            for name, text in tools
        ]
        body: dict[str, Any] = {"model": model, "messages": [{"role": "system", "content": system}, *messages]}
        return body | ({"tools": offered} if offered else {})
    mark = {"cache_control": {"type": "ephemeral"}}
    parts: list[Any] = [[{"type": "text", "text": text}] for text in texts]
    if marking.endswith("end"):
        parts[-1][0] |= mark
    block = {"type": "text", "text": system} | (mark if marking.startswith("system prompt") else {})
    offered = [{"name": name, "description": text, "input_schema": schema} for name, text in tools]
    messages = [{"role": role, "content": part} for role, part in zip(roles, parts, strict=False)]
    body = {"model": model, "max_tokens": 9, "system": [block], "messages": messages}
    return body | ({"tools": offered} if offered else {})


def billed(work: Workload, *, optimized: bool) -> float:
    """Dollars for the workload, by the provider's ledger."""
    clock = FakeClock()
    optimizer = PrefixOptimizer(clock=clock)
    company = "anthropic" if work.interface == "messages" else "openai"
    with Provider(clock) as provider:
        for gap, body in work.requests:
            clock.advance(gap)
            if not optimized:
                provider.serve(work.interface, body)
                continue
            request = optimizer.start(body, company)
            _, _, bill = provider.serve(work.interface, dict(request.body))
            request.answered(Usage(bill.input, bill.output, bill.read, sum(bill.written.values())))
            optimizer._worker.flush(60.0)
        return sum(row.usd for row in provider.ledger)


def shown_bills(number: int, requests: int) -> bool:
    rows = []
    for seed in range(number):
        work = workload(seed, requests)
        plain, ours = billed(work, optimized=False), billed(work, optimized=True)
        rows.append((ours / plain, work.name, plain))
    rows.sort(reverse=True)
    ratios = [one[0] for one in rows]
    shown = [(name, f"{plain:.3f}", f"{ratio:.3f}") for ratio, name, plain in [*rows[:8], *rows[-4:]]]
    whole = sum(plain * ratio for ratio, _, plain in rows) / sum(plain for *_, plain in rows)
    print(f"{number} workloads of {requests} requests; the optimizer's bill ÷ the plain one:")
    print(f"median {statistics.median(ratios):.3f}, of all dollars {whole:.3f},", end=" ")
    print(f"worst {max(ratios):.3f}, best {min(ratios):.3f}. The worst eight and the best four:\n")
    print(markdown(("workload", "plain, US dollars", "optimizer's ÷ plain"), shown) + "\n")
    return max(ratios) <= NOISE


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
    """The least cost of a block's occurrences, by the state in which each leaves it: gone, or cached that long."""
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
                held = lifetime.idle_seconds
                after[held] = min(after.get(held, math.inf), cost + lifetime.write_multiple)
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


def costs(records: Sequence[PromptParts], provider: str, model: str, share: float) -> tuple[dict[str, float], str]:
    """Dollars for the requests behind the share from which the plan is made, by rule of marking; and the plan."""
    rule = rule_for(provider, model)
    price = input_price(model)
    if rule is None or price is None:
        sys.exit(f"no rule or no price for {model}")
    learned = int(share * len(records))
    first, rest = (chains(part, provider, model, whole=True) for part in (records[:learned], records[learned:]))
    computed = sum(one.tokens for one in records[learned:])
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


def shown_money(records: Sequence[PromptParts], shares: Sequence[float]) -> bool:
    right = True
    for provider, model in MODELS:
        rule = rule_for(provider, model)
        uncompared = {"lower bound"}
        if rule is not None and rule.marking == "both":  # the breakpoint that the provider sets itself stays
            uncompared.add("no caching")
        several = [costs(records, provider, model, share) for share in shares]
        ours = [one["our plan"] for one, _ in several]
        rows = []
        for name in several[0][0]:
            dollars = [one[name] for one, _ in several]
            ratio = Ratio([mine / theirs for mine, theirs in zip(ours, dollars, strict=True)])
            rows.append((name, f"{statistics.median(dollars):,.2f}", str(ratio)))
            right = right and (name in uncompared or max(ratio.rounds) <= 1)
        print(f"{model}, plan made from the first {', '.join(f'{one:.0%}' for one in shares)} of the requests\n")
        print(markdown(("marking", "US dollars for the rest", "our plan ÷ this"), rows))
        print("\n" + several[len(several) // 2][1] + "\n")
    return right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3, help="how often speed is measured, and plans are made")
    parser.add_argument("--requests", type=int, default=None, help="only so many of the trace's requests")
    parser.add_argument("--workloads", type=int, default=38, help="how many are generated for the bills")
    parser.add_argument("--only", choices=("found", "bills", "money"))
    given = parser.parse_args()
    random.seed(0)
    right = given.only not in (None, "bills") or shown_bills(given.workloads, 120)
    if given.only != "bills":
        records = trace()[: given.requests]
        right = (given.only == "money" or shown_found(records, given.runs)) and right
        shares = [LEARNED + 0.1 * (number - given.runs // 2) for number in range(given.runs)]
        right = (given.only == "found" or shown_money(records, shares)) and right
    print("All that was claimed holds." if right else "NOT all that was claimed holds.")
    sys.exit(not right)


if __name__ == "__main__":
    main()
