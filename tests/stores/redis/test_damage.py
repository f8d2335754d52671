"""What somebody else has damaged in a server is a miss that is made anew, never an error."""

from __future__ import annotations

import pytest
import redis

from askonce import Cache
from askonce.stores.redis.plans import shard
from tests.stores.damage import answers_anew
from tests.stores.redis.conftest import PATIENT
from tests.support import servers


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 7, b"\xff" * 27, b"\xff" * 60], ids=len)
@pytest.mark.parametrize("of", ["values", "records"])
def test_damaged_fields_are_misses_and_written_anew(
    server: servers.Server, admin: redis.Redis, space: str, of: str, damage: bytes
) -> None:
    hashes = getattr(shard(space, 0), of)
    with Cache(server.url, namespace=space, timeout_seconds=PATIENT, max_entries=10) as cache:

        def damage_all() -> None:
            damaged = admin.hkeys(hashes)
            assert damaged
            admin.hset(hashes, mapping=dict.fromkeys(damaged, damage))
            assert len(list(cache.store.page(space).records)) <= len(damaged)

        answers_anew(cache, damage_all)
        assert cache.stats().errors == 0
