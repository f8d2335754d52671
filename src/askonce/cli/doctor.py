"""``askonce doctor``: whether the store is set up as it should be, and from where the settings come."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.table import Column, Table

from askonce.cache import Cache
from askonce.cli.common import AsJson, Namespace, StoreUrl, out, print_json, size, span
from askonce.cli.opened import NoStoreYet, UnusableStore, filled_page, has_readable, opened_cache, other_namespaces
from askonce.cli.version import versions
from askonce.costs.figures import number_of
from askonce.entries.entry import Place
from askonce.errors import ConfigError, ForeignStoreError, StoreError
from askonce.storage.sealed_store import SealedStore, unknown_namespaces
from askonce.stores import redact, trial
from askonce.stores.base import Record, Store
from askonce.stores.circuit_breaker import StoreDown
from askonce.stores.configured import KEYS_VARIABLE, default_settings, default_store, encryption_keys
from askonce.stores.sqlite.file import check_creatable

Level = Literal["ok", "warning", "problem"]
MOST_SKEW_SECONDS = 1.0
MOST_WAL_BYTES = 64 * 2**20
LEAST_FREE_BYTES = 500_000_000
MOST_MEMORY = 0.9
SCRATCH = "askonce doctor"
ADVICE = {
    "clock skew": "synchronize this machine's clock and the server's (NTP): expiry and leases follow them",
    "facts of the server": "allow INFO and TIME, so that clocks and memory can be looked at",
    "permissions": "others on this machine can read the file: chmod 600",
    "permissions of the folder": "everybody may put files there: use a folder of your own",
    "file": "it is damaged: delete it, and let the cache fill a new one",
    "journal": "the file is not in WAL mode, as on a network file system: move it to a local disk",
    "WAL": "a process reads for very long, so that it cannot be made shorter",
    "free disk space": "free some, or limit the cache: max_bytes",
    "maxmemory-policy": "the server drops thousands of records at a time: set noeviction, and max_bytes",
    "maxmemory": "set it, so that the server does not take all memory, and max_bytes in the cache below it",
    "memory in use": "raise maxmemory, or lower max_bytes",
    "keys evicted by the server": "the server is short of memory, and drops records by itself",
    "reading the store": "until it can be read, the cache is bypassed, and models are called",
    "using the store": "no cache can be made with it: `Cache` raises this error",
    "write and read": "what was written was not found: is this a read-only replica?",
    "encrypted namespaces": f"what is in them is not counted here: give their keys in {KEYS_VARIABLE}",
    "entries": "the first request makes it, unless the application has another store or working directory",
    "unreadable entries": "they are misses: `askonce ls` shows them, `askonce delete KEY` deletes one",
    "circuit breaker": "the store is left out until it recovers",
}


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at.

    Attributes:
        name: what.
        value: what was found.
        level: whether it is as it should be.
        advice: what to do; empty if nothing is.
    """

    name: str
    value: str
    level: Level = "ok"
    advice: str = ""


def doctor(store: StoreUrl = None, namespace: Namespace = None, as_json: AsJson = False) -> None:
    """Look at the store, its server and the settings. Exit code 1 if there is a problem."""
    found = [*of_settings(store, namespace)]
    facts: dict[str, Any] = {}
    try:
        with opened_cache(store, namespace) as cache:
            before, facts, after = time.time(), cache.store.facts(), time.time()
            found += of_facts(facts, (before + after) / 2)
            found += (permissions := [*_of_permissions(cache)])
            if not _problems(permissions):
                found += _of_contents(cache)
    except NoStoreYet as error:
        found.append(_of_new_file(error.path))
    except UnusableStore as error:
        found.append(_unusable(error))
    except (StoreError, ForeignStoreError) as error:  # what is known so far is shown all the same
        found.append(_unreadable(error))
    found += [Finding(f"version of {name}", one) for name, one in versions().items()]
    if as_json:
        print_json({"findings": found, "facts": facts})
    else:
        table = Table(Column(no_wrap=True), *(Column(overflow="fold") for _ in range(2)), show_header=False)
        for one in found:
            mark = {"ok": "ok", "warning": "warning", "problem": "PROBLEM"}[one.level]
            table.add_row(mark, one.name, f"{one.value}\n{one.advice}".strip())
        out.print(table, markup=False)
    if problems := _problems(found):
        raise ConfigError(f"{number_of(len(problems), 'problem', 'problems')}: {', '.join(problems)}")


def _of_new_file(path: Path) -> Finding:
    try:
        check_creatable(path)
    except ConfigError as error:
        return _unusable(error)
    except StoreError as error:
        return _unreadable(error)
    return Finding("entries", "nothing is stored yet: there is no file", "warning", ADVICE["entries"])


def _unusable(error: Exception) -> Finding:
    return Finding("using the store", str(error), "problem", ADVICE["using the store"])


def _unreadable(error: Exception) -> Finding:
    return Finding("reading the store", str(error), "problem", ADVICE["reading the store"])


def _problems(found: list[Finding]) -> list[str]:
    return [one.name for one in found if one.level == "problem"]


def _of_contents(cache: Cache) -> Iterator[Finding]:
    if has_readable(cache):
        yield from _of_round_trip(cache)
    yield from _of_sealed_names(cache)
    yield from _of_entries(cache)


def of_settings(store: str | None, namespace: str | None) -> Iterator[Finding]:
    """Which store and settings hold, and from where."""
    url, where = (store, "--store") if store else default_store()
    yield Finding("store", f"{redact(url) if url else 'a SQLite file in the cache directory'} (from: {where})")
    settings, table = default_settings()
    name, where = (namespace, "--namespace") if namespace else (settings.get("namespace", "default"), table)
    yield Finding("namespace", f"{name} (from: {where if namespace or 'namespace' in settings else 'built in'})")
    for setting, value in settings.items():
        if setting != "namespace":
            yield Finding(f"setting {setting}", f"{value!r} (from: {table})")
    keys = len(encryption_keys())
    yield Finding(
        "encryption",
        f"{number_of(keys, 'key', 'keys')} (from: the variable {KEYS_VARIABLE})" if keys else "no keys",
    )


def _of_sealed_names(cache: Cache) -> Iterator[Finding]:
    """What is stored and cannot be read here."""
    if unknown := unknown_namespaces(cache.store):
        yield Finding(
            "encrypted namespaces",
            f"{unknown} cannot be read: they are encrypted with keys that {KEYS_VARIABLE} does not have",
            "warning",
            ADVICE["encrypted namespaces"],
        )


def _of_entries(cache: Cache) -> Iterator[Finding]:
    """How many there are, and whether some can be read."""
    space = cache.engine.namespace
    held = cache.store.size(space)
    yield Finding("entries", f"{held.entries:,}, {size(held.size_bytes)} of values; without those of tenants")
    if not held.entries and (elsewhere := other_namespaces(cache)):
        yield Finding("other namespaces", elsewhere)
    page = filled_page(cache.store, space)
    if unreadable := sum(
        not cache.engine.codec.can_decode(one.value, bound_to=Place(space, one.key).bound_to)
        for one in page.records
    ):
        value = f"{unreadable:,} of {len(page.records):,} that were looked at"
        yield Finding("unreadable entries", value, "warning", ADVICE["unreadable entries"])


def of_facts(facts: dict[str, Any], now: float) -> Iterator[Finding]:
    """What the server or the file says of itself, judged.

    Args:
        facts: see `askonce.stores.Store.facts`.
        now: this machine's time when the server reported its own.
    """
    if not facts:
        yield Finding("facts of the server", "it tells this user none", "warning", ADVICE["facts of the server"])
    if "version" in facts:
        yield Finding("version of the server", str(facts["version"]))
    if "clock" in facts:
        skew = abs(facts["clock"] - now)
        yield _judged("clock skew", span(skew), skew <= MOST_SKEW_SECONDS, "warning")
    if "mode" in facts:
        yield from _of_file(facts)
    if "size_bytes" in facts:
        yield Finding("size", size(facts["size_bytes"]))
    if "maxmemory_policy" in facts:
        yield from _of_memory(facts)


def _of_file(facts: dict[str, Any]) -> Iterator[Finding]:
    mode, folder_mode, wal_bytes = facts["mode"], facts["folder_mode"], facts["wal_bytes"]
    windows = os.name == "nt"  # where modes say nothing
    yield _judged("permissions", f"{mode:04o} {facts['path']}", windows or not mode & 0o077, "problem")
    yield _judged("permissions of the folder", f"{folder_mode:04o}", windows or not folder_mode & 0o002, "warning")
    yield _judged("file", facts["damage"] or "not damaged", not facts["damage"], "problem")
    yield _judged("journal", facts["journal_mode"], facts["journal_mode"] == "wal", "problem")
    yield _judged("WAL", size(wal_bytes), wal_bytes <= MOST_WAL_BYTES, "warning")
    yield _judged("free disk space", size(facts["free_bytes"]), facts["free_bytes"] >= LEAST_FREE_BYTES, "warning")


def _of_memory(facts: dict[str, Any]) -> Iterator[Finding]:
    policy, limit, evicted = facts["maxmemory_policy"], facts["limit_bytes"], facts["evicted_keys"]
    yield _judged("maxmemory-policy", policy, not policy.startswith("allkeys"), "problem")
    yield _judged("maxmemory", size(limit) if limit else "no limit", bool(limit), "warning")
    if limit:
        used = facts["size_bytes"] / limit
        yield _judged("memory in use", f"{used:.0%}", used < MOST_MEMORY, "warning")
    yield _judged("keys evicted by the server", f"{evicted:,}", not evicted, "warning")


def _judged(name: str, value: str, good: bool, level: Level) -> Finding:
    return Finding(name, value) if good else Finding(name, value, level, ADVICE[name])


def _of_permissions(cache: Cache) -> Iterator[Finding]:
    """Whether the server lets this user do all that the cache does; it may refuse a command deep in a script."""
    store: Store = cache.store.unsealed if isinstance(cache.store, SealedStore) else cache.store
    if not store.rights:
        return
    if refused := list(trial.failures(store, SCRATCH)):
        yield Finding("permissions", "\n".join(refused), "problem", f"give the user: {store.rights}")
    else:
        yield Finding("permissions", "all that is needed")
    if refused := list(trial.vector_failures(store, SCRATCH)):
        needed = f"only Semantic(search='server') needs them: {store.vector_rights}"
        yield Finding("permissions of vector search", f"none, and {needed}\n{refused[0]}")


def _of_round_trip(cache: Cache) -> Iterator[Finding]:
    """Whether the store takes, gives back and deletes a record, as through the cache's circuit breaker."""
    breaker, store = cache.engine.breaker, cache.store
    started = time.perf_counter()
    try:
        breaker.call(store.put, SCRATCH, [Record(b"doctor", b"value", time.time() + 60)])
        value = breaker.call(store.get, SCRATCH, b"doctor")
        breaker.call(store.delete, SCRATCH, [b"doctor"])
    except StoreDown:
        yield Finding("write and read", "failed", "problem", "the cache is bypassed; the log says why")
    else:
        milliseconds = 1000 * (time.perf_counter() - started)
        yield _judged("write and read", f"{milliseconds:.1f} ms", value == b"value", "problem")
    state = breaker.health.state
    yield _judged("circuit breaker", state, state == "closed", "problem")
