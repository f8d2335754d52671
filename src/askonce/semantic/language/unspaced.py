"""Texts in Chinese, Japanese and Korean, whose words cannot be told apart here: they are compared by characters.

Most small embedding models know few of these characters and give one vector to all others, so that a cosine near
one says nothing. A single character makes an opposite (已激活, 未激活), and so does its place (可以不, 不可以):
what says the same in other characters is refused.
"""

from __future__ import annotations

import re

from askonce.semantic.language.quantities import CJK_NUMBER, cjk_value
from askonce.semantic.language.reading import TextReading

_CHARACTER = re.compile(r"[ᄀ-ᇿ⺀-⿟々〇぀-ㆿㇰ-ㇿ㐀-䶿一-鿿ꥠ-꥿가-퟿豈-﫿ｦ-ￜ\U00020000-\U0003ffff]")
_LETTER = re.compile(r"[^\W\d_]")
_PARTICLE = re.compile(
    "[的请請哦喔噢呢啊呀啦嘛哈]"  # Chinese: of structure, courtesy and mood
    "|(?:です|でございます)?[ねよ]?$"
    "|(?:입니다|이에요|예요)$"
)
_SAME = {
    "你": re.compile("您"),
    "会": re.compile("将"),
    "會": re.compile("將"),
    "须": re.compile("必须|必需|务必|须要|需要"),
    "能": re.compile("可以|能够"),
}


def characters_differ(one: TextReading, other: TextReading, text: str, its_text: str) -> bool:
    """Whether two texts, and their readings, differ in characters of such a language, or in their order.

    Particles that say nothing do not count. If such characters are most of a text, all else counts in its place.
    """
    if is_unspaced(text) or is_unspaced(its_text):
        return _significant(one) != _significant(other)
    return _CHARACTER.findall(text) != _CHARACTER.findall(its_text)


def is_unspaced(text: str) -> bool:
    """Whether most letters of a text are such characters."""
    return 2 * len(_CHARACTER.findall(text)) > len(_LETTER.findall(text))


def _significant(read: TextReading) -> str:
    found = "".join(_PARTICLE.sub("", token) for token in read.tokens)
    found = CJK_NUMBER.sub(lambda match: match[0] if match[0][0] == "第" else f"{cjk_value(match[0])}", found)
    for word, words in _SAME.items():
        found = words.sub(word, found)
    return found
