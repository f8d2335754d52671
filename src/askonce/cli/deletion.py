"""``askonce clear``, ``invalidate`` and ``delete``."""

from __future__ import annotations

from typing import Annotated

import typer

from askonce.cli.common import (
    AsJson,
    Model,
    Namespace,
    StoreUrl,
    Tenants,
    Yes,
    confirm,
    err,
    out,
    print_json,
    progress,
    usage,
)
from askonce.cli.opened import check_keys, check_readable, note_other_keys, opened_cache
from askonce.cli.requests import key_of, text_of
from askonce.costs.figures import number_of
from askonce.engine.erasure import ErasureReport, Target
from askonce.entries.entry import Place
from askonce.errors import ConfigError
from askonce.options import check_name
from askonce.storage.access_log import is_access_log
from askonce.stores.configured import KEYS_VARIABLE, encryption_keys


def clear(
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete all entries of a namespace; those of tenants within it stay."""
    with opened_cache(store, namespace, tenant) as cache:
        space = cache.engine.namespace_in_effect()
        entries = cache.store.size(space).entries
        if not entries:
            check_keys(cache)
        confirm(f"Delete {number_of(entries)}, all of namespace {space!r} in {cache.store.url}?", yes=yes)
        cache.clear()
        note_other_keys(cache)
    _done(space, entries, as_json=as_json)


def invalidate(
    tag: Annotated[str, typer.Argument(help="The tag.", show_default=False)],
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete the entries of a namespace that have a tag."""
    with usage():
        check_name("a tag", tag)
    with opened_cache(store, namespace, tenant) as cache:
        space = cache.engine.namespace_in_effect()
        check_readable(cache)
        confirm(f"Delete the entries tagged {tag!r} of namespace {space!r} in {cache.store.url}?", yes=yes)
        entries = cache.invalidate(tag)
        if not entries:
            check_keys(cache)
    _done(space, entries, as_json=as_json)


def _done(space: str, entries: int, *, as_json: bool) -> None:
    if as_json:
        print_json({"namespace": space, "deleted": entries})
    else:
        out.print(f"Deleted {number_of(entries)} of namespace {space!r}.", markup=False)


def delete(
    request: Annotated[
        str | None, typer.Argument(help="One entry: its key, or a file with its request.", show_default=False)
    ] = None,
    tag: Annotated[str | None, typer.Option(help="All that has this tag.")] = None,
    source: Annotated[
        str | None, typer.Option(help="All that was found in, or made from, the document with this id.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="All that contains this text; '-' reads it from standard input.")
    ] = None,
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="All of this tenant, or with a request the tenant whose it is; again for one within."),
    ] = None,
    access_log: Annotated[
        str | None, typer.Option(help="The cache's access log. Default: that of [tool.askonce].")
    ] = None,
    model: Model = None,
    store: StoreUrl = None,
    namespace: Namespace = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase one entry, or all that has a tag, a source, a text or a tenant: from the namespace and those of all tenants, from logs and learned state. Nothing of it remains in the store's files."""  # noqa: E501
    if request is not None and (tag, source, text) != (None, None, None):
        raise typer.BadParameter("give a request, or one of --tag, --source and --text")
    if text == "-":
        text = text_of("-").strip()
    with usage():
        target = None if request is not None else Target(tuple(tenant or ()), source, tag, text)
        if access_log is not None and not is_access_log(access_log):
            raise ConfigError(f"there is no access log at {access_log}: nothing was deleted")
    with opened_cache(store, namespace, None if target else tenant, access_log=access_log) as cache:
        if target is None:
            target = Target(entry=Place(cache.engine.namespace_in_effect(), key_of(cache, request or "", model)))
        check_readable(cache)
        space = target.entry.namespace if target.entry else cache.namespace
        confirm(f"Erase all of {target.what} from namespace {space!r} in {cache.store.url}?", yes=yes)
        with progress("searching", None, quiet=as_json) as searched:
            report = cache.engine.erase(target, searched)
    if as_json:
        print_json(report)
    else:
        _show(report)
    _check_complete(report)
    if target.entry and not report.total:
        raise ConfigError(f"there is no {target.what} in namespace {space!r}")


def _check_complete(report: ErasureReport) -> None:
    """Raise where something could not be searched.

    Raises:
        ConfigError: what.
    """
    if report.encrypted:
        raise ConfigError(
            f"not searched: {number_of(report.encrypted, 'namespace', 'namespaces')}, encrypted with keys that "
            f"{KEYS_VARIABLE} does not have"
        )
    if report.unreadable:
        raise ConfigError(
            f"{number_of(report.unreadable, 'record', 'records')} could not be read, and may hold more of it: "
            + (f"give further keys in {KEYS_VARIABLE}, or " if encryption_keys() else "damaged; ")
            + "clear their namespace"
        )


def _show(report: ErasureReport) -> None:
    out.print(f"Erased {number_of(report.total)} of {report.what}.", markup=False)
    for name, count in report.entries.items():
        out.print(f"  {name}: {count:,}", markup=False)
    for name, count in report.learned.items():
        out.print(f"  learned state {name}: {number_of(count, 'record', 'records')}", markup=False)
    for name in report.logs:
        out.print(f"  change log {name}: begins anew", markup=False)
    if report.accesses:
        out.print(f"  access log: {number_of(report.accesses, 'record', 'records')}", markup=False)
    for name in report.files:
        out.print(f"  file {name}", markup=False)
    for name in report.elsewhere:
        err.print(f"Namespace {name!r} of the store has it too: run this again with --namespace.", markup=False)
