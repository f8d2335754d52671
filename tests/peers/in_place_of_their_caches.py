"""A pytest plugin for the tests of other packages: askonce stands where they use caches of their own.

The store is that of the environment variable ``ASKONCE_TEST_STORE``. What their tests demand and askonce does on
purpose in another way is expected to fail, each with its reason.
"""

from __future__ import annotations

import os
from itertools import count
from typing import Any

import pytest

from askonce.langchain import AskOnceCache
from askonce.langchain.models.answers import unpack

CACHES = frozenset({"InMemoryCache", "PatchedMongoDBCache", "get_sqlite_cache"})
ON_PURPOSE = {
    "test_initialization": "it is of LangChain's maxsize",
    "test_update_with_maxsize": "it is of LangChain's maxsize",
    "test_aupdate_with_maxsize": "it is of LangChain's maxsize",
    "test_can_swap_caches": "it copies a private dict of LangChain's cache",
    "test_mongodb_cache[True-PatchedMongoDBCache-cache_with_chat]": "a hit has its mark and an id of its own",
    "test_mongodb_cache[False-PatchedMongoDBCache-cache_with_chat]": "a hit has its mark and an id of its own",
}
namespaces = count()


class InPlace(AskOnceCache):
    """What it holds is seen where their tests look for it."""

    @property
    def _cache(self) -> dict[str, Any]:
        return {str(number): unpack(entry.payload) for number, entry in enumerate(self.cache.entries())}

    def __len__(self) -> int:
        return len(self._cache)

    def __bool__(self) -> bool:
        return True


def in_place(*_: Any, **__: Any) -> AskOnceCache:
    """A cache that shares nothing with another one."""
    return InPlace(os.environ["ASKONCE_TEST_STORE"], namespace=f"peers {os.getpid()} {next(namespaces)}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        module = getattr(item, "module", None)
        for name in CACHES & vars(module).keys():
            setattr(module, name, in_place)
        given = getattr(item, "callspec", None)
        for name, value in {} if given is None else given.params.items():
            if getattr(value, "__name__", "") in CACHES:
                given.params[name] = in_place
        reason = ON_PURPOSE.get(item.name)
        if reason is not None:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
