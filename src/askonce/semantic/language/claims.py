"""Answers as claims: what two answers that say the same must have in common, however they are worded."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace

from askonce.semantic.language.lexicon import COMMON, UNITS_OF_TIME, lexicon, synonyms
from askonce.semantic.language.reading import (
    Reading,
    contrasts_of,
    language_of,
    negates,
    opposed,
    reading,
    stem,
    swapped,
    transposed,
)

_CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
_QUOTED = re.compile(r"\"[^\"\n]+\"|“[^”\n]+”|«[^»\n]+»|(?<!\w)'[^'\n]+'(?!\w)")
_MARKUP = re.compile(r"\*\*|__|^[ \t]*(?:#{1,6}|[-*+•]|\d{1,2}[.)])[ \t]+", re.MULTILINE)
_SENTENCE = re.compile(r"(?<=[.!?;。！？])\s+|\n+|(?<=[。！？])")
_CLAUSE = re.compile(
    r"[,:;()–—]|\b(?:but|and|or|so|because|if|when|unless|until|once|while|then|that|which|who|before|after|since"
    r"|instead|aber|und|oder|weil|wenn|pero|porque|mais|et|car|ma|mas|en|maar|ale|i|czy|ve)\b"
)
_COURTESY = re.compile(
    r"\b(?:thanks?|sorry|afraid|unfortunately|worry|worries|hope|glad|happy|welcome|let me know|let us know|feel free"
    r"|anything else|nothing else|no further|of course|sure|certainly|absolutely|(?:good|great) question|apolog\w+|no problem"
    r"|have a (?:good|great|nice)|best regards|understand|any (?:other|more|further) questions"
    r"|vielen dank|gerne?|danke|tut mir leid|gracias|lo siento|con gusto|merci|désolée?|je vous en prie|avec plaisir"
    r"|grazie|mi dispiace|prego|obrigad[oa]|lamento|com prazer|bedankt|graag|dziękuję|proszę bardzo|teşekkürler|谢谢|抱歉|감사합니다)\b",
    re.IGNORECASE,
)
_COURTEOUS = frozenset(
    "thank ask reach out contact question good great happy glad help hope let know further else anything nothing assist"
    " assistanc sorry hear apology apologize apologis inconvenienc trouble worry problem course sure certain absolut"
    " welcom day nic feel free writ again unclear clear require side need do pleas understand concern patienc easy"
    " simpl here other one more action step tak on your part end afraid unfortunate best regard kind this be anyon"
    " answer happen helps sooner sorted inform hesitate whenever done matter can will would glad get touch time always anytime is able us me hav i we you it that much for to"
    " required needed anything nothing else side feedback questions concerns wonderful lovely perfect pleasure always".split()
)

# Phrases that say the same in other words; English alone.
_PHRASES = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\b(\w+)n['’]t\b", r"\1 not"),
        (r"\b(?:ca|cannot) not\b|\bcannot\b|\bcan not\b", "can not"),
        (r"\bwo not\b", "will not"),
        (
            r"\bfree of charge\b|\bfor free\b|\bat no (?:extra |additional )?(?:costs?|charge)\b"
            r"|\bwithout (?:any |a )?(?:charges?|costs?|fees?|payment|paying)\b|\bcosts? nothing\b"
            r"|\bno (?:\w+ )?(?:charges?|costs?|fees?)\b|\bnot cost (?:you )?anything\b|\bfree(?! (?:space|up|time|trial|disk))\b",
            "gratis",
        ),
        (r"\b(?:not|never)((?: \w+){0,2}) (?:more|longer|greater|older) than\b", r"\1 atmost"),
        (
            r"\bno (?:more|longer|greater|older) than\b|\bat (?:the )?most\b|\bup to\b|\b(?:a |the )?maximum(?: of| is)?\b"
            r"|\bnot exceed(?:ing)?\b|\bwithin\b|\bno later than\b",
            "atmost",
        ),
        (r"\bno (?:less|fewer) than\b|\bat (?:the )?least\b|\b(?:a |the )?minimum(?: of| is)?\b", "atleast"),
        (
            r"\b(?:(?:more|longer|greater|higher|older|later) than|above|over|exceed(?:s|ing)?)(?= (?:a |an )?(?:\d|€|\$|£|one|two|"
            r"three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|a thousand))",
            "above",
        ),
        (
            r"\b(?:(?:less|shorter|fewer|lower|younger|smaller|earlier) than|below|under)(?= (?:the age of )?(?:a |an )?(?:\d|€|\$|£|one|two|"
            r"three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|a thousand))",
            "below",
        ),
        (r"\b(?:compared (?:with|to)|in comparison (?:with|to))\b", "than"),
        (r"\b(\w+)'(?:ll|ve|re|m|d)\b", r"\1"),
        (r"\bhand(?:ed|s|ing)? in\b", "submit"),
        (r"\b(?:rather than|instead of|in place of)\b", "instead"),
        (
            r"\b(?:is|are|was|were|be) not (?:possible|allowed|permitted|able)\b|\b(?:is|are|was|were|be) (?:impossible|prohibited|forbidden|unable|banned)\b",
            "can not",
        ),
        (r"\bno longer\b", "not"),
        (r"\b(?:at once|right away|straight away|instantly|without delay)\b", "immediately"),
        (r"\b(?:cash machines?|cash dispensers?|automated teller machines?)\b", "atm"),
        (r"\b(?:mobile|cell|smart) ?phones?\b", "mobile"),
        (r"\b(?:get in touch with|reach out to)\b", "contact"),
        (r"\bturn(?:s|ed|ing)? on\b|\bswitch(?:es|ed|ing)? on\b", "enable"),
        (r"\bturn(?:s|ed|ing)? off\b|\bswitch(?:es|ed|ing)? off\b", "disable"),
        (r"\bno ((?:\w+ )?\w+) (?:is|are) (?:needed|required|necessary)\b", r"neednot \1"),
        (r"\b(?:needs?|requires?) no\b", "neednot"),
        (r"\bpay(?:ing|s)? back\b|\bpaid back\b", "repay"),
        (r"\b(?:out of|not in|no) stock\b", "soldout"),
        (
            r"\b(?:do|does|did|will|would|need)? ?not (?:need|have|required?|necessary)(?: to)?\b|\b(?:is|are) (?:optional|unnecessary)\b"
            r"|\b(?:is|are) not (?:needed|required|necessary|mandatory)\b",
            "neednot",
        ),
        (r"\b(?:business|working|work) (?=days?\b)", "business "),
        (r"\b(?:e-mail|e mail)\b", "email"),
        (r"\bpo box(?:es)?\b", "post office box"),
    )
]
_SOFT = frozenset(
    "avoid refrain stop prevent fail lack refuse exclude unless only gratis instead optional neednot atmost"
    " unavailable never hardly rarely cease free".split()
)
_RESTRICTED = frozenset("only solely exclusively except".split())
_LIGHT = frozenset(
    stem(word)
    for word in (
        "so but on its their his her than while whenever still yet though although during either neither well even"
        " that's there's who whom whose those these"
        "also already still usually normally generally typically mostly about around approximately roughly now currently"
        " just simply please then first next there here it they them one some any every each all both such"
        " expect expected take takes get gets go goes make give put have become happen use used using come see find"
        " should must need needs required able may might can could would will shall want like way case time"
        " moment located called mean means possible allowed permitted available via directly"
        " again once soon ago sum amount kind sort type thing under within atmost up out off over back plus too very"
        " however together need let set done end s t re ve ll d m u is be do following"
        " each per apply applies open pick choose select tap click press find found handle section menu page button screen"
        " arrive reach receive deliver finish done tell say explain mean want wish check make sure try visit know"
        " our between until unfortunately lasts last long longer start begin beginning cost costs age aged"
        " half celsius degree point stay remain compared return back later whenever guest bring serve part detail certain"
        " necessary mandatory obligatory always ever me therefore thus since during soon next ready directly simply further additional additionally first finally"
    ).split()
)


@dataclass(frozen=True)
class Clause:
    """A part of a sentence.

    Attributes:
        roots: stems of the words that carry facts.
        tokens: all words.
        denies: whether it has an odd number of negations.
        may_deny: whether it has any, or denies in other words.
    """

    roots: frozenset[str]
    tokens: frozenset[str]
    denies: bool
    may_deny: bool


@dataclass(frozen=True)
class Claims:
    """What an answer says.

    Attributes:
        read: the reading of it without courtesies, code and marks of quotation.
        code: its pieces of code.
        quoted: what it quotes.
        text: all of it.
        clauses: its parts.
        words: its words in order; those that carry no fact are empty.
    """

    read: Reading
    code: Counter[str]
    quoted: frozenset[str]
    text: str
    clauses: tuple[Clause, ...]
    words: tuple[str, ...]


def claims(answer: str) -> Claims:
    """The claims of an answer."""
    code = Counter(_CODE.findall(answer))
    bare = _MARKUP.sub("", _CODE.sub(" ", answer))
    quoted = frozenset(one[1:-1].strip(" .,;:!?").lower() for one in _QUOTED.findall(bare))
    language = language_of(bare)
    text = _without_courtesies(bare, language)
    if language == "en":
        text = text.replace("’", "'")
        text = _canonical(text)
    read = reading.__wrapped__(text, language)  # not cached: it is long
    common = frozenset(COMMON.get(language, "").split())
    words = tuple(
        "" if _is_quantity(before, root, language) else _content(token, root, common, language)
        for before, token, root in zip(("", *read.tokens), read.tokens, read.stems, strict=False)
    )
    return Claims(read, code, quoted, bare, tuple(_clauses(text, language, common)), words)


def _canonical(text: str) -> str:
    text = re.sub(r"\b([A-Z][a-z]+|I)\b(?='(?:t|m|ve|re|ll|d)\b)", lambda match: match[0].lower(), text)
    lower = text.lower()
    for pattern, word in _PHRASES:
        lower = pattern.sub(f" {word} " if "\\1" not in word else word, lower)
    return re.sub(r" +", " ", lower)


def _is_quantity(before: str, root: str, language: str) -> bool:
    return (
        language == "en"
        and root in UNITS_OF_TIME
        and (before[:1].isdigit() or before in ("a", "an", "one", "business"))
    )


def _content(token: str, root: str, common: frozenset[str], language: str) -> str:
    if token in common or negates(token, language) or token[0].isdigit() or token.startswith("month"):
        return ""
    if token in lexicon(language).roles:
        return ""
    return "" if language == "en" and root in _LIGHT else root


def _without_courtesies(text: str, language: str) -> str:
    kept = []
    for sentence in _SENTENCE.split(text):
        first, comma, rest = sentence.partition(",")
        if _is_courtesy(sentence, language):
            continue
        kept.append(rest if comma and _is_courtesy(first, language) else _AFRAID.sub("", sentence))
    return " ".join(kept) or text


_AFRAID = re.compile(
    r"^(?:I'm|I am|we are|we're) afraid(?: that)? |^(?:please )?note that |^(?:sorry|yes|sure)[,:] ", re.IGNORECASE
)


def _is_courtesy(part: str, language: str) -> bool:
    if not _COURTESY.search(part):
        return False
    if language != "en":
        return len(part.split()) <= 6
    words = re.findall(r"[a-z]+", re.sub(r"n['’]t\b", " not", part.lower()))
    return all(
        word in _COURTEOUS or stem(word) in _COURTEOUS or word in _ENGLISH or negates(word, "en") for word in words
    )


_ENGLISH = frozenset(COMMON["en"].split()) | frozenset("am are any me us m s re ll so at all".split())


def _clauses(text: str, language: str, common: frozenset[str]) -> list[Clause]:
    found = []
    for sentence in _SENTENCE.split(text):
        for part in _CLAUSE.split(sentence.lower()):
            head, without, tail = (
                re.split(r"\b(without)\b", part, maxsplit=1) if "without" in part else (part, "", "")
            )
            for piece, denied in ((head, False), (tail, bool(without))):
                tokens = re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)?", piece)
                count = sum(negates(token, language) for token in tokens) + denied
                roots = frozenset(
                    root for token in tokens if (root := _content(token, stem(token, language), common, language))
                )
                soft = not _SOFT.isdisjoint(tokens)
                if tokens:
                    found.append(Clause(roots, frozenset(tokens), count % 2 == 1, soft or count > 0))
    return found


# -- two answers -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """What two answers do not have in common.

    Attributes:
        conflict: what they contradict each other in; ``None`` if nothing was found.
        fresh: phrases that only the first has.
        cached: phrases that only the second has.
    """

    conflict: str | None
    fresh: tuple[str, ...] = ()
    cached: tuple[str, ...] = ()


def difference(fresh: Claims, cached: Claims) -> Difference:
    """What two answers do not have in common."""
    conflict = _conflict(fresh, cached)
    if conflict is not None:
        return Difference(conflict)
    mine, theirs = _phrases(fresh, cached), _phrases(cached, fresh)
    if _RESTRICTED.isdisjoint(fresh.read.tokens) != _RESTRICTED.isdisjoint(cached.read.tokens):
        return Difference("restriction")
    if ("neednot" in " ".join(mine)) != ("neednot" in " ".join(theirs)):
        return Difference("obligation")
    return Difference(None, mine, theirs)


_VERBS = frozenset(
    map(
        stem,
        "buy sell sold send receive leave enter open start stop begin add show end include allow free save current".split(),
    )
)


def adds(phrase: str, one: Claims) -> bool:
    """Whether a phrase of an answer surely says something: it has a name, or a word of a class such as colours."""
    language = one.read.language
    names = {name.lower() for name in _NAME.findall(one.text)} if language == "en" else set()
    return any(
        token in names
        or (
            stem(token) not in _VERBS
            and any(place.isdigit() for place, _ in contrasts_of(token, stem(token, language), language))
        )
        for token in phrase.split()
    )


def _conflict(fresh: Claims, cached: Claims) -> str | None:
    one, other = fresh.read, cached.read
    if fresh.code != cached.code and (fresh.code and cached.code):
        return "code"
    if any(quote not in cached.text.lower() for quote in fresh.quoted) and any(
        quote not in fresh.text.lower() for quote in cached.quoted
    ):
        return "quotes"
    if not (
        one.quantities <= other.quantities | other.optional and other.quantities <= one.quantities | one.optional
    ):
        return "quantities"
    if _denied(fresh, cached) or _denied(cached, fresh):
        return "negation"
    contrast = _opposed(one, other)
    exchanged = swapped(one, other) or _swapped_within(fresh, cached) or _other_agent(fresh, cached)
    if contrast and exchanged and _compares(one) and _compares(other):
        return None  # 'heavier than' and 'lighter than'
    if contrast and not _negated_apart(fresh, cached):
        return "opposites"
    return "roles" if exchanged else None


def _compares(read: Reading) -> bool:
    return not {"than", "before", "after", "above", "below"}.isdisjoint(read.tokens)


def _swapped_within(fresh: Claims, cached: Claims) -> bool:
    """Whether two things have changed places in a sentence."""
    language = fresh.read.language
    some, others = (
        [tuple(re.findall(r"[^\W_]+", one.lower())) for one in _SENTENCE.split(text)]
        for text in (fresh.text, cached.text)
    )
    words = lexicon(language)
    free = words.roles | words.weekdays.keys() | frozenset(COMMON[language].split())
    return any(transposed(one, other, free - {"the", "a", "an"}) for one in some for other in others)


def _opposed(one: Reading, other: Reading) -> bool:
    if len(set(one.stems) & set(other.stems)) < 0.8 * max(len(set(one.stems)), len(set(other.stems))):
        one, other = _without(one, _CONVERSE), _without(other, _CONVERSE)
    if one.optional & other.quantities or other.optional & one.quantities:  # 'a day', '24 hours'
        one, other = _without(one, _UNITS), _without(other, _UNITS)
    return opposed(one, [other]) or opposed(other, [one])


_UNITS = frozenset("day week hour minute".split())
_CONVERSE = frozenset("buy sell lend borrow send receive give take until".split())
"""What one does and the other undergoes: opposites in nearly the same words only."""


def _without(read: Reading, words: frozenset[str]) -> Reading:
    places = {place for place, word in read.contrasts if word in words}
    return replace(read, contrasts=frozenset(one for one in read.contrasts if one[0] not in places))


def _negated_apart(fresh: Claims, cached: Claims) -> bool:
    """Whether one denies once more than the other, so that opposites say the same."""
    return (fresh.read.negations - cached.read.negations) % 2 == 1


def _denied(one: Claims, other: Claims) -> bool:
    """Whether something that one denies is said by the other, and denied nowhere there."""
    said = frozenset().union(*(clause.roots for clause in other.clauses))
    denied = frozenset().union(*(clause.roots for clause in other.clauses if clause.may_deny))
    return any(
        clause.denies and clause.roots & said and not clause.roots & denied and not _says_opposite(clause, other)
        for clause in one.clauses
    )


def _says_opposite(clause: Clause, other: Claims) -> bool:
    """Whether the other has an opposite of one of the words: 'not open' and 'closed'."""
    places: dict[str, set[str]] = {}
    language = other.read.language
    for place, word in other.read.contrasts:
        places.setdefault(place, set()).add(word)
    return any(
        place in places and word not in places[place]
        for token in clause.tokens
        for place, word in contrasts_of(token, stem(token, language), language)
    )


def _has(other: Claims, token: str, word: str) -> bool:
    """Whether the other says a word, in another form or by a synonym."""
    if word in other.words or any(_related(word, one) for one in other.words if one):
        return True
    if any(
        place[:4] != "not " and (place, said) in other.read.contrasts
        for place, said in contrasts_of(token, word, other.read.language)
    ):
        return True
    if other.read.language != "en":
        return False
    groups = _groups(token, word)
    return bool(groups) and any(
        groups & _groups(*one) for one in zip(other.read.tokens, other.read.stems, strict=True)
    )


def _groups(token: str, root: str) -> frozenset[int]:
    return synonyms(token) | synonyms(root) | synonyms(f"{root}e")


def _has_opposite(one: Claims, other: Claims, token: str, root: str) -> bool:
    """Whether an opposite of a word is there: it was found to say the same, since it is denied or turned round."""
    only = other.read.contrasts - one.read.contrasts
    places = {place for place, _ in only}
    return any(
        place in places and place[:4] != "not " for place, _ in contrasts_of(token, root, other.read.language)
    )


def _related(one: str, other: str) -> bool:
    """Whether two stems are forms of one word."""
    short, long = sorted((one, other), key=len)
    if len(short) < 4:
        return False
    common = next((place for place, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    return common >= max(4, len(short) - 1) and len(long) - common <= (3 if common < 6 else 5)


_TITLES = frozenset("mr mrs ms dr miss prof the i".split())
_NAME = re.compile(r"(?<![.!?:;\n] )(?<!^)\b[A-Z][^\W\d_]+")


def _other_agent(fresh: Claims, cached: Claims) -> bool:
    """Whether of two people, or other names, in one the first does what in the other the second does."""
    if fresh.read.language != "en" or cached.read.language != "en":
        return False  # other languages write more than names in capitals
    words = lexicon("en")
    names = {name.lower() for text in (fresh.text, cached.text) for name in _NAME.findall(text)}
    names -= _TITLES | words.months.keys() | words.weekdays.keys()
    some, others = _agents(fresh.text, names), _agents(cached.text, names)
    return any(
        who == whom and agent != other and (verb in said or done in stems)
        for who, agent, verb, stems in some
        for whom, other, done, said in others
    )


def _agents(text: str, names: set[str]) -> list[tuple[frozenset[str], str, str, frozenset[str]]]:
    """Of each sentence with two names: these, who acts, what it does, and the stems of all words."""
    found = []
    for sentence in _SENTENCE.split(text):
        tokens = re.findall(r"[^\W_]+", sentence.lower())
        places = [place for place, token in enumerate(tokens) if token in names]
        between = tokens[places[0] + 1 : places[-1]] if places else []
        if len({tokens[place] for place in places}) != 2 or set(between) <= {
            "and",
            "or",
            "nor",
            "not",
            "as",
            "well",
        }:
            continue  # one name, or a list of two
        before = {
            place: next((one for one in reversed(tokens[:place]) if one not in _TITLES), "") for place in places
        }
        by = [place for place in places if before[place] == "by"]
        first = by or [place for place in places if before[place] not in lexicon("en").roles]
        if not first or (not by and tokens[first[0] + 1 : first[0] + 2] in (["has"], ["have"])):
            continue
        rest = (token for token in tokens[first[0] + 1 :] if token not in _ENGLISH and token not in names)
        verb = "" if by else stem(next((token for token in rest if token not in _TITLES), ""))
        stems = frozenset(map(stem, tokens))
        found.append((frozenset(tokens[place] for place in places), tokens[first[0]], verb or "\0", stems))
    return found


def _phrases(one: Claims, other: Claims) -> tuple[str, ...]:
    """Runs of words that the other answer has not."""
    found: list[str] = []
    run: list[str] = []
    for token, word in [*zip(one.read.tokens, one.words, strict=True), ("", "")]:
        if word and not _has(other, token, word) and not _has_opposite(one, other, token, word):
            run.append(token)
        elif run and token and not word and len(run) < 4 and not token[0].isdigit() and run[-1] != "":
            run.append("")
        elif run:
            found.append(" ".join(filter(None, run)))
            run = []
    return tuple(found)
