"""What a text says that its embedding hardly shows: quantities, negations, opposites, and who does what to whom."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from askonce.semantic.language.function_words import function_words
from askonce.semantic.language.lexicon import (
    COMMON,
    LANGUAGES,
    NEGATIONS,
    OPPOSED_PREFIXES,
    PREPOSITIONS,
    UNITS_OF_TIME,
    UNSPACED,
    Lexicon,
    lexicon,
)
from askonce.semantic.language.measures import measures
from askonce.semantic.language.quantities import LONGEST_WORD, joined, plain, quantities, without_ending
from askonce.semantic.language.replacement import Word, content
from askonce.semantic.language.tables import SIGNS

_TOKEN = re.compile(
    rf"24/7|month\d+|\d+(?:[.,:/-]\d+)*|[^\W\d_]+(?:'[^\W\d_]+)?|%|[{''.join(SIGNS)}]|°[cf]\b|_\w+|[,;:.!?()]"
)
HEADING = re.compile(r"\bunder (?=[A-Z\"“'`])")
"""'Under' of a menu or a chapter: 'under Billing' is where 'in Billing' is."""
_MARKS = frozenset(",;:.!?()")
_SETS = {language: frozenset(words.split()) for language, words in COMMON.items()}
_IRREGULAR = dict(
    pair.split(":")
    for pair in (
        """
    sent:send paid:pay kept:keep began:begin begun:begin written:write wrote:write gave:give given:give
    took:take taken:take went:go gone:go made:make bought:buy sold:sell lent:lend built:build found:find
    held:hold told:tell known:know shown:show got:get won:win lost:lose met:meet said:say led:lead done:do
    did:do does:do has:have had:have was:be were:be is:be are:be been:be being:be drunk:drink eaten:eat
    froze:freeze frozen:freeze stolen:steal broken:break chosen:choose chose:choose came:come spent:spend
    lay:lie children:child feet:foot men:man women:woman people:person heavier:heavy lighter:light an:a
    less:less fed:feed fell:fall fallen:fall grown:grow higher:high lower:lower worn:wear drawn:draw drew:draw
    driven:drive drove:drive ran:run settings:settings repaid:repay withdrawn:withdraw withdrew:withdraw
    untie:untie thrown:throw rose:rise risen:rise beaten:beat
"""
    ).split()
)


@lru_cache(maxsize=20_000)
def stem(word: str, language: str = "en") -> str:
    """A word without its ending, roughly; in English alone."""
    if language != "en" or not word.isascii():
        return word
    word = _IRREGULAR.get(word, word)
    if len(word) < 4 or word == "settings":
        return word
    word = word.removesuffix("'s")
    if word.endswith("ies") and len(word) > 4:
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed", "ly"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and re.search("[aeiouy]", word[: -len(ending)]):
            word = word[: -len(ending)]
            if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "sfz":
                word = word[:-1] if word[-1] != "l" or len(word) > 5 else word
            break
    if word.endswith("i"):
        word = word[:-1] + "y"
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


def language_of(*texts: str) -> str:
    """The code of the language of texts, among `LANGUAGES`; in doubt English."""
    scores = dict.fromkeys(LANGUAGES, 0.0)
    for text in texts:
        for language, score in _log_likelihoods(text).items():
            scores[language] += score
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] > scores["en"] + _DOUBT else "en"


@lru_cache(maxsize=10_000)
def _log_likelihoods(text: str) -> dict[str, float]:
    from askonce.semantic.language.identifier import log_likelihoods

    return log_likelihoods(text)


def in_other_language(one: str, other: str) -> bool:
    """Whether two texts are surely not in one language."""
    mine, theirs = _log_likelihoods(one), _log_likelihoods(other)
    if not mine or not theirs:
        return False
    my_best, its_best = max(mine, key=mine.__getitem__), max(theirs, key=theirs.__getitem__)
    return mine[my_best] > mine[its_best] + _SURE and theirs[its_best] > theirs[my_best] + _SURE


_SURE = 10.0
"""The same for both of two texts that are to be in different languages."""
_DOUBT = 4.0
"""How much more likely than English another language must be, as a natural logarithm."""


@dataclass(frozen=True, slots=True)
class TextReading:
    """What a text says.

    Attributes:
        language: its code.
        tokens: its words and numbers in lower case, number words in digits.
        stems: of the tokens, at the same places.
        quantities: numbers and dates that must be the same.
        optional: quantities that may be left out.
        negations: how many words deny.
        contrasts: places in which other words would say something else, with the word there.
        roles: pairs of a preposition and what follows it.
        links: a preposition between two words.
        content: words that say what is requested; see `askonce.semantic.language.replacement.content`.
    """

    language: str
    tokens: tuple[str, ...]
    stems: tuple[str, ...]
    quantities: frozenset[str]
    optional: frozenset[str]
    negations: int
    contrasts: frozenset[tuple[str, str]]
    roles: frozenset[tuple[str, tuple[str, ...]]]
    links: frozenset[tuple[str, str, str]]
    content: tuple[Word, ...]


@lru_cache(maxsize=10_000)
def reading(text: str, language: str | None = None) -> TextReading:
    """What a text says; cached for the latest texts, since an indexed question is compared often."""
    language = language or language_of(text)
    words = lexicon(language)
    if language == "en":
        text = HEADING.sub("in ", text)
    normalized = plain(text.replace("İ", "i"), language)  # whose lower case would be two signs
    marked = joined([SIGNS.get(token, token) for token in _TOKEN.findall(normalized)], words, language)
    tokens = [token for token in marked if token not in _MARKS]
    found, optional = quantities(normalized, tokens, language)
    stems = tuple(stem(token, language) for token in tokens)
    return TextReading(
        language,
        tuple(tokens),
        stems,
        found,
        optional,
        _negations(normalized, tokens, language),
        frozenset(
            (
                *_contrasts(normalized, tokens, stems, words, language),
                *measures(text, normalized, tokens, words, language),
                *function_words(text, normalized, tokens, _SETS.get(language, frozenset()), language),
            )
        ),
        frozenset(_roles(normalized, marked, words, language)),
        frozenset(_links(marked, words, language)),
        content(normalized, tokens, language),
    )


def negates(token: str, language: str) -> bool:
    """Whether a word denies."""
    words = lexicon(language).negations
    if language == "en":
        return token in words or token.endswith("n't") or token in _BARE
    if language == "de":
        return token in words or token.startswith("kein")
    return token in words or (language == "tr" and _TURKISH_NEGATION.search(token) is not None)


_BARE = frozenset("dont doesnt didnt cant wont isnt arent wasnt couldnt shouldnt wouldnt havent hasnt".split())
_TURKISH_NEGATION = re.compile(r"\w\w(?:m[ıiuü]yor|maz|mez|mam$|mem$|mad[ıi]|med[ıi]|mayan|meyen|may[ıa]|mey[ie])")
_FRENCH_NE = re.compile(r"\b(?:ne |n')")
_FRENCH_PREFIX = re.compile(r"\bnon-(?=\w)")
_FRENCH_NO_MORE = re.compile(r"\b(?:ne\b|n')[^.,;!?]{0,40}?\bplus\b")
_DENIES = {"es": "no", "it": "non", "pt": "não", "pl": "nie", "tr": "değil"}
_WITH_A_NEGATION = frozenset(
    "nunca jamás nada ningún ninguna ninguno tampoco nadie mai niente nulla nessun nessuno nessuna jamais"
    " nenhum nenhuma ninguém nigdy nic żaden żadna żadne nikt nikogo asla hiç hiçbir".split()
)
_SPELLED = {
    "zh": "|".join(NEGATIONS["zh"].split()),
    "ja": "|".join(NEGATIONS["ja"].split()),
    "ko": "않|없|아니|마세요|금지|불가|(?:^| )[안못] ?(?=\\S)",
}
_NOT_DENIED = re.compile(
    r"不同|不过|别人|没关系|無料|特别|区别|类别|未来|非常|無線|无线|差别|级别|是不是|能不能|可不可以|有没有|すみません|すいません|少なく|なくす|なくし|安全|안녕|안전|안내|못지"
)


def _negations(normalized: str, tokens: Sequence[str], language: str) -> int:
    if language in _SPELLED:
        return len(re.findall(_SPELLED[language], _NOT_DENIED.sub(" ", normalized)))
    count = sum(negates(token, language) for token in tokens)
    if language == "en" and "neither" in tokens:
        return count - tokens.count("nor")
    if language == "fr":  # 'ne … pas' denies once, and 'ne … que' not
        count -= tokens.count("personne") if not _FRENCH_NE.search(normalized) else 0
        count -= tokens.count("non") - len(_FRENCH_PREFIX.findall(normalized))
        return count + (count == 0 and _FRENCH_NO_MORE.search(normalized) is not None)
    denies = _DENIES.get(language)
    if denies and (denies in tokens or (language == "tr" and any(map(_TURKISH_NEGATION.search, tokens)))):
        count -= sum(token in _WITH_A_NEGATION for token in tokens)  # 'não … ninguém' denies once
    return count


def _contrasts(
    normalized: str, tokens: Sequence[str], stems: Sequence[str], words: Lexicon, language: str
) -> Iterable[tuple[str, str]]:
    if language in UNSPACED or language == "ko":
        yield from _spelled_contrasts(normalized, words)
        return
    before = ""
    for token, root in zip(tokens, stems, strict=True):
        counted = before[:1].isdigit() and (root in UNITS_OF_TIME or f"{root}e" in UNITS_OF_TIME)
        if not (language == "en" and counted):  # the quantity says it
            yield from contrasts_of(token, root, language)
        before = token


@lru_cache(maxsize=20_000)
def contrasts_of(token: str, root: str, language: str) -> tuple[tuple[str, str], ...]:
    """The places in which another word than this would say something else, with what this one says."""
    words = lexicon(language)
    if token.isdigit() or negates(token, language) or token in ("ever", "always"):
        return ()
    if token in _SETS.get(language, ()) and not {token, f"{token}*"} & words.contrasts.keys():
        return ()
    found = [*words.contrasts.get(token, ())]
    if language == "en":
        base = re.sub("(?:er|est)$", "", token)  # of a comparative
        comparative = (base, f"{base}e", base[:-1]) if base != token else ()
        for word in (root, f"{root}e", token.rstrip("s"), f"{root}{root[-1:]}", *comparative):
            found += words.contrasts.get(word, ())
    else:
        if language == "tr":
            found += words.contrasts.get(without_ending(token, words.contrasts), ())
        for end in range(min(len(token), LONGEST_WORD), 1, -1):
            found += words.contrasts.get(f"{token[:end]}*", ())
    if len(token) > 3:
        found.append((f"not {root}", ""))
        for prefix in words.prefixes:
            rest = token.removeprefix(prefix).lstrip("-")
            if rest != token and len(rest) >= (4 if len(prefix) > 1 else 6):
                found.append((f"not {stem(rest, language)}", "not"))
        for pair in OPPOSED_PREFIXES.split():
            for prefix in pair.split("/"):
                if token.startswith(prefix) and len(token) - len(prefix) >= 4:
                    found.append((f"{pair} {stem(token[len(prefix) :], language)}", prefix))
    return tuple(dict.fromkeys(found))


_UNDONE = re.compile(
    "を解[くきいか]|を外[すしさ]|をはず[すしさ]|[을를] 풀"
    "|解除|取消|撤销|撤消|撤回|取り消|取消|キャンセル|해제|취소|해지"
)


def _spelled_contrasts(normalized: str, words: Lexicon) -> Iterable[tuple[str, str]]:
    yield "undone", "undone" if _UNDONE.search(normalized) else ""
    for word in sorted(words.contrasts, key=len, reverse=True):
        if word in normalized:
            normalized = normalized.replace(word, " ")
            yield from words.contrasts[word]


_CJK_ROLES = re.compile(r"(?:从|由)(.{1,8}?)(?:到|去|飞|往|至|转|换)(.{1,8}?)(?=的|要|怎|需|有|多|$|[?？,，。吗])")
_JA_ROLES = re.compile(r"([^\s、。ぁ-ん]{1,8})から([^\s、。]{1,8}?)(?:まで|へ|に|の)")
_SPELLED_CONVERSIONS = {
    "zh": re.compile(
        r"把(.{1,8}?)(?:翻译成|翻译为|译成|换算成|换算为|换成|转换成|改成|变成)(.{1,8}?)(?=的|要|怎|需|有|多|该|是|$|[?？,，。吗])"
        r"|用(.{1,8}?)(?:代替|替代|取代)(.{1,8}?)(?=的|要|怎|需|有|多|该|是|$|[?？,，。吗])"
        r"|从(.{1,8}?)里?中?(?:减去|扣除)(.{1,8}?)(?=的|要|怎|需|有|多|该|是|$|[?？,，。吗])"
    ),
    "ja": re.compile(
        r"([^\s、。ぁ-ん]{1,8})を([^\s、。ぁ-ん]{1,8})に(?:換算|訳|翻訳|変換|変更|変え|両替|交換|置)"
        r"|([^\s、。ぁ-ん]{1,8})の代わりに([^\s、。ぁ-ん]{1,8})[をに]"
        r"|([^\s、。ぁ-ん]{1,8})から([^\s、。ぁ-ん]{1,8})を(?:引|差)"
    ),
    "ko": re.compile(r"(\S{1,12}?)[을를]? 대신 (\S{1,12}?)(?:[을를이가]|에게)(?=\s)"),
    "tr": re.compile(r"\b(\w+) yerine (\w+)"),
}
_TURKISH = dict.fromkeys("dan den tan ten".split(), "from") | dict.fromkeys("a e ya ye".split(), "to")
_SUFFIX_ROLES = {
    "ko": re.compile(r"(\S{1,40}?)(에서|부터|까지|으로|로|에게|한테|보다|이|가|을|를|은|는)(?=\s|$|[?.,])"),
    "tr": re.compile(r"([^\W\d_]{3,40}?)'?([dt][ae]n|y?[ae]|y?[ıiuü])(?!['\w])"),
}


def _roles(
    normalized: str, tokens: Sequence[str], words: Lexicon, language: str
) -> Iterable[tuple[str, tuple[str, ...]]]:
    if language in UNSPACED:
        for match in (_CJK_ROLES if language == "zh" else _JA_ROLES).finditer(normalized):
            yield "from", (match[1],)
            yield "to", (match[2],)
    if language in _SPELLED_CONVERSIONS:
        for match in _SPELLED_CONVERSIONS[language].finditer(normalized):
            one, other = filter(None, match.groups())
            yield "converted", (one,)
            yield "result", (other,)
    if language in UNSPACED:
        return
    elif language in _SUFFIX_ROLES:
        for match in _SUFFIX_ROLES[language].finditer(normalized):
            yield _TURKISH.get(match[2], match[2]), (match[1],)
    else:
        common = _SETS[language]
        for place, token in enumerate(tokens):
            if token in words.roles:
                window: list[str] = []
                for other in range(place + 1, min(place + 5, len(tokens))):
                    if tokens[other] in words.roles or tokens[other] in _MARKS or len(window) == 2:
                        break
                    if tokens[other] not in common:
                        window.append(stem(tokens[other], language))
                if window:
                    yield token, tuple(window)


def _links(tokens: Sequence[str], words: Lexicon, language: str) -> Iterable[tuple[str, str, str]]:
    """The nearest words that are not common before and after each preposition."""
    common, base = _SETS.get(language, frozenset()), PREPOSITIONS.get(language, {})

    def nearest(places: Iterable[int]) -> str | None:
        for place in places:
            if tokens[place] in _MARKS:
                return None
            if tokens[place] not in common and tokens[place] not in words.roles and len(tokens[place]) > 1:
                return stem(tokens[place], language)
        return None

    for place, token in enumerate(tokens):
        if token in words.roles:
            left = nearest(range(place - 1, max(-1, place - 4), -1))
            right = nearest(range(place + 1, min(place + 4, len(tokens))))
            if left and right:
                yield left, base.get(token, token), right
