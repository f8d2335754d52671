"""One cache for equal settings."""

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, ConfigError
from askonce.cache import shared_cache
from askonce.llama_index import AskOnceKVStore
from askonce.stores.memory import MemoryStore


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


def test_equal_urls_and_options_share_one_cache(url: str) -> None:
    one = shared_cache(url, {"ttl": 5})
    assert shared_cache(url, {"ttl": 5}) is one
    with shared_cache(url, {"ttl": 6}) as other:
        assert other is not one
    assert shared_cache(one, {}) is one
    with pytest.raises(ConfigError, match="ttl"):
        shared_cache(one, {"ttl": 5})
    one.close()
    with shared_cache(url, {"ttl": 5}) as another:
        assert another is not one


@pytest.mark.parametrize("make", [Cache, AskOnceKVStore, lambda url: shared_cache(url, {})])
def test_caches_in_memory_are_each_their_own(make: Callable[[str], Any]) -> None:
    one, other = make("memory://"), make("memory://")
    assert getattr(one, "cache", one).store is not getattr(other, "cache", other).store


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda made: pickle.loads(pickle.dumps(made))])
def test_a_copy_of_a_cache_has_the_same_store_and_settings(way: Callable[[Cache], Cache], url: str) -> None:
    with Cache(url, ttl=60, namespace="mine") as cache:
        again = way(cache)
        again.close()
        assert (again.store.url, again.namespace, again.engine.settings.ttl) == (url, "mine", 60)


@pytest.mark.parametrize(
    "make", [lambda: Cache("memory://"), lambda: Cache("Memory://"), lambda: Cache(MemoryStore())]
)
def test_a_cache_of_this_process_alone_is_copied_as_itself_and_not_pickled(make: Callable[[], Cache]) -> None:
    cache = make()
    assert copy.deepcopy([cache]) == [cache]
    with pytest.raises(TypeError, match="URL"):
        pickle.dumps(cache)
