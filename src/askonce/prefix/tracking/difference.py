"""The smallest difference of two texts, and what it looks like."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

_WORD = re.compile(r"[\w:.+/-]*\Z"), re.compile(r"\A[\w:.+/-]*")
_LONGEST_SHOWN = 80

_MONTH = r"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*"
_DAY = rf"(mon|tues|wednes|thurs|fri|satur|sun)day|{_MONTH} \d{{1,2}}|\d{{1,2}}\.? {_MONTH}"
_LOOKS = (
    ("a uuid", re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.IGNORECASE)),
    (
        "a clock",
        re.compile(r"(\d{4}-\d\d-\d\d[T ])?(?<!\d)\d{1,2}:\d\d(:\d\d)?(\.\d+)?( ?[ap]m)?Z?", re.IGNORECASE),
    ),
    ("a date", re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./]\d{1,2}[./]\d{2,4}", re.IGNORECASE)),
    ("a date", re.compile(_DAY, re.IGNORECASE)),
    ("a time stamp", re.compile(r"1[5-9]\d{8}(\d{3}|\.\d+)?")),
)
_COUNTER = re.compile(r"\d{1,9}")
_RANDOM = re.compile(r"(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{6,}")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two texts differ.

    Attributes:
        first: the first character that differs, counted from 1.
        last: the last one, in the newer text.
        before: what stood there, whole words, shortened.
        now: what stands there now.
        looks_like: ``a clock``, ``a date``, ``a time stamp``, ``a uuid``, ``a counter``, ``a random id``,
            ``reordered JSON keys`` or ``""``.
    """

    first: int
    last: int
    before: str
    now: str
    looks_like: str = ""

    def __str__(self) -> str:
        looks = f"; looks like {self.looks_like}" if self.looks_like else ""
        return f"characters {self.first}–{self.last}: {self.before!r}, now {self.now!r}{looks}"


def difference(before: str, now: str) -> Difference:
    """The smallest stretch in which two texts differ, widened to whole words."""
    start = _shared(before, now)
    end = _shared(before[start:][::-1], now[start:][::-1])
    start -= len(_match(_WORD[0], now[:start][-64:]))
    end -= len(_match(_WORD[1], now[len(now) - end :][:64])) if end else 0
    old, new = before[start : len(before) - end], now[start : len(now) - end]
    return Difference(
        start + 1, max(start + 1, len(now) - end), _shown(old), _shown(new), _look(before, now, old, new)
    )


def _shared(one: str, other: str) -> int:
    """How many characters two texts share at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def _match(pattern: re.Pattern[str], text: str) -> str:
    found = pattern.search(text)
    return found.group() if found else ""


def _shown(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN // 2]}…{text[-_LONGEST_SHOWN // 2 :]}"


def _look(before: str, now: str, old: str, new: str) -> str:
    for name, pattern in _LOOKS:
        if pattern.search(old) and pattern.search(new) and _shape(pattern, old) == _shape(pattern, new):
            return name
    if _COUNTER.fullmatch(old.strip(".,:#")) and _COUNTER.fullmatch(new.strip(".,:#")):
        return "a counter"
    if _same_json(before, now):
        return "reordered JSON keys"
    if _RANDOM.search(old) and _RANDOM.search(new) and len(old) < 100 and len(new) < 100:
        return "a random id"
    return ""


def _shape(pattern: re.Pattern[str], text: str) -> str:
    """The text around what varies: if that is equal, nothing else changed."""
    return re.sub(r"\s+", " ", pattern.sub("", text)).strip()


def _same_json(before: str, now: str) -> bool:
    if len(before) != len(now) or not before.startswith(("{", "[")):
        return False
    try:
        return bool(json.loads(before) == json.loads(now))
    except ValueError:
        return False
