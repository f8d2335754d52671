"""How many tokens a segment has: counted where a tokenizer is at hand, otherwise learned from reported usage."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from askonce.prefix.regression import Regression
from askonce.prefix.wire import Block

Count = Callable[[str], int]
_MOST_REMEMBERED = 20_000


class _Remembered(dict[Any, Any]):
    """What was counted lately; emptied when there is much of it."""

    def __setitem__(self, key: Any, value: Any) -> None:
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
        super().__setitem__(key, value)


class Counter(Protocol):
    """Counts tokens, or estimates them.

    Attributes:
        exact: `count` and `cuts` count; otherwise only `estimate` may be asked.
        known: tokens of segments, by their digest.
        boundaries: where a prompt reached multiples of a number of tokens.
    """

    exact: bool
    known: dict[bytes, int]
    boundaries: dict[tuple[bytes, int, int], list[tuple[bytes, int]]]

    def count(self, text: str) -> int:
        """The tokens of a text."""
        ...

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """Where its first ``first`` tokens end, the next ``each``, and so on: characters and tokens."""
        ...

    def estimate(self, block: Block) -> int:
        """The tokens of a segment, more or less."""
        ...


class GivenCounter:
    """Counts with a function of the application's, or a tokenizer's.

    Args:
        count: the tokens of a text. Where a long text is cut, the tokens of its parts should add up to its own,
            as they do for most tokenizers when it is cut between two words.
    """

    exact = True

    def __init__(self, count: Count) -> None:
        self.count = count
        self.known: dict[bytes, int] = _Remembered()
        self.boundaries: dict[tuple[bytes, int, int], list[tuple[bytes, int]]] = _Remembered()

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """See `Counter.cuts`; by bisection, since only whole texts can be counted."""
        start, counted, wanted = 0, 0, first
        window = 8 * each
        while start < len(text):
            low, high = start, min(start + window, len(text))
            while high < len(text) and self.count(text[start:high]) <= wanted:
                high = min(start + 2 * (high - start), len(text))
            if self.count(text[start:high]) < wanted:
                return
            while low < high:  # the longest part that has no more tokens
                middle = (low + high + 1) // 2
                low, high = (middle, high) if self.count(text[start:middle]) <= wanted else (low, middle - 1)
            counted += wanted
            yield low, counted
            start, wanted = low, each

    def estimate(self, block: Block) -> int:
        """Never asked: this one counts."""
        raise NotImplementedError


class CharacterCounter:
    """Four characters are a token."""

    exact = False

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.boundaries: dict[tuple[bytes, int, int], list[tuple[bytes, int]]] = {}

    def count(self, text: str) -> int:
        """See `Counter.count`."""
        return (len(text) + 3) // 4

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """Never asked: this one estimates."""
        raise NotImplementedError

    def estimate(self, block: Block) -> int:
        """See `Counter.estimate`."""
        return sum(map(self.count, block.texts)) + 4 * (block.opens is not None) + 85 * block.images


_PRIOR = (0.25, 0.7, 0.27, 0.7, 0.25, 85.0, 4.0, 3.0)
_DOUBT = (0.15, 0.45, 0.15, 0.45, 0.15, 55.0, 3.0, 10.0)
_FEATURES = len(_PRIOR)


class LearnedCounter:
    """Tokens per character of one model, learned from the usage that its provider reports. Thread-safe.

    A linear model of the tokens of a whole prompt: characters of texts (ASCII and others apart, since others take
    more tokens), of JSON (tools, tool calls), of tool results, the numbers of images and of messages, and a
    constant.
    """

    exact = False

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.boundaries: dict[tuple[bytes, int, int], list[tuple[bytes, int]]] = {}
        self.regression = Regression(_PRIOR, _DOUBT)

    def count(self, text: str) -> int:
        """See `Counter.count`."""
        return max(0, round(self.regression(_of_text(text, 0))))

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """Never asked: this one estimates."""
        raise NotImplementedError

    def estimate(self, block: Block) -> int:
        """See `Counter.estimate`."""
        return max(0, round(self.regression(features_of(block))))

    def learn(self, features: Sequence[float], tokens: int) -> None:
        """Take in what a provider reported.

        Args:
            features: those of the prompt, see `askonce.prefix.chain.Chain`.
            tokens: the prompt's tokens.
        """
        if tokens > 0:
            self.regression.learn([*features[:-1], 1.0], tokens, noise=1.0 + 0.01 * tokens)


_KINDS = {"tool": 2, "call": 2, "result": 4, "other": 2}


def features_of(block: Block) -> list[float]:
    """What a segment's tokens depend on."""
    features = [0.0] * _FEATURES
    for text in block.texts:
        for index, value in enumerate(_of_text(text, _KINDS.get(block.kind, 0))):
            features[index] += value
    features[5], features[6] = float(block.images), float(block.opens is not None)
    return features


def _of_text(text: str, kind: int) -> list[float]:
    features = [0.0] * _FEATURES
    others = 0 if text.isascii() else sum(1 for sign in text if sign > "\x7f")
    features[kind] += len(text) - others
    features[1 if kind == 0 else 3] += others
    return features


@functools.lru_cache(maxsize=64)
def tiktoken_count(model: str) -> Count | None:
    """A function that counts with ``tiktoken``, or ``None`` if it or the encoding is not on this machine.

    An encoding that is not there is not downloaded: that would block the application's first request.
    """
    try:
        import tiktoken
        from tiktoken.model import encoding_name_for_model
    except ModuleNotFoundError:
        return None
    try:
        name = encoding_name_for_model(model.rpartition("/")[2])
    except KeyError:
        name = "o200k_base"
    if not _is_at_hand(name):
        return None
    try:
        encoding = tiktoken.get_encoding(name)
    except Exception:  # a corrupt file, and no network to replace it
        return None
    return lambda text: len(encoding.encode_ordinary(text))


def _is_at_hand(encoding: str) -> bool:
    """Whether tiktoken's cache holds the encoding: it names files by the SHA-1 of their address."""
    address = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    default = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    directory = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    return bool(directory) and (Path(directory) / hashlib.sha1(address.encode()).hexdigest()).is_file()
