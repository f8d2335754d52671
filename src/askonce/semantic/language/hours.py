"""Halves and quarters of hours in one form: 'half past five', 'um halb sechs', 'cinq heures et demie' are 5:30."""

from __future__ import annotations

import re
from functools import cache, partial

from askonce.semantic.language.lexicon import lexicon

# What is said, where {h} is an hour, and how many minutes after that hour it is.
_WAYS = {
    "en": (
        (r"half past {h}", 30),
        (r"at half {w}", 30),
        (r"(?:a )?quarter (?:past|after) {h}", 15),
        (r"(?:a )?quarter (?:to|till|before) {h}", -15),
    ),
    "de": (
        (r"halb {h}", -30),
        (r"viertel nach {h}", 15),
        (r"(?:viertel vor|dreiviertel|drei viertel) {h}", -15),
        (r"viertel {h}", -45),
    ),
    "es": ((r"{h}{u} y media", 30), (r"{h}{u} y cuarto", 15), (r"{h}{u} menos cuarto", -15)),
    "fr": ((r"{h}{u} et demie?", 30), (r"{h}{u} et quart", 15), (r"{h}{u} moins (?:le |un )?quart", -15)),
    "it": (
        (r"{h}{u} e mezz[ao]", 30),
        (r"{h}{u} e un quarto", 15),
        (r"{h}{u} e tre quarti", 45),
        (r"{h}{u} meno un quarto", -15),
    ),
    "pt": (
        (r"{h}{u} e meia(?! dúzia|-dúzia)", 30),
        (r"{h}{u} e (?:um )?quarto", 15),
        (r"{h}{u} menos (?:um )?quarto", -15),
        (r"(?:um )?quarto para (?:as? )?{h}", -15),
    ),
    "nl": ((r"half {h}", -30), (r"kwart over {h}", 15), (r"kwart voor {h}", -15)),
    "pl": (
        (r"(?:wpół|pół) do {h}", -30),
        (r"kwadrans po {h}", 15),
        (r"za kwadrans {h}", -15),
        (r"(?:(?<=\bo )|(?<=\bod )|(?<=\bdo )|(?<=\bpo )){w}", 0),
    ),
    "tr": (
        (r"{h} ?buçu[kğ]\w*", 30),
        (r"{h}'?[ıiuüyae]{{0,2}} çeyrek geç\w*", 15),
        (r"{h}'?[ıiuüyae]{{0,2}} çeyrek (?:kala|var)\w*", -15),
    ),
    "zh": (
        (r"{h}[点點](?:半|三十分)", 30),
        (r"{h}[点點](?:一刻|十五分)", 15),
        (r"{h}[点點](?:三刻|四十五分)", 45),
        (r"差一刻{h}[点點]", -15),
    ),
    "ja": ((r"{h}時(?:半|三十分|30分)", 30), (r"{h}時(?:十五分|15分)", 15), (r"{h}時(?:四十五分|45分)", 45)),
    "ko": (
        (r"{h} ?시 ?(?:반|삼십 ?분|30 ?분)", 30),
        (r"{h} ?시 ?(?:십오 ?분|15 ?분)", 15),
        (r"{h} ?시 ?(?:사십오 ?분|45 ?분)", 45),
    ),
}
_UNIT = {"es": "horas?", "fr": "heures?", "it": "or[ae]", "pt": "horas?"}
"""What may stand behind an hour."""
_ONE = {
    "es": "una",
    "fr": "une",
    "it": "una",
    "pt": "uma",
    "de": "eins ein",
    "nl": "één een",
    "tr": "bir",
    "en": "one",
}
_SIGNS = {
    f"{ten}{one}": 10 * tens + ones
    for tens, ten in enumerate(("", "十", "二十"))
    for ones, one in enumerate(("", *"一二三四五六七八九"))
    if 0 < 10 * tens + ones < 24
} | {"两": 2}
_MORE_HOURS: dict[str, dict[str, int]] = {
    "pl": {
        f"{stem}{ending}": hour
        for hour, stem in enumerate(
            "pierwsz drug trzeci czwart piąt szóst siódm ósm dziewiąt dziesiąt jedenast dwunast".split(), start=1
        )
        for ending in ("iej", "ej", "ą", "a")
    },
    "zh": _SIGNS,
    "ja": _SIGNS,
    "ko": {
        word: at for at, word in enumerate("한 두 세 네 다섯 여섯 일곱 여덟 아홉 열 열한 열두".split(), start=1)
    },
}
_MIDDAY = {  # and midnight
    "en": ((r"(?:at )?noon|midday", "12:00"), ("midnight", "0:00")),
    "fr": (
        ("midi et demie?", "12:30"),
        ("minuit et demie?", "0:30"),
        ("(?<!après-)(?<!après )midi", "12:00"),
        ("minuit", "0:00"),
    ),
    "es": ((r"mediod[ií]a", "12:00"), ("medianoche", "0:00")),
    "it": (("mezzogiorno e mezzo", "12:30"), ("mezzogiorno", "12:00"), ("mezzanotte", "0:00")),
    "pt": (("meio[- ]dia e meia", "12:30"), ("meio[- ]dia", "12:00"), ("meia[- ]noite", "0:00")),
    "de": (("mitternachts?", "0:00"),),
    "nl": (("middernacht", "0:00"),),
}
_WRITTEN = {  # '17h30', '17.30 Uhr'
    **dict.fromkeys(("fr", "es", "it", "pt"), re.compile(r"\b(\d{1,2}) ?h ?(\d\d)\b")),
    "de": re.compile(r"\b(\d{1,2})[.:](\d\d)(?= ?uhr\b)"),
    "nl": re.compile(r"\b(\d{1,2})[.:](\d\d)(?= ?uur\b)"),
    "zh": re.compile(r"(?<!\d)(\d{1,2})[点點](\d\d)分?"),
    "ja": re.compile(r"(?<!\d)(\d{1,2})時(\d\d)分"),
    "ko": re.compile(r"(?<!\d)(\d{1,2})시 ?(\d\d)분"),
}


def with_clock_times(text: str, language: str) -> str:
    """A text in lower case with times of the day that are spelled in its language as digits."""
    for pattern, minutes in _patterns(language):
        text = pattern.sub(partial(_clock, after=minutes, language=language), text)
    for noon, time in _midday(language):
        text = noon.sub(f" {time} ", text)
    if written := _WRITTEN.get(language):
        text = written.sub(lambda match: f" {int(match[1])}:{match[2]} ", text)
    return re.sub(" {2,}", " ", text)


def _clock(match: re.Match[str], after: int, language: str) -> str:
    named = match.groupdict()
    hour = next(value for name, value in named.items() if value and name != "unit")
    minutes = 60 * (int(hour) if hour.isdigit() else _hours(language)[hour]) + after
    hours, minute = divmod(minutes if minutes >= 60 or after >= 0 else minutes + 12 * 60, 60)
    time = f"{hours}:{minute:02}" if minute or after else f"{hours}"
    return f" {time} {named.get('unit') or ''}"


@cache
def _hours(language: str) -> dict[str, int]:
    numbers = lexicon(language).numbers
    found = {word: int(number) for word, number in numbers.items() if 1 < number <= 12 and number % 1 == 0}
    return found | dict.fromkeys(_ONE.get(language, "").split(), 1) | _MORE_HOURS.get(language, {})


@cache
def _patterns(language: str) -> tuple[tuple[re.Pattern[str], int], ...]:
    words = "|".join(sorted(_hours(language), key=len, reverse=True))
    spaced = language not in ("zh", "ja", "ko")
    end = r"(?![^\W\d_])" if language != "tr" and spaced else ""
    unit = rf"(?P<unit> {_UNIT[language]})?" if language in _UNIT else ""
    before, after = (r"(?<!\w)", r"(?!\w)") if spaced else (r"(?<![\d一二两三四五六七八九十])", "")
    found = []
    for way, minutes in _WAYS.get(language, ()):
        filled = way.format(h=rf"(?P<hour>\d{{1,2}}|{words}){end}", w=rf"(?P<hour>{words}){end}", u=unit)
        found.append((re.compile(f"{before}{filled}{after}"), minutes))
    return tuple(found)


@cache
def _midday(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple((re.compile(rf"\b(?:{words})\b"), time) for words, time in _MIDDAY.get(language, ()))
