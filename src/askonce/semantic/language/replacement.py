"""Whether a question has another word where all known wordings of a question have one of their own.

No table knows all opposites of a language. But two questions of one frame that differ in a word are the same only
if the words are synonyms, which are known of English alone: elsewhere another word is taken to mean something else,
until a judge has found that both questions have one answer. What is requested counts, not how: courtesies, words
with which one requests anything, and endings do not.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

from askonce.semantic.language.frames import FRAMES, GREETINGS, SPELLED_FRAMES
from askonce.semantic.language.lexicon import COMMON, ROLES, UNSPACED

_FEWEST = 2
"""Letters that forms of one word begin with, if one of both has no ending."""
_MOST_CHARACTERS = 4
"""Of a word in Chinese or Japanese."""
_ARTICLE = 3
"""Letters of an article at most: what is beside a word is looked for behind it."""
_LONGEST_ENDING = 20
"""Letters: Turkish endings follow one another, and a long run can be read as such in very many ways."""
_AROUND = 40
"""Characters in which the word beside another one is looked for."""
_PART = re.compile(
    r"[ァ-ヴー]{2,}|[a-z][a-z0-9]+|[㐀-鿿々]"
    r"|(?<=[をが])(?!でき|なり|なる|ある|あり|いる|する|した|ほしい)[ぁ-ん]{2,}?(?=る|ます|たい|て|た|ない)"
)
_WORD = re.compile(r"[^\W\d_]+")
_PARTICLE = re.compile(
    r"(?:(?:하|되)(?:는|기|다|고|면|려면|여|나요)?|합니다|됩니다|할|해|한|들?(?:에서|부터|까지|으로|로|에게|한테|보다|이나|이|가|을|를|은|는|의|에|와|과|도|만))$"
)
_ENDING = re.compile(
    r"[aeiouy]{0,2}"
    r"(?:n|s|m|r|t|d|c|st|nd|nt|ns|rs|rt|te|re|le|li|la|lo|mos?|d[aeio]s?|nd[aeo]|nt[aeio]s?|ro?n|r[aeio]|ria|sse|ste"
    r"|je|jes|ja|l|w|ch|go|mu|mi|cie|cion|ciones|cao|coes|zion|tion|tions|ung|ungen|ment)?[aeioy]{0,2}[nrsmt]?"
)
_TURKISH_ENDING = re.compile(
    "(?:m[ae]k|[ae]c[ae]k|r|[aiu]r|er|iyor|uyor|y?[ae]bil|[dt][iu]|m[iu]s|s[ae]|l[ae]r|[iu]m|[iu]z|[iu]n|[dt][ae]n?|y?[iu]|y?[ae]|s[iu]|ki|m|n)*"
)
_KOREAN_ENDING = re.compile(
    "(?:었|았|였|했|하였|당했|됐|되었)?(?:어요|아요|여요|습니다|나요|는데|은데|인가요|예요|이에요|죠|지요|까요|을까요|다|요|고|면|서|니)$"
)
_LETTERS = str.maketrans({"ł": "l", "ı": "i", "ß": "s", "ø": "o"})


class Word(NamedTuple):
    """A word of what is requested, and what stands on both sides of it, articles aside."""

    text: str
    before: str
    after: str


@cache
def _frame(language: str) -> frozenset[str]:
    return frozenset(" ".join((COMMON[language], ROLES[language], FRAMES[language])).split())


def content(text: str, tokens: Sequence[str], language: str) -> tuple[Word, ...]:
    """The words that say what is requested, in their order; in Chinese and Japanese the characters.

    Args:
        text: in lower case.
        tokens: of it.
        language: its code.
    """
    if language == "en":
        return ()  # whose synonyms are known
    if language in SPELLED_FRAMES:
        return tuple(_spelled(text, language))
    frame = _frame(language)
    tokens = GREETINGS.sub(" ", " ".join(tokens)).split()
    before, after = _nearest(tokens), _nearest(reversed(tokens))[::-1]
    return tuple(
        Word(token, before[place], after[place])
        for place, token in enumerate(tokens)
        if token not in frame and token[0].isalpha()
    )


def _nearest(tokens: Iterable[str]) -> list[str]:
    """For each token the last one before it that is no article."""
    found, last = [], ""
    for token in tokens:
        found.append(last)
        last = token if len(token) > _ARTICLE else last
    return found


def _spelled(text: str, language: str) -> Iterable[Word]:
    parts = _PART if language in UNSPACED else _WORD
    framed = SPELLED_FRAMES[language].sub(lambda match: " " * len(match[0]), text)
    for match in parts.finditer(framed):
        start, end = match.span()
        before, after = (
            text[max(0, start - _AROUND) : start].rstrip(),
            text[end : end + _AROUND].lstrip(" を의을를"),
        )
        if language in UNSPACED:
            yield Word(match[0], before[-1:], after[:1])
        elif word := _bare(match[0]):
            beside = (_WORD.findall(before)[-1:], _WORD.findall(after)[:1])
            yield Word(word, *("".join(map(_bare, one)) for one in beside))


def _bare(word: str) -> str:
    """A Korean word without particle and ending."""
    return _PARTICLE.sub("", _KOREAN_ENDING.sub("", word))


def replaced(new: Sequence[Word], known: Sequence[Sequence[Word]], language: str, wordings: int) -> bool:
    """Whether a question has words in place of some that all known wordings of another one have.

    Where one wording is known, it must be one word, or most words, or they must stand beside the same: else all may
    be words of requesting.

    Args:
        new: its content.
        known: that of each of the others.
        language: its code.
        wordings: how many of the others differ in any word.
    """
    words, others = frozenset(word.text for word in new), {frozenset(word.text for word in one) for one in known}
    heard = frozenset().union(*others)
    lacking = [
        word
        for word in heard
        if not _has(words, word, language) and all(_has(other, word, language) for other in others)
    ]
    unheard = [word for word in words if not _has(heard, word, language)]
    if wordings > 1 or not lacking or not unheard:
        return bool(lacking and unheard)
    if len(lacking) == len(unheard) <= (_MOST_CHARACTERS if language in UNSPACED else 1):
        return True
    if len(lacking) + len(unheard) > 2 * (len(words) - len(unheard)):
        return True
    return any(
        one.before == other.before or one.after == other.after
        for one in new
        if one.text in unheard
        for other in known[0]
        if other.text in lacking
    )


def _has(words: frozenset[str], word: str, language: str) -> bool:
    return word in words or any(same(word, other, language) for other in words)


@lru_cache(maxsize=50_000)
def same(one: str, other: str, language: str) -> bool:
    """Whether two words seem to be forms of one; in Chinese and Japanese only if they are equal."""
    if one == other or language in UNSPACED:
        return one == other
    short, long = sorted((_folded(one, language), _folded(other, language)), key=len)
    if language == "ko":
        return len(short) > 1 and long.startswith(short)
    alike = next((at for at, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if alike < _FEWEST or (alike < len(short) and alike == _FEWEST and language != "tr"):
        return False
    ending = _TURKISH_ENDING if language == "tr" else _ENDING
    return len(long) - alike <= _LONGEST_ENDING and all(ending.fullmatch(word[alike:]) for word in (short, long))


@lru_cache(maxsize=10_000)
def _folded(word: str, language: str) -> str:
    """A word without accents, its stem as in the infinitive: 'encuentro' as 'encontrar', 'paie' as 'payer'."""
    if language == "ko":
        return word
    plain = unicodedata.normalize("NFD", word.translate(_LETTERS)).encode("ascii", "ignore").decode()
    if language == "fr":
        return plain.replace("y", "i")
    return plain.replace("ie", "e").replace("ue", "o") if language == "es" else plain
