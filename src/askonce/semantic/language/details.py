"""Small things in which answers of nearly the same words contradict each other: signs, letters, addresses, modes.

Each rule errs on the safe side: what it takes for a contradiction costs a hit, and not more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

_Details = Callable[[str], Iterable[str]]


def _by_word(groups: Mapping[str, str]) -> dict[str, str]:
    return {word: group for group, words in groups.items() for word in words.split()}


_UNITS = (
    "am pm km kg g mg ml l m cm mm h hr hrs min mins s st nd rd th x k kb mb gb tb hz mhz ghz px pt in ft".split()
)
_QUANTITY = re.compile(rf"[\d_]+(?:{'|'.join(_UNITS)})|month\d*")
_ADDRESS = re.compile(r"\S+@\S+|\b(?:https?://|www\.)\S+|(?<![\w/])/\w[\w./-]*")
_NEGATIVE = re.compile(r"(?<![\w.,)-])[-−](?=\d)[\d.,]*\d")
_OPERATOR = re.compile(r"[<>=!≤≥≠]+|(?<=[\w)] )[+*/-](?= [\w(])")
_LETTER = re.compile(r"(?<=\w )[A-HJ-Z](?![\w'’.&/-]\w|[\w'’&/-])")
_SMALL_LETTER = re.compile(r"(?<!\d )(?<![\w'’.&/-])[b-hj-z](?![\w'’&/-])")
_CODE = re.compile(r"\b(?=\w*[^\W\d_])(?=\w*\d)\w+\b|\b[A-Z]{1,3}-\d+\b")
_SCRIPT = re.compile(r"[Ͱ-Ͽἀ-῿Ѐ-ԯ԰-֏֐-׿؀-ۿ܀-޿ऀ-෿฀-໿Ⴀ-ჿ]")

_MODES = _by_word(
    {
        "must": "must shall muss müssen musst müsst debe deben debes tiene tienen doit doivent "
        "devez deve devono devi devem moet moeten musi muszą musisz",
        "may": "may can could might allowed permitted kann können kannst könnt darf dürfen puede pueden puedes "
        "peut peuvent pouvez può possono puoi pode podem kan kunnen mag mogen może mogą możesz można",
        "should": "should ought recommended sollte sollten solltest debería deberían devrait devraient dovrebbe "
        "dovrebbero deveria deveriam zou zouden powinien powinna powinno",
    }
)
_EXCEPTIONS = _by_word(
    {"unless": "unless except außer sauf excepto salvo tranne exceto tenzij behalve chyba oprócz"}
)
_SHARES = _by_word(
    {
        "all": "all every each everyone everybody",
        "both": "both",
        "either": "either",
        "most": "most mostly",
        "some": "some several",
        "few": "few",
    }
)
_FREQUENCIES = _by_word(
    {
        "always": "always",
        "usually": "usually often generally typically normally commonly frequently",
        "sometimes": "sometimes occasionally",
        "rarely": "rarely seldom hardly",
    }
)
_CHANCES = _by_word(
    {
        "certain": "certainly definitely",
        "likely": "likely probably",
        "possible": "possibly perhaps maybe",
        "unlikely": "unlikely",
    }
)
_TIME = (
    r"(?:the\s+)?(?:\d|noon|midnight|today|tomorrow|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|january|february|march|april|june|july|august|september|october|november|december)"
)
_BOUND = re.compile(rf"\b(by|before|after|until|till|since)\s+{_TIME}", re.IGNORECASE)
_PROHIBITED = re.compile(
    r"\b(?:must|may|can|could|shall)(?:\s+not|n['’]t)\b|\bcan['’]t\b|\bcannot\b|\bnot\s+(?:allowed|permitted)\b",
    re.IGNORECASE,
)
_FREE = re.compile(
    r"\bneed(?:\s+not|n['’]t)\b|\b(?:do|does|did)(?:\s+not|n['’]t)\s+(?:have|need)\s+to\b"
    r"|\bnot\s+(?:required|mandatory|obligatory)\b",
    re.IGNORECASE,
)
_OBLIGED = re.compile(
    r"\b(?:have|has|need|needs)\s+to\b|\b(?:hay|tiene|tienen|tem|têm)\s+que\b|\bil\s+faut\b", re.IGNORECASE
)
_WORKING_DAYS = re.compile(r"\b(?:business|working)(?= days?\b)")
PERSONS = {
    **dict.fromkeys("i me my mine we us our ours".split(), "1"),
    **dict.fromkeys("you your yours".split(), "2"),
    **dict.fromkeys("he him his".split(), "he"),
    **dict.fromkeys("she her hers".split(), "she"),
    **dict.fromkeys("they them their theirs".split(), "they"),
}
_NUMBERS = {
    **{word: str(at) for at, word in enumerate("zero one two three four five six seven eight nine ten".split())},
    **{"once": "1", "twice": "2"},
}
_SHORT = 12
"""Longer answers may tell things in another order."""
_WORD = re.compile(r"[^\W_]+")


def _groups(group_of: Mapping[str, str], text: str) -> set[str]:
    return {group_of[word] for word in _WORD.findall(text) if word in group_of}


def _modes(text: str) -> set[str]:
    found = set()
    for pattern, mode in ((_FREE, "free"), (_PROHIBITED, "prohibited"), (_OBLIGED, "must")):
        text, count = pattern.subn(" ", text)
        found |= {mode} if count else set()
    return found | _groups(_MODES, text.replace("May", "").lower())  # a month


def _codes(text: str) -> set[str]:
    codes = {one.lower() for one in _CODE.findall(_ADDRESS.sub(" ", text))}
    return {one for one in codes if not _QUANTITY.fullmatch(one)}


_ANYWHERE: dict[str, _Details] = {
    "address": lambda text: {one.strip(".,;:!?()").lower() for one in _ADDRESS.findall(text)},
    "sign": lambda text: {one.replace("−", "-") for one in _NEGATIVE.findall(text)},
    "letter": lambda text: set(_LETTER.findall(_ADDRESS.sub(" ", text))),
    "code": _codes,
    "working days": lambda text: _WORKING_DAYS.findall(text.lower()),
    "exception": lambda text: _groups(_EXCEPTIONS, text.lower()),
}
"""What both answers must have alike."""
_EACH_IN_ITS_WAY: dict[str, _Details] = {
    "operator": lambda text: set(_OPERATOR.findall(text)),
    "mode": _modes,
    "share": lambda text: _groups(_SHARES, text.lower().replace("at most", "")),
    "frequency": lambda text: _groups(_FREQUENCIES, text.lower()),
    "chance": lambda text: _groups(_CHANCES, text.lower()),
    "bound": lambda text: {one.lower().replace("till", "until") for one in _BOUND.findall(text)},
}
"""What each has must not be without a counterpart in the other, both ways."""


def contradiction(one: str, other: str, language: str, *, same_words: bool) -> str | None:
    """The kind of detail in which two answers differ; ``None`` if none was found.

    Args:
        one: an answer.
        other: another.
        language: of both.
        same_words: the words that carry facts are the same, so that their order counts.
    """
    if _SCRIPT.search(one) or _SCRIPT.search(other):
        return "script"  # of a language that is not known here
    for kind, details in _ANYWHERE.items():
        if set(details(one)) != set(details(other)):
            return kind
    for kind, details in _EACH_IN_ITS_WAY.items():
        mine, theirs = set(details(one)), set(details(other))
        if mine - theirs and theirs - mine:
            return kind
    if language == "en":
        if set(_SMALL_LETTER.findall(_ADDRESS.sub(" ", one))) != set(
            _SMALL_LETTER.findall(_ADDRESS.sub(" ", other))
        ):
            return "letter"
        short = max(len(_WORD.findall(one)), len(_WORD.findall(other))) <= _SHORT
        if same_words and (_turned(PERSONS, one, other) or (short and _turned(_NUMBERS, one, other))):
            return "order"
    return None


def _turned(named: Mapping[str, str], one: str, other: str) -> bool:
    """Whether the same of some words stand in another order."""
    orders = [[named[word] for word in _WORD.findall(text.lower()) if word in named] for text in (one, other)]
    first = [list(dict.fromkeys(order)) for order in orders]
    return sorted(first[0]) == sorted(first[1]) and first[0] != first[1]
