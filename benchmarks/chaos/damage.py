"""Files that were damaged at rest."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from askonce import Cache
from askonce.errors import ConfigError
from benchmarks.chaos.load import answer_to, payload

QUESTIONS = 60
Damage = Callable[[bytearray, random.Random], None]


def bits_flipped(data: bytearray, chance: random.Random) -> None:
    for _ in range(30):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def bit_flipped(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def page_zeroed(data: bytearray, chance: random.Random) -> None:
    at = 4096 * chance.randrange(len(data) // 4096)
    data[at : at + 4096] = bytes(4096)


def page_of_noise(data: bytearray, chance: random.Random) -> None:
    at = 4096 * chance.randrange(len(data) // 4096)
    data[at : at + 4096] = chance.randbytes(4096)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


KINDS: list[Damage] = [bits_flipped, bit_flipped, page_zeroed, page_of_noise, cut]


@contextmanager
def default_file(folder: Path) -> Iterator[Path]:
    """The default store is in this folder."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield folder / "askonce" / "cache-1.db"
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def answer_all(cache: Cache, seen: Counter[str]) -> None:
    for number in range(QUESTIONS):
        question = f"stored {number}"
        try:
            answer, was_hit = answer_to(cache, question)
        except Exception:
            seen["errors"] += 1
            continue
        seen["wrong"] += answer != payload(question)
        seen["served" if was_hit else "made anew"] += 1


def damaged(files: int, seed: int) -> list[tuple[str, ...]]:
    """Damage files in many ways; half of them are the default one, the others are named."""
    chance, rows = random.Random(seed), []
    for is_default in (True, False):
        seen: Counter[str] = Counter()
        with tempfile.TemporaryDirectory() as folder, default_file(Path(folder)) as file:
            url = None if is_default else f"sqlite:///{file}"
            with Cache(url) as cache:
                answer_all(cache, Counter())
            whole = file.read_bytes()
            for number in range(files // 2):
                for one in file.parent.iterdir():
                    one.unlink()
                data = bytearray(whole)
                KINDS[number % len(KINDS)](data, chance)
                file.write_bytes(data)
                try:
                    with Cache(url, timeout_seconds=5) as cache:
                        answer_all(cache, seen)
                except ConfigError:
                    seen["refused"] += 1
                except Exception:
                    seen["errors"] += 1
                seen["set aside"] += any(one.suffix == ".damaged" for one in file.parent.iterdir())
        counts = (seen[one] for one in ("refused", "set aside", "served", "made anew", "wrong", "errors"))
        name = "the default file" if is_default else "a file that was named"
        rows.append((name, f"{files // 2:,}", *(f"{one:,}" for one in counts)))
    return rows
