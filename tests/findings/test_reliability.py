"""What stores, damaged data and other threads may do to an application, and what leaves it unsealed."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from typing import Any

import pytest

from askonce import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.stores.memory import MemoryStore

KEY = bytes(range(32))
PAYLOAD = bytes(range(256)) * 2


def named(cache: Cache, question: object) -> Request:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}))
    assert request is not None
    return request


def send(cache: Cache, question: object) -> tuple[str, bytes]:
    found = cache.engine.answer(named(cache, question), lambda: PAYLOAD, Answer)
    return (found.kind, found.entry.payload) if isinstance(found, Hit) else ("fresh", found)


def program(code: str, *arguments: object, seconds: float = 20.0) -> subprocess.CompletedProcess[str]:
    """Run a program of its own; one that hangs is killed."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


# -- threads, tasks and processes ----------------------------------------------------------------------------------


# -- damaged data --------------------------------------------------------------------------------------------------


def damaged(change: Callable[[bytes], Any]) -> Cache:
    """A cache that holds the answer to ``why?``, as damage to its store has left it."""

    class Damaged(MemoryStore):
        def get(self, namespace: str, key: bytes) -> Any:
            value = super().get(namespace, key)
            return None if value is None else change(value)

    cache = Cache(Damaged())
    send(cache, "why?")
    return cache


def test_a_flipped_bit_never_gives_another_answer() -> None:
    wrong = 0
    for at in range(18, 18 + len(PAYLOAD), 7):
        cache = damaged(lambda value, at=at: value[:at] + bytes((value[at] ^ 1,)) + value[at + 1 :])  # type: ignore[misc]
        wrong += send(cache, "why?")[1] != PAYLOAD
    assert wrong == 0


def nested(value: bytes) -> bytes:
    """The entry in MessagePack by hand, with a further field that is nested deeply."""
    body = b"\x9a\xc4\x01a\xcb" + bytes(8) + b"\xc0\x00\xc0\x94\0\0\0\0\x90\x90\xc0" + b"\x91" * 3000 + b"\xc0"
    return value[:18] + body


@pytest.mark.parametrize("change", [nested, lambda value: 5], ids=["nested deeply", "a number"])
def test_an_entry_that_cannot_be_decoded_is_a_miss(change: Callable[[bytes], Any]) -> None:
    assert send(damaged(change), "why?") == ("fresh", PAYLOAD)
