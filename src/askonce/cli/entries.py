"""``askonce ls`` and ``askonce show``: what is stored."""

from __future__ import annotations

import datetime
import json
import shlex
import time
from itertools import zip_longest
from typing import Annotated, Any

import msgspec
import typer

from askonce.cache import Cache
from askonce.cli.common import (
    AsJson,
    Heading,
    Model,
    Namespace,
    StoreUrl,
    Tenants,
    age,
    out,
    print_json,
    print_rows,
    size,
    span,
    usd,
)
from askonce.cli.opened import (
    check_keys,
    filled_page,
    note_other_keys,
    opened_cache,
    other_namespaces,
    stored_entry,
)
from askonce.cli.requests import key_in, key_of
from askonce.entries.entry import Entry, Place
from askonce.errors import CodecError, ConfigError
from askonce.stores.base import Record

_MOST_CHARACTERS = 2_000
_LIMIT = 50
_HEADINGS = [
    Heading("made"), Heading("kind", 6), Heading("model", 6), Heading("size"), Heading("cost"), Heading("hits"),
    Heading("tags", 8), Heading("key", 32),
]  # fmt: skip


def ls(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="About how many.")] = _LIMIT,
    after: Annotated[str, typer.Option(help="What the page before printed, for the next page.")] = "",
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    as_json: AsJson = False,
) -> None:
    """List a page of entries, in no order."""
    try:
        cursor = bytes.fromhex(after)
    except ValueError:
        raise typer.BadParameter(f"--after is what the page before printed, got {after!r}") from None
    with opened_cache(store, namespace, tenant) as cache:
        space = cache.engine.namespace_in_effect()
        page = filled_page(cache.store, space, cursor, limit)
        rows = [_row(cache, space, record) for record in page.records]
        if rows:
            note_other_keys(cache)
        else:
            check_keys(cache)
        elsewhere = "" if rows or after or as_json else other_namespaces(cache)
    following = page.cursor.hex()
    if as_json:
        print_json({"namespace": space, "entries": rows, "after": following})
        return
    if rows:
        print_rows(_HEADINGS, [_cells(row) for row in rows])
    else:
        out.print(f"{'Nothing more' if after else 'Nothing'} is stored in namespace {space!r}.", markup=False)
        if elsewhere:
            out.print(f"The store has: {elsewhere}", markup=False)
    if following:
        given = [
            ("--limit", None if limit == _LIMIT else str(limit)),
            ("--store", store),
            ("--namespace", namespace),
        ]
        given += [("--tenant", one) for one in tenant or ()]
        options = shlex.join(part for name, value in given if value is not None for part in (name, value))
        out.print(f"More: askonce ls --after {following} {options}".rstrip(), markup=False)


def _cells(row: dict[str, Any]) -> list[str]:
    made = age(row["created_at"]) if row["created_at"] else "?"
    cost = usd(row["cost_usd"]) or span(row["cost_seconds"] or 0.0)
    names = row["kind"], row["model"] or row.get("error", "")
    return [made, *names, size(row["size_bytes"]), cost, str(row["hits"]), " ".join(row["tags"]), row["key"]]


def _row(cache: Cache, space: str, record: Record) -> dict[str, Any]:
    row = {
        "key": record.key.hex(),
        "size_bytes": len(record.value),
        "hits": record.hits - 1,  # storing it counted as one
        "expires_at": record.expires_at,
    }
    try:
        entry = cache.engine.codec.decode(record.value, bound_to=Place(space, record.key).bound_to)
    except CodecError as error:
        return (
            row | dict.fromkeys(_summary(Entry(b"", 0.0))) | {"kind": "unreadable", "tags": [], "error": str(error)}
        )
    return row | _summary(entry)


def _summary(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind,
        "model": entry.model,
        "created_at": entry.created_at,
        "fresh_until": entry.fresh_until,
        "cost_seconds": entry.cost_seconds,
        "cost_usd": entry.cost_usd,
        "tags": list(entry.tags),
    }


def show(
    request: Annotated[
        str, typer.Argument(help="The entry's key, or a file with its request.", show_default=False)
    ],
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    model: Model = None,
    as_json: AsJson = False,
) -> None:
    """Show one entry, with its request's normal form if that is stored."""
    with opened_cache(store, namespace, tenant) as cache:
        space = cache.engine.namespace_in_effect()
        key = key_of(cache, request, model)
        entry = stored_entry(cache, key)
        if entry is None:
            check_keys(cache)
    if entry is None:
        hint = (
            "`askonce ls` lists"
            if key_in(request)
            else "`askonce key --explain` shows what its key is made of, `askonce ls`"
        )
        raise ConfigError(f"there is no entry {key.hex()} in namespace {space!r}: {hint} what is there")
    found = {"key": key.hex(), "namespace": space, **_details(entry)}
    if as_json:
        print_json(found)
        return
    rows = {name: value for name, value in _as_people_read(found).items() if value not in (None, "", [], {})}
    for name, value in rows.items():
        shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        lines = (shown[:_MOST_CHARACTERS] + "…" * (len(shown) > _MOST_CHARACTERS)).split("\n")
        for heading, line in zip_longest([name], lines, fillvalue=""):
            out.print(f"{heading:<{max(map(len, rows))}}  {line}".rstrip(), markup=False)


def _as_people_read(found: dict[str, Any]) -> dict[str, Any]:
    """Times and costs as `ls` shows them."""
    shown = dict(found)
    for name in ("created_at", "fresh_until"):
        if at := found[name]:
            local = datetime.datetime.fromtimestamp(at).astimezone()
            shown[name] = f"{local:%Y-%m-%d %H:%M:%S %z} ({age(at)})"
    return shown | {"cost_seconds": span(found["cost_seconds"]), "cost_usd": usd(found["cost_usd"])}


def _details(entry: Entry) -> dict[str, Any]:
    now, semantic = time.time(), entry.semantic
    return {
        **_summary(entry),
        "fresh": entry.fresh_until is None or now < entry.fresh_until,
        "usage": msgspec.to_builtins(msgspec.structs.asdict(entry.usage)),
        "sources": [{"corpus": one.corpus, "ids": list(one.ids)} for one in entry.sources],
        "question": semantic.text if semantic is not None else None,
        "answer_of": semantic.answer.hex() if semantic is not None else None,
        "request": json.loads(entry.form) if entry.form else None,
        "payload": _readable(entry.payload),
    }


def _readable(payload: bytes) -> Any:
    """A payload as plain data, if it is any."""
    for decode in (msgspec.json.decode, msgspec.msgpack.decode):
        try:
            return _without_bytes(decode(payload))
        except (msgspec.MsgspecError, ValueError):
            continue
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return f"{len(payload)} bytes"


def _without_bytes(value: Any) -> Any:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, dict):
        return {str(name): _without_bytes(one) for name, one in value.items()}
    return [_without_bytes(one) for one in value] if isinstance(value, list) else value
