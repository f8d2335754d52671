"""Answers as claims: what two answers that say the same must have in common, however they are worded."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from askonce.semantic.language.details import PERSONS
from askonce.semantic.language.english import (
    AFRAID,
    AGAIN,
    CLOSING,
    COURTEOUS,
    COURTESY,
    LIGHT,
    PHRASES,
    SOFT,
)
from askonce.semantic.language.lexicon import COMMON, UNITS_OF_TIME, lexicon
from askonce.semantic.language.modes import is_mode
from askonce.semantic.language.reading import (
    HEADING,
    TextReading,
    language_of,
    negates,
    reading,
    stem,
)

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"\n]+\"|“[^“”\n]+”|«[^«»\n]+»|(?<!\w)'[^'\n]+'(?!\w)")
_MARKUP = re.compile(r"\*\*|__|^[ \t]*(?:#{1,6}|[-*+•]|\d{1,2}[.)])[ \t]+", re.MULTILINE)
SENTENCE = re.compile(r"(?<=[.!?;。！？])\s+|\n+|(?<=[。！？])")
_CLAUSE = re.compile(
    r"[,:;()–—]|\b(?:but|and|or|so|because|if|when|unless|until|once|while|then|that|which|who|before|after|since"
    r"|instead|aber|und|oder|weil|wenn|pero|porque|mais|et|car|ma|mas|en|maar|ale|i|czy|ve)\b"
)


@dataclass(frozen=True)
class Clause:
    """A part of a sentence.

    Attributes:
        roots: stems of the words that carry facts.
        tokens: all words.
        denies: whether it has an odd number of negations.
        may_deny: whether it has any, or denies in other words.
    """

    roots: frozenset[str]
    tokens: frozenset[str]
    denies: bool
    may_deny: bool


@dataclass(frozen=True)
class AnswerClaims:
    """What an answer says.

    Attributes:
        read: the reading of it without courtesies, code and marks of quotation.
        code: its pieces of code.
        quoted: what it quotes.
        text: all of it.
        core: the text without courtesies, code and marks of quotation.
        clauses: its parts.
        words: its words in order; those that carry no fact are empty.
    """

    read: TextReading
    code: Counter[str]
    quoted: frozenset[str]
    text: str
    core: str
    clauses: tuple[Clause, ...]
    words: tuple[str, ...]


def claims_of_both(fresh: str, cached: str) -> tuple[AnswerClaims, AnswerClaims]:
    """The claims of two answers, which are read in one language: a short one alone may not show it."""
    language = language_of(_bare(fresh), _bare(cached))
    return claims(fresh, language), claims(cached, language)


def claims(answer: str, language: str | None = None) -> AnswerClaims:
    """The claims of an answer."""
    code, bare = Counter(_CODE.findall(answer)), _bare(answer)
    language = language or language_of(bare)
    quoted = frozenset(one[1:-1].strip(" .,;:!?").lower() for one in _QUOTED.findall(bare))
    core = text = _without_courtesies(bare, language)
    if language == "en":
        text = text.replace("’", "'")
        text = _canonical(text)
    read = reading.__wrapped__(text, language)  # not cached: it is long
    common = frozenset(COMMON.get(language, "").split())
    words = tuple(
        "" if _is_quantity(before, root, language) else _content(token, root, common, language)
        for before, token, root in zip(("", *read.tokens), read.tokens, read.stems, strict=False)
    )
    return AnswerClaims(read, code, quoted, bare, core, tuple(_clauses(text, language, common)), words)


def _bare(answer: str) -> str:
    return _MARKUP.sub("", _CODE.sub(" ", answer))


def _canonical(text: str) -> str:
    text = HEADING.sub("in ", text)
    text = re.sub(r"\b([A-Z][a-z]+|I)\b(?='(?:t|m|ve|re|ll|d)\b)", lambda match: match[0].lower(), text)
    lower = text.lower()
    for pattern, word in PHRASES:
        lower = pattern.sub(f" {word} " if "\\1" not in word else word, lower)
    return re.sub(r" +", " ", lower)


def _is_quantity(before: str, root: str, language: str) -> bool:
    return (
        language == "en"
        and (root in UNITS_OF_TIME or f"{root}e" in UNITS_OF_TIME)
        and (before[:1].isdigit() or before in ("a", "an", "one", "business"))
    )


def _content(token: str, root: str, common: frozenset[str], language: str) -> str:
    if token in common or negates(token, language) or token[0].isdigit() or token.startswith("month"):
        return ""
    if token in lexicon(language).roles or (language != "en" and is_mode(token)):
        return ""
    return "" if token in PERSONS.get(language, ()) or (language == "en" and root in LIGHT) else root


def _without_courtesies(text: str, language: str) -> str:
    sentences: list[str] = []
    seen: set[str] = set()
    for sentence in SENTENCE.split(text):
        again = AGAIN.sub("", sentence)
        if again in seen and (again != sentence or len(again) > _LONG_SENTENCE):
            continue  # 'In short: …'
        seen.add(again)
        first, comma, rest = sentence.partition(",")
        if _is_courtesy(sentence, language):
            continue
        sentences.append(rest if comma and _is_courtesy(first, language) else AFRAID.sub("", sentence))
    return " ".join(sentences) or text


_LONG_SENTENCE = 20
"""Characters: a sentence of so many that stands there twice says nothing new the second time."""


def _is_courtesy(part: str, language: str) -> bool:
    if CLOSING.fullmatch(part.strip(" .!?¡¿。！？")):
        return True
    if not COURTESY.search(part):
        return False
    if language != "en":
        return len(part.split()) <= 6
    words = re.findall(r"[a-z]+", re.sub(r"n['’]t\b", " not", part.lower()))
    return all(
        word in COURTEOUS or stem(word) in COURTEOUS or word in ENGLISH or negates(word, "en") for word in words
    )


ENGLISH = frozenset(COMMON["en"].split()) | frozenset("am are any me us m s re ll so at all".split())


def _clauses(text: str, language: str, common: frozenset[str]) -> list[Clause]:
    found = []
    for sentence in SENTENCE.split(text):
        for part in _CLAUSE.split(sentence.lower()):
            head, without, tail = (
                re.split(r"\b(without)\b", part, maxsplit=1) if "without" in part else (part, "", "")
            )
            for piece, denied in ((head, False), (tail, bool(without))):
                tokens = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", piece)
                count = sum(negates(token, language) for token in tokens) + denied
                roots = frozenset(
                    root for token in tokens if (root := _content(token, stem(token, language), common, language))
                )
                soft = not SOFT.isdisjoint(tokens)
                if tokens:
                    found.append(Clause(roots, frozenset(tokens), count % 2 == 1, soft or count > 0))
    return found
