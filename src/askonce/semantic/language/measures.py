"""Units and currencies of a text: '2 kg' is not '2 g', and 'USD' is not 'CAD'."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import pairwise

from askonce.semantic.language.lexicon import UNITS_OF_TIME, UNSPACED, Lexicon, lexicon
from askonce.semantic.language.quantities import without_ending
from askonce.semantic.language.tables import SIGNS, currency_codes

_CODE = re.compile(r"(?<![A-Za-z])[A-Z]{3}(?![A-Za-z])")
_SMALL = re.compile(r"[a-zà-öø-ÿ]|[^\x00-\u024f]")
_WORDS = frozenset("all ang cop cup gel lei mad mop pen php ron sol top try".split())
"""Codes of currencies that are words too, in small letters."""


def measures(
    text: str, normalized: str, tokens: Sequence[str], words: Lexicon, language: str
) -> Iterable[tuple[str, str]]:
    """The classes of which a text has a unit or a currency, each with the one that it has.

    Args:
        text: as it was written.
        normalized: from `askonce.semantic.language.quantities.plain`.
        tokens: of it.
        words: of its language.
        language: its code.
    """
    yield from _codes(text, tokens)
    if language in UNSPACED or language == "ko":
        yield from _spelled(normalized, words, language)
        return
    for before, token in pairwise(tokens):
        if not before[0].isdigit() or (
            language == "en" and (token in UNITS_OF_TIME or token[:-1] in UNITS_OF_TIME)
        ):
            continue  # the quantity says how many minutes
        for kind, unit in words.units.get(token if language != "tr" else without_ending(token, words.units), ()):
            yield kind, unit
            yield f"unit of {before}", unit


def _codes(text: str, tokens: Sequence[str]) -> Iterable[tuple[str, str]]:
    codes = currency_codes()
    found = set(_CODE.findall(text)) if _SMALL.search(text) else set()
    for before, token, after in zip(["", *tokens], tokens, [*tokens[1:], ""], strict=False):
        if (token.upper() in codes and token not in _WORDS) or (
            len(token) == 3 and (before[:1].isdigit() or after[:1].isdigit())
        ):
            found.add(token.upper())
    for code in found & codes.keys():
        yield "currency", codes[code]
        yield "currency code", code


def _spelled(normalized: str, words: Lexicon, language: str) -> Iterable[tuple[str, str]]:
    for sign, currency in SIGNS.items():
        if sign in normalized:
            yield "currency", currency
    for match in _after_number(language).finditer(normalized):
        for kind, unit in words.units[match[2]]:
            yield kind, unit
            yield f"unit of {match[1]}", unit


@cache
def _after_number(language: str) -> re.Pattern[str]:
    longest = sorted(lexicon(language).units, key=len, reverse=True)
    digits = "[一二两三四五六七八九十百千万]"
    return re.compile(rf"((?<![\d.,])[\d.,]+|(?<!{digits}){digits}+) ?({'|'.join(map(re.escape, longest))})")
