"""Pairs of answers as language models lay them out: prose, steps, lists with headings, tables, short and long.

In ``answers/layouts_*.txt`` a question has three answers that say the same, a near miss of each, and the answer to
a neighbouring question. In ``answers/layouts_*_topics.txt`` a topic has facts; each has a label, sentences and
phrases with slots (see `benchmarks.answer_pairs`), and is stated in one of five layouts. They were written before
any judge was measured with them.

    python -m benchmarks.answer_layouts   # measures the default judge
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from benchmarks.answer_pairs import FOLDER, PARTS, Pair, Part, default_judge, in_halves, measured

_OPENINGS = {
    "dev": ("Sure!", "Great question!", "Happy to help!", "Here's what you need to know:", "Of course!"),
    "held_out": (
        "Absolutely!",
        "Thanks for asking!",
        "No problem!",
        "Here is a short overview:",
        "Sure, here you go:",
    ),
}
_CLOSINGS = {
    "dev": (
        "Let me know if you have any questions!",
        "I hope this helps!",
        "Let me know if you need anything else.",
        "Feel free to ask if anything is unclear.",
    ),
    "held_out": (
        "Is there anything else I can help you with?",
        "If you need more details, just ask!",
        "Hope that helps!",
        "Don't hesitate to reach out if you have further questions.",
    ),
}


def written(part: Part) -> list[Pair]:
    """The hand-written pairs of a part: 3 equal ones and 12 different ones of each question.

    A near miss is an answer with one fact changed: it is compared with what it was before (``same layout``) and
    with the other two answers (``other layout``). The answer to a neighbouring question is a ``neighbour``.
    """
    pairs = []
    for block in ("\n" + (FOLDER / f"layouts_{part}.txt").read_text(encoding="utf-8")).split("\n@ ")[1:]:
        _, text = block.split("\n", 1)
        text, neighbour = text.split("\n--- other\n")
        text, *edits = re.split(r"\n!(?=\d )", text)
        answers = text.split("\n---\n")
        pairs += [Pair(True, "equal", one, other) for at, one in enumerate(answers) for other in answers[:at]]
        for at, one in enumerate(answers):
            for edit in edits:
                changed = int(edit[0]) - 1
                kind = "same layout" if changed == at else "other layout"
                pairs.append(Pair(False, kind, one, _edited(answers[changed], edit[2:])))
            pairs.append(Pair(False, "neighbour", one, neighbour.strip()))
    return pairs


def _edited(answer: str, edit: str) -> str:
    for change in edit.split(" ;; "):
        old, new = change.split(" => ")
        assert old in answer, (old, answer)
        answer = answer.replace(old, new)
    return answer


@dataclass
class _Topic:
    titles: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    ordered: bool = False
    facts: list[tuple[str, list[str], list[str]]] = field(default_factory=list)
    """A label, its sentences, its phrases."""
    slots: dict[str, list[list[str]]] = field(default_factory=dict)


def _options(text: str) -> list[str]:
    return [one.strip() for one in text.split(" | ")]


def _topics(part: Part) -> Iterator[_Topic]:
    for block in (FOLDER / f"layouts_{part}_topics.txt").read_text(encoding="utf-8").strip().split("\n\n"):
        topic = _Topic()
        for line in block.splitlines():
            if line == "ordered":
                topic.ordered = True
            elif line.startswith("title: "):
                topic.titles = _options(line[7:])
            elif line.startswith("remark: "):
                topic.remarks = _options(line[8:])
            elif slot := re.match(r"\{(\w+)\}: (.*)", line):
                topic.slots[slot[1]] = [value.split(", ") for value in _options(slot[2])]
            else:
                sentences, phrases = line.split(" || ")
                label, sentences = sentences.split(" | ", 1)
                topic.facts.append((label, _options(sentences), _options(phrases)))
        yield topic


def generated(part: Part, count: int, seed: int) -> list[Pair]:
    """That many pairs from the templates of a part, half of them the same."""
    chance, pairs = random.Random(seed), []
    for topic, same in in_halves(list(_topics(part)), count):
        values = _values(topic, chance)
        kind, other = ("layout", values) if same else _changed(topic, values, chance)
        pairs.append(Pair(same, kind, _answer(topic, part, values, chance), _answer(topic, part, other, chance)))
    return pairs


def wordings_of(part: Part, count: int, seed: int, bodies: int = 0) -> list[Callable[[random.Random], str]]:
    """That many sets of facts, no two equal; each is called for an answer that states them.

    Args:
        part: of the templates.
        count: of the sets.
        seed: of the facts and the bodies.
        bodies: in which an intent's facts are stated, what stands around them apart; 0: another one each time.
    """
    chance, topics = random.Random(seed), list(_topics(part))
    facts: dict[tuple[int, tuple[int, ...]], Callable[[random.Random], str]] = {}
    while len(facts) < count:
        number = chance.randrange(len(topics))
        topic, values = topics[number], _values(topics[number], chance)
        some = [_body(topic, values, chance) for _ in range(bodies)]
        facts.setdefault((number, tuple(values.values())), partial(_one_of, some, topic, part, values))
    return list(facts.values())


def _one_of(bodies: list[str], topic: _Topic, part: Part, values: dict[str, int], chance: random.Random) -> str:
    body = chance.choice(bodies) if bodies else _body(topic, values, chance)
    return _around(body, topic, part, chance)


def _values(topic: _Topic, chance: random.Random) -> dict[str, int]:
    values = {name: chance.randrange(len(some)) for name, some in topic.slots.items()}
    for name in values:
        while values[name] == values.get(f"{name}2"):
            values[f"{name}2"] = chance.randrange(len(topic.slots[name]))
    return values


def _changed(topic: _Topic, values: dict[str, int], chance: random.Random) -> tuple[str, dict[str, int]]:
    name = chance.choice(list(values))
    twin = f"{name}2" if f"{name}2" in values else name.rstrip("2")
    if twin != name and twin in values:
        return f"{name} swapped", {**values, name: values[twin], twin: values[name]}
    others = [value for value in range(len(topic.slots[name])) if value != values[name]]
    return name, {**values, name: chance.choice(others)}


def _answer(topic: _Topic, part: Part, values: dict[str, int], chance: random.Random) -> str:
    return _around(_body(topic, values, chance), topic, part, chance)


def _body(topic: _Topic, values: dict[str, int], chance: random.Random) -> str:
    def filled(wording: str) -> str:
        for name, some in topic.slots.items():
            wording = wording.replace(f"{{{name}}}", chance.choice(some[values[name]]))
        return wording[0].upper() + wording[1:]

    order = list(topic.facts)
    if not topic.ordered and chance.random() < 0.5:
        chance.shuffle(order)
    sentences = [filled(chance.choice(some)) for _, some, _ in order]
    labels, phrases = [label for label, _, _ in order], [filled(chance.choice(some)) for _, _, some in order]
    layout = chance.randrange(5)
    if layout == 0:
        return " ".join(sentences)
    if layout == 1:
        return "\n".join(f"{number}. {one}" for number, one in enumerate(sentences, 1))
    if layout == 2:
        return "\n".join(f"- **{label}:** {one}" for label, one in zip(labels, phrases, strict=True))
    if layout == 3:
        return f"**{chance.choice(topic.titles)}**\n\n" + "\n".join(f"- {one}" for one in sentences)
    return "; ".join(f"{label}: {one}" for label, one in zip(labels, phrases, strict=True)) + "."


def _around(body: str, topic: _Topic, part: Part, chance: random.Random) -> str:
    """The answer with an opening, a remark or a closing, or none of them."""
    parts = [body]
    if chance.random() < 0.4:
        parts.insert(0, chance.choice(_OPENINGS[part]))
    if chance.random() < 0.3:
        parts.append(chance.choice(topic.remarks))
    if chance.random() < 0.3:
        parts.append(chance.choice(_CLOSINGS[part]))
    return ("\n\n" if "\n" in body or "; " in body else " ").join(parts)


if __name__ == "__main__":
    default = default_judge()
    for part in PARTS:
        pairs = written(part)
        for kind in ("same layout", "other layout", "neighbour"):
            some = [pair for pair in pairs if pair.same or pair.kind == kind]
            accepted, refused = measured(default, some)
            print(
                f"{part}, by hand, {len(some)}: accepted {accepted:.1%}, {kind} refused {refused:.1%}", flush=True
            )
        accepted, refused = measured(default, generated(part, 1200, 8))
        print(f"{part}, from templates, 1200: accepted {accepted:.1%}, refused {refused:.1%}")
