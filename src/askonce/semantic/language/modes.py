"""What must, should, may or need not be, and for whom alone or also: words and spellings of twelve languages."""

from __future__ import annotations

import re
from collections.abc import Mapping

_WORD = re.compile(r"[^\W_]+")


def by_word(groups: Mapping[str, str]) -> dict[str, str]:
    """The group of each word."""
    return {word: group for group, words in groups.items() for word in words.split()}


def groups(group_of: Mapping[str, str], text: str) -> set[str]:
    """The groups of a text's words."""
    return {group_of[word] for word in _WORD.findall(text) if word in group_of}


_MODES = by_word(
    {
        "must": "must shall muss müssen musst müsst debe deben debes tiene tienen doit doivent "
        "devez deve devono devi devem moet moeten musi muszą musisz "
        "required mandatory compulsory obligatory obliged obligatorio obligatoria obligatoire obbligatorio "
        "obbligatoria obrigatório obrigatória verplicht obowiązkowy obowiązkowa obowiązkowe "
        "zorunlu zorunda zorundasınız zorundadır şart",
        "may": "may can could might allowed permitted optional kann können kannst könnt darf dürfen puede pueden "
        "puedes peut peuvent pouvez può possono puoi pode podem kan kunnen mag mogen może mogą możesz można "
        "optioneel opcional facultatif facoltativo mümkün mümkündür serbest serbesttir",
        "should": "should ought recommended sollte sollten solltest debería deberían devrait devraient dovrebbe "
        "dovrebbero deveria deveriam zou zouden powinien powinna powinno önerilir",
    }
)
_POSSIBLE = frozenset("möglich possible posible possibile possível mogelijk możliwe".split())


def is_mode(word: str) -> bool:
    """Whether a word says no more than one of the modes."""
    return word in _MODES or word in _POSSIBLE


_SPELLED_MODES = {
    "en": {
        "free": r"\bneed(?:\s+not|n['’]t)\b|\b(?:do|does|did)(?:\s+not|n['’]t)\s+(?:have|need)\s+to\b"
        r"|\bnot\s+(?:required|mandatory|obligatory|compulsory|obliged|necessary)\b"
        r"|\bno\s+(?:\w+\s+){1,2}(?:is|are)\s+(?:required|mandatory|necessary)\b",
        "prohibited": r"\b(?:must|may|can|could|shall)(?:\s+not|n['’]t)\b|\bcan['’]t\b|\bcannot\b"
        r"|\bnot\s+(?:allowed|permitted)\b",
        "must": r"\b(?:have|has|need|needs)\s+to\b",
    },
    "romance": {"must": r"\b(?:hay|tiene|tienen|tem|têm)\s+que\b|\bil\s+faut\b"},
    "tr": {
        "free": r"\bgerekmez\b|\bgerekmiyor\b|\bgerek yok|\bzorun(?:da|lu) değil",
        "prohibited": r"\byasak|\b\w+(?:[ae]maz|mamalı|memeli)",
        "must": r"\bgerek(?:ir|iyor|li)|\blazım|\b\w{2,}m[ae]l[ıi](?:s[ıi]n|y[ıi]z|d[ıi]r)?\w*",
        "may": r"\b\w+[ae]bilir\w*",
    },
    "zh": {
        "free": "不必|不用|不需要?|无需|无须|毋须|不一定要|不要求",
        "prohibited": "不得|不能|不可以?|不许|不准|不允许|禁止|严禁|请?勿",
        "must": "必须|必需|务必|一定要|须要?|需要?|强制|非.{1,8}不可",
        "should": "应该|应当|(?<![响供反相适对效])应(?![用付急对届])|建议|最好",
        "may": "可以|能够|允许|(?<![功性智职才技])能(?![力量源])|(?<![许])可(?![能靠是见爱疑])",
    },
    "ja": {
        "free": "なくても|必要(?:は|が)?(?:ありません|ない|なし)|不要|義務ではありません",
        "prohibited": "ては(?:いけ|なり|だめ)|では(?:いけ|なり|だめ)|禁止|できません|できない|不可|ないでください",
        "must": "なければ|なくては|ねばな|ないといけ|必要|必須|義務",
        "should": "べき|(?:た|だ)(?:ほう|方)が(?:いい|良い|よい)|お勧め|おすすめ|推奨",
        "may": "ても(?:いい|良い|よい|よろしい|構|かま)|でも(?:いい|良い|よい|構|かま)|できます|できる|可能|許可",
    },
    "ko": {
        "free": "지 않아도|필요(?:가|는)? ?없|불필요",
        "prohibited": "면 ?안 ?[됩되돼]|수 ?없|금지|지 ?(?:마세요|마십|말아|못)",
        "must": "[야](?:만)? ?(?:합|하|됩|돼)|필수|필요(?:합|가 있|하)|의무",
        "should": "것이 좋|편이 좋|권장|권합|좋습니다",
        "may": "수 ?있|[도] ?(?:됩|돼|되|좋|괜찮)|가능|허용",
    },
}
_LATIN = ("en", "romance")


def modes(text: str, language: str) -> set[str]:
    """Which of these it says: must, should, may, prohibited, free (need not)."""
    found = set()
    for spelling in (language,) if language in ("zh", "ja", "ko", "tr") else _LATIN:
        for mode, pattern in _SPELLED_MODES[spelling].items():
            text, count = re.subn(pattern, " ", text, flags=re.IGNORECASE)
            found |= {mode} if count else set()
    return found | groups(_MODES, text.replace("May", "").lower())  # a month


_ONLY = {
    "en": r"\bonly\b|\bsolely\b|\bexclusively\b|\bexcept\b"
    r"|\b(?:nobody|no\s?one|none|nothing)\s+(?:but|other\s+than)\b",
    "de": r"\bnur\b|\bausschließlich\b|\blediglich\b|\bbloß\b|\ballein\b",
    "es": r"\bs[oó]lo\b|\bsolamente\b|\búnicamente\b|\bexclusivamente\b",
    "fr": r"\bseul(?:e|s|es|ement)?\b|\buniquement\b|\bexclusivement\b",
    "it": r"\bsolo\b|\bsoltanto\b|\bsolamente\b|\bunicamente\b|\besclusivamente\b",
    "pt": r"\bsó\b|\bsomente\b|\bapenas\b|\bunicamente\b|\bexclusivamente\b",
    "nl": r"\balleen\b|\bslechts\b|\benkel\b|\buitsluitend\b",
    "pl": r"\btylko\b|\bjedynie\b|\bwyłącznie\b",
    "tr": r"\bsadece\b|\byalnız(?:ca)?\b",
    "zh": "只|仅|唯有|唯一",
    "ja": "だけ|のみ|しか|限り",
    "ko": r"\w만(?=\W|$|이|을|가|에)|뿐|오직",
}
"""For these alone."""
_LOOSELY_ONLY = {
    "en": r"\bjust\b|\bmerely\b|\bsimply\b|\balone\b|\bpurely\b"
    r"|\b(?:nowhere|nobody|no\s?one|nothing)\s+else\b|\bno\s+others?\b",
}
"""These say the same, and often nothing: they count beside a word that says otherwise."""
_ALSO = {
    "en": r"\balso\b|\bas well\b(?! as)|\badditionally\b|\blikewise\b|\beven\b|\bincluding\b"
    r"|\bnot (?:just|only|merely)\b"
    r"|\btoo\b(?=\W*$|\s*[.,;:!?]|\s+(?:may|can|could|must|should|have|has|are|is|will|get)\b)",
    "de": r"\bauch\b|\bebenfalls\b|\bebenso\b|\bsogar\b",
    "es": r"\btambién\b|\bincluso\b|\bademás\b",
    "fr": r"\baussi\b|\bégalement\b|\bmême\b",
    "it": r"\banche\b|\bpure\b|\binoltre\b|\bperfino\b|\baltresì\b",
    "pt": r"\btambém\b|\binclusive\b|\baté mesmo\b",
    "nl": r"\book\b|\bzelfs\b|\beveneens\b",
    "pl": r"\bteż\b|\btakże\b|\brównież\b|\bnawet\b",
    "tr": r"\b(?:de|da|dahi|bile|ayrıca)\b",
    "zh": "也|还|都|甚至",
    "ja": "も|さえ|また",
    "ko": r"\w도(?=\s|[.,])|또한",
}


def restricted(text: str, language: str, *, loosely: bool = False) -> bool:
    """Whether it says that something is for one kind alone; ``loosely`` also by a word such as 'just'."""
    text = re.sub(r"\bnot (?:just|only|merely)\b", " ", text.lower())
    patterns = (_ONLY, _LOOSELY_ONLY) if loosely else (_ONLY,)
    return any(language in some and re.search(some[language], text) is not None for some in patterns)


def opposite_scope(one: str, other: str, language: str) -> bool:
    """Whether one says 'also' of what the other says 'only' of."""
    only = [restricted(text, language, loosely=True) for text in (one, other)]
    also = [language in _ALSO and re.search(_ALSO[language], text.lower()) is not None for text in (one, other)]
    return only != also and only == also[::-1] and only[0] != only[1]
