"""What somebody else has damaged in a server is a miss that is made anew, never an error."""

from __future__ import annotations

import pytest
import redis

from askonce import Cache
from askonce.stores.redis.plans import shard
from tests.stores.redis.conftest import PATIENT
from tests.support import servers
from tests.support.application import Application

QUESTIONS = [f"question {number}" for number in range(5)]


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 7, b"\xff" * 27, b"\xff" * 60], ids=len)
@pytest.mark.parametrize("of", ["values", "records"])
def test_damaged_fields_are_misses_and_written_anew(
    server: servers.Server, admin: redis.Redis, space: str, of: str, damage: bytes
) -> None:
    hashes = getattr(shard(space, 0), of)
    with Cache(server.url, namespace=space, timeout_seconds=PATIENT, max_entries=10) as cache:
        application = Application(cache)
        for question in QUESTIONS:
            application.answer(question)
        cache.flush()
        admin.hset(hashes, mapping=dict.fromkeys(admin.hkeys(hashes), damage))
        assert len(list(cache.store.page(space).records)) <= len(QUESTIONS)
        for question in QUESTIONS:
            assert application.answer(question).endswith(f"{question}!")
        for question in QUESTIONS:
            assert application.answer(question) == f"exact: {question}!"
        for number in range(12):  # evicts
            application.answer(f"another {number}")
        cache.flush()
        assert 0 < len(list(cache.entries())) <= 10
        assert cache.stats().errors == 0
