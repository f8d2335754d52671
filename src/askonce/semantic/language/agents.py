"""Who does what to whom, in English: the same two people or things, and the other one acts."""

from __future__ import annotations

import re

from askonce.semantic.language.claims import ENGLISH, SENTENCE, AnswerClaims
from askonce.semantic.language.english import TITLES
from askonce.semantic.language.lexicon import lexicon
from askonce.semantic.language.reading import stem

NAME = re.compile(r"(?<![.!?:;\n] )(?<!^)\b[A-Z][^\W\d_]+")

_LISTING = frozenset("and or nor not as well".split())


def other_agent(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether of two people, or other names, in one the first does what in the other the second does."""
    if fresh.read.language != "en" or cached.read.language != "en":
        return False  # other languages write more than names in capitals
    words = lexicon("en")
    names = {name.lower() for text in (fresh.text, cached.text) for name in NAME.findall(text)}
    names -= TITLES | words.months.keys() | words.weekdays.keys()
    some, others = _agents(fresh.text, names), _agents(cached.text, names)
    return any(
        who == whom and agent != other and (verb in stems_of_other or done in stems)
        for who, agent, verb, stems in some
        for whom, other, done, stems_of_other in others
    )


def _agents(text: str, names: set[str]) -> list[tuple[frozenset[str], str, str, frozenset[str]]]:
    """Of each sentence with two names: these, who acts, what it does, and the stems of all words."""
    found = []
    for sentence in SENTENCE.split(text):
        tokens = re.findall(r"[^\W_]+", sentence.lower())
        places = [place for place, token in enumerate(tokens) if token in names]
        between = tokens[places[0] + 1 : places[-1]] if places else []
        if len({tokens[place] for place in places}) != 2 or _LISTING.issuperset(between):
            continue  # one name, or a list of two
        before = {
            place: next((one for one in reversed(tokens[:place]) if one not in TITLES), "") for place in places
        }
        by = [place for place in places if before[place] == "by"]
        first = by or [place for place in places if before[place] not in lexicon("en").roles]
        if not first or (not by and tokens[first[0] + 1 : first[0] + 2] in (["has"], ["have"])):
            continue
        rest = (token for token in tokens[first[0] + 1 :] if token not in ENGLISH and token not in names)
        verb = "" if by else stem(next((token for token in rest if token not in TITLES), ""))
        stems = frozenset(map(stem, tokens))
        found.append((frozenset(tokens[place] for place in places), tokens[first[0]], verb or "\0", stems))
    return found


def turned_round(fresh: AnswerClaims, cached: AnswerClaims) -> bool:
    """Whether in one the first of two does what in the other the second does: 'the cook calls the guard'."""
    if fresh.read.language != "en":
        return False
    mine, theirs = _threes(fresh.core), _threes(cached.core)
    return any(
        (last, middle, first, passive) in theirs or (first, middle, last, not passive) in theirs
        for first, middle, last, passive in mine
    )


_BREAK = re.compile(
    r"[,:;()–—]|\b(?:and|or|nor|but|as|if|when|because|while|than|is|are|was|were)\b(?!\s+\w+\s+by\b)"
)


def _threes(text: str) -> set[tuple[str, str, str, bool]]:
    """Three words that carry facts, one after another in a clause, and whether 'by' stands before the last."""
    found = set()
    for sentence in SENTENCE.split(text.lower()):
        for clause in _BREAK.split(sentence):
            tokens = re.findall(r"[^\W_]+", clause)
            places = [at for at, token in enumerate(tokens) if token not in ENGLISH]
            for first, middle, last in zip(places, places[1:], places[2:], strict=False):
                between = tokens[middle + 1 : last]
                if lexicon("en").roles.isdisjoint(set(between) - {"by"}) and "by" not in tokens[first:middle]:
                    words = stem(tokens[first]), stem(tokens[middle]), stem(tokens[last])
                    found.add((*words, "by" in between))
    return found
