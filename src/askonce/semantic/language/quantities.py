"""Numbers, amounts, times and dates of a text in one form, however they are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from itertools import pairwise

from askonce.semantic.language.lexicon import UNITS_OF_TIME, UNSPACED, Lexicon, lexicon

_CLOCK = re.compile(r"\b(\d{1,2})(?:[:.](\d{2}))? ?([ap])\.?m\b\.?|\b(\d{1,2}):(\d{2})\b(?!:)", re.IGNORECASE)
_RANGE = re.compile(
    r"\b(\d{1,2})(?=(?:[:.]\d{2})?(?: ?[-–] ?| to | and | until )\d{1,2}(?:[:.]\d{2})? ?([ap])\.?m\b)", re.I
)
_ISO = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
_ORDINAL = re.compile(r"\b(\d{1,2})(?:st|nd|rd|th)\b", re.IGNORECASE)
_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+|\d{1,3}(?:[. '’]\d{3}){1,6}(?![.,]?\d)")
_NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*")
_DURATION = re.compile(
    r"\b(\d+(?:\.\d+)?|an?|one)(?: and a (half))?(?:[ -](?:working|business|full|calendar|whole))?[ -]?"
    r"(minute|min|hour|hr|day|week|fortnight)s?\b"
)
_UNITS = {
    "m": "metre", "km": "kilometre", "cm": "centimetre", "mm": "millimetre", "kg": "kilogram", "g": "gram",
    "mg": "milligram", "mcg": "microgram", "ml": "millilitre", "l": "litre", "h": "hours", "min": "minutes",
    "gb": "gigabyte", "mb": "megabyte", "kb": "kilobyte", "tb": "terabyte", "lb": "pound", "lbs": "pound",
    "°c": "degree celsius", "°f": "degree fahrenheit", "kilo": "kilogram", "kilos": "kilogram",
}  # fmt: skip
_UNIT = re.compile(
    r"((?<!\d[.,])\b\d+(?:[.,]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten)) ?"
    rf"({'|'.join(sorted(_UNITS, key=len, reverse=True))})\b(?!')"
)
_PER = re.compile(r"\b(?:per|each|every|once|times|twice|of|what) $")
_EN_ORDINALS = {
    word: str(number)
    for number, word in enumerate(
        "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=3
    )
}
_SHORT_DAYS = {"sat": 5, "sun": 6}
_BEFORE_A_DAY = frozenset("on by until till next last this every each from since".split())
_AMBIGUOUS_MONTHS = {"march": 3, "may": 5, "mar": 3}
_MONTH = re.compile(
    r"\b(?:in|of|since|until|till|during|early|late|mid|next|last|this|\d{1,2}(?:st|nd|rd|th)?) (march|may)\b"
    r"|\b(?:by|from|to|before|after) (march|may)\b(?! (?:i|we|you|be|he|she|it|they|not|also|have)\b)"
    r"|\b(march|may|mar) (?=\d{1,4}(?:st|nd|rd|th)?\b)"
)
_CJK_DIGITS = {sign: value for value, sign in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000}
CJK_NUMBER = re.compile(
    r"(?<![一二两三四五六七八九十百千万])[一二两三四五六七八九十百千万]++(?=[个個天日年月周週点點號号分小时時块元円欧美人次张張枚台件倍本回か])|第[一二三四五六七八九十]+"
)
_CJK_WEEKDAY = re.compile(r"(?:星期|周|礼拜)([一二三四五六日天])|([月火水木金土日])曜")
_TURKISH_ENDING = re.compile(
    r"(?:l[ae]r)?(?:[ıiuü]?m[ıiuü]z|[ıiuü]n[ıiuü]z|s?[ıiuü]n?|[ıiuü]?m)?(?:n?[dt][ae]n?|n?[ıiuü]n|[yn]?[ıiuü]|[yn]?[ae]|y?l[ae])?(?:ki)?"
)
_KO_MONTHS = "일 이 삼 사 오 유 칠 팔 구 시 십일 십이".split()
_KO_MONTH = re.compile(rf"(?<![가-힣])({'|'.join(sorted(_KO_MONTHS, key=len, reverse=True))})월(?!요일)")
_KO_WEEKDAY = re.compile(r"([월화수목금토일])요일")


LONGEST_WORD = 40
"""Letters; what is longer is no word, and is not looked up by its beginnings."""


def plain(text: str, language: str) -> str:
    """A text in lower case in which times of the day and English number words are digits."""
    text = text.lower().replace("’", "'")
    text = _ISO.sub(lambda match: f"{match[1]} {int(match[3])} month{int(match[2])}", text)
    if language in ("fr", "it"):
        text = re.sub(
            r"\b(?:[cdjlmnst]|qu|all|dell|dall|nell|un)'(?=[^\W\d_])", lambda match: match[0][:-1] + " ", text
        )
    if language == "en":
        text = re.sub(r"\b(?:24/7|24 hours a day|around the clock|round the clock)\b", " 24/7 ", text)
        text = re.sub(r"\btwice\b", "2 times", text)
        text = re.sub(r"\ban? (hour|day|week) and a half\b", r"1.5 \1s", text)
        text = re.sub(r"\b(?:a )?quarter of an hour\b", "15 minutes", text)
        text = re.sub(r"\bhalf an hour\b|\bhalf hour\b", "30 minutes", text)
        text = _HALF_PAST.sub(_quarters, text)
        text = re.sub(r"\b(?:at )?noon\b|\bmidday\b", "12:00", text)
        text = re.sub(r"\bper ?cent\b", "%", text)
        text = re.sub(r"\bhalf a dozen\b", "6", text)
        text = re.sub(r"\bdozen\b", "12", text)
        text = _UNIT.sub(lambda match: f"{match[1]} {_UNITS[match[2]]}", text)
        text = re.sub(
            r"\bthis (?=(?:week|month|year|quarter|morning|evening|afternoon|summer|winter)\b)", "current ", text
        )
        text = _MONTH.sub(_month, text)
    text = _RANGE.sub(lambda match: f"{match[1]} {match[2]}m", text)
    text = _CLOCK.sub(_clock, text)
    text = _ORDINAL.sub(r"\1", text)
    return re.sub(
        _THOUSANDS,
        lambda match: re.sub(r"[^\d]", "", match[0]) if _is_thousands(match[0], language) else match[0],
        text,
    )


_HOURS = "one two three four five six seven eight nine ten eleven twelve".split()
_HALF_PAST = re.compile(rf"\b(half|quarter) (past|to) (\d{{1,2}}|{'|'.join(_HOURS)})\b")


def _quarters(match: re.Match[str]) -> str:
    hour = int(match[3]) if match[3].isdigit() else _HOURS.index(match[3]) + 1
    minutes = 60 * hour + (30 if match[1] == "half" else 15) * (1 if match[2] == "past" else -1)
    return f"{minutes // 60}:{minutes % 60:02}"


def _is_thousands(number: str, language: str) -> bool:
    return "," in number or language != "en" or "." not in number


def _month(match: re.Match[str]) -> str:
    name = match[1] or match[2] or match[3]
    return match[0].replace(name, f"month{_AMBIGUOUS_MONTHS[name]}")


def _clock(match: re.Match[str]) -> str:
    hour, minute = int(match[1] or match[4]), int(match[2] or match[5] or 0)
    if match[3]:
        hour = hour % 12 + (12 if match[3].lower() == "p" else 0)
    return f" {hour}:{minute:02} "


def joined(tokens: Sequence[str], words: Lexicon, language: str) -> list[str]:
    """The tokens, runs of number words as one number in digits."""
    result: list[str] = []
    total: float | None = None
    current = 0.0
    for token, after in zip([*tokens, ""], [*tokens[1:], "", ""], strict=False):
        value = _value(token, words, language)
        if value is None:
            if total is not None and token in ("and", "y", "e", "et") and current >= 20 and after in words.numbers:
                continue  # 'two hundred and five'
            if total is not None:
                result.append(f"{total + current:g}" if total + current < 1e6 else str(int(total + current)))
                total = None
            result.append(token)
        elif total is None:
            total, current = (value, 0.0) if value >= 1000 else (0.0, value)
        elif value in (100,) and 0 < current < 100:
            current *= value
        elif value >= 1000 and current:
            total, current = total + current * value, 0.0
        elif (current and value < 10 and current >= 20 and current % 10 == 0) or (
            value < 100 <= current and current % 100 == 0
        ):
            current += value
        else:
            result.append(f"{total + current:g}")
            total, current = 0.0, value
    return result[:-1]


def _value(token: str, words: Lexicon, language: str) -> float | None:
    if token in words.numbers:
        return words.numbers[token]
    if language == "en" and token in _EN_ORDINALS:
        return float(_EN_ORDINALS[token])
    return None


def quantities(text: str, tokens: Sequence[str], language: str) -> tuple[frozenset[str], frozenset[str]]:
    """The numbers and dates in tokens, and those that may be said or left out ('a day', 'one').

    Args:
        text: from `plain`.
        tokens: of it, from `joined`.
        language: its code.
    """
    words = lexicon(language)
    spaced = " ".join(tokens)
    found: set[str] = set()
    optional: set[str] = set()
    rest = spaced
    if language == "en":
        for match in _DURATION.finditer(spaced):
            amount, half, unit = match.groups()
            number = 1.0 if amount in ("a", "an", "one") else float(amount)
            length = (number + (0.5 if half else 0)) * UNITS_OF_TIME[unit]
            certain = (
                number != 1
                or half
                or (amount == "1" and not _PER.search(spaced[max(0, match.start() - 8) : match.start()]))
            )
            (found if certain else optional).add(f"{length:g} minutes")
        rest = _DURATION.sub(lambda match: " " * len(match[0]), spaced)
    for match in _NUMBER.finditer(rest):
        measured = language != "en" or _is_measured(rest, match, words)
        canonical = _canonical(match[0], language) if measured else match[0]
        (optional if canonical == "1" else found).add(canonical)
    for before, token in pairwise(["", *tokens]):
        if language == "tr":
            token = without_ending(without_ending(token, words.months), words.weekdays)
        month = words.months.get(token)
        if month is not None and not (language == "en" and token in _AMBIGUOUS_MONTHS):
            found.add(f"month {month}")
        elif token.startswith("month") and token[5:].isdigit():
            found.add(f"month {token[5:]}")
        elif language == "en" and token in _SHORT_DAYS and before in _BEFORE_A_DAY:
            found.add(f"weekday {_SHORT_DAYS[token]}")
        elif token in words.weekdays:
            found.add(f"weekday {words.weekdays[token]}")
    if language in UNSPACED:
        found |= _unspaced(text)
    elif language == "ko":
        found |= {f"weekday {'월화수목금토일'.index(match[1])}" for match in _KO_WEEKDAY.finditer(text)}
        found |= {f"{_KO_MONTHS.index(match[1]) + 1}" for match in _KO_MONTH.finditer(text)}
    return frozenset(found), frozenset(optional)


def _is_measured(text: str, match: re.Match[str], words: Lexicon) -> bool:
    """Whether a number is an amount: 2.5 dollars are 2.50 dollars, and version 2.5 is not version 2.50."""
    if not match[0].endswith("0") or "." not in match[0]:
        return True
    around = (text[max(0, match.start() - 12) : match.start()].split()[-1:], text[match.end() :][:16].split()[:1])
    return any(
        word == "%" or word in words.units or any(place == "currency" for place, _ in words.contrasts.get(word, ()))
        for side in around
        for word in side
    )


def _canonical(number: str, language: str) -> str:
    if re.fullmatch(r"\d+,\d{1,2}", number) and language != "en":
        number = number.replace(",", ".")
    if re.fullmatch(r"\d+(?:\.\d+)?", number) and len(number) < 16:
        return f"{float(number):.10g}"
    return number


def _unspaced(text: str) -> set[str]:
    found = set()
    for match in _CJK_WEEKDAY.finditer(text):
        day = match[1] or match[2]
        found.add(
            f"weekday {('一二三四五六日' if match[1] else '月火水木金土日').index('日' if day == '天' else day)}"
        )
    for match in CJK_NUMBER.finditer(_CJK_WEEKDAY.sub(" ", text)):
        value = cjk_value(match[0].removeprefix("第"))
        if value != 1 or match[0].startswith("第"):
            found.add(f"{value}")
    return found


def cjk_value(signs: str) -> int:
    """The number that these signs spell."""
    total = current = 0
    for sign in signs:
        if sign in _CJK_UNITS:
            unit = _CJK_UNITS[sign]
            total = (total + current) * unit if unit == 10_000 else total + (current or 1) * unit
            current = 0
        else:
            current = _CJK_DIGITS[sign]
    return total + current


def without_ending(token: str, words: Collection[str]) -> str:
    """A Turkish word without its ending if it is one of the words then."""
    if token in words:
        return token
    return next(
        (
            token[:end]
            for end in range(min(len(token) - 1, LONGEST_WORD), 1, -1)
            if token[:end] in words and _TURKISH_ENDING.fullmatch(token[end:])
        ),
        token,
    )
