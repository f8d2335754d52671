"""Words of English that take one place in a sentence: another word of the class there says something else.

Not one word and its opposite, but any two: 'per night' and 'per week', 'tomorrow' and 'in winter', 'half the
tickets' and 'all tickets', 'Norwegian' and 'Swedish kroner'. What one text alone has is no
difference; see `askonce.semantic.language.contrast.opposed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from askonce.semantic.language.lexicon import COMMON, UNITS_OF_TIME, Lexicon, synonyms
from askonce.semantic.language.tables import countries

_SPAN = "second|minute|hour|day|night|week|weekend|fortnight|month|quarter|year|annum"
_RATE = re.compile(
    rf"\bevery (?P<other>other|second|2) (?P<span>{_SPAN})s?\b"
    rf"|\b(?:per|each|every|by the) (?P<one>{_SPAN})\b"
    rf"|(?:\b(?:times?|once|dollars?|euros?|pounds?|cents?|fee|rate)|\d) an? (?P<fee>{_SPAN})\b"
    r"|\bper (?P<item>[a-z]{3,})\b"
    r"|\b(?P<adverb>hourly|daily|nightly|overnight|weekly|biweekly|fortnightly|monthly|quarterly|yearly"
    r"|annual|annually)\b"
)
_ADVERBS = {
    "hourly": "hour", "daily": "day", "nightly": "night", "overnight": "night", "weekly": "week",
    "biweekly": "fortnight", "fortnightly": "fortnight", "monthly": "month", "quarterly": "quarter",
    "yearly": "year", "annual": "year", "annually": "year", "annum": "year", "2 week": "fortnight",
}  # fmt: skip
_WHEN = re.compile(
    r"\b(?P<day>ereyesterday|yesterday|today|tonight|tomorrow|overmorrow)\b"
    r"|\b(?P<next>next|last|current|coming|previous|following|past) (?P<span>week|month|year|quarter|weekend)\b"
    r"|\b(?:in|during|this|next|last|every|each|by|until|the|early|late|mid)"
    r" (?P<season>spring|summer|autumn|fall|winter)\b"
    r"|\b(?:in|during|this|every|each|current|the|early|late|tomorrow|yesterday)"
    r" (?P<part>morning|afternoon|evening)s?\b"
    r"|\b(?:at|by|all|last|the|current) (?P<night>night)\b"
    r"|\b(?:at|on|over) (?:the )?(?P<weekend>weekend)s?\b"
    r"|\b(?P<feast>christmas|xmas|easter|thanksgiving|halloween|new year|ramadan|diwali|hanukkah)\b"
)
_CANONICAL = {
    "xmas": "christmas",
    "fall": "autumn",
    "coming": "next",
    "following": "next",
    "previous": "last",
    "past": "last",
}
_SHARE = re.compile(
    r"\b(half|onethird|twothirds|onequarter|threequarters|all|both|several|many|few|couple|most)"
    r"(?: of)?(?: (?:the|my|our|your|these|those))? ([a-z]{3,})\b"
)
_AS_MANY = {"few": ("few",), "couple": ("few",), "several": ("few", "many")}
_TOWARD = re.compile(r"(?<![\d.] )\b(?<!up )(by|to) (?:(?:dollar|euro|pound|yen) )?(\d\S*)")
_FACTOR = re.compile(
    r"\bby (half|onethird|twothirds|onequarter|threequarters)\b|\b(two|three|four|five|ten)fold\b"
    r"|\b(double|triple|treble|quadruple|halve)[sd]?\b"
)
_DATA = re.compile(r"(?<![\d.])(\d++(?:\.\d++)?) ?[kKMGT](?:i?(B)|(b))(?:ps|/s|it/s)?\b")
_LABEL = re.compile(
    r"\b(type|model|class|group|grade|gate|zone|block|section|option|hepatitis) ([A-Z]{1,2}\d?)\b", re.I
)
_EDITION = re.compile(
    r"\b(home|pro|professional|enterprise|basic|premium|standard|starter|ultimate|family|student|beta|trial)"
    r" (?:edition|version|plan|tier|package|subscription|licen[cs]e)\b|\b(beta|alpha)\b"
)
_DEFAULT = {"dollar": "USD", "pound": "GBP", "rupee": "INR", "franc": "CHF", "peso": "MXN", "ruble": "RUB"}
_PREFIXES = {
    "us": "USD",
    "a": "AUD",
    "au": "AUD",
    "aud": "AUD",
    "c": "CAD",
    "ca": "CAD",
    "nz": "NZD",
    "hk": "HKD",
    "s": "SGD",
}
_COMMON = frozenset(COMMON["en"].split())
_PREFIXED = re.compile(r"\b([A-Za-z]{1,3})(?=\$)")
_PEOPLES = {"usa": "us", "american": "us", "swede": "swedish", "uk": "british", "english": "british"}
_ROLES_AFTER = 3
"""Words after a number in which what is counted stands."""


def word_classes(text: str, tokens: Sequence[str], words: Lexicon) -> Iterable[tuple[str, str]]:
    """The places in which a text in English has a word of a class, each with what it says there.

    Args:
        text: as it was written.
        tokens: of it in lower case, number words in digits.
        words: of English.
    """
    spaced = " ".join(tokens)
    yield from _rates(spaced)
    yield from _times(spaced)
    yield from _shares(spaced)
    yield from _countries(text, tokens, words)
    yield from _counted(tokens, words)
    for one in data_units(text):
        number, _, unit = one.partition(" ")
        yield f"data of {number}", unit
    for match in _LABEL.finditer(text):
        if match[2].isupper():
            yield f"letter after {match[1].lower()}", match[2].lower()
    for match in _EDITION.finditer(spaced):
        yield "edition", match[1] or match[2]


def data_units(text: str) -> set[str]:
    """Numbers of bits and of bytes, which only a capital tells apart: 'Mbps' and 'MBps'."""
    return {f"{match[1]} {'byte' if match[2] else 'bit'}" for match in _DATA.finditer(text)}


def _rates(spaced: str) -> Iterable[tuple[str, str]]:
    for match in _RATE.finditer(spaced):
        if match["other"]:
            every = f"2 {match['span']}"
            yield "rate", _ADVERBS.get(every, every)
        else:
            value = match["one"] or match["fee"] or match["item"] or match["adverb"]
            yield "rate", _ADVERBS.get(value, value)


def _times(spaced: str) -> Iterable[tuple[str, str]]:
    for match in _WHEN.finditer(spaced):
        if match["next"]:
            yield "when", f"{_CANONICAL.get(match['next'], match['next'])} {match['span']}"
        else:
            value = next(one for one in match.groups() if one)
            yield "when", _CANONICAL.get(value, value)


def _shares(spaced: str) -> Iterable[tuple[str, str]]:
    for match in _SHARE.finditer(spaced):
        for share in _AS_MANY.get(match[1], (match[1],)):
            yield f"share of {match[2].rstrip('s')}", share
    for match in _TOWARD.finditer(spaced):
        yield f"toward {match[2]}", match[1]
    for match in _FACTOR.finditer(spaced):
        yield "factor", next(filter(None, match.groups()))


def _countries(text: str, tokens: Sequence[str], words: Lexicon) -> Iterable[tuple[str, str]]:
    """Whose a currency is: a bare dollar is one of the United States."""
    signed = [_PREFIXES[one.lower()] for one in _PREFIXED.findall(text) if one.lower() in _PREFIXES]
    for at, token in enumerate(tokens):
        for place, kind in words.contrasts.get(token, ()):
            if place != "currency":
                continue
            before = [_PEOPLES.get(one, one) for one in tokens[max(0, at - 3) : at]]
            named = (countries().get(" ".join((*before[start:], kind))) for start in range(len(before)))
            code = next(filter(None, named), None)
            code = code or next(iter(signed), None) or _DEFAULT.get(kind)
            if code is not None or kind == "crown":
                yield f"whose {kind}", code or ""


def _counted(tokens: Sequence[str], words: Lexicon) -> Iterable[tuple[str, str]]:
    """What is counted: '5 bottles' are not '5 boxes'."""
    for at, number in enumerate(tokens):
        if not number[0].isdigit() or ":" in number or (at and _is_currency(tokens[at - 1], words)):
            continue
        for token in tokens[at + 1 : at + 1 + _ROLES_AFTER]:
            if (
                token == "times"
                or token in _COMMON
                or token in UNITS_OF_TIME
                or token[:-1] in UNITS_OF_TIME
                or token in words.roles
                or token[0].isdigit()
            ):
                break
            if token in words.units or _is_currency(token, words):
                break
            if token == "%" or (len(token) > 3 and token.endswith("s") and not token.endswith("ss")):
                yield from ((f"unit of {number}", one) for one in _alike(token))
                break


def _is_currency(token: str, words: Lexicon) -> bool:
    return any(place == "currency" for place, _ in words.contrasts.get(token, ()))


@cache
def _alike(word: str) -> tuple[str, ...]:
    """A word, and the groups of its synonyms."""
    root = word[:-1] if word.endswith("s") else word
    return (root, *(f"group {group}" for group in sorted(synonyms(root) | synonyms(word))))
