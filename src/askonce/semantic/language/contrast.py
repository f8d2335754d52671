"""What two texts say of the same things otherwise: opposites, and words that have changed places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from askonce.semantic.language.lexicon import UNSPACED, lexicon
from askonce.semantic.language.reading import TextReading
from askonce.semantic.language.replacement import same

_WEAK = {"on": "off", "in": "out", "up": "down", "off": "on", "out": "in", "down": "up"}
_PRONOUNS = frozenset("i you it we they he she ich du sie er es wir man yo usted je vous il nous io lei".split())
_LOOSE = frozenset(
    "for with of in on at per if when because while between via für mit in im bei am wenn para por con en".split()
)
"""Prepositions that say little about who does what: they count between texts of nearly the same words."""
_EXCHANGE = frozenset("with durch por par con met na para".split())
"""Those of them around which things are exchanged: 'replace A with B'."""
_CONJUNCTIONS = frozenset(
    "and or und oder y o e et ou en of i lub ve veya plus "
    "be is are was were ist sind war son est sont è é são jest".split()
)


def opposed(new: TextReading, indexed: Sequence[TextReading]) -> bool:
    """Whether a word of one takes the place of another word in the others ('enable' and 'disable')."""
    places: dict[str, set[str]] = {}
    for one in indexed:
        for place, word in one.contrasts:
            places.setdefault(place, set()).add(word)
    mine: dict[str, set[str]] = {}
    for place, word in new.contrasts:
        mine.setdefault(place, set()).add(word)
    if any(place in places and not some & places[place] for place, some in mine.items()):
        return True
    nearest = indexed[0]
    return any(
        _WEAK[token] in nearest.tokens and token not in nearest.tokens and _WEAK[token] not in new.tokens
        for token in new.tokens
        if token in _WEAK
    )


def swapped(new: TextReading, cached: TextReading) -> bool:
    """Whether two things have changed places: 'from A to B' and 'from B to A'."""
    words = lexicon(new.language)
    if transposed(new.stems, cached.stems, words.roles | _PRONOUNS | words.weekdays.keys()):
        return True
    if new.language in UNSPACED and (
        transposed("".join(new.tokens), "".join(cached.tokens))
        or transposed([word.text for word in new.content], [word.text for word in cached.content])
    ):
        return True
    mine, theirs = _words(new), _words(cached)
    close = len(mine & theirs) >= 0.8 * max(len(mine), len(theirs))
    converts = _converts(new) and _converts(cached)
    if _turned(new, cached, close=close or converts) or (converts and _in_another_order(new, cached)):
        return True
    here, there = _by_role(new), _by_role(cached)
    return any(
        set(window) <= theirs and set(other) <= mine
        for role in here.keys() & there.keys()
        if close or role not in _LOOSE
        for window in here[role]
        for other in there[role]
        if not any(set(window) & set(one) for one in there[role])
        and not any(set(other) & set(one) for one in here[role])
    )


def _turned(new: TextReading, cached: TextReading, *, close: bool) -> bool:
    """Whether the words on both sides of a preposition have changed places."""
    return any(
        role == its_role
        and same(left, its_right, new.language)
        and same(right, its_left, new.language)
        and not same(left, right, new.language)
        for left, role, right in new.links - cached.links
        if close or role not in _LOOSE or role in _EXCHANGE
        for its_left, its_role, its_right in cached.links - new.links
    )


_CONVERTING = {
    language: re.compile(rf"\b(?:{words})")
    for language, words in {
        "en": "convert|translat|exchang|replac|substitut|swap",
        "de": "umrechn|umwandel|umtausch|konvertier|übersetz|ersetz|wechsel|tausch",
        "es": "conv[ie]+rt|traduc|cambi|sustitu|reemplaz",
        "fr": "conver|tradui|échang|rempla|substitu",
        "it": "convert|tradu|cambi|sostitu",
        "pt": "convert|traduz|troc|substitu",
        "nl": "omreken|omzet|converte|vertal|vervang|wissel|ruil",
        "pl": "przelicz|zamieni|konwert|tłumacz|zastąp|zastęp|wymieni",
        "tr": "çevir|dönüştür|değiştir",
    }.items()
}


def _converts(read: TextReading) -> bool:
    """Whether one thing is made of, or put in place of, another one."""
    words = _CONVERTING.get(read.language)
    return words is not None and any(map(words.match, read.tokens))


def _in_another_order(new: TextReading, cached: TextReading) -> bool:
    """Whether the last two words of what is requested, which endings tell apart, have changed places."""
    language = new.language
    words = _CONVERTING[language]
    mine, theirs = ([one.text for one in read.content if not words.match(one.text)] for read in (new, cached))
    return any(
        same(one, its_next, language) and same(following, its, language) and not same(one, following, language)
        for one, following in pairwise(mine)
        for its, its_next in pairwise(theirs)
    )


_SIDES = {
    language: dict.fromkeys(away.split(), 0) | dict.fromkeys(towards.split(), 1)
    for language, away, towards in (
        ("en", "from", "to into onto for towards"),
        ("de", "von vom aus", "nach zum zur"),
        ("es", "desde", "hasta hacia"),
        ("fr", "depuis", "vers"),
        ("it", "da dal dalla", "verso al alla"),
        ("pt", "desde", "até para"),
        ("nl", "van uit", "naar"),
        ("pl", "z ze od", "do na"),
    )
}


def opposite_directions(one: TextReading, other: TextReading) -> bool:
    """Whether one says 'from' of what the other says 'to' of."""
    side_of = _SIDES.get(one.language, {})
    mine, theirs = (
        {(side_of[role], window[0]) for role, window in read.roles if role in side_of} for read in (one, other)
    )

    def has(some: set[tuple[int, str]], side: int, word: str) -> bool:
        return (side, word) in some or any(
            side == its and same(word, other, one.language) for its, other in some if one.language != "en"
        )

    return any(
        has(theirs, 1 - side, word) and not has(theirs, side, word) and not has(mine, 1 - side, word)
        for side, word in mine
    )


def _words(read: TextReading) -> set[str]:
    return {*read.stems, *(word for _, window in read.roles for word in window)}


def _by_role(read: TextReading) -> dict[str, list[tuple[str, ...]]]:
    result: dict[str, list[tuple[str, ...]]] = {}
    for role, window in read.roles:
        result.setdefault(role, []).append(window)
    return result


def transposed(one: Sequence[str], other: Sequence[str], free: frozenset[str] = frozenset()) -> bool:
    """Whether the sequences are the same but for two parts that have changed places around a third.

    Parts of words in ``free`` alone, or that begin with one, may stand anywhere.
    """
    if len(one) != len(other) or one == other or sorted(one) != sorted(other):
        return False
    start = next(place for place in range(len(one)) if one[place] != other[place])
    end = next(place for place in range(len(one), 0, -1) if one[place - 1] != other[place - 1])
    mine, theirs = one[start:end], other[start:end]
    length = len(mine)
    for first in range(1, min(5, length)):
        for last in range(1, min(5, length - first)):
            middle = mine[first : length - last]
            if (
                theirs[:last] == mine[length - last :]
                and theirs[length - first :] == mine[:first]
                and theirs[last : length - first] == middle
                and not set(middle) <= _CONJUNCTIONS
                and free.isdisjoint((*mine[:1], *mine[first - 1 : first], mine[length - last], mine[-1]))
            ):
                return True
    return False
