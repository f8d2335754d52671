"""Small words that turn what is said, one in place of another or one alone: 'in front of', 'all but', 'dejar de'.

Which says the opposite of another is looked at as of all words; see `askonce.semantic.language.contrast.opposed`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from askonce.semantic.language.classes import word_classes
from askonce.semantic.language.lexicon import lexicon

_MINUS = frozenset("minus moins meno menos min eksi negative".split())
_NEGATIVE = re.compile(
    r"(?:(?<![\w.,)/-])(?<!\d )[-−] ?|[负負]|零下|マイナス|마이너스 ?|영하 ?)"
    r"(\d+(?:[.,]\d+)*|[一二两三四五六七八九十百千万]+)"
)
_ROMAN = re.compile(
    r"\b(?=[IVXLCDM]{2}|[ivx]{2})M{0,3}(?:CM|CD|D?C{0,3})(?:X[CL]|L?X{0,3}|x{0,3})(?:IX|IV|V?I{0,3}|ix|iv|v?i{0,3})\b"
)
_CAPITAL = re.compile(r"(?<=\w )[A-HJ-Z](?![\w'’&/-]|\.\w)")
_ARTICLES = frozenset("a i o".split())

_WHERE = {
    word: place
    for place, words in {
        "in": "in on at inside into onto within",
        "under": "under underneath beneath",
        "behind": "behind",
        "front": "infrontof",
        "beside": "nextto beside",
        "out": "outof outside",
    }.items()
    for word in words.split()
}
_JOINED = re.compile(r"\b(?:in front of|next to|out of)\b")
_MOST = re.compile(r"\b(?:up to|at most|(?:no|not) more than|maximum(?: of)?) (\d\S*)")
_LEAST = re.compile(r"(?<!no )(?<!not )\b(?:over|above|more than|at least|minimum(?: of)?) (\d\S*)")
_FREE = re.compile(r"\b(?:for free|free of charge|at no (?:\w+ )?(?:cost|charge)|without paying)\b")
_PAID = re.compile(r"\bfor (?:a|an|some) (?:\w+ )?(?:fee|charge|price)\b|\bfor money\b")
_PARTICLES = {
    "de": re.compile(r"\b(?:(ein|an)|(aus|ab))(?=\s*(?:[.,;:!?]|$|und\b|oder\b))"),
    "nl": re.compile(r"\b(?:(aan|in)|(uit|af))(?=\s*(?:[.,;:!?]|$|(?:en|of|op|bij)\b))"),
}
_LENDS = re.compile("借[^，。？、向跟]{0,6}给|借给|(?P<borrows>(?:向|跟|找|从)[^，。？]{1,8}借)")
_TURNING = {
    "en": r"avoid|prevent(?:s|ed|ing)?|unless|(?:all|every\w+|any\w+) but|except(?:ing)?|neither|both"
    r"|(?:fail|refus)\w* to"
    r"|stop(?:s|ped|ping)? (?:\w+ )?\w{2,}ing|quit(?:s|ting)? \w{2,}ing",
    "de": r"beiden?|aufhören|außer|ausgenommen",
    "es": r"dej\w+ de|amb[oa]s|excepto|salvo",
    "fr": r"(?:cess|arrêt)\w+ de|sauf|excepté",
    "it": r"smett\w+ di|entramb[ie]|tranne|eccetto",
    "pt": r"deix\w+ de|amb[oa]s|exceto|salvo",
    "nl": r"ophouden|beiden?|allebei|behalve",
    "pl": r"przesta\w+|ob(?:u|a|ie|oje|ydwa|ydwie)|oprócz",
    "tr": r"bırakmak|hariç",
}
_TURNS = {language: re.compile(rf"\b(?:{words})\b") for language, words in _TURNING.items()}
_CHANNELS = {
    "phone": "phone", "telephone": "phone", "chat": "chat", "email": "email", "e mail": "email", "post": "post",
    "letter": "post", "fax": "fax", "sms": "sms", "text": "sms",
}  # fmt: skip
_MEANS = "|".join(_CHANNELS)
_CHANNEL = re.compile(
    rf"\b(?:by|via|through|over) (?:the |our |live |your )?"
    rf"((?:{_MEANS})(?:(?: or| and)? (?:by |via )?(?:{_MEANS}))*)\b"
)
_MEAN = re.compile(rf"\b(?:{_MEANS})\b")


def function_words(
    text: str, normalized: str, tokens: Sequence[str], common: frozenset[str], language: str
) -> Iterable[tuple[str, str]]:
    """The places in which a text has such words, each with what they say there.

    Args:
        text: as it was written.
        normalized: from `askonce.semantic.language.quantities.plain`.
        tokens: of it.
        common: words of the language that carry no fact.
        language: its code.
    """
    yield from _signs(normalized, tokens)
    yield from _names(text, tokens, language)
    if language == "zh" and (match := _LENDS.search(normalized)):
        yield "loan", "borrows" if match["borrows"] else "lends"
    if particles := _PARTICLES.get(language):
        for match in particles.finditer(normalized):
            yield "particle", "on" if match[1] else "off"
    if language != "en":
        return
    spaced = " ".join(tokens)
    yield from word_classes(text, tokens, lexicon("en"))
    yield from _where(spaced, common)
    for match in _CHANNEL.finditer(spaced):
        for means in _MEAN.findall(match[1]):
            yield "channel", _CHANNELS[means]
    for pattern, bound in ((_MOST, "most"), (_LEAST, "least")):
        for match in pattern.finditer(spaced):
            yield f"bound of {match[1]}", bound
    if _FREE.search(spaced):
        yield "price", "free"
    elif _PAID.search(spaced):
        yield "price", "paid"


def turning(tokens: Sequence[str], language: str) -> frozenset[str]:
    """Words that turn a question round alone, though they are no negations."""
    pattern = _TURNS.get(language)
    if pattern is None:
        return frozenset()
    return frozenset(_kind(match[0]) for match in pattern.finditer(" ".join(tokens)))


def _kind(words: str) -> str:
    """What is the same in all forms of a turning word."""
    if words.endswith("ing") and words[:4] in ("stop", "quit"):
        return "stop"
    if words.startswith("prevent"):
        return "avoi"
    return "but" if words.endswith(" but") or words.startswith("except") else words[:4]


def _signs(normalized: str, tokens: Sequence[str]) -> Iterable[tuple[str, str]]:
    negative = {match[1] for match in _NEGATIVE.finditer(normalized)}
    negative |= {token for before, token in pairwise(tokens) if before in _MINUS and token[0].isdigit()}
    for number in negative:
        yield f"sign of {number}", "-"
    for token in tokens:
        if token[0].isdigit() and token not in negative:
            yield f"sign of {token}", "+"


def _names(text: str, tokens: Sequence[str], language: str) -> Iterable[tuple[str, str]]:
    """Numerals and letters that name things: 'vitamin C'."""
    for match in _ROMAN.finditer(text):
        yield "numeral", match[0].upper()
    for letter in _CAPITAL.findall(text):
        yield "letter", letter.lower()
    if language != "en":
        return
    for before, token in pairwise(tokens):
        if len(token) == 1 and token.isascii() and token.isalpha() and not before[0].isdigit():
            if token not in _ARTICLES:
                yield "letter", token
            if before not in ("i", "a") and len(before) > 2:
                yield f"letter after {before}", token


def _where(spaced: str, common: frozenset[str]) -> Iterable[tuple[str, str]]:
    tokens = _JOINED.sub(lambda match: match[0].replace(" ", ""), spaced).split()
    for at, token in enumerate(tokens):
        if token in _WHERE:
            after = next((one for one in tokens[at + 1 : at + 4] if one not in common and one not in _WHERE), None)
            if after is not None:
                yield f"where {after}", _WHERE[token]
