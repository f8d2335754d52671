"""``askonce export``, ``import`` and ``warm``: entries from one store into another, or from a file of requests."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import typer

from askonce.cache import Cache
from askonce.cli.common import (
    AsJson,
    Namespace,
    StoreUrl,
    Tenants,
    confirm,
    err,
    print_json,
    progress,
    usd,
)
from askonce.cli.opened import check_keys, check_writable, in_tenants, note_other_keys, opened_cache
from askonce.cli.requests import Plain, adapter_of, object_at, read_requests
from askonce.costs.figures import number_of
from askonce.engine.erasure import is_state
from askonce.entries.codec import Codec
from askonce.errors import ConfigError
from askonce.keys.normal_form import Uncacheable
from askonce.storage.portable import Import, export_entries
from askonce.stores import redact
from askonce.stores.configured import KEYS_VARIABLE, encryption_keys

File = Annotated[str, typer.Argument(help="The file; '-' for standard output or input.", show_default=False)]
Beside = Annotated[
    bool, typer.Option("--beside", help="Store it although all that is there is encrypted with keys of others.")
]
Unencrypted = Annotated[
    bool, typer.Option("--unencrypted", help="Store it as it is, beside what other keys encrypt.")
]


def export(
    file: File,
    store: StoreUrl = None,
    namespace: Namespace = None,
    yes: Annotated[bool, typer.Option("--yes", help="Replace a file that is there without confirmation.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the entries of a namespace and its tenants into a file, which only its owner can read."""
    path = Path(file)
    if not file or path.is_dir():
        raise typer.BadParameter(f"{file!r} is no file")
    if file != "-" and (path.is_file() or path.is_block_device()):  # a pipe or a terminal holds nothing
        confirm(f"Replace {file}?", yes=yes)
    with opened_cache(store, namespace) as cache:
        base = cache.engine.namespace
        tenants = [one for one in cache.store.namespaces() if one.startswith(f"{base}/")]
        names = [base, *(one for one in tenants if not is_state(cache.store, one, base))]
        total = sum(cache.store.size(one).entries for one in names)
        if not total:
            check_keys(cache)
            raise ConfigError(f"nothing is stored in namespace {base!r} of {redact(cache.store.url)}")
        with progress("exporting", total, quiet=as_json) as done, _written(path, file == "-") as opened:
            exported = export_entries(cache.store, names, opened, cache.engine.codec, progress=done)
        encrypted = note_other_keys(cache)
    if as_json and file != "-":
        found = {"exported": exported.entries, "unreadable": exported.unreadable, "encrypted": encrypted}
        print_json({**found, "namespaces": names})
        return
    left_out = f"; left out {exported.unreadable:,} that cannot be read" if exported.unreadable else ""
    err.print(
        f"Exported {number_of(exported.entries)} of {number_of(len(names), 'namespace', 'namespaces')}{left_out}.",
        markup=False,
    )


@contextmanager
def _written(path: Path, to_standard_output: bool) -> Iterator[BinaryIO]:
    """A file that is there as a whole in the end, or not at all; what is no regular file is written into."""
    if to_standard_output:
        if sys.__stdout__ is None:
            raise ConfigError("cannot write to standard output: it is closed")
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    try:
        if path.exists() and not path.is_file():
            with open(path, "wb", buffering=2**20) as opened:
                yield opened
        else:
            with _replaced(Path(os.path.realpath(path))) as opened:  # a link stays one
                yield opened
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}") from error


@contextmanager
def _replaced(path: Path) -> Iterator[BinaryIO]:
    number, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # private
    try:
        with os.fdopen(number, "wb", buffering=2**20) as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise


def import_(
    file: File,
    store: StoreUrl = None,
    beside: Beside = False,
    unencrypted: Unencrypted = False,
    as_json: AsJson = False,
) -> None:
    """Store the entries of a file that `askonce export` wrote, in the namespaces that they had."""
    with _read(file) as opened, progress("importing", None, quiet=as_json) as done:
        reading = Import(opened, Codec(encryption_keys()))
        batches = reading.batches()
        first = next(batches, None)
        if first is not None:  # or a file that holds nothing would make a new store
            with opened_cache(store, None, new=True) as cache:
                for base in sorted({name.partition("/")[0] for name in first}):
                    check_writable(cache, base, beside=beside or reading.was_sealed, unencrypted=unencrypted)
                reading.into(cache.store, chain([first], batches), progress=done)
    imported = reading.done
    if as_json:
        print_json(imported)
    else:
        skipped = (
            f"{imported.expired:,} expired, {imported.older:,} older and {imported.unreadable:,} unreadable ones"
        )
        err.print(f"Imported {number_of(imported.stored)}; skipped {skipped}.", markup=False)
    if imported.locked:
        raise ConfigError(
            f"not imported: {number_of(imported.locked)} of {file}, encrypted with keys that {KEYS_VARIABLE} does "
            "not have"
        )
    if not imported.complete:
        raise ConfigError(f"{file} is damaged or has no end: what could be read is stored")


@contextmanager
def _read(file: str) -> Iterator[BinaryIO]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(file, "rb", buffering=2**20) as opened:
            yield opened
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error


def warm(
    requests: Annotated[
        str, typer.Argument(help="One request a line, as JSON; '-': standard input.", show_default=False)
    ],
    model: Annotated[str, typer.Option(help="The application's model, as module:name.", show_default=False)],
    at_once: Annotated[int, typer.Option(min=1, max=64, help="How many requests at a time.")] = 4,
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    beside: Beside = False,
    unencrypted: Unencrypted = False,
    as_json: AsJson = False,
) -> None:
    """Have requests answered that are not stored yet, by the application's own model."""
    found = object_at(model)
    adapter = adapter_of(found)
    wanted = [_wanted(adapter, found, *one) for one in read_requests(requests)]  # all of them before one is sent
    failures: list[str] = []

    with opened_cache(store, namespace, new=True) as cache, progress("warming", len(wanted), quiet=as_json) as done:
        check_writable(cache, beside=beside, unencrypted=unencrypted)

        def send(request: Any) -> None:
            try:
                with in_tenants(tenant):
                    adapter.send(found, cache, request)
            except Exception as error:
                failures.append(f"{type(error).__name__}: {error}")
            done(1)

        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(send, wanted))
        cache.flush()
        report = _report(cache, len(wanted), failures)
    if as_json:
        print_json(report)
    else:
        hits, stored, failed = report["hits"], report["stored"], report["failed"]
        err.print(
            f"{number_of(len(wanted), 'request', 'requests')}: {hits:,} stored already or given twice, "
            f"{stored:,} now, "
            f"{failed:,} failed{_not_stored(report['not_stored'])}; spent {usd(report['spent_usd']) or '$0'}.",
            markup=False,
        )
    if failures:
        raise ConfigError(
            f"{len(failures):,} of {number_of(len(wanted), 'request', 'requests')} failed, the first with "
            f"{failures[0][:300]}"
        )


def _wanted(adapter: Any, model: Any, where: str, given: Plain) -> Any:
    """A request as its model takes it.

    Raises:
        ConfigError: the model does not take it, or it has no key: its answer would be paid and not stored.
    """
    try:
        request = adapter.request_of(model, given)
        adapter.form_of_request(model, request).digest()
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    except Uncacheable as error:
        raise ConfigError(f"{where} is not cached: {error}; nothing was sent") from error
    return request


def _not_stored(reasons: dict[str, int]) -> str:
    return "".join(f", {number:,} not stored ({reason})" for reason, number in reasons.items() if number)


def _report(cache: Cache, requests: int, failures: list[str]) -> dict[str, Any]:
    stats = cache.stats()
    return {
        "requests": requests,
        "hits": stats.hits,
        "stored": stats.stored,
        "failed": len(failures),
        "not_stored": stats.not_stored_reasons,
        "spent_usd": stats.spent_usd,
    }
