"""Which texts stand in a prompt.

A text is its sequence of words, so that neither spaces nor punctuation nor how a prompt quotes it matter. Of each
text some runs of eight words are indexed (shingles), at regular distances. It stands in a prompt if all of them do,
or, where only a part of it was taken, some that few other texts have.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import cached_property

_RUN, _DISTANCE = 8, 40
_SHORT = 2
"""So few words may stand in a prompt by chance."""
_MOST_SHARING = 8
"""A run of words that more texts than this have in common says nothing of one of them."""
_ESCAPE = re.compile(r"\\(?:u([0-9a-f]{4})|[nrt])")
# Scripts without spaces between words count by characters.
_ASCII_WORD = re.compile(r"[a-z0-9]+")  # the same for such texts, in half the time
_WORD = re.compile(r"[^\W_\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\U0010ffff]+|[^\W_]")


class WordSequence:
    """A text as words. How JSON escapes it does not matter, nor do capitals."""

    def __init__(self, text: str) -> None:
        self._text = text.casefold()
        if "\\" in self._text:
            self._text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else " ", self._text)
        self._pattern = _ASCII_WORD if self._text.isascii() else _WORD
        self._words: list[str] = self._pattern.findall(self._text)

    def __len__(self) -> int:
        return len(self._words)

    def run(self, begin: int, length: int) -> int:
        """A number for some of the words."""
        return hash(tuple(self._words[begin : begin + length]))

    @cached_property
    def _spans(self) -> list[tuple[int, int]]:
        return [found.span() for found in self._pattern.finditer(self._text)]

    def stand_alone(self, begin: int, end: int) -> bool:
        """Whether more than a space separates some words from those around them."""
        for at in (begin, end):
            if 0 < at < len(self._words):
                between = self._text[self._spans[at - 1][1] : self._spans[at][0]]
                if between.strip(" ") == "":
                    return False
        return True


@dataclass(slots=True)
class _Indexed:
    length: int
    runs: tuple[int, ...]

    @property
    def run_length(self) -> int:
        return min(self.length, _RUN)


@dataclass(slots=True)
class _Found:
    """The runs of one text in a prompt.

    Attributes:
        at: where each run stands that does.
    """

    text: _Indexed
    at: dict[int, list[int]] = field(default_factory=dict)

    @property
    def share(self) -> float:
        return len(self.at) / len(set(self.text.runs))

    def spans(self) -> Iterable[tuple[int, int]]:
        """The words of the prompt that are from the text."""
        for begins in self.at.values():
            yield from ((begin, begin + self.text.run_length) for begin in begins)
        if self.share == 1:
            yield from ((begin, begin + self.text.length) for begin in self.at[self.text.runs[0]])


class TextIndex:
    """Texts that may stand in a prompt, by numbers of the caller's. Not thread-safe."""

    def __init__(self) -> None:
        self._texts: dict[int, _Indexed] = {}
        self._having: dict[int, int | set[int]] = {}  # the texts that have a run
        self._lengths: dict[int, int] = {}  # how many texts have runs of a length

    def add(self, number: int, text: str) -> None:
        """Add a text."""
        words = WordSequence(text)
        length = min(len(words), _RUN)
        begins = [*range(0, max(len(words) - _RUN, 1), _DISTANCE), max(len(words) - _RUN, 0)]
        indexed = _Indexed(len(words), tuple(words.run(begin, length) for begin in begins) if length else ())
        self._texts[number] = indexed
        if length:
            self._lengths[length] = self._lengths.get(length, 0) + 1
        for run in set(indexed.runs):
            having = self._having.setdefault(run, number)
            if isinstance(having, set):
                having.add(number)
            elif having != number:
                self._having[run] = {having, number}

    def remove(self, number: int) -> None:
        """Remove a text."""
        indexed = self._texts.pop(number)
        if indexed.runs:
            self._lengths[indexed.run_length] -= 1
        for run in set(indexed.runs):
            having = self._having[run]
            if isinstance(having, set):
                having.discard(number)
            if not isinstance(having, set) or not having:
                del self._having[run]

    def standing_in(self, prompt: str, own: Collection[int]) -> list[int]:
        """The texts that stand in a prompt.

        Args:
            prompt: the prompt.
            own: texts that were found for it; others count only where none of these accounts for the words.
        """
        words = WordSequence(prompt)
        found = sorted(self._found(words).items(), key=lambda one: (one[0] not in own, -one[1].share))
        standing: list[int] = []
        accounted = bytearray(len(words))
        for number, one in found:
            if number not in own and not self._counts(one, words, accounted):
                continue
            standing.append(number)
            for begin, end in one.spans():
                accounted[begin:end] = b"\1" * (end - begin)
        return standing

    def _found(self, words: WordSequence) -> dict[int, _Found]:
        found: dict[int, _Found] = {}
        for length in [one for one, count in self._lengths.items() if count]:
            for begin in range(len(words) - length + 1):
                run = words.run(begin, length)
                having = self._having.get(run)
                if having is None:
                    continue
                for number in having if isinstance(having, set) else (having,):
                    text = self._texts[number]
                    if text.run_length == length:
                        found.setdefault(number, _Found(text)).at.setdefault(run, []).append(begin)
        return found

    def _counts(self, found: _Found, words: WordSequence, accounted: bytearray) -> bool:
        """Whether a text that was not found for a prompt stands in it all the same."""
        length = found.text.run_length
        for run, begins in found.at.items():
            having = self._having[run]
            if found.share < 1 and isinstance(having, set) and len(having) > _MOST_SHARING:
                continue
            for begin in begins:
                if not all(accounted[begin : begin + length]) and (
                    length > _SHORT or words.stand_alone(begin, begin + length)
                ):
                    return True
        return False
