"""What a multiplexer over a cache with a key writes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from askonce import Cache
from askonce.langchain import Multiplexer
from askonce.routing import Learned
from askonce.stores import Record
from askonce.stores.memory import MemoryStore

KEY = bytes(range(32))


class Watched(MemoryStore):
    """Records all that is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def put(self, namespace: str, records: Sequence[Record], *rest: Any, **more: Any) -> int:
        self.written += [record.value for record in records]
        return super().put(namespace, records, *rest, **more)

    def log_append(self, namespace: str, event: bytes, *rest: Any, **more: Any) -> Any:
        self.written.append(event)
        return super().log_append(namespace, event, *rest, **more)


def embedding(text: str = "") -> list[float]:
    """Of length one, and to be known again among other bytes."""
    return [at / 4 for at in (1, -1, 1, 1, -1, 1, 1, 1, -1, -1, 1, -1, 1, 1, -1, 1)]


def is_in(store: Watched) -> bool:
    """Whether the embedding was written, or a multiple of it."""
    wanted = np.array(embedding())
    for event in store.written:
        for kind, at in itertools.product((np.float16, np.float32, np.float64), range(8)):
            size = np.dtype(kind).itemsize
            numbers = (
                np.frombuffer(event, kind, (len(event) - at) // size, at) if len(event) > at + 16 * size else ()
            )
            for first in range(len(numbers) - 15):
                with np.errstate(all="ignore"):
                    found = np.asarray(numbers[first : first + 16], np.float64)
                if not np.isfinite(found).all() or np.abs(found).max() > 1e6:
                    continue
                length = math.sqrt(math.fsum(found * found))
                if length > 1e-3 and abs(math.fsum(found * wanted)) / length > 0.9999:
                    return True
    return False


@pytest.mark.parametrize("learns", ["judge", "feedback"])
def test_a_multiplexer_over_a_sealed_cache_writes_no_embedding_of_a_question(learns: str) -> None:
    store = Watched()
    outcomes: dict[str, Any] = {"judge": lambda *_: True} if learns == "judge" else {"feedback": True}
    strategy = Learned(min_quality=0.1, seed=1, embed=embedding, **outcomes)
    models = [FakeListChatModel(responses=["so"]), FakeListChatModel(responses=["so", "no"])]
    with Cache(store, encryption_keys=[KEY]) as cache:
        model = Multiplexer(models, strategy=strategy, store=cache, costs=(0.001, 0.01))
        for number in range(20):
            model.invoke(f"question {number}")
        model.close()
    assert store.written
    assert not is_in(store)
