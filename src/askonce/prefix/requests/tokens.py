"""How many tokens a segment has: counted where a tokenizer is at hand, otherwise learned from reported usage."""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from askonce.estimators.regression import LinearRegression
from askonce.prefix.requests.wire import Block

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
        exact: `count` and `cuts` count; otherwise only `estimate` may be called.
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
        whole = self.count(text)
        characters = len(text) / max(whole, 1)
        while counted + wanted <= whole:
            end = self._longest(text, start, wanted, characters)
            counted += wanted
            yield end, counted
            start, wanted = end, each

    def _longest(self, text: str, start: int, tokens: int, characters: float) -> int:
        """The end of the longest part from ``start`` on that has no more tokens."""
        low, high, width = start, len(text), 24
        guess = min(start + int(tokens * characters), high)
        while low < high:
            if self.count(text[start:guess]) <= tokens:
                low, guess = guess, min(guess + width, (guess + high + 1) // 2)
            else:
                high, guess = guess - 1, max(guess - width, (low + guess) // 2)
            width *= 2
            if high - low <= width:
                guess = (low + high + 1) // 2
        return low

    def estimate(self, block: Block) -> int:
        """Never called: this one counts."""
        raise NotImplementedError


class TokenizerCounter(GivenCounter):
    """Counts with a tokenizer, which can say where a token ends.

    Args:
        encoding: of ``tiktoken``.
    """

    def __init__(self, encoding: Any) -> None:
        super().__init__(lambda text: len(encoding.encode_ordinary(text)))
        self._encoding = encoding

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """See `Counter.cuts`."""
        tokens: list[bytes] = self._encoding.decode_tokens_bytes(self._encoding.encode_ordinary(text))
        end, data = 0, b""
        for counted, token in enumerate(tokens, 1):
            data += token
            if counted >= first and (counted - first) % each == 0:
                end += len(data.decode(errors="ignore"))  # a token may end within a character
                data = b""
                yield end, counted


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
        """Never called: this one estimates."""
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
        self.regression = LinearRegression(_PRIOR, _DOUBT)

    def count(self, text: str) -> int:
        """See `Counter.count`."""
        return max(0, round(self.regression(_of_text(text, 0))))

    def cuts(self, text: str, first: int, each: int) -> Iterator[tuple[int, int]]:
        """Never called: this one estimates."""
        raise NotImplementedError

    def estimate(self, block: Block) -> int:
        """See `Counter.estimate`."""
        return max(0, round(self.regression(features_of(block))))

    def learn(self, features: Sequence[float], tokens: int) -> None:
        """Take in what a provider reported.

        Args:
            features: those of the prompt, see `askonce.prefix.requests.chain.Chain`.
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
def tiktoken_counter(model: str) -> TokenizerCounter | None:
    """Counts with ``tiktoken``; ``None`` if it or the encoding is not on this machine.

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
        encoding: Any = tiktoken.get_encoding(name)
    except Exception:  # a corrupt file, and no network to replace it
        return None
    return TokenizerCounter(encoding)


def _is_at_hand(encoding: str) -> bool:
    """Whether tiktoken's cache holds the encoding: it names files by the SHA-1 of their address."""
    address = f"https://openaipublic.blob.core.windows.net/encodings/{encoding}.tiktoken"
    directory = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR"))
    if directory is None:
        try:
            directory = os.path.join(tempfile.gettempdir(), "data-gym-cache")
        except FileNotFoundError:  # there is no folder for temporary files
            return False
    return bool(directory) and (Path(directory) / hashlib.sha1(address.encode()).hexdigest()).is_file()
