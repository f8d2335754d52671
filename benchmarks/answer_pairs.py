"""Pairs of answers, the same and not: what a judge is measured on.

Hand-written ones are in ``answers/*.tsv``. The others are made from templates: a topic has sentences, each in
several wordings, with slots; a slot has several values, and each value several forms. Two answers are the same if
all values are. What is different differs in the value of one slot, or two slots of one kind have changed places.
Rules were written by looking at the parts called ``dev`` alone.

    python -m benchmarks.answer_pairs   # measures the default judge
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from askonce.semantic import Comparison, EmbeddingJudge
from askonce.semantic.embedding import Embedder

FOLDER = Path(__file__).parent / "answers"
T = TypeVar("T")
Part = Literal["dev", "held_out"]
PARTS: tuple[Part, ...] = ("dev", "held_out")


@dataclass(frozen=True)
class Pair:
    """Two answers, and whether they say the same."""

    same: bool
    kind: str
    fresh: str
    cached: str


def written(part: Part) -> list[Pair]:
    """The hand-written pairs of a part."""
    lines = (FOLDER / f"{part}.tsv").read_text(encoding="utf-8").splitlines()
    fields = [line.split("\t") for line in lines]
    return [Pair(label == "=", domain, fresh, cached) for label, domain, fresh, cached in fields]


@dataclass(frozen=True)
class _Topic:
    sentences: list[list[str]]
    slots: dict[str, list[list[str]]]
    courteous: bool

    @property
    def free(self) -> list[str]:
        """The slots that have a value of their own: ``{can_}`` has the value of ``{can}``."""
        return [name for name in self.slots if not name.endswith("_")]


_COURTESIES = {
    "dev": [
        ("Don't worry, this is easy.", ""),
        ("", "Let me know if you have any other questions."),
        ("Thanks for reaching out!", ""),
        ("", "You don't need to do anything else."),
        ("I'm sorry to hear that.", "I hope this helps!"),
        ("Sure!", ""),
    ],
    "held_out": [
        ("Happy to help!", ""),
        ("", "Feel free to write again if anything is unclear."),
        ("Good question.", ""),
        ("No problem at all.", "Have a great day!"),
        ("", "Nothing else is required on your side."),
        ("Of course.", "Is there anything else I can do for you?"),
    ],
}


def _topics(part: Part) -> Iterator[_Topic]:
    """Blocks of a file: sentences as ``wording | wording``, then slots as ``{name}: form, form | form, form``."""
    for block in (FOLDER / f"{part}_topics.txt").read_text(encoding="utf-8").strip().split("\n\n"):
        sentences, slots = [], {}
        lines = block.splitlines()
        curt = lines[0] == "no courtesies"  # those below are English
        for line in lines[curt:]:
            slot = re.match(r"\{(\w+)\}: (.*)", line)
            if slot:
                slots[slot[1]] = [[form.strip() for form in value.split(", ")] for value in slot[2].split("|")]
            else:
                sentences.append([wording.strip() for wording in line.split("|")])
        yield _Topic(sentences, slots, not curt)


def in_halves(topics: Sequence[T], count: int) -> Iterator[tuple[T, bool]]:
    """That many topics in turn; and whether the pair of each is to be the same, as every other of a topic."""
    for number in range(count):
        turn, at = divmod(number, len(topics))
        yield topics[at], turn % 2 == 0


def generated(part: Part, count: int, seed: int) -> list[Pair]:
    """That many pairs from the templates of a part, half of them the same."""
    chance, pairs = random.Random(seed), []
    for topic, same in in_halves(list(_topics(part)), count):
        values = _values(topic, chance)
        kind, other = ("wording", values) if same else _changed(topic, values, chance)
        pairs.append(Pair(same, kind, _answer(topic, values, part, chance), _answer(topic, other, part, chance)))
    return pairs


def wordings_of(part: Part, count: int, seed: int) -> list[Callable[[random.Random], str]]:
    """That many sets of facts, no two equal; each is called for an answer that states them in some wording."""
    chance, topics = random.Random(seed), list(_topics(part))
    facts: dict[tuple[int, tuple[int, ...]], Callable[[random.Random], str]] = {}
    while len(facts) < count:
        number = chance.randrange(len(topics))
        values = _values(topics[number], chance)
        answer = partial(_answer, topics[number], values, part)
        facts.setdefault((number, tuple(values.values())), answer)
    return list(facts.values())


def _values(topic: _Topic, chance: random.Random) -> dict[str, int]:
    values = {name: chance.randrange(len(topic.slots[name])) for name in topic.free}
    for name, twin in _twins(topic):  # two slots of one kind have two values
        while values[name] == values[twin]:
            values[twin] = chance.randrange(len(topic.slots[twin]))
    return values


def _twins(topic: _Topic) -> list[tuple[str, str]]:
    return [(name, f"{name}2") for name in topic.slots if f"{name}2" in topic.slots]


def _changed(topic: _Topic, values: dict[str, int], chance: random.Random) -> tuple[str, dict[str, int]]:
    twins = _twins(topic)
    if twins and chance.random() < 0.4:
        name, twin = chance.choice(twins)
        return f"{name} swapped", {**values, name: values[twin], twin: values[name]}
    name = chance.choice(topic.free)
    taken = {values[name], *(values[other] for pair in twins if name in pair for other in pair)}
    free = [value for value in range(len(topic.slots[name])) if value not in taken]
    return name, {**values, name: chance.choice(free)}


def _answer(topic: _Topic, values: dict[str, int], part: Part, chance: random.Random) -> str:
    stated = []
    for wordings in topic.sentences:
        wording = chance.choice(wordings)
        for name, some in topic.slots.items():
            wording = wording.replace(f"{{{name}}}", chance.choice(some[values[name.rstrip("_")]]))
        stated.append(wording[0].upper() + wording[1:])
    if topic.courteous and chance.random() < 0.4:
        before, after = chance.choice(_COURTESIES[part])
        stated = [*filter(None, [before]), *stated, *filter(None, [after])]
    return " ".join(stated)


def measured(judge: Callable[[Comparison], bool | None], pairs: list[Pair]) -> tuple[float, float]:
    """The share of equal answers that are accepted, and of different ones that are refused."""
    right: dict[bool, list[bool]] = {True: [], False: []}
    for pair in pairs:
        right[pair.same].append((judge(Comparison("?", "?", pair.fresh, pair.cached)) is True) is pair.same)
    return sum(right[True]) / len(right[True]), sum(right[False]) / len(right[False])


def default_judge() -> EmbeddingJudge:
    from examples.minilm import MiniLM

    model = MiniLM()
    return EmbeddingJudge(Embedder(lambda text: model.embed([text])[0], model="all-MiniLM-L6-v2"))


if __name__ == "__main__":
    default = default_judge()
    for part in PARTS:
        for name, pairs in (("by hand", written(part)), ("from templates", generated(part, 1200, 8))):
            accepted, refused = measured(default, pairs)
            print(f"{part}, {name}, {len(pairs)}: accepted {accepted:.1%}, refused {refused:.1%}")
