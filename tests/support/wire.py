"""What a client would send, and the key of the request in the cache: the wire is the oracle of keys.

    with captured() as wires:
        seen = observe(cache, wires, lambda: cached(model, cache).invoke("hi"))
    seen.wire, seen.key

Nothing is sent: the transports of the HTTP clients that the providers' packages use are replaced, and end each
call by an exception that no client retries. As nothing is ever answered, every call is a miss, and goes on to the
wire. A `Case` is one way to make and call a model; two cases of one class make a pair: those that send the same are
to have one key, any others two. What may differ from that stands in a list of `Exempt`.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from askonce import Cache

# What names one attempt, or the client's own version: another value at every call, or none of the model's business.
_OF_ONE_ATTEMPT = re.compile(
    r"x-stainless-.*|amz-sdk-.*|x-amz-date|x-amzn-trace-id|content-length|idempotency-key|x-client-request-id"
    r"|x-client-trace-id|connection|accept-encoding|accept|date|expect|x-server-timeout"
)
_SIGNATURE = re.compile(r"^AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/([^/]+)/.*$")


class Sent(BaseException):
    """The request is on the wire; it goes no further. No `Exception`, so that no client tries again."""


@dataclass(frozen=True)
class Wire:
    """One HTTP request.

    Attributes:
        method: of HTTP.
        url: scheme, host, path and query.
        headers: less those of one attempt.
        body: as JSON in which 1 is 1.0, and maps are sorted except the properties of a schema.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: str

    def differences(self, other: Wire) -> list[str]:
        """In what two requests differ, for people."""
        found = [f"url: {self.url} | {other.url}"] if self.url != other.url else []
        if self.headers != other.headers:
            found.append(f"headers: {sorted(set(self.headers) ^ set(other.headers))}")
        if self.body != other.body:
            found.append(f"body: {self.body[:400]} | {other.body[:400]}")
        return found


@dataclass(frozen=True)
class Seen:
    """One call.

    Attributes:
        wire: all that was to be sent; empty if nothing was.
        key: of the request; ``None`` if it was not to be cached.
        error: what the call failed by, if it did before it was sent.
    """

    wire: tuple[Wire, ...]
    key: bytes | None
    error: str = ""


@contextlib.contextmanager
def captured() -> Iterator[list[Wire]]:
    """While it lasts, all that HTTP clients would send goes to the list, and no further."""
    wires: list[Wire] = []

    def note(method: str, url: str, headers: Iterable[tuple[Any, Any]], body: Any) -> None:
        wires.append(Wire(method.upper(), url, _headers(headers), _body(body)))
        raise Sent

    with contextlib.ExitStack() as stack:
        for name in ("load_verify_locations", "load_default_certs", "set_default_verify_paths"):
            # Each client reads the certificates anew, which takes longer than all else here.
            stack.enter_context(mock.patch.object(ssl.SSLContext, name, return_value=None))
        for module, name, replacement in _replacements(note):
            with contextlib.suppress(ImportError):
                owner = importlib.import_module(module)
                for part in name.split(".")[:-1]:
                    owner = getattr(owner, part)
                stack.enter_context(mock.patch.object(owner, name.rpartition(".")[2], replacement))
        yield wires


NoteRequest = Callable[[str, str, Iterable[tuple[Any, Any]], Any], None]


def _replacements(note: NoteRequest) -> list[tuple[str, str, Any]]:
    def httpx(self: Any, request: Any) -> Any:
        body = request.read() if not request.headers.get("content-type", "").startswith("multipart") else b""
        note(request.method, str(request.url), request.headers.multi_items(), body)

    async def async_httpx(self: Any, request: Any) -> Any:
        note(request.method, str(request.url), request.headers.multi_items(), await request.aread())

    def botocore(self: Any, request: Any) -> Any:
        note(request.method, request.url, request.headers.items(), request.body)

    def requests(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
        note(request.method, request.url, request.headers.items(), request.body)

    async def aiohttp(self: Any, method: str, url: Any, **kwargs: Any) -> Any:
        headers = {**dict(self.headers or {}), **dict(kwargs.get("headers") or {})}
        sent = kwargs.get("data") if kwargs.get("json") is None else json.dumps(kwargs["json"])
        note(method, str(url), headers.items(), sent)

    return [
        ("httpx", "Client._send_single_request", httpx),
        ("httpx", "AsyncClient._send_single_request", async_httpx),
        ("httpx2", "Client._send_single_request", httpx),
        ("httpx2", "AsyncClient._send_single_request", async_httpx),
        ("botocore.httpsession", "URLLib3Session.send", botocore),
        ("requests.adapters", "HTTPAdapter.send", requests),
        ("aiohttp", "ClientSession._request", aiohttp),
    ]


def _headers(headers: Iterable[tuple[Any, Any]]) -> tuple[tuple[str, str], ...]:
    lasting = []
    for name, value in headers:
        name, value = _text(name).lower(), _text(value)
        if not _OF_ONE_ATTEMPT.fullmatch(name):
            lasting.append((name, _SIGNATURE.sub(r"AWS4 \1 \2 \3", value)))
    return tuple(sorted(lasting))


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _body(body: Any) -> str:
    if not body:
        return ""
    if not isinstance(body, (bytes, str)):
        body = body.read() if hasattr(body, "read") else b"".join(body)
    try:
        return json.dumps(_ordered(json.loads(body)))
    except ValueError:
        return _text(body)


def _ordered(value: Any, in_properties: bool = False) -> Any:
    """As `Wire.body` has it."""
    if isinstance(value, dict):
        names = list(value) if in_properties else sorted(value)
        return {name: _ordered(value[name], name == "properties" and not in_properties) for name in names}
    if isinstance(value, list):
        return [_ordered(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def observe(cache: Cache, wires: list[Wire], call: Callable[[], Any]) -> Seen:
    """Make a call while `captured` lasts, of a model or embeddings over the cache: what is sent, under which key.

    Args:
        cache: the cache of the model.
        wires: of `captured`.
        call: makes the call.
    """
    keys: list[bytes | None] = []
    engine = cache.engine
    make = engine.request

    def request(*args: Any, **kwargs: Any) -> Any:
        made = make(*args, **kwargs)
        keys.append(None if made is None else made.form().digest() + made.place.namespace.encode())
        return made

    del wires[:]
    error = ""
    with mock.patch.object(type(engine), "request", lambda self, *args, **kwargs: request(*args, **kwargs)):
        try:
            call()
            error = "nothing was sent"
        except Sent:
            pass
        except Exception as raised:
            error = f"{type(raised).__name__}: {raised}"[:300]
    return Seen(tuple(wires), keys[0] if keys else None, error if not wires else "")


# -- pairs -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """One way to make a model and to call it.

    Attributes:
        name: for people.
        fields: arguments of the constructor.
        call: arguments of the call.
        env: environment variables.
        prepare: makes the arguments that are objects, such as a client; they win over ``fields``.
    """

    name: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    call: Mapping[str, Any] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], Mapping[str, Any]] = dict


@dataclass(frozen=True)
class Exempt:
    """A difference on the wire that makes no other key, or equal wires that have two.

    Attributes:
        pattern: of ``provider class: what was changed``, as a regular expression that matches the whole.
        why: transport, identity, billing, streaming, or a documented normalization; and a word more.
    """

    pattern: str
    why: str


@dataclass
class Row:
    """What was found of one class.

    Attributes:
        pairs: how many were compared.
        equal: those of them that send the same.
        exempt: those that the list of exceptions names.
        wrong_hits: other wires with one key.
        misses: equal wires with two keys.
        refused: those that could not be compared, since the class refused the argument or nothing was sent.
    """

    pairs: int = 0
    equal: int = 0
    exempt: list[str] = field(default_factory=list)
    wrong_hits: list[str] = field(default_factory=list)
    misses: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def compare(self, what: str, one: Seen, other: Seen, exemptions: Sequence[Exempt]) -> None:
        """Judge a pair."""
        if one.error or other.error:
            self.refused.append(f"{what}: {one.error or other.error}")
            return
        same_wire, same_key = one.wire == other.wire, one.key is not None and one.key == other.key
        uncached = one.key is None and other.key is None
        self.pairs += 1
        self.equal += same_wire
        if same_wire == same_key or (uncached and not same_wire):
            return
        if any(re.fullmatch(exempt.pattern, what) for exempt in exemptions):
            self.exempt.append(what)
        elif same_wire:
            self.misses.append(what)
        else:
            differing = "; ".join(
                difference for a, b in zip(one.wire, other.wire, strict=False) for difference in a.differences(b)
            )
            self.wrong_hits.append(f"{what}: {differing}")


def write_table(path: Path, title: str, rows: Mapping[str, Row]) -> None:
    """Write the table of one framework into the page; what else stands there is kept."""
    lines = [
        "| class | pairs | of equal wire | exceptions | wrong hits | needless misses |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    total = Row()
    for name, row in sorted(rows.items()):
        lines.append(_line(name, row))
        total.pairs += row.pairs
        total.equal += row.equal
        for kind in ("exempt", "wrong_hits", "misses"):
            getattr(total, kind).extend(getattr(row, kind))
    lines.append(_line("**all**", total))
    begin, end = f"<!-- {title}: begin -->", f"<!-- {title}: end -->"
    page = path.read_text()
    before, _, rest = page.partition(begin)
    after = rest.partition(end)[2]
    path.write_text(f"{before}{begin}\n\n" + "\n".join(lines) + f"\n\n{end}{after}")


def _line(name: str, row: Row) -> str:
    numbers = (row.pairs, row.equal, len(row.exempt), len(row.wrong_hits), len(row.misses))
    return f"| {name} | {' | '.join(map(str, numbers))} |"
