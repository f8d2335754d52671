"""How many tokens a segment has: counted where a tokenizer is at hand, otherwise learned from reported usage."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

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


_FEATURES = 8
_PRIOR = (0.25, 0.7, 0.27, 0.7, 0.25, 85.0, 4.0, 3.0)
_DOUBT = (2e-2, 2e-1, 2e-2, 2e-1, 2e-2, 3e3, 9.0, 100.0)
"""Variances of the prior's weights: how far a model's may be from it."""


class LearnedCounter:
    """Tokens per character of one model, learned from the usage that its provider reports. Thread-safe.

    A linear model of the tokens of a whole prompt: characters of texts (ASCII and others apart, since others take
    more tokens), of JSON (tools, tool calls), of tool results, the numbers of images and of messages, and a
    constant. Fitted by recursive least squares with a prior (Plackett, Biometrika 37, 1950), with the relative
    error as the loss.
    """

    exact = False

    def __init__(self) -> None:
        self.known: dict[bytes, int] = {}
        self.boundaries: dict[tuple[bytes, int, int], list[tuple[bytes, int]]] = {}
        self._lock = threading.Lock()
        self._weights = list(_PRIOR)
        self._covariance = [[_DOUBT[i] if i == j else 0.0 for j in range(_FEATURES)] for i in range(_FEATURES)]
        self.requests = 0

    def count(self, text: str) -> int:
        """See `Counter.count`."""
        return round(sum(w * x for w, x in zip(self._weights, _of_text(text, 0), strict=True)))

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """Never asked: this one estimates."""
        raise NotImplementedError

    def estimate(self, block: Block) -> int:
        """See `Counter.estimate`."""
        features = features_of(block)
        return max(0, round(sum(w * x for w, x in zip(self._weights, features, strict=True))))

    def total(self, features: list[float]) -> float:
        """The tokens of a whole prompt with these features, the constant included."""
        return sum(w * x for w, x in zip(self._weights, [*features[:-1], 1.0], strict=True))

    def learn(self, features: list[float], tokens: int) -> None:
        """Take in what a provider reported.

        Args:
            features: the sum of those of the prompt's segments, see `features_of`.
            tokens: the prompt's tokens.
        """
        if tokens <= 0:
            return
        noise = (0.01 * tokens) ** 2 + 1.0
        x = [*features[:-1], 1.0]
        with self._lock:
            p = self._covariance
            px = [sum(a * b for a, b in zip(row, x, strict=True)) for row in p]
            scale = noise + sum(a * b for a, b in zip(px, x, strict=True))
            error = tokens - sum(a * b for a, b in zip(self._weights, x, strict=True))
            self._weights = [w + a / scale * error for w, a in zip(self._weights, px, strict=True)]
            self._covariance = [
                [p[i][j] - px[i] * px[j] / scale for j in range(_FEATURES)] for i in range(_FEATURES)
            ]
            self.requests += 1


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
