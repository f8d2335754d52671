"""A request of a client in normal form: what it wants, and of whom."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from askonce.concurrency.beside import LARGE_BYTES
from askonce.entries.requested import Requested, requested_by
from askonce.keys.normal_form import (
    NormalForm,
    Uncacheable,
    actor_is_named,
    encode,
    is_credential,
    is_credential_in_request,
    model_form,
    plain,
    request_form,
)
from askonce.keys.server_state import refuse_server_state
from askonce.wire.apis import NEUTRAL, STATE, Api, api_of
from askonce.wire.counting import counts
from askonce.wire.directives import OWN, Directives, read_directives
from askonce.wire.members import is_ambiguous
from askonce.wire.scope import Headers, has_cookie, is_credential_header, query_of, scope_of

Body = dict[str, Any]

_TOOLS = ("tools", "functions", "mcp_servers", "connectors")
_OF_DELIVERY = frozenset({"include_usage", "include_obfuscation"})
_PROMPT_FIELDS: dict[Api, tuple[str, ...]] = {
    "chat": ("messages",),
    "messages": ("messages", "system"),
    "responses": ("input", "instructions"),
    "embeddings": ("input",),
}


Barred = Literal["", "no-credential", "cookie", "namespace"]
_WHY_BARRED: dict[Barred, str] = {
    "no-credential": "it shows no credential, so that it is not known for whom it is made",
    "cookie": "it shows a cookie",
    "namespace": "its client may not name this namespace",
}

_HELD_SECONDS = 29 * 86_400.0
"""OpenAI holds a response for thirty days, so that a later request can refer to its id."""


class WireRequest(msgspec.Struct, eq=False):
    """A request to an API that is known; it is not changed.

    Attributes:
        api: which.
        url: of the upstream, with its path: without credentials, query and fragment.
        query: of the URL, without credentials.
        headers: those that count, their names in small letters.
        body: as it came.
        scope: of its caller; ``None`` if it shows no credential.
        directives: what it demands of the cache.
        has_cookie: it shows a cookie.
        is_shared: it may be answered by what other callers were answered.
        has_one_owner: all who share are one to the provider, which is sent the same credential for all.
        is_large: its body is.
        is_namespace_allowed: its client may name the namespace that it names.
    """

    api: Api
    url: str
    query: tuple[tuple[str, str], ...]
    headers: tuple[tuple[str, str], ...]
    body: Body
    scope: str | None
    directives: Directives
    has_cookie: bool = False
    is_shared: bool = False
    has_one_owner: bool = False
    is_large: bool = False
    is_namespace_allowed: bool = True
    _form: NormalForm | None = None
    _digest: bytes = b""

    @property
    def streams(self) -> bool:
        """Whether the answer is to be a stream of events."""
        return bool(self.body.get("stream"))

    @property
    def wants_usage(self) -> bool:
        """Whether a stream of a chat completion is to end with the usage."""
        options = self.body.get("stream_options")
        return isinstance(options, Mapping) and bool(options.get("include_usage"))

    @property
    def requested(self) -> Requested:
        """The form of answer that is requested."""
        return requested_by(self.body)

    @property
    def model(self) -> str | None:
        """The name of the model."""
        name = self.body.get("model")
        return name if isinstance(name, str) else None

    @property
    def longest_seconds(self) -> float | None:
        """For how long an answer is of use at most: a response that the provider holds, until it forgets it."""
        return _HELD_SECONDS if self._is_held else None

    @property
    def _is_held(self) -> bool:
        """Whether the provider holds the answer for its caller to refer to: also if ``store`` is left out."""
        return self.api == "responses" and self.body.get("store") is not False

    def digest(self) -> tuple[bytes, str | None]:
        """The digest of its normal form, and the model.

        Raises:
            Uncacheable: its answer must not be stored.
        """
        form = self.form()
        if not self._digest:
            self._digest = form.digest()
        return self._digest, form.model

    def form(self) -> NormalForm:
        """Its normal form; of embeddings, see `askonce.wire.embeddings.text_form`.

        Raises:
            Uncacheable: its answer must not be stored.
        """
        if self._form is None:
            self.check()
            self._form = self._made_form()
        return self._form

    def _made_form(self) -> NormalForm:
        left_out: list[str] = []
        fields = {name: _unmarked(self.body[name]) for name in _PROMPT_FIELDS[self.api] if name in self.body}
        messages = fields.pop(_PROMPT_FIELDS[self.api][0], None)
        if self.api == "responses" and isinstance(messages, str):
            messages = [{"role": "user", "content": messages}]
        return request_form(
            "chat",
            self.parameters(left_out),
            left_out,
            upstream=self.upstream(),
            messages=plain(messages),
            prompt=plain(fields),
        )

    @property
    def barred(self) -> Barred:
        """What its client shows, or not, for which its answer is not stored, in a word; empty for nothing."""
        if self.scope is None and not self.is_shared:
            return "no-credential"
        if self.has_cookie:
            return "cookie"
        return "" if self.is_namespace_allowed else "namespace"

    def check(self) -> None:
        """See that its answer may be stored.

        Raises:
            Uncacheable: it may not.
        """
        if self.barred:
            raise Uncacheable(_WHY_BARRED[self.barred])
        if state := sorted(name for name in STATE if self.body.get(name)):
            raise Uncacheable(f"{state[0]} refers to what the provider holds")
        prompt = self.body.get("prompt")
        if isinstance(prompt, Mapping) and prompt.get("id") and not prompt.get("version"):
            raise Uncacheable("a prompt without its version is another one when it is published anew")
        if self.api == "responses" and any(_is_reference(one) for one in _list(self.body.get("input"))):
            raise Uncacheable("an item_reference refers to what the provider holds")
        refuse_server_state(self.body)

    def upstream(self) -> dict[str, Any]:
        """Who answers, and for whom."""
        return {
            "url": self.url,
            "query": [list(pair) for pair in self.query],
            "headers": {
                name: ", ".join(value for _, value in pairs)
                for name, pairs in itertools.groupby(self.headers, _name)
            },
            "scope": None if self.is_shared and (self.has_one_owner or not self._is_held) else self.scope,
            "sample": self.directives.sample,
        }

    def parameters(self, left_out: list[str], *others: str) -> dict[str, Any]:
        """All of the body but the prompt, in normal form.

        Args:
            left_out: the names of what cannot change the answer are appended to it.
            others: further members that are no part of it.
        """
        form: dict[str, Any] = {}
        for name, value in self.body.items():
            if name in _PROMPT_FIELDS[self.api] or name in others or (name == "stop" and value is None):
                continue
            if name == "stream_options" and isinstance(value, dict) and value.keys() - _OF_DELIVERY:
                form[name] = plain({inner: one for inner, one in value.items() if inner not in _OF_DELIVERY})
            elif name in NEUTRAL:
                left_out.append(name)
            elif is_credential(name):  # of a gateway: it may say who answers
                form[name] = {"digest": hashlib.sha256(b"askonce body " + encode(plain(value))).hexdigest()}
            elif name in _TOOLS:
                form |= _tools_form({name: [_unmarked_one(tool) for tool in _list(value)]}, left_out)
            else:
                form[name] = plain(value)
        return form


def read_request(
    method: str,
    url: str,
    headers: Headers,
    body: bytes,
    *,
    share: bool = False,
    one_owner: bool = False,
    secret: bytes = b"",
    namespaces: Sequence[str] | None = None,
) -> WireRequest | None:
    """A request, if it calls an API that is known and reads one way; ``None``: it is passed on as it is.

    Args:
        method: of HTTP.
        url: the whole URL upstream.
        headers: of the request.
        body: all of it.
        share: answers are shared by all callers, whatever their credentials; those that the provider holds, only
            by callers of one credential.
        one_owner: the provider is sent the same credential for all callers.
        secret: see `scope_of`.
        namespaces: patterns of those that a client may name; ``None``: any.

    Raises:
        ConfigError: a header of ours has a wrong value.
    """
    parts = urlsplit(url)
    api = api_of(method, parts.path)
    if api is None or (read := read_body(body)) is None or is_ambiguous(body, read):
        return None
    headers = list(headers)
    if any(is_read(name.encode("latin-1", "replace")) for name in _of_the_connection(headers)):
        return None  # whether the upstream gets such a header, the next hop decides
    userinfo, _, host = parts.netloc.rpartition("@")
    query, directives = query_of(parts.query), read_directives(headers)
    return WireRequest(
        api,
        f"{parts.scheme}://{_without_default_port(parts.scheme, host.lower())}{parts.path.rstrip('/')}",
        tuple(sorted((pair for pair in query if not is_credential_in_request(pair[0])), key=_name)),
        tuple(sorted(((name.lower(), value.strip()) for name, value in headers if counts(name)), key=_name)),
        read,
        scope_of(headers, parts.query, userinfo, secret),
        directives,
        has_cookie(headers),
        share,
        one_owner,
        len(body) > LARGE_BYTES,
        namespaces is None
        or directives.namespace is None
        or any(fnmatchcase(directives.namespace, one) for one in namespaces),
    )


def _without_default_port(scheme: str, host: str) -> str:
    return host.removesuffix({"https": ":443", "http": ":80"}.get(scheme, ""))


def _name(pair: tuple[str, str]) -> str:
    """By which pairs are sorted: the order of values of one name says something."""
    return pair[0]


def _of_the_connection(headers: Headers) -> list[str]:
    """The headers that ``Connection`` names, in small letters."""
    named = [value for name, value in headers if name.lower() == "connection"]
    return [one.strip().lower() for value in named for one in value.split(",")]


def read_body(body: bytes) -> Body | None:
    """A body that is a JSON object; ``None``: it is none."""
    try:
        read = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return read if isinstance(read, dict) else None


def is_unreadable(headers: Headers, body: bytes) -> bool:
    """Whether no server can read a body as a request to an API that is known.

    It is no JSON object, not even with ``NaN`` or in UTF-16, and it is neither compressed nor in parts.
    """
    for name, value in headers:
        encoded = name.lower() == "content-encoding" and value.strip().lower() != "identity"
        if encoded or (name.lower() == "content-type" and value.strip().lower().startswith("multipart/")):
            return False
    try:
        return not isinstance(json.loads(body), dict)
    except RecursionError:
        return False
    except ValueError:
        return True


@functools.lru_cache(maxsize=1024)
def is_read(header: bytes) -> bool:
    """Whether `read_request` looks at a header of that name, in small letters."""
    name = header.decode("latin-1")
    return counts(name) or is_credential_header(name) or name in _OF_CACHE or name in OWN


_OF_CACHE = frozenset({"cookie", "cache-control", "pragma", "connection"})


def _tools_form(tools: Body, left_out: list[str]) -> Body:
    """Tools in normal form. For whom a hosted one acts counts in any namespace: many users may share one here."""
    token = actor_is_named.set(False)
    try:
        return model_form(tools, left_out, "body")
    finally:
        actor_is_named.reset(token)


def _unmarked(fields: Any) -> Any:
    """Messages, or blocks, without the marks for the provider's prompt cache."""
    if not isinstance(fields, list):
        return fields
    return [_unmarked_one(one) for one in fields]


def _unmarked_one(block: Any) -> Any:
    """Blocks hold blocks: the results of tools in their content, documents in their source."""
    if not isinstance(block, dict):
        return block
    return {
        name: _unmarked(value) if name == "content" else _unmarked_one(value) if name == "source" else value
        for name, value in block.items()
        if name != "cache_control"
    }


def _is_reference(item: Any) -> bool:
    """Whether an item of a request is an id alone of one that the provider holds."""
    return isinstance(item, dict) and (
        item.get("type") == "item_reference" or (item.get("type") is None and item.keys() - {"type"} == {"id"})
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
