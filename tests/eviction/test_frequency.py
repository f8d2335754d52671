"""The sketch of frequencies, and what it does for admission."""

from __future__ import annotations

import random
from hashlib import blake2b

import pytest

from askonce import Cache
from askonce.entries.entry import Answer, Hit, Usage
from askonce.errors import ConfigError
from askonce.eviction.frequency import FrequencySketch
from askonce.keys.normal_form import NormalForm
from askonce.stores.memory import MemoryStore


def key(number: int) -> bytes:
    return blake2b(number.to_bytes(8), digest_size=32).digest()


def test_frequent_keys_are_counted_among_many_seen_once() -> None:
    sketch = FrequencySketch()
    for number in range(100_000):
        sketch.add(key(number))
        if number % 1000 < 20:
            sketch.add(key(-1 - number % 1000 & 0xFFFF_FFFF), 2)
    assert [sketch[key(-1 - number & 0xFFFF_FFFF)] for number in range(20)] == [200] * 20
    assert sum(sketch[key(number)] for number in range(100_000)) / 100_000 < 1.2
    assert sum(sketch[key(number)] for number in range(200_000, 300_000)) / 100_000 < 0.2


def test_former_popularity_fades() -> None:
    sketch = FrequencySketch()
    sketch.add(key(1), 400_000)
    assert sketch[key(1)] == 65_535
    for _ in range(10):
        sketch.add(key(2), 100_000)
    assert sketch[key(1)] == 32_767


def pack(answer: bytes) -> Answer:
    return Answer(answer, Usage(1000, 100), "gpt-4o")  # all cost the same


@pytest.mark.parametrize("eviction", ["gdsf", "lec", "lfu"])
def test_a_scan_does_not_evict_frequently_requested_answers(eviction: str) -> None:
    dice = random.Random(3)

    def hit_rate(admission: str) -> float:
        hits = requested = 0
        settings = {"eviction": eviction, "admission": admission, "max_entries": 40}
        with Cache(MemoryStore(), **settings) as cache:  # type: ignore[arg-type]
            for number in range(2500):
                popular = dice.random() < 0.5
                question = dice.randrange(50) if popular else 1000 + number
                request = cache.engine.request("answer", lambda: NormalForm({"question": question}))  # noqa: B023
                assert request is not None
                found = cache.engine.answer(request, lambda: b"answer", pack)
                cache.engine.flow.events.flush()
                hits += popular and isinstance(found, Hit)
                requested += popular
        return hits / requested

    assert hit_rate("cost") > hit_rate("always") + 0.05


def test_lru_refuses_admission_by_cost() -> None:
    with pytest.raises(ConfigError, match="ranks the newest entry highest"):
        Cache("memory://", eviction="lru", admission="cost")
    with pytest.raises(ConfigError, match="'always' or 'cost'"):
        Cache("memory://", admission="often")  # type: ignore[arg-type]
