"""The words, numbers, names and negations of a question.

An embedding hardly differs between 3 May and 4 May; these sets do. The rules are for English; of a text in another
language the words, the digits and the quoted strings are found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_WORD = re.compile(r"\d+(?:[.,:/-]\d+)*%?|[^\W\d]+(?:'[^\W\d_]+)?")
_QUOTED = re.compile(r"`[^`]+`|\"[^\"]{1,80}\"|“[^”]{1,80}”")
_NEGATIONS = frozenset(
    "not no never without none nothing cannot neither nor unable isn't aren't ain't don't doesn't "
    "didn't won't can't couldn't shouldn't wasn't weren't haven't hasn't hadn't wouldn't mustn't "
    "dont doesnt didnt cant wont isnt".split()
)
STOP_WORDS = frozenset(
    "a an the is are was were be been am i my me you your it its this that to of in on at for and or "
    "with do does did can could would should has have had will there if from by as so we our they "
    "them their just please".split()
)
_QUESTION_WORDS = frozenset("what why how when where who which whose".split())
_NUMBERS = frozenset(
    "zero two three four five six seven eight nine ten eleven twelve twenty thirty hundred thousand "
    "million billion monday tuesday wednesday thursday friday saturday sunday january february april "
    "june july august september october november december".split()
)  # no 'one', 'march' or 'may': they are something else too often
_OPPOSITES = {
    word: other
    for pair in (
        "increase/decrease before/after enable/disable on/off open/close buy/sell start/stop add/remove "
        "up/down in/out more/less most/least max/min maximum/minimum best/worst male/female husband/wife "
        "import/export encrypt/decrypt lock/unlock install/uninstall activate/deactivate "
        "deposit/withdraw send/receive left/right first/last old/new cheap/expensive lose/gain "
        "advantages/disadvantages pros/cons legal/illegal possible/impossible true/false with/without"
    ).split()
    for word, other in (pair.split("/"), pair.split("/")[::-1])
}


@dataclass(frozen=True, slots=True)
class Words:
    """A text's words in lower case.

    Attributes:
        all: every word and number.
        content: all but stop words.
        numbers: numbers, in digits or words, and the names of days and months.
        names: words written with a capital letter inside the text, quoted strings, code.
        negated: whether it has an odd number of negations.
        question: its question word, or the empty string.
        length: how many words it has.
    """

    all: frozenset[str]
    content: frozenset[str]
    numbers: frozenset[str]
    names: frozenset[str]
    negated: bool
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
    words = frozenset(lower)
    return Words(
        all=words,
        content=words - STOP_WORDS,
        numbers=frozenset(word for word in lower if word[0].isdigit() or word in _NUMBERS),
        names=frozenset(names) - _NUMBERS,
        negated=sum(word in _NEGATIONS for word in lower) % 2 == 1,
        question=next((word for word in lower if word in _QUESTION_WORDS), ""),
        length=len(lower),
    )


def overlap(some: frozenset[str], others: frozenset[str]) -> float:
    """The Jaccard index of two sets: 1 when they are equal, 0 when they share nothing."""
    either = len(some | others)
    return len(some & others) / either if either else 1.0


def opposed(new: Words, indexed: Words) -> bool:
    """Whether one has a word where the other has its opposite ('enable' and 'disable')."""
    return any(
        other in indexed.all and other not in new.all
        for other in (_OPPOSITES.get(word) for word in new.all - indexed.all)
        if other is not None
    )
