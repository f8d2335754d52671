"""``askonce key`` and ``askonce diff``: the name of a request, and why two requests have different ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from askonce.cli.common import AsJson, Model, Namespace, StoreUrl, Tenants, out, print_json
from askonce.cli.opened import check_readable, opened_cache
from askonce.cli.requests import form_in
from askonce.entries.entry import place_of
from askonce.keys.normal_form import encode

Request = Annotated[
    str, typer.Argument(help="A file of JSON ('-': standard input), or an entry's key.", show_default=False)
]
_NOTHING = "(nothing)"
_LONG, _AROUND = 300, 60


def key(
    request: Request,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show the normal form, and what was left out.")
    ] = False,
    model: Model = None,
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    as_json: AsJson = False,
) -> None:
    """Print the key of a request, and whether its answer is stored."""
    with opened_cache(store, namespace, tenant, or_none=True) as cache:
        space = cache.engine.namespace_in_effect()
        form, if_absent = form_in(cache, request, model)
        name = place_of(space, form.digest()).key
        stored = cache.store.get(space, name) is not None
        if not stored:
            check_readable(cache)
    body = form.plain_body()
    found = {"key": name.hex(), "namespace": space, "stored": stored}
    if as_json:
        print_json(found | ({"form": body, "left_out": list(form.left_out)} if explain else {}))
        return
    state = f"{'stored' if stored else 'not stored'} in namespace {space!r}"
    if if_absent and not stored:
        state = f"{request} {if_absent}"
    out.print(f"{name.hex()}  {state}", markup=False)
    if explain:
        print_json(body)
        left_out = ", ".join(form.left_out) or "nothing"
        out.print(f"Left out, since it cannot change the answer: {left_out}", markup=False)


def diff(
    first: Request,
    second: Request,
    model: Model = None,
    store: StoreUrl = None,
    namespace: Namespace = None,
    tenant: Tenants = None,
    as_json: AsJson = False,
) -> None:
    """Show why two requests have different keys: where their normal forms differ."""
    if first == second == "-":
        raise typer.BadParameter("one of the two may be '-', the standard input, and not both")
    with opened_cache(store, namespace, tenant, or_none=True) as cache:
        one, other = (form_in(cache, given, model).form.plain_body() for given in (first, second))
    rows = list(differences(one, other))
    if as_json:
        named = [{"path": path, "first": here, "second": there} for path, here, there in rows]
        print_json({"equal": not rows, "differences": named})
        return
    if not rows:
        out.print("The requests are equal: they have one key.")
        return
    table = Table(*(Column(name, overflow="fold") for name in ("path", "first", "second")), show_lines=True)
    for path, here, there in rows:
        texts = [one if isinstance(one, str) else encode(one).decode() for one in (here, there)]
        table.add_row(path, *excerpts(*texts))
    out.print(table, markup=False)


def excerpts(first: str, second: str) -> tuple[str, str]:
    """Two texts: of long ones where they differ and what stands around it; what cannot be seen is written out."""
    begin = _alike(first, second)
    end = _alike(first[begin:][::-1], second[begin:][::-1])
    return _excerpt(first, begin, len(first) - end), _excerpt(second, begin, len(second) - end)


def _alike(first: str, second: str) -> int:
    """How many characters two texts begin with alike."""
    pairs = enumerate(zip(first, second, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(second)))


def _excerpt(text: str, begin: int, end: int) -> str:
    """The characters from ``begin`` to ``end`` with some before and after them, if the text is long."""
    if len(text) <= _LONG:
        start, stop = 0, len(text)
    else:
        start, stop = max(begin - _AROUND, 0), min(max(end, begin) + _AROUND, begin + _LONG)
    part = text[start:stop]
    if part != part.strip() or not part.isprintable():
        part = f"'{''.join(one if one.isprintable() else one.encode('unicode_escape').decode() for one in part)}'"
    before = f"(character {start + 1:,} of {len(text):,}) … " if start else ""
    return f"{before}{part}{' …' if stop < len(text) else ''}"


def differences(first: Any, second: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values of plain data differ: the path, and both values."""
    if isinstance(first, dict) and isinstance(second, dict):
        for name in sorted({*first, *second}):
            where = f"{path}.{name}" if path else name
            yield from differences(first.get(name, _NOTHING), second.get(name, _NOTHING), where)
    elif isinstance(first, list) and isinstance(second, list):
        for at in range(max(len(first), len(second))):
            mine, theirs = (one[at] if at < len(one) else _NOTHING for one in (first, second))
            yield from differences(mine, theirs, f"{path}[{at}]")
    elif first != second or type(first) is not type(second):
        yield path, first, second
