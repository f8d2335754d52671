"""The words, numbers, names and negations of a question.

An embedding hardly differs between 3 May and 4 May; these sets do. What a language has to do with is in
`askonce.semantic.language`; stop words and question words are English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from askonce.semantic.language import contrast
from askonce.semantic.language.function_words import turning
from askonce.semantic.language.lexicon import lexicon
from askonce.semantic.language.reading import TextReading
from askonce.semantic.language.replacement import replaced

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*%?|[^\W\d]+(?:'[^\W\d_]+)?")
_QUOTED = re.compile(r"`[^`]+`|\"[^\"]{1,80}\"|“[^”]{1,80}”")
STOP_WORDS = frozenset(
    "a an the is are was were be been am i my me you your it its this that to of in on at for and or "
    "with do does did can could would should has have had will there if from by as so we our they "
    "them their just please".split()
)
_QUESTION_WORDS = frozenset("what why how when where who which whose".split())


@dataclass(frozen=True, slots=True)
class Words:
    """A text's words in lower case.

    Attributes:
        all: every word and number.
        content: all but stop words.
        names: words written with a capital letter inside the text, quoted strings, code.
        question: its question word, or the empty string.
        length: how many words it has.
    """

    all: frozenset[str]
    content: frozenset[str]
    names: frozenset[str]
    question: str
    length: int


@lru_cache(maxsize=10_000)
def read(text: str) -> Words:
    """The words of ``text``; cached for the latest texts, since an indexed question is compared often."""
    written = _WORD.findall(text)
    lower = [word.lower() for word in written]
    names = {
        word.lower() for word in written[1:] if word[0].isupper() and word != "I" and not word.startswith("I'")
    }
    names.update(word for word in lower if "_" in word)
    names.update(quoted[1:-1].lower() for quoted in _QUOTED.findall(text))
    words, known = frozenset(lower), lexicon("en")
    return Words(
        all=words,
        content=words - STOP_WORDS,
        names=frozenset(name for name in names if name not in known.weekdays and name not in known.months),
        question=next((word for word in lower if word in _QUESTION_WORDS), ""),
        length=len(lower),
    )


def overlap(some: frozenset[str], others: frozenset[str]) -> float:
    """The Jaccard index of two sets: 1 when they are equal, 0 when they share nothing."""
    either = len(some | others)
    return len(some & others) / either if either else 1.0


def opposed(new: TextReading, indexed: Sequence[TextReading]) -> bool:
    """Whether a word stands where all of the others have another, or two words have changed places."""
    if contrast.opposed(new, indexed):
        return True
    if turning(new.tokens, new.language) not in [turning(one.tokens, one.language) for one in indexed]:
        return True
    wordings = len({one.tokens for one in indexed})
    if replaced(new.content, [one.content for one in indexed], new.language, wordings):
        return True
    return all(one.tokens != new.tokens for one in indexed) and any(contrast.swapped(new, one) for one in indexed)
