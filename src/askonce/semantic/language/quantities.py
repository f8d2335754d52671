"""Numbers, amounts, times and dates of a text in one form, however they are written."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise

from askonce.semantic.language.hours import with_clock_times
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
_LARGE_SIGNS = {"m": "million", "mm": "million", "b": "billion", "t": "trillion"}
_LARGE = re.compile(
    r"([$€£¥] ?\d++(?:[.,]\d++)*+|(?<![\d.,])\b\d++(?:[.,]\d++)*+"
    r"(?= ?[mbt] (?:dollars|euros|pounds|usd|eur|gbp|users|people|tokens)\b))"
    r" ?(mm?|b|t)\b"
)
_EN_ONE_WORD = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\bper ?cent(?:age)?[ -]points?\b|%[ -]points?\b", "percentagepoints"),
        (r"\bbasis points?\b", "basispoints"),
        (r"\bper ?cent\b", "%"),
        (r"\b(?:the )?day after tomorrow\b", "overmorrow"),
        (r"\b(?:the )?day before yesterday\b", "ereyesterday"),
        (r"\b(?:a|one) third(?= of\b)|(?<=\bby )(?:a|one) third\b", "onethird"),
        (r"\b(?:two|2)[ -]thirds\b", "twothirds"),
        (r"\b(?:a|one) quarter(?= of (?!an hour\b))|(?<=\bby )(?:a|one) quarter\b", "onequarter"),
        (r"\b(?:three|3)[ -]quarters\b", "threequarters"),
        (r"\b(square|cubic) (?=(?:milli|centi|kilo)?met(?:er|re)s?\b|feet\b|foot\b|inch|yards?\b|miles?\b)", r"\1"),
        (r"\bsq\.? ?(?=(?:m|km|cm|ft|feet|met(?:er|re)s?|yards?|miles?)\b)", "square"),
        (r"\b(sugar|fat|gluten|alcohol|lactose|dairy|caffeine|smoke|child)[ -]free\b", r"without \1"),
        (r"\b(sugar|child|job|fat)less\b", r"without \1"),
        (r"\bsugary\b", "sugar"),
    )
]
_ONE_WORD = {  # 'mañana' and 'Morgen' are the next day, and the beginning of each
    "es": (
        (re.compile(r"\bpasado mañana\b"), "pasadomañana"),
        (re.compile(r"\b(la|las|esta|cada|una) mañanas?\b"), r"\1 matutino"),
    ),
    "de": ((re.compile(r"\b(am|jeden|heute|dem|gestern) morgen\b"), r"\1 morgens"),),
    "pt": ((re.compile(r"\bdepois de amanhã\b"), "depoisdeamanhã"),),
    "fr": ((re.compile(r"\baprès-demain\b"), "surlendemain"),),
    "it": ((re.compile(r"\bdopo ?domani\b"), "dopodomani"),),
}
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
_CJK_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000, "亿": 10**8, "億": 10**8, "兆": 10**12}
_CJK = "[一二两三四五六七八九十百千万萬亿億兆]"
CJK_NUMBER = re.compile(
    rf"(?<!{_CJK}){_CJK}++(?=[个個天日年月周週点點號号分小时時块元円欧美英港加澳韩人次张張枚台件倍本回かドユポ])|第[一二三四五六七八九十]+"
)
_KO_DIGITS = {sign: value for value, sign in enumerate("영일이삼사오육칠팔구")}
_KO_UNITS = {"십": 10, "백": 100, "천": 1000, "만": 10_000, "억": 10**8, "조": 10**12}
_KO_NUMBER = re.compile(
    "(?<![가-힣])(?=[일이삼사오육칠팔구십]*[백천만억조])[일이삼사오육칠팔구십백천만억조]++"
    "(?= ?(?:원|명|개|장|권|달러|유로|엔|파운드|위안|번|대|킬로|그램))"
)
_SCALED = re.compile(
    "(?<![0-9.,])([0-9]{1,15}(?:[.][0-9]{1,9})?)([百千万萬亿億兆]{1,4}|[천만억조]{1,4}(?![가-힣]*요))"
)
_HALF = re.compile("半|절반|반값|반년|(?<![가-힣])반(?= |$)")
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
    text = with_clock_times(text, language)
    for pattern, word in _ONE_WORD.get(language, ()):
        text = pattern.sub(word, text)
    if language in UNSPACED or language == "ko":
        text = re.sub(r"(?<=\d),(?=\d{3})", "", text)
        text = _SCALED.sub(_scaled, text)
        if language == "ko":
            text = _KO_NUMBER.sub(lambda match: f"{_spelled_value(match[0], _KO_DIGITS, _KO_UNITS)}", text)
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
        for pattern, word in _EN_ONE_WORD:
            text = pattern.sub(word, text)
        text = re.sub(r"\bhalf a dozen\b", "6", text)
        text = re.sub(r"\bdozen\b", "12", text)
        text = re.sub(r"\bhalf an? (?=hundred|thousand|million|billion|trillion)", "0.5 ", text)
        text = _LARGE.sub(lambda match: f"{match[1]} {_LARGE_SIGNS[match[2]]}", text)
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
    run: _Spelled | None = None
    rest = [*tokens[1:], "", ""]
    for token, after, next_but_one in zip([*tokens, ""], [*rest, ""], [*rest[1:], "", ""], strict=False):
        scale = _scale(token, words, run)
        if run is not None and scale and run.scaled(scale):
            continue
        if run is None and scale:
            run = _Spelled(0.0)
            run.scaled(scale)
            continue
        value = _value(token, words, language, after)
        if token == "one" and run is not None and run.lacks_ones:
            value = 1.0
        if value is None:
            joins = run is not None and token in ("and", "y", "e", "et") and run.is_round and after in words.numbers
            if joins and next_but_one not in words.scales:
                continue  # 'two hundred and five'
            result += [*([run.digits] if run is not None else ()), token]
            run = None
        elif run is None or not run.added(value):
            result += [run.digits] if run is not None else ()
            run = _Spelled(value, written=token[0].isdigit())
    return result[:-1]


class _Spelled:
    """A number in words, of which some were read."""

    def __init__(self, value: float, *, written: bool = False) -> None:
        large = value >= 1000 and not written
        self._parts = [value] if large else []
        self._current = 0.0 if large else value
        self.is_written = written

    @property
    def is_round(self) -> bool:
        return bool(self._parts) or self._current >= 20

    @property
    def lacks_ones(self) -> bool:
        return not self.is_written and self._current >= 20 and self._current % 10 == 0

    @property
    def digits(self) -> str:
        total = sum(self._parts) + self._current
        return str(int(total)) if total == int(total) else f"{total:g}"

    def scaled(self, scale: int) -> bool:
        """'Thousand' and the like; false if it does not belong to this number."""
        if scale == 100:
            if self._current >= 100 or self.is_written:
                return False
            self._current = (self._current or 1) * 100
            return True
        lower = [part for part in self._parts if part < scale]
        self._parts = [part for part in self._parts if part >= scale]
        self._parts.append((sum(lower) + self._current or 1) * scale)
        self._current, self.is_written = 0.0, False
        return True

    def added(self, value: float) -> bool:
        """Another word for a number; false if it does not belong to this one."""
        current = self._current
        if self.is_written or value != int(value):
            return False
        if value >= 1000:
            if not current:
                return False
            self._parts, self._current = [*self._parts, current * value], 0.0
        elif value == 100 and 0 < current < 100:
            self._current *= value
        elif (
            (value < 10 and current >= 20 and current % 10 == 0)
            or (value < 100 <= current and current % 100 == 0)
            or (self._parts and not current and value < min(self._parts))
        ):
            self._current += value
        else:
            return False
        return True


_WRITTEN_NUMBER = re.compile(r"\d{1,15}(?:[.,]\d{1,9})?")
_SHORT_SCALES = {"k": 1000, "mn": 10**6, "mln": 10**6, "mio": 10**6, "bn": 10**9, "mrd": 10**9}
"""Of every language; what a language has another one for is in its table."""
_GLUED = frozenset(("de", "nl", "it"))


def _scale(token: str, words: Lexicon, run: _Spelled | None) -> int | None:
    """What a word multiplies the number before it with; an abbreviation only what is written in digits."""
    if run is not None and run.is_written:
        found = words.scales.get(token) or words.short_scales.get(token) or _SHORT_SCALES.get(token)
        return found if found != 100 else None
    return words.scales.get(token)


def _value(token: str, words: Lexicon, language: str, after: str = "") -> float | None:
    if token in words.numbers:
        return words.numbers[token]
    if language == "en" and token in _EN_ORDINALS:
        return float(_EN_ORDINALS[token])
    if _WRITTEN_NUMBER.fullmatch(token):
        scaled = after in words.short_scales or after in _SHORT_SCALES or words.scales.get(after, 0) > 100
        return float(token.replace(",", ".")) if scaled else None
    if language in _GLUED and len(token) <= LONGEST_WORD:
        for word, scale in words.scales.items():
            head = token.removesuffix(word)
            if head and head != token and head in words.numbers:
                return words.numbers[head] * scale
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
    if language in UNSPACED or language == "ko":
        found |= {"half"} if _HALF.search(text) else set()
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
        word == "%"
        or (word in words.units and word not in words.roles)  # 'in' is an inch, too
        or any(place == "currency" for place, _ in words.contrasts.get(word, ()))
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
    return _spelled_value(signs, _CJK_DIGITS, _CJK_UNITS)


def _spelled_value(signs: str, digits: Mapping[str, int], units: Mapping[str, int]) -> int:
    total = group = current = 0
    for sign in signs:
        if sign not in units:
            current = digits[sign]
        elif units[sign] < 10_000:
            group, current = group + (current or 1) * units[sign], 0
        else:
            total, group, current = total + (group + current or 1) * units[sign], 0, 0
    return total + group + current


def _scaled(match: re.Match[str]) -> str:
    number = float(match[1])
    for sign in match[2]:
        number *= {**_CJK_UNITS, **_KO_UNITS}[sign]
    return str(int(number)) if number == int(number) else match[0]


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
