"""What answers in English say of one thing otherwise in the very same words: open and closed days, on and off.

Each rule needs both to say it: what one alone says is no contradiction.
"""

from __future__ import annotations

import re

from askonce.semantic.language.lexicon import lexicon
from askonce.semantic.language.reading import contrasts_of, stem

_SENTENCE = re.compile(r"(?<=[.!?;])\s+|\n+")
_WORD = re.compile(r"[a-z]+")
_SWITCHED = re.compile(
    r"\b(?:is|are|was|were|be|default) (?:\w+ly )?(on|off)(?=\s*(?:[.,;:!?]|$|by default\b|and\b))"
)
_DONE = re.compile(r"\b(?:has|have|had|['’]ve)(?: been)?(?: already| now| just)? (\w+(?:ed|en))\b")
_TO_COME = re.compile(r"\b(?:will|shall|['’]ll)(?: be)? (\w+)|\b(?:is|are)(?: \w+ly| now)? (\w{3,}ing)\b")
_PURPOSE = re.compile(r"(?:^|[.!?]\s+)(?:in order )?to (\w+) [^.!?,]*,")
_EXCEPT = re.compile(r"\b(?:except|but not|other than|apart from)\b")
_CAPITALS = re.compile(r"\b[A-Z]{2,}\b")
_OPEN = {
    "open": "open",
    "opens": "open",
    "opened": "open",
    "closed": "closed",
    "closes": "closed",
    "shut": "closed",
}


def state_contradiction(one: str, other: str) -> str | None:
    """What two answers in English say of one thing otherwise; ``None`` if nothing was found."""
    some, others = one.lower(), other.lower()
    if _disjoint(set(_SWITCHED.findall(some)), set(_SWITCHED.findall(others))):
        return "state"
    mine, theirs = _days(some), _days(others)
    if any(_disjoint(mine[day], theirs[day]) for day in mine.keys() & theirs.keys()):
        return "state"
    if _is_done_elsewhere(some, others) or _is_done_elsewhere(others, some):
        return "tense"
    if _other_purpose(some, others):
        return "purpose"
    return "capitals" if _each_lacks(_capitals(one), _capitals(other)) else None


def _disjoint(mine: set[str], theirs: set[str]) -> bool:
    return bool(mine and theirs) and mine.isdisjoint(theirs)


def _each_lacks(mine: set[str], theirs: set[str]) -> bool:
    return bool(mine - theirs and theirs - mine)


def _days(text: str) -> dict[str, set[str]]:
    """Whether it is open on each day that is named."""
    weekdays = lexicon("en").weekdays
    found: dict[str, set[str]] = {}
    for sentence in _SENTENCE.split(text):
        state = ""
        at = 0
        for match in _WORD.finditer(sentence):
            if match[0] in _OPEN:
                state, at = _OPEN[match[0]], match.end()
            elif match[0] in weekdays and state:
                excepted = _EXCEPT.search(sentence, at, match.start()) is not None
                which = {"open": "closed", "closed": "open"}[state] if excepted else state
                found.setdefault(f"{weekdays[match[0]]}", set()).add(which)
    return found


def _is_done_elsewhere(one: str, other: str) -> bool:
    """Whether one says that something has happened, and the other that it will."""
    done, its_done = ({stem(word) for word in _DONE.findall(text)} for text in (one, other))
    to_come = {stem(word) for words in _TO_COME.findall(other) for word in words if word}
    return bool((done - its_done) & to_come)


def _other_purpose(one: str, other: str) -> bool:
    """Whether one says how to do what undoes what the other says how to do."""
    mine, theirs = _PURPOSE.search(one), _PURPOSE.search(other)
    if mine is None or theirs is None:
        return False
    places = dict(contrasts_of(mine[1], stem(mine[1]), "en"))
    return any(
        place in places and places[place] != word for place, word in contrasts_of(theirs[1], stem(theirs[1]), "en")
    )


def _capitals(text: str) -> set[str]:
    """Words in capitals, as of a query language, that have an opposite."""
    contrasts = lexicon("en").contrasts
    return {word for word in _CAPITALS.findall(text) if word.lower() in contrasts}
