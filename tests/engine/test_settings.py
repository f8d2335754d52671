"""Settings are checked when a cache is made."""

from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, ConfigError


@pytest.mark.parametrize(
    "wrong",
    [{"ttl": 0}, {"max_bytes": "many"}, {"max_bytes": 0}, {"max_entries": -1}, {"eviction": "best"},
     {"namespace": ""}, {"local_ttl": -1}, {"stale_if_error": -1}, {"encryption_keys": [b"x"]},
     {"ttl": "3600"}, {"ttl": True}, {"namespace": 7}, {"encryption_keys": ["k" * 32]}, {"max_entries": 1.5},
     {"encryption_keys": b"k" * 32}, {"timeout_seconds": -1}, {"store": ""}, {"store": Path("x.db")},
     {"store_requests": "false"}, {"totals": "no"}, {"cache_empty": 1}, {"cache_truncated": None},
     {"local_ttl": "5"},
     {"local_ttl": True}, {"lease_seconds": "30"}, {"lease_seconds": float("nan")}, {"local_max_entries": 1.5},
     {"local_max_entries": True}, {"local_max_entries": "9"}, {"max_wait": "60"}, {"access_log": 7}, {"clock": 0.0},
     {"admission": ""}, {"eviction": None}, {"stale_if_error": "1"}, {"stale_while_revalidate": False}],
)  # fmt: skip
def test_an_invalid_setting_is_refused_at_construction(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Cache(**{"store": "memory://", **wrong})


def test_an_object_that_is_no_store_is_not_shown() -> None:
    class Model:
        def __repr__(self) -> str:
            return "Model(headers={'Authorization': 'secret'})"

    with pytest.raises(ConfigError, match="got an object of Model") as raised:
        Cache(Model())  # type: ignore[arg-type]
    assert "secret" not in str(raised.value)


def test_semantic_is_no_number() -> None:
    with pytest.raises(ConfigError, match=r"not a float"):
        Cache("memory://", semantic=0.9)  # type: ignore[arg-type]


async def _is_short(answer: object) -> bool:
    return len(str(answer)) < 100


def test_a_predicate_that_must_be_awaited_is_refused() -> None:
    with pytest.raises(ConfigError, match="asynchronous"):
        Cache("memory://", cache_if=_is_short)
