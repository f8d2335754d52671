"""Small things in which answers of nearly the same words contradict each other: signs, letters, addresses, modes.

Each rule errs on the safe side: what it takes for a contradiction costs a hit, and not more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from askonce.semantic.language.classes import data_units
from askonce.semantic.language.modes import by_word, groups, modes, opposite_scope

_Details = Callable[[str], Iterable[str]]

_UNITS = (
    "am pm km kg g mg ml l m cm mm h hr hrs min mins s st nd rd th x k kb mb gb tb hz mhz ghz px pt in ft".split()
)
_QUANTITY = re.compile(rf"[\d_]+(?:{'|'.join(_UNITS)})|month\d*")
_ADDRESS = re.compile(r"(?<!\S)\S+@\S+|\b(?:https?://|www\.)\S+|(?<![\w/])/\w[\w./-]*")
_NEGATIVE = re.compile(r"(?<![\w.,)-])[-−](?=\d)[\d.,]*\d")
_OPERATOR = re.compile(r"[<>=!≤≥≠]+|(?<=[\w)] )[+*/-](?= [\w(])")
_LETTER = re.compile(r"(?<=\w )[A-HJ-Z](?![\w'’.&/-]\w|[\w'’&/-])")
_SMALL_LETTER = re.compile(r"(?<!\d )(?<![\w'’.&/-])[b-hj-z](?![\w'’&/-])")
_LATIN = r"A-Za-zÀ-ÖØ-öø-ɏḀ-ỿ"
_CODE = re.compile(  # not with letters of other scripts, which stand around numbers without spaces
    rf"(?<![{_LATIN}\d_])(?=[\d_]*[{_LATIN}])(?=[{_LATIN}_]*\d)[{_LATIN}\d_]+|(?<![{_LATIN}\d_])[A-Z]{{1,3}}-\d+\b"
)
_SCRIPT = re.compile(
    r"[\u0370-\u10ff\u1200-\u1cff\u1f00-\u1fff\u2d00-\u2dff\ua000-\ua71f\ua800-\uabff\U00010000-\U0001cfff]"
)

_EXCEPTIONS = by_word(
    {"unless": "unless except außer sauf excepto salvo tranne exceto tenzij behalve chyba oprócz"}
)
_SHARES = by_word(
    {
        "all": "all every each everyone everybody",
        "both": "both",
        "either": "either",
        "most": "most mostly",
        "some": "some several",
        "few": "few",
    }
)
_FREQUENCIES = by_word(
    {
        "always": "always",
        "usually": "usually often generally typically normally commonly frequently",
        "sometimes": "sometimes occasionally",
        "rarely": "rarely seldom hardly",
    }
)
_CHANCES = by_word(
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
_BOUND = re.compile(rf"\b(by|before|after|until|till|since|from)\s+{_TIME}", re.IGNORECASE)
_WORKING_DAYS = re.compile(r"\b(?:business|working) (day)s?\b")
PERSONS = {
    language: by_word(words)
    for language, words in {
        "en": {
            "1": "i me my mine we us our ours",
            "2": "you your yours",
            "he": "he him his",
            "she": "she her hers",
            "they": "they them their theirs",
        },
        "de": {"he": "er ihn ihm", "she": "sie ihr"},
        "es": {"he": "él", "she": "ella"},
        "fr": {"he": "il lui", "she": "elle"},
        "it": {"he": "lui", "she": "lei"},
        "pt": {"he": "ele", "she": "ela"},
        "nl": {"he": "hij hem", "she": "zij ze haar"},
        "pl": {"he": "on jego jemu mu go", "she": "ona jej ją"},
    }.items()
}
_SPELLED_PERSONS = {
    "zh": r"(?P<he>他)|她",
    "ja": r"(?P<he>彼)(?!女)|彼女",
    "ko": r"(?P<he>그)(?:는|가|의|를|에게)|그녀",
}
_WEAKER = re.compile(
    r"\b(?:part(?:ly|ially)?|nearly|almost|barely|hardly|rarely|seldom|allegedly|supposedly|provisional(?:ly)?|temporarily"
    r""
    r"|teilweise|beinahe|kaum|selten|angeblich|vorläufig|parcialmente|casi|apenas|raramente|provisionalmente"
    r"|partiellement|presque|rarement|provisoirement|parzialmente|quasi|provvisoriamente|quase|provisoriamente"
    r"|gedeeltelijk|bijna|nauwelijks|zelden|voorlopig|częściowo"
    r"|prawie|ledwo|rzadko|tymczasowo)\b(?! (?:\d|all\b|every))"
)
"""One such word more says something else."""
_USUALLY = re.compile(
    r"\b(?:usually|normally|mostly|generally|typically|commonly|often|occasionally|sometimes|in most cases"
    r"|as a rule)\b"
)
_MIGHT, _WILL = re.compile(r"\b(?:might|may)\b"), re.compile(r"\b(?:will|shall|going to)\b")
_WAS = re.compile(r"\b(?:was|were|has been|have been|had been)\b")
_NOBODY = re.compile(r"\bil (?:faut|suffit|y a|est possible)|s['’]il")
_IS = re.compile(r"\b(?:been|be|is|are|was|were|gets?|got)\b")
_BY = re.compile(r"\bby\s+(?:him|her|us|them|me|you)\b")
_NUMBERS = {
    **{word: str(at) for at, word in enumerate("zero one two three four five six seven eight nine ten".split())},
    **{"once": "1", "twice": "2"},
}
_SHORT = 12
"""Longer answers may state facts in another order."""
_WORD = re.compile(r"[^\W_]+")


def _codes(text: str) -> set[str]:
    codes = {one.lower() for one in _CODE.findall(_ADDRESS.sub(" ", text))}
    return {one for one in codes if not _QUANTITY.fullmatch(one)}


_ANYWHERE: dict[str, _Details] = {
    "address": lambda text: {one.strip(".,;:!?()").lower() for one in _ADDRESS.findall(text)},
    "sign": lambda text: {one.replace("−", "-") for one in _NEGATIVE.findall(text)},
    "letter": lambda text: set(_LETTER.findall(_ADDRESS.sub(" ", text))),
    "code": _codes,
    "working days": lambda text: _WORKING_DAYS.findall(text.lower()),
    "exception": lambda text: groups(_EXCEPTIONS, text.lower()),
}
"""What both answers must have alike."""
_EACH_IN_ITS_WAY: dict[str, _Details] = {
    "data": data_units,
    "operator": lambda text: set(_OPERATOR.findall(text)),
    "share": lambda text: groups(_SHARES, text.lower().replace("at most", "")),
    "frequency": lambda text: groups(_FREQUENCIES, text.lower()),
    "chance": lambda text: groups(_CHANCES, text.lower()),
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
        if _each_in_its_way(set(details(one)), set(details(other))):
            return kind
    if _each_in_its_way(modes(one, language), modes(other, language)):
        return "mode"
    if opposite_scope(one, other, language):
        return "scope"
    if weaker(one, other, language, same_words=same_words):
        return "strength"
    if language == "en" and _small_letters(one) != _small_letters(other):
        return "letter"
    if _other_persons(one, other, language, same_words=same_words):
        return "persons"
    short = max(len(_WORD.findall(one)), len(_WORD.findall(other))) <= _SHORT
    if same_words and language == "en" and short and _turned(_named(_NUMBERS, one), _named(_NUMBERS, other)):
        return "order"
    return None


def weaker(one: str, other: str, language: str, *, same_words: bool) -> bool:
    """Whether one says with less certainty, or of another time, what the other says."""
    some, others = one.lower(), other.lower()
    if (_WEAKER.search(some) is None) != (_WEAKER.search(others) is None):
        return True
    if language != "en":
        return False
    plain = (
        re.search(r"\d|\btakes?\b", some + others) is None
    )  # 'usually takes 3 days' and 'takes 3 days' are the same
    if plain and same_words and (_USUALLY.search(some) is None) != (_USUALLY.search(others) is None):
        return True
    for mine, theirs in ((some, others), (others, some)):
        if not _WILL.search(theirs):
            continue
        if _MIGHT.search(mine) and not (_MIGHT.search(theirs) or _WILL.search(mine)):
            return True
        if same_words and _WAS.search(mine) and not (_WILL.search(mine) or _WAS.search(theirs)):
            return True
    return False


def _small_letters(text: str) -> set[str]:
    return set(_SMALL_LETTER.findall(_ADDRESS.sub(" ", text)))


def _other_persons(one: str, other: str, language: str, *, same_words: bool) -> bool:
    """Whether another person acts, or is meant: in 'he pays her' and 'she pays him' all else is equal."""
    mine, theirs = _persons(one, language), _persons(other, language)
    same_words = same_words or language in _SPELLED_PERSONS  # whose words are not parted
    either = {"he", "she"}
    if (same_words or language == "en") and _each_in_its_way(either & set(mine), either & set(theirs)):
        return True
    if len(set(mine)) == 2 and _is_passive(one) != _is_passive(other):
        theirs.reverse()
    return same_words and _turned(mine, theirs)


def _is_passive(text: str) -> bool:
    lines = text.lower().splitlines()
    return any(first and _BY.search(line, first.end()) for line in lines if (first := _IS.search(line)))


def _persons(text: str, language: str) -> list[str]:
    if language in _SPELLED_PERSONS:
        found = re.finditer(_SPELLED_PERSONS[language], text)
        return list(dict.fromkeys("he" if match["he"] else "she" for match in found))
    return _named(PERSONS.get(language, {}), _NOBODY.sub(" ", text.lower()))


def _named(names: Mapping[str, str], text: str) -> list[str]:
    """What is named, in the order in which it is first named."""
    return list(dict.fromkeys(names[word] for word in _WORD.findall(text.lower()) if word in names))


def _each_in_its_way(mine: set[str], theirs: set[str]) -> bool:
    """Whether both have what the other has not."""
    return bool(mine - theirs and theirs - mine)


def _turned(mine: list[str], theirs: list[str]) -> bool:
    """Whether the same stands in another order."""
    return sorted(mine) == sorted(theirs) and mine != theirs
