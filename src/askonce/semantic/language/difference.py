"""What two answers do not have in common."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from askonce.semantic.language.agents import NAME, other_agent, turned_round
from askonce.semantic.language.claims import ENGLISH, SENTENCE, AnswerClaims, Clause
from askonce.semantic.language.contrast import opposed, opposite_directions, swapped, transposed
from askonce.semantic.language.details import contradiction
from askonce.semantic.language.english import CONVERSE, STEPS
from askonce.semantic.language.lexicon import COMMON, lexicon, synonyms
from askonce.semantic.language.modes import restricted
from askonce.semantic.language.reading import (
    TextReading,
    contrasts_of,
    stem,
)
from askonce.semantic.language.states import state_contradiction
from askonce.semantic.language.unspaced import characters_differ, is_unspaced

_WORD = re.compile(r"[^\W_]+")
_LONG = 200
"""Words of a part in which two answers differ."""
_FEW = 5
"""Sentences of the very same words in one answer."""


@dataclass(frozen=True)
class AnswerDifference:
    """What two answers do not have in common.

    Attributes:
        conflict: what they contradict each other in; ``None`` if nothing was found.
        fresh: phrases that only the first has.
        cached: phrases that only the second has.
    """

    conflict: str | None
    fresh: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()


def difference(fresh: AnswerClaims, cached: AnswerClaims) -> AnswerDifference:
    """What two answers do not have in common."""
    conflict = _conflict(fresh, cached)
    if conflict is not None:
        return AnswerDifference(conflict)
    if is_unspaced(fresh.core) or is_unspaced(cached.core):
        return AnswerDifference(None)  # every character was compared
    mine, theirs = _phrases(fresh, cached), _phrases(cached, fresh)
    if _restricts(fresh, cached) or _restricts(cached, fresh):
        return AnswerDifference("restriction")
    if ("neednot" in " ".join(mine)) != ("neednot" in " ".join(theirs)):
        return AnswerDifference("obligation")
    return AnswerDifference(None, mine, theirs)


def _restricts(one: AnswerClaims, other: AnswerClaims) -> bool:
    """Whether one says 'only', and the other nothing of the kind."""
    language = one.read.language
    return restricted(one.core, language) and not restricted(other.core, language, loosely=True)


_VERBS = frozenset(
    map(
        stem,
        "buy sell sold send receive leave enter open start stop begin add show end include allow free save "
        "current".split(),
    )
)


def adds(phrase: str, one: AnswerClaims) -> bool:
    """Whether a phrase of an answer surely says something: it has a name, or a word of a class such as colours."""
    language = one.read.language
    names = {name.lower() for name in NAME.findall(one.text)} if language == "en" else set()
    return any(
        token in names
        or (
            stem(token) not in _VERBS
            and any(_is_class(place) for place, _ in contrasts_of(token, stem(token, language), language))
        )
        for token in phrase.split()
    )


def _is_class(place: str) -> bool:
    """Whether a place is that of a class of words, and not of one word and its opposite."""
    return " " not in place and "/" not in place


def _conflict(fresh: AnswerClaims, cached: AnswerClaims) -> str | None:
    one, other = fresh.read, cached.read
    same_words = _words(fresh) == _words(cached)
    if found := contradiction(fresh.core, cached.core, one.language, same_words=same_words):
        return found
    if one.language == "en" and (found := state_contradiction(fresh.core, cached.core)):
        return found
    if same_words and (one.negations - other.negations) % 2:
        return "negation"
    if characters_differ(one, other, fresh.core, cached.core):
        return "negation" if one.negations != other.negations else "characters"
    if fresh.code != cached.code and (fresh.code and cached.code):
        return "code"
    if any(quote not in cached.text.lower() for quote in fresh.quoted) and any(
        quote not in fresh.text.lower() for quote in cached.quoted
    ):
        return "quotes"
    if not (
        one.quantities <= other.quantities | other.optional and other.quantities <= one.quantities | one.optional
    ):
        return "quantities"
    if _denied(fresh, cached) or _denied(cached, fresh):
        return "negation"
    contrast = _opposed(one, other, same_agent=_first_names(fresh, cached))
    exchanged = (
        swapped(one, other)
        or opposite_directions(one, other)
        or _swapped_within(fresh, cached)
        or other_agent(fresh, cached)
        or turned_round(fresh, cached)
    )
    if contrast and exchanged and _compares(one) and _compares(other):
        return None  # 'heavier than' and 'lighter than'
    if contrast and not _negated_apart(fresh, cached):
        return "opposites"
    if exchanged:
        return "roles"
    if _steps_changed_places(fresh, cached):
        return "order"
    return "word" if _in_place_of_another(fresh, cached) else None


def _words(one: AnswerClaims) -> set[str]:
    """The words that carry facts; who acts is looked at apart."""
    return set(filter(None, one.words))


def _in_place_of_another(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether one word stands where the other answer has another, and one of both is mostly without weight."""
    one, other = fresh.read, cached.read
    if one.language != "en":
        return False
    return any(
        (fresh.words[at] or one.stems[at] in STEPS)
        and (cached.words[there] or other.stems[there] in STEPS)
        and not (fresh.words[at] and cached.words[there])  # else it is a phrase that only one of them has
        and not _related(one.stems[at], other.stems[there])
        and _groups(one.tokens[at], one.stems[at]).isdisjoint(_groups(other.tokens[there], other.stems[there]))
        for at, there in replacements(one.stems, other.stems)
    )


def replacements(some: Sequence[str], others: Sequence[str]) -> list[tuple[int, int]]:
    """Where one word stands in place of one other: the places in both.

    In long texts words that stand in many places do not tell which parts belong together: the time would grow with
    the product of their counts.
    """
    start = next((at for at, (a, b) in enumerate(zip(some, others, strict=False)) if a != b), None)
    if start is None:
        return []
    short = min(len(some), len(others)) - start
    ends = zip(reversed(some), reversed(others), strict=False)
    end = next((at for at, (a, b) in enumerate(ends) if a != b or at == short), short)
    mine, theirs = some[start : len(some) - end], others[start : len(others) - end]
    matcher = SequenceMatcher(None, mine, theirs, autojunk=len(theirs) > _LONG)
    return [
        (start + at, start + there)
        for change, at, after, there, its_after in matcher.get_opcodes()
        if change == "replace" and after - at == 1 == its_after - there
    ]


def _compares(read: TextReading) -> bool:
    return not {"than", "before", "after", "above", "below"}.isdisjoint(read.tokens)


def _swapped_within(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether two things have changed places in a sentence."""
    language = fresh.read.language
    some, others = (
        [_WORD.findall(one.lower()) for one in SENTENCE.split(text)] for text in (fresh.text, cached.text)
    )
    of_same_words: dict[tuple[str, ...], list[list[str]]] = {}
    for other in others:
        of_same_words.setdefault(tuple(sorted(other)), []).append(other)
    words = lexicon(language)
    free = words.roles | words.weekdays.keys() | frozenset(COMMON.get(language, "").split())
    free -= {"the", "a", "an"}
    return any(
        transposed(one, other, free) for one in some for other in of_same_words.get(tuple(sorted(one)), [])[:_FEW]
    )


_THEN = re.compile(
    r"\b(?:then|after that|afterwards|dann|danach|anschließend|luego|después|puis|ensuite|poi|depois|daarna"
    r"|potem|następnie)\b",
    re.IGNORECASE,
)


def _steps_changed_places(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether what one says to do first, the other says to do then."""
    mine, theirs = _steps(fresh), _steps(cached)
    return len(mine) == 2 == len(theirs) and all(
        _alike(mine[at], theirs[1 - at]) > max(0.5, _alike(mine[at], theirs[at])) for at in (0, 1)
    )


def _steps(answer: AnswerClaims) -> list[set[str]]:
    language = answer.read.language
    common = frozenset(COMMON.get(language, "").split()) | {"first", "zuerst", "primero"}
    parts = _THEN.split(SENTENCE.split(answer.core.lower())[0])
    return [{stem(word, language) for word in _WORD.findall(part) if word not in common} for part in parts]


def _alike(some: set[str], others: set[str]) -> float:
    return len(some & others) / max(1, len(some | others))


def _opposed(one: TextReading, other: TextReading, *, same_agent: bool | None) -> bool:
    words, others = set(one.stems), set(other.stems)
    close = len(words & others) >= 0.8 * max(len(words), len(others))
    if not (close if same_agent is None else same_agent):
        one, other = _without(one, CONVERSE), _without(other, CONVERSE)
    if one.optional & other.quantities or other.optional & one.quantities:  # 'a day', '24 hours'
        one, other = _without(one, _UNITS), _without(other, _UNITS)
    return opposed(one, [other]) or opposed(other, [one])


def _first_names(fresh: AnswerClaims, cached: AnswerClaims) -> bool | None:
    """Whether the same of two names comes first in both; ``None`` if there are not two in common."""
    if fresh.read.language != "en":
        return None
    orders = [[name for name in re.findall(r"\b[A-Z][^\W\d_]+", claims.core)] for claims in (fresh, cached)]
    words = lexicon("en")
    shared = {
        name
        for name in set(orders[0]) & set(orders[1])
        if name.lower() not in words.months and name.lower() not in words.weekdays and name.lower() not in ENGLISH
    }
    first = [[name for name in order if name in shared][:1] for order in orders]
    return None if len(shared) < 2 else first[0] == first[1]


_UNITS = frozenset("day week hour minute".split())


def _without(read: TextReading, words: frozenset[str]) -> TextReading:
    places = {place for place, word in read.contrasts if word in words}
    return replace(read, contrasts=frozenset(one for one in read.contrasts if one[0] not in places))


def _negated_apart(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether one denies once more than the other, so that opposites say the same."""
    return (fresh.read.negations - cached.read.negations) % 2 == 1


def _denied(one: AnswerClaims, other: AnswerClaims) -> bool:
    """Whether something that one denies is said by the other, and denied nowhere there."""
    roots = frozenset().union(*(clause.roots for clause in other.clauses))
    for clause in one.clauses:
        if not clause.denies or not clause.roots & roots or _says_opposite(clause, other):
            continue
        alike = [
            its for its in other.clauses if len(its.roots & clause.roots) >= 0.7 * len(its.roots | clause.roots)
        ]
        if alike and not any(its.denies for its in alike):
            return True
        if not any(its.may_deny and its.roots & clause.roots for its in other.clauses):
            return True
    return False


def _says_opposite(clause: Clause, other: AnswerClaims) -> bool:
    """Whether the other has an opposite of one of the words: 'not open' and 'closed'."""
    places: dict[str, set[str]] = {}
    language = other.read.language
    for place, word in other.read.contrasts:
        places.setdefault(place, set()).add(word)
    return any(
        place in places and word not in places[place] and word not in _UNITS
        for token in clause.tokens
        for place, word in contrasts_of(token, stem(token, language), language)
    )


class _Vocabulary:
    """What an answer says, to be looked up word by word."""

    def __init__(self, answer: AnswerClaims) -> None:
        self.read = answer.read
        self._words = _words(answer)
        self._by_beginning: dict[str, set[str]] = {}
        for word in self._words:
            self._by_beginning.setdefault(word[:_FEWEST], set()).add(word)
        pairs = set(zip(answer.read.tokens, answer.read.stems, strict=True)) if answer.read.language == "en" else ()
        self.synonyms = frozenset(group for pair in pairs for group in _groups(*pair))

    def has_form(self, word: str) -> bool:
        """Whether it says a word, or a form of it."""
        return word in self._words or any(_related(word, one) for one in self._by_beginning.get(word[:_FEWEST], ()))


def _has(other: _Vocabulary, token: str, word: str) -> bool:
    """Whether the other says a word, in another form or by a synonym."""
    if other.has_form(word):
        return True
    if any(
        place[:4] != "not " and (place, value) in other.read.contrasts
        for place, value in contrasts_of(token, word, other.read.language)
    ):
        return True
    return not other.synonyms.isdisjoint(_groups(token, word))


def _groups(token: str, root: str) -> frozenset[int]:
    return synonyms(token) | synonyms(root) | synonyms(f"{root}e")


def _is_in(places: set[str], token: str, root: str, language: str) -> bool:
    """Whether an opposite of a word is there: it was found to say the same, since it is denied or turned round."""
    return any(place in places for place, _ in contrasts_of(token, root, language))


_FEWEST = 4
"""Letters that forms of one word begin with."""


def _related(one: str, other: str) -> bool:
    """Whether two stems are forms of one word."""
    short, long = sorted((one, other), key=len)
    if len(short) < _FEWEST:
        return False
    common = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return common >= max(_FEWEST, len(short) - 1) and len(long) - common <= (3 if common < 6 else 5)


def _phrases(one: AnswerClaims, other: AnswerClaims) -> tuple[str, ...]:
    """Runs of words that the other answer has not."""
    found: list[str] = []
    run: list[str] = []
    only = other.read.contrasts - one.read.contrasts
    opposites = {place for place, _ in only if place[:4] != "not "}
    vocabulary = _Vocabulary(other)
    for token, word in [*zip(one.read.tokens, one.words, strict=True), ("", "")]:
        if word and not _has(vocabulary, token, word) and not _is_in(opposites, token, word, one.read.language):
            run.append(token)
        elif run and token and not word and len(run) < 4 and not token[0].isdigit() and run[-1] != "":
            run.append("")
        elif run:
            found.append(" ".join(filter(None, run)))
            run = []
    return tuple(found)
