"""How often a semantic cache may answer, and how often it is wrong: static thresholds, vCache's rule, and ours.

    python -m benchmarks.semantic [PART …] [--orders 20] [--quick] [--markdown FILE] [--plot FILE.svg]

The parts: ``rivals`` on BANKING77 and Quora, ``changing`` streams, ``guards`` against small differences, ``cpu`` of
a decision and of learning, and ``cache``: decisions among 100,000 questions, and requests through a `Cache`. Each
stream is played in several random orders. An answer is right when the labels are equal, and the judge knows them.
The error is the share of all requests that were answered wrongly; "on the way" is its largest value at any request
after the first 500.
"""

from __future__ import annotations

import argparse
import random
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.decision.words import STOP_WORDS
from askonce.semantic.language.reading import reading
from askonce.semantic.types import IndexedQuery, Neighbour
from benchmarks import policies, streams
from benchmarks.measure import markdown
from benchmarks.policies import Outcome
from benchmarks.semantic_cache import in_a_cache

PARTS = ("rivals", "changing", "guards", "cpu", "cache")
THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.88, 0.90, 0.92, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
BOUNDS = (0.005, 0.01, 0.02, 0.03, 0.05)
HEADS = (
    "stream",
    "policy",
    "hit (worst order)",
    "error: mean, largest",
    "on the way: mean, largest",
    "audits",
    "orders",
)
SEED = 800
Row = tuple[str, ...]


def row(stream: str, policy: str, outcomes: Sequence[Outcome]) -> Row:
    hits, errors, worst = ([getattr(one, name) for one in outcomes] for name in ("hit", "error", "worst"))
    line = (
        streams.STREAMS[stream][0],
        policy,
        f"{np.mean(hits):.3f} ({min(hits):.3f})",
        f"{np.mean(errors):.2%}, {max(errors):.2%}",
        f"{np.mean(worst):.2%}, {max(worst):.2%}",
        f"{np.mean([one.audits for one in outcomes]):.1%}",
        str(len(outcomes)),
    )
    print(" | ".join(line), flush=True)
    return line


def ours(stream: str, max_error: float, orders: int) -> list[Outcome]:
    seeds = range(SEED, SEED + orders)
    return [policies.ours(streams.stream(stream, seed), DecisionRule(max_error), seed) for seed in seeds]


def rivals(orders: int, plot: Path | None) -> list[Row]:
    rows: list[Row] = []
    points: dict[str, list[tuple[float, Outcome]]] = {"static": [], "vcache": [], "ours": []}
    few = max(1, orders // 5)
    for name, bounds, count in (("banking", BOUNDS, orders), ("quora", BOUNDS[1:3], few)):
        for threshold in THRESHOLDS:
            one = [policies.static(streams.stream(name, SEED + order), threshold) for order in range(min(2, few))]
            rows.append(row(name, f"static {threshold:.2f}", one))
            points["static"] += [(threshold, one[0])] if name == "banking" else []
        for bound in bounds:
            main = bound in (0.01, 0.02)
            one = [
                policies.vcache(streams.stream(name, SEED + order), bound, order) for order in range(min(2, few))
            ]
            rows.append(row(name, f"vCache {bound:.1%}", one))
            points["vcache"] += [(bound, one[0])] if name == "banking" else []
            one = ours(name, bound, count if main else few)
            rows.append(row(name, f"askonce {bound:.1%}", one))
            if name == "banking":
                mean = Outcome(float(np.mean([o.hit for o in one])), float(np.mean([o.error for o in one])))
                points["ours"].append((bound, mean))
    if plot is not None:
        draw(points, plot)
    return rows


def draw(points: dict[str, list[tuple[float, Outcome]]], path: Path) -> None:
    """The hit rate against the bound; a static threshold stands at the error that it turned out to have."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "askonce"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.2))
    axes.plot([100 * b for b, _ in points["ours"]], [o.hit for _, o in points["ours"]], "o-", label="askonce")
    axes.plot([100 * b for b, _ in points["vcache"]], [o.hit for _, o in points["vcache"]], "s-", label="vCache")
    indexed = [(100 * o.error, o.hit, t) for t, o in points["static"] if o.error <= 0.055]
    axes.plot(
        [x for x, _, _ in indexed], [y for _, y, _ in indexed], "x:", color="gray", label="static, known afterwards"
    )
    for x, y, threshold in indexed:
        axes.annotate(f"{threshold:.2f}", (x, y), fontsize=7, textcoords="offset points", xytext=(4, -8))
    axes.set(
        xlabel="bound on wrong answers, % of requests (static: what it turned out to be)",
        ylabel="hit rate",
        xlim=(0, 5.5),
        ylim=(0, 0.8),
        title="BANKING77, 8,000 requests in random order",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def changing(orders: int) -> list[Row]:
    names = [name for name in streams.STREAMS if name not in ("banking", "quora")]
    return [
        row(name, f"askonce {bound:.0%}", ours(name, bound, orders)) for bound in (0.01, 0.02) for name in names
    ]


# -- guards ----------------------------------------------------------------------------------------------------

_AUXILIARY = re.compile(r"\b(is|are|was|were|can|could|do|does|did|will|would|should|has|have|am)\b", re.IGNORECASE)


def other_number(text: str, chance: random.Random) -> str | None:
    found = re.search(r"\d+", text)
    if found is None:
        return None
    return text[: found.start()] + str(int(found[0][:6]) + chance.randint(1, 9)) + text[found.end() :]


def negated(text: str, chance: random.Random) -> str | None:
    found = _AUXILIARY.search(text)
    return None if found is None or reading(text).negations else text[: found.end()] + " not" + text[found.end() :]


def one_word_less(text: str, chance: random.Random) -> str | None:
    words = text.split()
    droppable = [place for place, word in enumerate(words) if word.lower() in STOP_WORDS]
    if len(words) < 5 or not droppable:
        return None
    del words[chance.choice(droppable)]
    return " ".join(words)


CHANGES: dict[str, Callable[[str, random.Random], str | None]] = {
    "another number": other_number,
    "a 'not' more": negated,
    "a stop word less (control)": one_word_less,
}


def guards(pairs: int) -> list[Row]:
    """Which share of changed questions would be served, their vectors turned to a cosine of 0.97 only."""
    rows = []
    for name in ("banking", "quora"):
        stream = streams.stream(name, SEED)
        rule = DecisionRule(0.01)
        aliases: dict[bytes, int] = {}
        collected: list[tuple[IndexedQuery, int]] = []
        policies.ours(stream, rule, SEED, on_keep=lambda *one, collected=collected: collected.append(one))
        for indexed, _ in collected:
            aliases[indexed.answer] = aliases.get(indexed.answer, 0) + 1
        (_, snapshot), threshold = rule.snapshot(), rule._threshold
        matrix = stream.pool.vectors[[question for _, question in collected]]
        for change, make in CHANGES.items():
            chance, noise = random.Random(1), np.random.default_rng(1)
            tried = served = without = 0
            for place in chance.sample(range(len(collected)), len(collected)):
                text = make(collected[place][0].text, chance)
                if text is None:
                    continue
                if tried % 10 == 0:  # what is tried here must not use the budgets up
                    rule = DecisionRule(0.01)
                    rule.restore(snapshot)
                direction = noise.normal(size=matrix.shape[1])
                direction -= direction @ matrix[place] * matrix[place]
                vector = 0.97 * matrix[place] + (1 - 0.97**2) ** 0.5 * direction / np.linalg.norm(direction)
                similarities = matrix @ vector
                nearest = np.argsort(-similarities)[:10]
                neighbours = [
                    Neighbour(collected[at][0], float(similarities[at]), aliases[collected[at][0].answer])
                    for at in nearest
                ]
                decision = rule.decide(text, neighbours, 0.999999)
                tried += 1
                trusted = decision.action == "serve" or decision.reason == "budget"
                served += trusted
                without += trusted or (decision.reason == "guard" and decision.p_wrong <= threshold)
                if tried >= pairs:
                    break
            line = (streams.STREAMS[name][0], change, str(tried), f"{served / tried:.1%}", f"{without / tried:.1%}")
            print(" | ".join(line), flush=True)
            rows.append(line)
    return rows


# -- what it costs ---------------------------------------------------------------------------------------------


def cpu(calls: int) -> list[Row]:
    """A decision among ten neighbours, their texts read before or not, and learning with its fits."""
    texts = streams.quora().texts[: 11 * calls]
    rule = DecisionRule(0.01)

    def neighbours(number: int) -> list[Neighbour]:
        texts_near = texts[calls + 10 * number : calls + 10 * number + 10]
        return [
            Neighbour(
                IndexedQuery(bytes(32), (place // 2).to_bytes(32, "big"), "", b"", text), 0.95 - 0.01 * place, 2
            )
            for place, text in enumerate(texts_near)
        ]

    rows = []
    neighbours_of = [neighbours(number) for number in range(calls)]
    for what in ("a decision, no text was read before", "a decision, all texts were read before"):
        times = []
        for number in range(calls):
            if what.endswith("read before") and "all" in what:
                rule.decide(texts[number], neighbours_of[number], 0.5)
            started = time.perf_counter()
            rule.decide(texts[number], neighbours_of[number], 0.5)
            times.append(time.perf_counter() - started)
        p50, p99 = np.percentile(np.array(times) * 1e6, [50, 99])
        rows.append((what, f"{p50:.0f}", f"{p99:.0f}"))
    started = time.process_time()
    for number in range(calls):
        rule.learn(rule.decide(texts[number], neighbours_of[number], 0.0), number % 3 > 0)
    rows.append(
        ("a decision and learning, mean of CPU", f"{(time.process_time() - started) / calls * 1e6:.0f}", "")
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--orders", type=int, default=20, help="random orders of each stream")
    parser.add_argument("--quick", action="store_true", help="one order, fewer questions")
    parser.add_argument("--markdown", type=Path, help="write the tables there too")
    parser.add_argument("--plot", type=Path, help="draw the hit rate against the bound, SVG")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    parts, orders = options.parts or PARTS, 1 if options.quick else options.orders
    if not streams.available():
        print(f"Skipped: banking77.npz and qqp.npz are not in {streams.DATA}; ASKONCE_DATA names another folder.")
        return
    tables = []
    with threadpool_limits(1):
        if "rivals" in parts:
            tables.append(markdown(HEADS, rivals(orders, options.plot)))
        if "changing" in parts:
            tables.append(markdown(HEADS, changing(max(1, orders // 2))))
        if "guards" in parts:
            heads = ("stream", "the question has", "pairs", "would be served", "by the model alone")
            tables.append(markdown(heads, guards(50 if options.quick else 400)))
        if "cpu" in parts:
            tables.append(markdown(("what", "µs p50", "µs p99"), cpu(300 if options.quick else 1000)))
        if "cache" in parts:
            heads = ("through a Cache", "µs p50", "µs p99")
            tables.append(markdown(heads, in_a_cache(5_000 if options.quick else 100_000)))
    report = "\n\n".join(tables) + "\n"
    print("\n" + report)
    if options.markdown:
        options.markdown.write_text(report)


if __name__ == "__main__":
    main()
