"""What choosing a model saves, and whether the floor under quality holds.

    python -m benchmarks.multiplexer [--seeds 20] [--requests 4000] [--markdown FILE]

Two labelled sets of real questions, and of each two real scorers of different cost, 1 and 10:

* BANKING77: which of 77 intents a question has. Small: logistic regression on 64 of the 384 dimensions of the
  embedding, taught with 20 questions of each intent; large: on all of them, taught with a half of the set.
* Quora: whether two questions ask the same. Small: logistic regression on the words that they share; large: on the
  embeddings of both. Half of the pairs are duplicates; the others are among the 300 nearest that are none.

The requests were in no training set. An answer of the small scorer passes if it is that of the large one; the judge
says so without fail. It costs nothing unless a price is named; what it costs is in what is saved. Each strategy
answers the same stream, in an order of its own for each seed, through the package's own `Router`. For equal
quality, the cascade and the random choice are given, in hindsight, the setting with which they pass as often as
`Learned` did. The texts and embeddings are read from the folder that
``ASKONCE_DATA`` names, by default ``../shared/data``; without them nothing is measured.
"""

from __future__ import annotations

import argparse
import os
import statistics
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from askonce.routing import Cascade, Confidence, Learned, Strategy
from askonce.routing.router import Router
from askonce.routing.runner import Following, follow
from askonce.routing.types import ModelResponse, Opinion, RoutingRequest
from askonce.stores.memory import MemoryStore
from benchmarks.measure import markdown

DATA = Path(os.environ.get("ASKONCE_DATA", Path(__file__).parents[2] / "shared" / "data"))
COSTS = (0.001, 0.01)
MIN_QUALITY, CONFIDENCE = 0.95, 0.95
NEIGHBOURS = 300
SAVED_BY_SMALL = 1 - COSTS[0] / COSTS[1]


@dataclass
class Stream:
    """Questions with what both scorers say: answers, the small one's probability, and the truth."""

    texts: Sequence[str]
    vectors: Any
    small: Any
    sure: Any
    large: Any
    truth: Any


@dataclass
class Outcome:
    """What a strategy came to: shares of the cost and of the requests."""

    saved: float
    passed: float
    right: float
    moments_below: float
    sure: float | None = None


def banking(seed: int, requests: int) -> Stream:
    data = np.load(DATA / "banking77.npz", allow_pickle=False)
    vectors, labels = data["emb"].astype(np.float32), data["label"]
    order = np.random.default_rng(seed).permutation(len(labels))
    taught, drawn = order[: len(order) // 2], order[len(order) // 2 :][:requests]
    few = np.concatenate([taught[labels[taught] == label][:20] for label in np.unique(labels)])
    large = _fit(vectors[taught], labels[taught])
    small = _fit(vectors[few][:, :64], labels[few])
    guesses = small.predict_proba(vectors[drawn][:, :64])
    return Stream(
        data["text"][drawn].tolist(),
        vectors[drawn],
        small.classes_[guesses.argmax(1)],
        guesses.max(1),
        large.predict(vectors[drawn]),
        labels[drawn],
    )


def quora(seed: int, requests: int) -> Stream:
    data = np.load(DATA / "qqp.npz", allow_pickle=False)
    vectors, labels, texts = data["emb"].astype(np.float32), data["label"], data["text"]
    rng = np.random.default_rng(seed)
    first, second = _pairs(vectors, labels, rng, 2 * requests)
    same = labels[first] == labels[second]
    shared = _shared_words(texts, first, second)
    both = np.concatenate([vectors[first] * vectors[second], np.abs(vectors[first] - vectors[second])], axis=1)
    half = len(first) // 2
    small, large = _fit(shared[:half], same[:half]), _fit(both[:half] * 10, same[:half])
    guesses = small.predict_proba(shared[half:])
    pairs = zip(texts[first[half:]], texts[second[half:]], strict=True)
    return Stream(
        [f"{one}\n{other}" for one, other in pairs],
        np.abs(vectors[first[half:]] - vectors[second[half:]]),
        small.classes_[guesses.argmax(1)],
        guesses.max(1),
        large.predict(both[half:] * 10),
        same[half:],
    )


def _pairs(vectors: Any, labels: Any, rng: Any, count: int) -> tuple[Any, Any]:
    """Pairs of the same class, and near neighbours of different classes, half and half, mixed."""
    order = np.argsort(labels, kind="stable")
    duplicates = np.flatnonzero(labels[order][1:] == labels[order][:-1])
    chosen = rng.permutation(duplicates)[: count // 2]
    left, right = order[chosen], order[chosen + 1]
    ones = rng.permutation(len(labels))[: len(left)]
    near = vectors[ones] @ vectors.T
    near[labels[ones][:, None] == labels[None, :]] = -1
    nearest = np.argpartition(-near, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
    others = nearest[np.arange(len(ones)), rng.integers(0, NEIGHBOURS, len(ones))]
    first, second = np.concatenate([left, ones]), np.concatenate([right, others])
    mixed = rng.permutation(len(first))
    return first[mixed], second[mixed]


def _shared_words(texts: Any, first: Any, second: Any) -> Any:
    rows = []
    for one, other in zip(first, second, strict=True):
        a, b = set(str(texts[one]).lower().split()), set(str(texts[other]).lower().split())
        rows.append([len(a & b) / max(len(a | b), 1), len(a & b) / max(min(len(a), len(b)), 1), len(a ^ b) / 10])
    return np.array(rows)


def _fit(x: Any, y: Any) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return LogisticRegression(C=10, max_iter=200).fit(x, y)


def play(stream: Stream, strategy: Strategy) -> Outcome:
    """Answer the whole stream by the package's router."""
    router = Router(["small", "large"], strategy, state=lambda: "bench", store=MemoryStore(), costs=COSTS)
    vectors, failing, below, passed, right = stream.vectors, 0, 0, 0, 0
    for at, text in enumerate(stream.texts):
        answers = (str(stream.small[at]), str(stream.large[at]))

        def call(index: int, answers: tuple[str, str] = answers, at: int = at) -> ModelResponse:
            return ModelResponse(answers[index], response=stream.sure[at])

        following = Following(router.steps(RoutingRequest(text, len(text)), vectors[at]))
        follow(following, call)
        assert following.mark is not None
        verdict = answers[following.mark["model"] == "large"]
        failing += verdict != answers[1]
        below += failing > (1 - MIN_QUALITY) * (at + 1)
        right += verdict == str(stream.truth[at])
    stats = router.stats()
    router.close()
    passed = len(stream.texts) - failing
    count = len(stream.texts)
    saved = stats.saved_usd / stats.always_last_usd
    return Outcome(saved, passed / count, right / count, below / count, stats.quality_at_least)


def same(question: str, answer: str, reference: str) -> bool:
    return answer == reference


def priced(share: float) -> Callable[[str, str, str], Opinion]:
    """The same as a chat model would say it, at a share of what the large scorer costs."""
    return lambda question, answer, reference: Opinion(answer == reference, "judge", share * COSTS[1])


def score(response: Any) -> float:
    return float(response)


def strategies(seed: int) -> dict[str, Strategy]:
    floor: dict[str, Any] = {"min_quality": MIN_QUALITY, "confidence": CONFIDENCE, "judge": same, "seed": seed}
    return {
        "learned": Learned(**floor, embed=len),
        "learned, the judge a tenth of the large": Learned(**floor | {"judge": priced(0.1)}, embed=len),
        "learned, the judge as expensive as the large": Learned(**floor | {"judge": priced(1.0)}, embed=len),
        "learned, with the answer's confidence": Learned(**floor, embed=len, verifier=Confidence(0.0, score)),
    }


def threshold_for(stream: Stream, passed: float) -> float:
    """The confidence from which on a cascade would have accepted, to pass as often."""
    order = np.argsort(-stream.sure)
    failing = np.cumsum((stream.small != stream.large)[order])
    accepted = int(np.searchsorted(failing, (1 - passed) * len(order) + 1e-9, side="right"))
    return float(stream.sure[order][accepted - 1]) if accepted else 1.0


def at_random(stream: Stream, passed: float) -> Outcome:
    """Small for a share of requests picked by chance, so that as many pass; by expectation."""
    agree = float(np.mean(stream.small == stream.large))
    share = (1 - passed) / (1 - agree)
    accuracy = [float(np.mean(answers == stream.truth)) for answers in (stream.small, stream.large)]
    return Outcome(share * SAVED_BY_SMALL, passed, share * accuracy[0] + (1 - share) * accuracy[1], 0.0)


def measure(make: Callable[[int, int], Stream], seeds: int, requests: int) -> tuple[list[list[str]], list[str]]:
    found: dict[str, list[Outcome]] = {}
    agree = []
    for seed in range(seeds):
        stream = make(seed, requests)
        agree.append(float(np.mean(stream.small == stream.large)))
        for name, answers in (("always large", stream.large), ("always small", stream.small)):
            passing = float(np.mean(answers == stream.large))
            cost = 0.0 if name == "always large" else SAVED_BY_SMALL
            outcome = Outcome(cost, passing, float(np.mean(answers == stream.truth)), 0.0)
            found.setdefault(name, []).append(outcome)
        for name, strategy in strategies(seed).items():
            mine = play(stream, strategy)
            found.setdefault(name, []).append(mine)
            cascade = Cascade(Confidence(threshold_for(stream, mine.passed), score))
            found.setdefault(f"cascade, as good as {name}", []).append(play(stream, cascade))
            found.setdefault(f"random, as good as {name}", []).append(at_random(stream, mine.passed))
        print(
            f"  seed {seed}: {', '.join(f'{name} {one[-1].saved:.3f}' for name, one in found.items())}", flush=True
        )
    rows = []
    for name, outcomes in found.items():
        learned = name.startswith("learned")
        held = sum(one.moments_below == 0 for one in outcomes)
        moments = 1 - statistics.fmean(one.moments_below for one in outcomes)
        rows.append(
            [
                name,
                _spread([one.saved for one in outcomes]),
                _spread([one.passed for one in outcomes]),
                _spread([one.right for one in outcomes]),
                _spread([one.sure or 0 for one in outcomes]) if learned else "",
                f"{held} of {len(outcomes)} seeds, {moments:.2%} of moments" if learned else "",
            ]
        )
    return rows, [f"{statistics.median(agree):.3f}"]


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.3f} ({min(values):.3f}–{max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if not all((DATA / name).exists() for name in ("banking77.npz", "qqp.npz")):
        print(f"Skipped: banking77.npz and qqp.npz are not in {DATA}; ASKONCE_DATA names another folder.")
        return
    heads = ["strategy", "cost saved", "answers that pass", "right by the labels", "sure to pass", "floor held"]
    text = ""
    with threadpool_limits(1):
        for title, make in (("BANKING77, intents", banking), ("Quora, duplicates", quora)):
            rows, (agree,) = measure(make, options.seeds, options.requests)
            text += f"\n{title} (the small scorer agrees with the large one in {agree} of the requests)\n\n"
            text += markdown(heads, rows) + "\n"
    print(text)
    if options.markdown:
        options.markdown.write_text(text)


if __name__ == "__main__":
    main()
