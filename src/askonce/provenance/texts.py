"""Which texts stand in a prompt.

A text is its sequence of words, so that neither spaces nor punctuation nor how a prompt quotes it matter. Of each
text some runs of eight words are indexed (shingles), at regular distances. Where one of them stands in a prompt,
the words around it are compared: the text has as many of the prompt's words in a row as are equal. Of texts that
have some words of the prompt those count that have the most in a row around them, so that an earlier version of a
text, or another record of the same template, is not taken for it.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

_RUN, _DISTANCE = 8, 40
_SHORT = 2
"""So few words may stand in a prompt by chance."""
_MOST_SHARING = 8
"""Words that more texts than this have in common say nothing of one of them."""
_MOST_COMPARED = 64
"""A run of words that more texts than this have is looked for as part of whole texts only."""
_WIDTH = 4
"""Bytes of the number for a word."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|[nrt])")
# Scripts without spaces between words count by characters.
_ASCII_WORD = re.compile(r"[a-z0-9]+")  # the same for such texts, in half the time
_WORD = re.compile(r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]+|[^\W_]")


class Rank(NamedTuple):
    """How likely a text is the one that a prompt was made from, of several that have the same words of it.

    Attributes:
        is_near: it was found where the prompt was made.
        is_current: it is not known to have changed since.
        found: when it was found last.
    """

    is_near: bool
    is_current: bool
    found: float


def _by_number(numbers: Sequence[int]) -> Rank:
    return Rank(is_near=False, is_current=True, found=max(numbers))


Span = tuple[int, int]
"""Words of a prompt: the first, and the one after the last."""


class WordSequence:
    """A text as words. How JSON escapes it does not matter, nor do capitals."""

    def __init__(self, text: str) -> None:
        self._text = text.casefold()
        if "\\" in self._text:
            self._text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", self._text)
        self._pattern = _ASCII_WORD if self._text.isascii() else _WORD
        words = self._pattern.findall(self._text)
        self.numbers = array("I", [hash(one) & 0xFFFFFFFF for one in words]).tobytes()
        self._length = len(words)

    def __len__(self) -> int:
        return self._length

    @cached_property
    def _spans(self) -> list[Span]:
        return [found.span() for found in self._pattern.finditer(self._text)]

    def stand_alone(self, begin: int, end: int) -> bool:
        """Whether more than a space separates some words from those around them."""
        for at in (begin, end):
            if 0 < at < len(self):
                between = self._text[self._spans[at - 1][1] : self._spans[at][0]]
                if between.strip(" ") == "":
                    return False
        return True


@dataclass(slots=True, eq=False)
class _Indexed:
    """A text.

    Attributes:
        words: the numbers for its words.
        runs: the numbers for the runs that are indexed, in their order.
        names: the caller's numbers for it, and for others of the same words.
    """

    words: bytes
    runs: tuple[int, ...] = ()
    names: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.words) // _WIDTH

    @property
    def run_length(self) -> int:
        return min(len(self), _RUN)

    def begin_of(self, run: int) -> int:
        """Where a run begins."""
        return min(self.runs.index(run) * _DISTANCE, len(self) - self.run_length)


class TextIndex:
    """Texts that may stand in a prompt, by numbers of the caller's. Not thread-safe."""

    def __init__(self) -> None:
        self._texts: dict[int, _Indexed] = {}
        self._of_words: dict[bytes, _Indexed] = {}
        self._having: dict[int, _Indexed | dict[_Indexed, None]] = {}  # the texts that have a run
        self._beginning: dict[int, dict[int, int]] = {}  # by its first run, how many texts of a length there are
        self._lengths: dict[int, int] = {}  # how many texts have runs of a length

    def add(self, number: int, text: str) -> None:
        """Add a text."""
        words = WordSequence(text).numbers
        indexed = self._of_words.get(words)
        if indexed is None:
            indexed = self._of_words[words] = _Indexed(words)
            self._add_runs(indexed)
        indexed.names.append(number)
        self._texts[number] = indexed

    def _add_runs(self, text: _Indexed) -> None:
        length = text.run_length
        if not length:
            return
        begins = [*range(0, max(len(text) - _RUN, 1), _DISTANCE), max(len(text) - _RUN, 0)]
        text.runs = tuple(_run(text.words, begin, length) for begin in begins)
        self._lengths[length] = self._lengths.get(length, 0) + 1
        lengths = self._beginning.setdefault(text.runs[0], {})
        lengths[len(text)] = lengths.get(len(text), 0) + 1
        for run in set(text.runs):
            having = self._having.setdefault(run, text)
            if isinstance(having, dict):
                having[text] = None
            elif having is not text:
                self._having[run] = {having: None, text: None}

    def remove(self, number: int) -> None:
        """Remove a text."""
        text = self._texts.pop(number)
        text.names.remove(number)
        if text.names:
            return
        del self._of_words[text.words]
        if not text.runs:
            return
        self._lengths[text.run_length] -= 1
        lengths = self._beginning[text.runs[0]]
        lengths[len(text)] -= 1
        if not lengths[len(text)]:
            del lengths[len(text)]
        if not lengths:
            del self._beginning[text.runs[0]]
        for run in set(text.runs):
            having = self._having[run]
            if isinstance(having, dict):
                del having[text]
            if not isinstance(having, dict) or not having:
                del self._having[run]

    def standing_in(
        self,
        prompt: str,
        own: Collection[int] = (),
        near: Collection[int] = (),
        rank: Callable[[Sequence[int]], Rank] = _by_number,
    ) -> list[list[int]]:
        """The texts that stand in a prompt, those of the same words together.

        Args:
            prompt: the prompt.
            own: texts that were found for it; others count only where none of these has as many words in a row.
            near: texts that may have been found for it.
            rank: of texts of the same words. Of some that have the same words of the prompt the highest count,
                unless too many have them.
        """
        words = WordSequence(prompt)
        own_texts = {self._texts[one]: None for one in own if one in self._texts}
        near_texts = {self._texts[one]: None for one in near if one in self._texts}
        spans = self._spans(words.numbers, own_texts | near_texts)
        found = {one: None for texts in spans.values() for one in texts}
        standing = {one: None for one in own_texts if one in found}
        undecided: list[list[_Indexed]] = []
        accounted = bytearray(len(words))
        for (begin, end), texts in sorted(spans.items(), key=_most_words_first):
            left = accounted.count(0, begin, end)
            accounted[begin:end] = b"\1" * (end - begin)
            whole = [one for one in texts if len(one) == end - begin]
            if whole:
                if left and (end - begin > _SHORT or words.stand_alone(begin, end)):
                    standing[whole[0]] = None
            elif left > _SHORT:
                undecided.append(texts)
        for texts in undecided:  # last, since a text that stands in the prompt elsewhere is the likeliest here
            if not any(one in standing for one in texts):
                standing |= dict.fromkeys(_likeliest({one: rank(one.names) for one in texts}))
        return [list(one.names) for one in standing]

    def _spans(self, prompt: bytes, likely: Collection[_Indexed]) -> dict[Span, list[_Indexed]]:
        """Words of a prompt, as many in a row as some texts have; and these texts."""
        spans: dict[Span, list[_Indexed]] = {}
        ends: dict[tuple[_Indexed, int], int] = {}  # by a text, and where it begins or would begin
        for begin, run, length in self._runs_in(prompt):
            for text in self._whole(prompt, begin, run):
                if (text, begin) not in ends:
                    spans.setdefault((begin, begin + len(text)), []).append(text)
                ends[text, begin] = begin + len(text)
            for text in self._compared(run, likely):
                at = begin - text.begin_of(run)
                if text.run_length == length and ends.get((text, at), 0) < begin + length:
                    span = _equal_words(prompt, text.words, begin, begin - at, length)
                    spans.setdefault(span, []).append(text)
                    ends[text, at] = span[1]
        return spans

    def _runs_in(self, prompt: bytes) -> Iterator[tuple[int, int, int]]:
        """The runs of texts that stand in a prompt: where, which, and how many words each has."""
        for length in [one for one, count in self._lengths.items() if count]:
            size = length * _WIDTH
            for begin in range(0, len(prompt) - size + 1, _WIDTH):
                run = hash(prompt[begin : begin + size])
                if run in self._having:
                    yield begin // _WIDTH, run, length

    def _whole(self, prompt: bytes, begin: int, run: int) -> Iterator[_Indexed]:
        """The texts that stand as a whole where their first run does."""
        for length in self._beginning.get(run, ()):
            text = self._of_words.get(prompt[begin * _WIDTH : (begin + length) * _WIDTH])
            if text is not None:
                yield text

    def _compared(self, run: int, likely: Collection[_Indexed]) -> Iterable[_Indexed]:
        having = self._having[run]
        if not isinstance(having, dict):
            return (having,)
        return having if len(having) <= _MOST_COMPARED else [one for one in likely if one in having]


def _likeliest(ranks: Mapping[_Indexed, Rank]) -> list[_Indexed]:
    """Of texts that have the same words of a prompt those that were found last; none if any might be meant."""
    best = max(ranks.values())
    others = sum(one.is_current == best.is_current for one in ranks.values())
    return [one for one, rank in ranks.items() if rank == best] if best.is_near or others <= _MOST_SHARING else []


def _run(words: bytes, begin: int, length: int) -> int:
    """A number for some of the words."""
    return hash(words[begin * _WIDTH : (begin + length) * _WIDTH])


def _most_words_first(found: tuple[Span, list[_Indexed]]) -> tuple[int, Span]:
    """The order of words that texts have in a row; to those of a whole text some may come by chance."""
    (begin, end), texts = found
    is_whole = any(len(one) == end - begin for one in texts)
    return begin - end - (_SHORT if is_whole else 0), (begin, end)


def _equal_words(prompt: bytes, text: bytes, begin: int, at: int, length: int) -> Span:
    """The words around a run that are the same in a prompt, where it begins at one place, and a text at another."""
    here, there, size = begin * _WIDTH, at * _WIDTH, length * _WIDTH

    def before(count: int) -> bool:
        step = count * _WIDTH
        return prompt[here - step : here] != text[there - step : there]

    def after(count: int) -> bool:
        end = size + count * _WIDTH
        return prompt[here + size : here + end] != text[there + size : there + end]

    most_after = min(len(prompt) - here, len(text) - there) // _WIDTH - length
    return begin - _first(before, min(begin, at)), begin + length + _first(after, most_after)


def _first(differs: Callable[[int], bool], most: int) -> int:
    """The number of words, ``most`` at most, that are equal: where so many differ, more do, too."""
    return most if not differs(most) else bisect_left(range(1, most + 1), True, key=differs)
