"""Words of twelve languages from Unicode CLDR (``cldr.txt``): months, weekdays, numbers, ordinals, units, currencies.

``scripts/make_word_tables.py`` makes the file. It has a line for each language; only those in use are read.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

SIGNS = {
    "€": "euro", "$": "dollar", "£": "pound", "¥": "yen", "₹": "rupee", "₽": "ruble", "₺": "lira", "₩": "won",
    "₪": "shekel", "₴": "hryvnia", "₫": "dong", "฿": "baht", "₦": "naira",
}  # fmt: skip
_COINED = {
    "bitcoin": "bitcoin bitcoins btc",
    "ether": "ether ethereum eth",
    "litecoin": "litecoin litecoins ltc",
    "dogecoin": "dogecoin doge",
    "tether": "usdt",
}
"""Currencies of no country, which CLDR has not."""
_MORE_CURRENCIES = {
    "en": {
        "dollar": "buck bucks",
        "pound": "sterling quid",
        "yuan": "rmb renminbi",
        "ruble": "rouble roubles",
        "crown": "crown crowns",
        "cent": "cent cents",
        "penny": "penny pennies pence",
    },
    "de": {"cent": "cent cents"},
    "es": {"pound": "libra libras"},
    "fr": {"pound": "livre livres"},
    "pt": {"pound": "libra libras"},
    "nl": {"pound": "pond"},
    "tr": {"euro": "avro", "pound": "sterlin", "franc": "frank", "rupee": "rupi"},
    "zh": {"USD": "美金", "CAD": "加元", "AUD": "澳元", "JPY": "日币 日圆", "CNY": "人民币"},
    "ko": {"yen": "엔", "yuan": "위안", "dollar": "달라"},
}
_NO_CURRENCIES = frozenset(
    "ngiliz ukrayna levas lari ル レイ ドン 동 sol leu leva lei lew leja leje lew lewy lewa real".split()
)
"""Words that are something else too often, and what is wrong in the table."""
_NO_ORDINALS = frozenset("quarto quarta segunda quinta sexta cuarto seconde".split())
"""Which also are rooms, weekdays and seconds."""
_MORE_UNITS = {
    "en": {
        "volume spoon": "spoon spoons spoonful spoonfuls",
        "electric ampere": "amp amps",
        "length foot": "feet",
        "digital kilobit": "kbit kbits kbps",
        "digital megabit": "mbit mbits mbps",
        "digital gigabit": "gbit gbits gbps",
        "mass kilogram": "kilo kilos",
        "mass microgram": "mcg",
        "mass pound": "lbs",
    },
    "de": {"mass kilogram": "kilo", "mass pound": "pfund"},
    "es": {"mass kilogram": "kilo kilos"},
    "fr": {"mass kilogram": "kilo kilos"},
    "it": {"mass kilogram": "chilo chili", "duration minute": "minuto minuti"},
    "pt": {"mass kilogram": "quilo quilos"},
    "nl": {"mass kilogram": "kilo", "duration hour": "uren", "duration year": "jaren"},
    "pl": {"mass kilogram": "kilo"},
    "tr": {"mass kilogram": "kilo"},
    "zh": {"mass kilogram": "公斤", "length kilometer": "公里", "length mile": "英里", "duration month": "月"},
    "ja": {"mass kilogram": "キロ", "duration month": "ヶ月 カ月", "duration day": "日間"},
    "ko": {"mass kilogram": "킬로"},
}
_ANYWHERE = frozenset(
    "kilogram gram milligram microgram ounce kilometer meter centimeter millimeter mile liter milliliter gallon pint celsius"
    " fahrenheit cup spoon tablespoon teaspoon quart volt ampere milliampere ohm watt kilowatt megawatt hertz kilohertz"
    " megahertz gigahertz calorie kilocalorie joule kilojoule acre hectare tonne inch kilobyte megabyte gigabyte terabyte minute hour day week month year decade".split()
)
"""Units whose names are no other words: they need no number before them."""
_SHORT_ANYWHERE = frozenset("km cm mm kg mg ml kb mb gb tb".split())


@dataclass(frozen=True)
class Tables:
    """Words of one language.

    Attributes:
        months: a word's month, 1 to 12.
        weekdays: a word's weekday; 0 is Monday.
        numbers: a word's number.
        classes: words of a class, such as currencies, each with the class and what it says: another word of the
            class says something else. A ``*`` at the end of a word stands for any ending.
        units: the same for words that are units, or currencies, after a number.
        scales: what a word multiplies the number before it with.
        short_scales: the same for abbreviations.
    """

    months: dict[str, int]
    weekdays: dict[str, int]
    numbers: dict[str, int]
    classes: dict[str, tuple[tuple[str, str], ...]]
    units: dict[str, tuple[tuple[str, str], ...]]
    scales: dict[str, int]
    short_scales: dict[str, int]


@cache
def tables(language: str) -> Tables:
    """The words of a language, by its code."""
    table = _line(language)
    classes: dict[str, tuple[tuple[str, str], ...]] = {}
    units: dict[str, tuple[tuple[str, str], ...]] = {}

    def add(to: dict[str, tuple[tuple[str, str], ...]], word: str, place: str, value: str) -> None:
        to[word] = tuple(dict.fromkeys((*to.get(word, ()), (place, value))))

    for word, number in table["ordinals"].items():
        if word not in _NO_ORDINALS:
            add(classes, word, "ordinal", f"{number}")
    for kind, words in _with(table["currencies"], _MORE_CURRENCIES.get(language, {}) | _COINED).items():
        for word in words.split():
            for form in {word, word.replace("ł", "l")} - _NO_CURRENCIES:
                add(units if not form.isascii() and len(form) == 1 else classes, form, "currency", kind)
    for currency in SIGNS.values():
        add(classes, currency, "currency", currency)  # what a sign is read as
    more_units = _MORE_UNITS.get(language, {})
    for unit, (names, short) in {**dict.fromkeys(more_units, ("", "")), **table["units"]}.items():
        kind, name = unit.split()
        more = more_units.get(unit, "")
        for word in f"{names} {short} {more}".split():
            add(units, word, kind, name)
            spaced = word.isascii() or word[0] < "\u3000"
            if name in _ANYWHERE and spaced and (word in f"{names} {more}".split() or word in _SHORT_ANYWHERE):
                add(classes, word, kind, name)
                if language != "en" and len(word) > 3:
                    add(classes, f"{word}*", kind, name)
    return Tables(table["months"], table["weekdays"], table["numbers"], classes, units, *table["scales"])


def _with(some: dict[str, str], more: dict[str, str]) -> dict[str, str]:
    return {kind: f"{some.get(kind, '')} {more.get(kind, '')}" for kind in {**some, **more}}


@cache
def currency_codes() -> dict[str, str]:
    """The currency of a code of ISO 4217, whichever country's: ``dollar`` of ``CAD``."""
    codes: dict[str, str] = _line("codes")
    return codes


@cache
def countries() -> dict[str, str]:
    """The code of a currency by its whole name in English: ``NOK`` of ``norwegian crown``."""
    names: dict[str, str] = _line("countries")
    return names


def _line(name: str) -> dict[str, Any]:
    text = f"\n{(files(__package__) / 'cldr.txt').read_text(encoding='utf-8')}"
    found: dict[str, Any] = json.loads(text.partition(f"\n{name}\t")[2].partition("\n")[0])
    return found
