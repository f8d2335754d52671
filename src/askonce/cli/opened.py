"""The store and the cache that a command works on."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import unquote

from askonce.cache import Cache, check_settings
from askonce.cli.common import err, usage
from askonce.costs.figures import number_of
from askonce.engine.settings import Settings
from askonce.entries.entry import Entry, Place
from askonce.errors import CodecError, ConfigError, ForeignStoreError
from askonce.options import cache_options, check_name
from askonce.storage.sealed_store import SealedStore, is_sealed_name, unknown_namespaces
from askonce.stores import Store, default_url, redact, unchecked_store
from askonce.stores.base import Page
from askonce.stores.configured import KEYS_VARIABLE, default_store, named
from askonce.stores.memory import MemoryStore

_TIMEOUT_SECONDS = 30.0
_MOST_NAMED = 10


class NoStoreYet(ConfigError):
    """There is no file where the store should be.

    Attributes:
        path: the file.
    """

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class UnusableStore(ConfigError):
    """No cache can use the store."""


@contextmanager
def opened(url: str | None, *, new: bool = False, or_none: bool = False) -> Iterator[Store]:
    """Open a store; ``None`` for the default one.

    Args:
        url: as the user gave it.
        new: a file that does not exist is created.
        or_none: where there is no file, an empty store in memory takes its place.

    Raises:
        BadParameter: the URL that the user gave is wrong, or the store is in memory.
        NoStoreYet: there is no such file.
        UnusableStore: no cache can use it.
        ConfigError: the default URL is wrong.
        StoreUnavailable: it is down.
    """
    given, where = (url, "--store") if url is not None else default_store()
    with usage() if url is not None else named(where if given is not None else ""):
        url = given or default_url() if url is None else url
        if url.lower() == "memory://":
            raise ConfigError(
                "memory:// is in the memory of its own process, where no command sees it: give another with --store"
            )
        store = unchecked_store(url, timeout_seconds=_TIMEOUT_SECONDS)
    scheme, _, path = url.partition(":///")
    if scheme.lower() == "sqlite" and not new and not os.path.exists(Path(path).expanduser()):
        if or_none:
            yield MemoryStore()
            return
        raise NoStoreYet(
            f"there is no store in {path} (from: {where}): nothing was stored there yet, or the application has "
            "another one: --store URL",
            Path(path).expanduser(),
        )
    try:
        try:
            store.check()
        except ConfigError as error:
            if isinstance(error, ForeignStoreError):
                raise
            raise UnusableStore(str(error)) from error
        yield store
    finally:
        store.close()


@contextmanager
def opened_cache(
    url: str | None,
    namespace: str | None,
    tenants: Sequence[str] | None = None,
    *,
    new: bool = False,
    or_none: bool = False,
    access_log: str | None = None,
) -> Iterator[Cache]:
    """A cache over a store, opened as by `opened`. In effect is the namespace of the tenants, the outermost first.

    Raises:
        ConfigError: as `opened`, or a setting is wrong.
    """
    settings: Settings = {"timeout_seconds": _TIMEOUT_SECONDS}
    if namespace is not None:
        with usage():
            check_name("--namespace", namespace)
        settings["namespace"] = namespace
    if access_log is not None:
        settings["access_log"] = access_log
    check_settings(settings)  # a name that is wrong there comes before a store that is not there
    with opened(url, new=new, or_none=or_none) as store, Cache(store, **settings) as cache, in_tenants(tenants):
        yield cache


@contextmanager
def in_tenants(tenants: Sequence[str] | None) -> Iterator[None]:
    """With the namespaces of some tenants in effect, the outermost first."""
    with ExitStack() as stack:
        for tenant in tenants or ():
            with usage():
                check_name("--tenant", tenant)
            stack.enter_context(cache_options(namespace=tenant))
        yield


def stored_entry(cache: Cache, key: bytes) -> Entry | None:
    """The entry under a key in the namespace in effect, whether or not it may be used.

    Raises:
        ConfigError: it cannot be read.
    """
    place = Place(cache.engine.namespace_in_effect(), key)
    data = cache.store.get(*place)
    try:
        return None if data is None else cache.engine.codec.decode(data, bound_to=place.bound_to)
    except CodecError as error:
        what = f"the entry {key.hex()} cannot be read"
        if data is not None and not cache.engine.codec.has_key_of(data):
            raise ConfigError(f"{what}: {error}; {KEYS_VARIABLE} has the keys") from error
        raise ConfigError(
            f"{what}: {error}. It is a miss to the application; `askonce delete KEY` deletes it"
        ) from error


def filled_page(store: Store, namespace: str, cursor: bytes = b"", limit: int = 200) -> Page:
    """A page of a namespace's records, which is empty only if nothing follows: those of a store may be."""
    page = store.page(namespace, cursor, limit)
    while page.cursor and not page.records:
        page = store.page(namespace, page.cursor, limit)
    return page


def has_readable(cache: Cache) -> bool:
    """Whether the keys open anything in the store, if it is encrypted: one that they do not is not written to."""
    return not unknown_namespaces(cache.store) or not all(map(is_sealed_name, cache.store.namespaces()))


def check_readable(cache: Cache) -> None:
    """Raise where nothing can be found, whatever is looked for.

    Raises:
        ConfigError: all that the store has is encrypted with other keys.
    """
    if not has_readable(cache):
        check_keys(cache)


def check_writable(
    cache: Cache, base: str | None = None, *, beside: bool = False, unencrypted: bool = False
) -> None:
    """Raise where the same application might not read what is stored now, or has encrypted what would lie open.

    Args:
        cache: over the store.
        base: the namespace that is written to, or whose tenants are; ``None`` for the cache's own.
        beside: what is there belongs to others, and the keys are right: one that is wrong would not be noticed.
        unencrypted: the application does not encrypt.

    Raises:
        ConfigError: all that the store has is encrypted with other keys; or something is, there are no keys, and
            neither the namespace nor a tenant of it lies open: nobody sees without its key whether it is encrypted.
            Or there are keys and ``unencrypted``, or none and ``beside``.
    """
    store, base = cache.store, base or cache.engine.namespace
    url = redact(store.url)
    if isinstance(store, SealedStore):
        if unencrypted:
            raise ConfigError(f"--unencrypted: {KEYS_VARIABLE} has keys, with which everything is encrypted")
        if not beside and not has_readable(cache):
            raise ConfigError(
                f"all that is in {url} is encrypted with other keys than those in {KEYS_VARIABLE}: nothing was "
                "stored, for with a wrong key nobody would find it. With --beside it is, if these are the "
                "application's keys, and what is there is of others"
            )
        return
    if beside:
        raise ConfigError(
            f"--beside: {KEYS_VARIABLE} has no keys; what is not encrypted is stored with --unencrypted"
        )
    if unencrypted or not unknown_namespaces(store):
        return
    if all(map(is_sealed_name, store.namespaces())):
        what = url
    elif not _lies_open(store, base):
        what = f"namespace {unquote(base)!r} of {url}, as far as can be seen without keys,"
    else:
        return
    raise ConfigError(
        f"{what} is encrypted with keys that {KEYS_VARIABLE} does not have: nothing was stored; with --unencrypted "
        "it is, if the application does not encrypt"
    )


def _lies_open(store: Store, base: str) -> bool:
    """Whether a store has a namespace, or one of its tenants, under its name."""
    from askonce.engine.erasure import is_state

    names = (one for one in store.namespaces() if one == base or one.startswith(f"{base}/"))
    return any(one == base or not is_state(store, one, base) for one in names)


def other_namespaces(cache: Cache) -> str:
    """Where the store of a cache has entries, but for the namespace in effect, as options; empty: nowhere."""
    from askonce.engine.erasure import is_state

    store, space, found = cache.store, cache.engine.namespace_in_effect(), list[str]()
    for name in sorted(store.namespaces()):
        if name == space or is_sealed_name(name) or is_state(store, name, name.partition("/")[0]):
            continue
        if store.size(name).entries:
            if len(found) == _MOST_NAMED:
                return "; ".join([*found, "…"])
            base, *tenants = map(unquote, name.split("/"))
            found.append(
                shlex.join(["--namespace", base, *(part for one in tenants for part in ("--tenant", one))])
            )
    return "; ".join(found)


def note_other_keys(cache: Cache) -> int:
    """Say on standard error how many namespaces the keys do not open; returns how many."""
    if unknown := unknown_namespaces(cache.store):
        err.print(
            f"In {redact(cache.store.url)} {number_of(unknown, 'namespace is', 'namespaces are')} encrypted with "
            f"keys that {KEYS_VARIABLE} does not have: what is there is left as it is.",
            markup=False,
        )
    return unknown


def check_keys(cache: Cache) -> None:
    """Where nothing was found: raise if there is something that the keys do not open.

    Raises:
        ConfigError: namespaces of the store are encrypted with other keys.
    """
    if unknown := unknown_namespaces(cache.store):
        raise ConfigError(
            f"nothing was found, but in {redact(cache.store.url)} "
            f"{number_of(unknown, 'namespace is', 'namespaces are')} encrypted with keys that {KEYS_VARIABLE} does "
            "not have"
        )
