"""Whether a question has another word where all known wordings of a question have one of their own.

No table knows all opposites of a language. But two questions of one frame that differ in a word ask for the same only
if the words are synonyms, which is known of English alone: elsewhere another word is taken to mean something else, until
a judge has found that both questions have one answer. What is requested differs, not how: words of courtesy, and those with
which one requests anything, do not count, nor do endings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache

from askonce.semantic.language.frames import FRAMES, GREETINGS, SPELLED_FRAMES
from askonce.semantic.language.lexicon import COMMON, ROLES, UNSPACED

_FEWEST = 2
"""Letters that forms of one word begin with, if one of both has no ending."""
_MOST = 2
"""Words that may be replaced at once where one wording is known; else the whole question is another."""
_MOST_CHARACTERS = 4
_PART = re.compile(r"[ァ-ヴー]{2,}|[a-z][a-z0-9]+|[㐀-鿿々]")
_PARTICLE = re.compile(
    r"(?:(?:하|되)(?:는|기|다|고|면|려면|여|나요)?|합니다|됩니다|할|해|한|들?(?:에서|부터|까지|으로|로|에게|한테|보다|이나|이|가|을|를|은|는|의|에|와|과|도|만))$"
)
_ENDING = re.compile(
    r"[aeiouyäëïöüáéíóúàèìòùâêîôûãõąęı]{0,2}"
    r"(?:n|s|m|r|t|d|st|nd|nt|ns|rs|rt|te|re|le|li|la|lo|mos?|d[aeio]s?|nd[aeo]|nt[aeio]s?|ro?n|r[aáãeéio]|r[ií]a|sse|ste"
    r"|je|jes|ją|ję|ć|ł|w|ch|go|mu|mi|cie|ci[oó]n|ciones|ç[aã]o|ções|zion|tion|tions|ung|ungen|ment)?[aeioąęyó]{0,2}[nrsmt]?"
)


@cache
def _frame(language: str) -> frozenset[str]:
    return frozenset(" ".join((COMMON[language], ROLES[language], FRAMES[language])).split())


def content(text: str, tokens: Iterable[str], language: str) -> tuple[str, ...]:
    """The words that say what is requested, in their order; in Chinese and Japanese the characters.

    Args:
        text: in lower case.
        tokens: of it.
        language: its code.
    """
    if language == "en":
        return ()  # whose synonyms are known
    if language in UNSPACED:
        return tuple(_PART.findall(SPELLED_FRAMES[language].sub(" ", text)))
    if language == "ko":
        words = re.findall(r"[^\W\d_]+", SPELLED_FRAMES[language].sub(" ", text))
        return tuple(stripped for word in words if (stripped := _PARTICLE.sub("", word)))
    frame = _frame(language)
    return tuple(
        token
        for token in GREETINGS.sub(" ", " ".join(tokens)).split()
        if token not in frame and not token[0].isdigit() and token[0].isalpha()
    )


def replaced(new: Iterable[str], known: Sequence[Iterable[str]], language: str) -> bool:
    """Whether the content of a question has a word in place of one that all known wordings have."""
    words, (first, *others) = frozenset(new), [frozenset(one) for one in known]
    others = [other for other in others if other != first]
    heard = first.union(*others)
    lacking = [word for word in first if not _has(words, word) and all(_has(other, word) for other in others)]
    unheard = [word for word in words if not _has(heard, word)]
    if others or not lacking or not unheard:
        return bool(lacking and unheard)
    if language in UNSPACED:
        return max(len(lacking), len(unheard)) <= _MOST_CHARACTERS
    return len(lacking) == len(unheard) <= _MOST


def _has(words: frozenset[str], word: str) -> bool:
    return word in words or any(same(word, other) for other in words)


def same(one: str, other: str) -> bool:
    """Whether two words seem to be forms of one; in Chinese, Japanese and Korean only if they are equal."""
    if one == other or not one[0] < "\u1100":
        return one == other
    short, long = sorted((one, other), key=len)
    alike = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if alike < _FEWEST or (alike < len(short) and alike == _FEWEST):
        return False
    return all(_ENDING.fullmatch(word[alike:]) for word in (short, long))
