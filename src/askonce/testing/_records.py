"""Records: reading, writing, expiry, tags and namespaces."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from askonce.eviction.policy import UNLIMITED, Budget
from askonce.stores.base import Record, Size, Store
from askonce.testing._fixtures import StoreFixtures
from askonce.testing.clock import FakeClock
from askonce.testing.driver import StoreDriver

ODD_TAGS = ["doc:1", "doc:12", "two words", "größe ✓", "a\0b", "*", "x" * 200]
ODD_NAMESPACES = ["a", "a:b", "a/b", "{x}", "ü %", "*"]


class RecordTests(StoreFixtures):
    """What one caller sees of records."""

    # -- reading and writing ---------------------------------------------------------------------------------

    def test_get_returns_what_was_put_last(self, store: StoreDriver, space: str) -> None:
        assert store.get(space, b"k") is None
        assert store.put(space, [Record(b"k", b"one"), Record(b"other", b"x")]) == 0
        assert store.get(space, b"k") == b"one"
        store.put(space, [Record(b"k", b"two"), Record(b"k", b"three")])
        assert store.get(space, b"k") == b"three"
        assert store.size(space) == Size(2, 6)

    def test_get_many_preserves_order_duplicates_and_gaps(self, store: StoreDriver, space: str) -> None:
        store.put(space, [Record(b"a", b"1"), Record(b"b", b"2")])
        assert store.get_many(space, [b"b", b"none", b"a", b"b"]) == [b"2", None, b"1", b"2"]
        assert store.get_many(space, []) == []
        many = [b"%d" % number for number in range(1500)]
        assert store.get_many(space, [*many, b"a"]) == [None] * 1500 + [b"1"]

    def test_empty_calls_do_nothing(self, store: StoreDriver, space: str) -> None:
        assert store.put(space, []) == store.delete(space, []) == store.evict(space, UNLIMITED) == 0
        store.touch(space, {})
        store.clear(space)
        assert store.size(space) == Size()
        assert store.scan(space) == []

    @pytest.mark.parametrize("key", [b"\0", b"k" * 64, bytes(range(64)), bytes(range(192, 256))])
    def test_keys_and_values_are_any_bytes(self, store: StoreDriver, space: str, key: bytes) -> None:
        for value in (b"", b"\0", bytes(range(256)), "ü".encode(), b"x" * 100_000):
            store.put(space, [Record(key, value)])
            assert store.get(space, key) == value
            assert store.scan(space) == [(key, value)]
            assert store.size(space) == Size(1, len(value))

    def test_a_value_can_have_ten_megabytes(self, store: StoreDriver, space: str) -> None:
        value = random.Random(1).randbytes(10_000_000)
        store.put(space, [Record(b"large", value)], Budget(max_bytes=1_000_000_000))
        assert store.get(space, b"large") == value
        store.delete(space, [b"large"])

    def test_delete_returns_how_many_there_were(self, store: StoreDriver, space: str) -> None:
        store.put(space, [Record(b"a", b"1"), Record(b"b", b"22")])
        assert store.delete(space, [b"a", b"none", b"a"]) == 1
        assert store.get(space, b"a") is None
        assert store.size(space) == Size(1, 2)

    def test_scan_returns_each_record_once_over_many_pages(self, store: StoreDriver, space: str) -> None:
        content = {b"key %d" % number: b"value %d" % number for number in range(self.scan_records)}
        records = [Record(key, value) for key, value in content.items()]
        for start in range(0, len(records), 500):
            store.put(space, records[start : start + 500])
        rows = store.scan(space)
        assert len(rows) == len(content)
        assert dict(rows) == content
        store.clear(space)
        assert store.scan(space) == []

    def test_pages_return_each_record_as_it_was_put(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        put = [
            Record(b"%d" % n, b"v" * 100 + b"%d" % n, clock() + n if n % 2 else None, n / 2, ("t",), 1 + n % 3)
            for n in range(1, 301)
        ]
        for start in range(0, len(put), 100):
            store.put(space, put[start : start + 100])
        store.touch(space, {b"7": 5})
        clock.advance(3)
        found: dict[bytes, Record] = {}
        cursor, pages = b"", 0
        while pages == 0 or cursor:
            page = store.page(space, cursor, 20)
            assert len(page.records) <= 60
            found |= {one.key: one for one in page.records}
            cursor, pages = page.cursor, pages + 1
        assert pages > 4
        live = [one for one in put if one.key not in (b"1", b"3")]
        expected = {one.key: msgspec.structs.replace(one, tags=()) for one in live}
        expected[b"7"] = msgspec.structs.replace(expected[b"7"], hits=expected[b"7"].hits + 5)
        assert found == expected
        assert store.page(space + "none", b"", 20).records == []

    def test_namespaces_are_listed_while_they_hold_something(self, store: StoreDriver, space: str) -> None:
        names = [space + odd for odd in ODD_NAMESPACES]
        assert not set(names) & set(store.namespaces())
        for name in names[1:]:
            store.put(name, [Record(b"k", b"v")])
        store.log_append(names[0], b"event")
        assert set(names) <= set(store.namespaces())
        store.erase(dict.fromkeys(names))

    def test_what_deletes_creates_no_namespace(self, store: StoreDriver, space: str) -> None:
        store.put(space, [Record(b"k", b"v")])
        for absent in (f"{space}none", f"{space}/none"):
            store.clear(absent)
            assert store.delete(absent, [b"k"]) == 0
            assert store.delete_tag(absent, "t") == 0
            assert store.evict(absent, Budget(max_entries=1)) == 0
            assert store.erase({absent: [b"k"]}) == 0
            store.touch(absent, {b"k": 1})
            store.release(absent, b"k", "me")
            assert store.erase({absent: None}) == 0
            assert absent not in store.namespaces()

    def test_erased_records_and_namespaces_are_gone(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        whole, other = f"{space}/whole", f"{space}/other"
        for name in (space, whole, other):
            store.put(name, [Record(b"a", b"1", tags=("t",)), Record(b"b", b"2"), Record(b"c", b"3", clock() + 1)])
            last = store.log_append(name, b"event")
        clock.advance(1)
        assert store.erase({}) == 0
        assert store.erase({space: [b"a", b"none", b"c"], whole: None}) == 3
        assert store.get_many(space, [b"a", b"b"]) == [None, b"2"]
        assert store.size(space) == Size(1, 1)
        assert [event for _, event in store.log_read(space, 0).events] == [b"event"]
        assert store.size(whole) == Size()
        assert store.page(whole).records == []
        assert store.log_read(whole, 0).head < last  # so that its readers notice
        assert whole not in store.namespaces()
        assert store.size(other) == Size(2, 2)
        assert {space, other} <= set(store.namespaces())
        store.put(whole, [Record(b"a", b"4")])
        assert store.log_append(whole, b"next") > last
        assert store.scan(whole) == [(b"a", b"4")]
        assert whole in store.namespaces()

    def test_a_second_store_sees_the_same_data(
        self, store: StoreDriver, open: Callable[..., Store], clock: FakeClock, space: str
    ) -> None:
        store.put(space, [Record(b"k", b"v")])
        second = open(clock=clock)
        assert second.get(space, b"k") == b"v"
        second.delete(space, [b"k"])
        assert store.get(space, b"k") is None
        second.close()

    # -- expiry ----------------------------------------------------------------------------------------------

    def test_a_record_exists_until_it_expires(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        store.put(space, [Record(b"k", b"v", clock() + 10), Record(b"ever", b"v")])
        clock.advance(9)
        assert store.get_many(space, [b"k", b"ever"]) == [b"v", b"v"]
        assert store.size(space) == Size(2, 2)
        clock.advance(1)
        assert store.get(space, b"k") is None
        assert store.get_many(space, [b"k", b"ever"]) == [None, b"v"]
        clock.advance(10 * 365 * 86_400)
        assert store.get(space, b"ever") == b"v"

    @pytest.mark.parametrize("seen_first_by", ["scan", "size", "delete", "delete_tag", "touch", "evict", "put"])
    def test_no_method_returns_an_expired_record(
        self, store: StoreDriver, space: str, clock: FakeClock, seen_first_by: str
    ) -> None:
        store.put(space, [Record(b"k%d" % n, b"vv", clock() + 5, 9.0, ("t",)) for n in range(3)])
        store.put(space, [Record(b"live", b"v", clock() + 50, 1.0, ("live",))])
        clock.advance(5)
        calls: dict[str, tuple[tuple[Any, ...], Any]] = {
            "scan": ((), [(b"live", b"v")]),
            "size": ((), Size(1, 1)),
            "delete": (([b"k0", b"k1"],), 0),
            "delete_tag": (("t",), 0),
            "touch": (({b"k0": 3},), None),
            "evict": ((Budget(max_entries=1),), 0),
            "put": (([Record(b"live", b"v")], Budget(max_entries=1)), 0),
        }
        args, expected = calls[seen_first_by]
        if self.exact_eviction or seen_first_by not in ("evict", "put"):
            assert getattr(store, seen_first_by)(space, *args) == expected
        assert store.size(space) == Size(1, 1)
        assert store.scan(space) == [(b"live", b"v")]
        assert store.get(space, b"k0") is None

    def test_an_overwrite_sets_its_own_expiry(self, store: StoreDriver, space: str, clock: FakeClock) -> None:
        store.put(space, [Record(b"a", b"1", clock() + 5), Record(b"b", b"1"), Record(b"c", b"1", clock() + 5)])
        store.put(space, [Record(b"a", b"2"), Record(b"b", b"2", clock() + 5), Record(b"c", b"2", clock() + 9)])
        clock.advance(5)
        assert store.get_many(space, [b"a", b"b", b"c"]) == [b"2", None, b"2"]
        assert store.size(space) == Size(2, 2)
        store.put(space, [Record(b"b", b"3")])
        assert store.get(space, b"b") == b"3"

    def test_a_record_put_after_its_expiry_does_not_exist(
        self, store: StoreDriver, space: str, clock: FakeClock
    ) -> None:
        store.put(space, [Record(b"k", b"old")])
        store.put(space, [Record(b"k", b"new", clock() - 1)])
        assert store.get(space, b"k") is None
        assert store.size(space) == Size()

    def test_expiry_follows_the_real_clock(
        self, open: Callable[..., Store], loop: asyncio.Runner | None, space: str
    ) -> None:
        store = StoreDriver(open(), loop)
        store.size(space)  # connects, which may take a while
        expires_at = time.time() + 0.3
        store.put(space, [Record(b"k", b"v", expires_at, tags=("t",)), Record(b"long", b"v", expires_at + 99)])
        assert store.get(space, b"k") == b"v" or time.time() >= expires_at
        time.sleep(max(expires_at - time.time(), 0) + 0.05)
        assert store.get_many(space, [b"k", b"long"]) == [None, b"v"]
        assert store.size(space) == Size(1, 1)
        store.close()
        store.store.close()

    # -- tags ------------------------------------------------------------------------------------------------

    def test_delete_tag_deletes_what_has_exactly_that_tag(self, store: StoreDriver, space: str) -> None:
        for number, tag in enumerate(ODD_TAGS):
            store.put(space, [Record(b"%d" % number, b"vv", tags=(tag, "all", tag))])
        store.put(space, [Record(b"untagged", b"v")])
        for number, tag in enumerate(ODD_TAGS[:-2]):
            assert store.delete_tag(space, tag) == 1
            assert store.get(space, b"%d" % number) is None
            assert store.delete_tag(space, tag) == 0
        assert store.delete_tag(space, "al") == store.delete_tag(space, "") == 0
        assert store.delete_tag(space, "all") == 2
        assert store.scan(space) == [(b"untagged", b"v")]
        assert store.size(space) == Size(1, 1)

    @pytest.mark.parametrize("change", ["overwrite", "delete", "evict", "clear", "expire", "delete_tag"])
    def test_tags_are_deleted_with_their_record(
        self, store: StoreDriver, space: str, clock: FakeClock, change: str
    ) -> None:
        store.put(space, [Record(b"k", b"v", clock() + 5, tags=("old", "both"))])
        if change == "evict":
            store.put(space, [Record(b"x" * 8, b"x" * 64_000)], Budget(max_bytes=64_000))
            store.evict(space, Budget(max_bytes=1))
        elif change == "expire":
            clock.advance(5)
        elif change != "overwrite":
            args: dict[str, tuple[Any, ...]] = {"delete": ([b"k"],), "clear": (), "delete_tag": ("both",)}
            getattr(store, change)(space, *args[change])
        store.put(space, [Record(b"k", b"v", tags=("new", "both"))])
        assert store.delete_tag(space, "old") == 0
        assert store.get(space, b"k") == b"v"
        assert store.delete_tag(space, "new") == 1
        assert store.delete_tag(space, "both") == 0

    # -- namespaces ------------------------------------------------------------------------------------------

    def test_namespaces_are_separate(self, store: StoreDriver, space: str) -> None:
        names = [space + odd for odd in ODD_NAMESPACES]
        for number, name in enumerate(names):
            store.put(name, [Record(b"k", b"%d" % number, tags=("t",)), Record(b"k2", b"more")])
        for number, name in enumerate(names):
            assert store.get(name, b"k") == b"%d" % number
            assert sorted(store.scan(name)) == [(b"k", b"%d" % number), (b"k2", b"more")]
        for number, name in enumerate(names):
            assert store.delete_tag(name, "t") == 1
            store.clear(name)
            assert store.size(name) == Size()
            assert all(store.size(other) == Size(2, 5) for other in names[number + 1 :])

    def test_clear_leaves_log_and_leases(self, store: StoreDriver, space: str) -> None:
        store.put(space, [Record(b"k", b"v", tags=("t",))])
        assert store.lease(space, b"k", "anna", 60)
        head = store.log_append(space, b"event")
        store.clear(space)
        assert store.get(space, b"k") is None
        assert not store.lease(space, b"k", "bert", 60)
        assert store.log_read(space, 0).events == [(head, b"event")]
        assert store.log_append(space, b"next") == head + 1
