"""How a request reads: which provider it goes to, and what it is for. The same bytes are not read twice."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import msgspec

from askonce.errors import ConfigError
from askonce.proxy.call import ProxyCall
from askonce.proxy.relay import UpstreamTarget
from askonce.proxy.upstream import Upstreams, by_model, chosen, leaves
from askonce.wire.apis import api_of, model_in
from askonce.wire.members import further_models_in, models_in
from askonce.wire.requests import WireRequest, is_read, read_body, read_request

_MOST_BYTES = 16 * 2**20
_LONGEST = 64 * 2**10
_OF_ANY_REQUEST = 4096
_OF_A_VALUE = 200
_KEYS_OF_OTHERS = ("x-api-key", "anthropic-version", "x-goog-api-key", "api-key")
"""How providers are shown a key that do it in another way than most."""
_encode = msgspec.msgpack.Encoder().encode


class ReadRequest(msgspec.Struct, frozen=True):
    """A request as it reads.

    Attributes:
        models: all that it names: in its path, and in its body if that was read.
        target: where it goes; ``None``: no provider fits.
        wire: what it is for; ``None``: it is passed on as it is.
        is_read: its body was read, so that no model is unknown.
        others: further models that the body names, as fallbacks.
    """

    models: tuple[str, ...]
    target: UpstreamTarget | None
    wire: WireRequest | None = None
    is_read: bool = False
    others: tuple[str, ...] = ()


class RequestReader:
    """Reads requests.

    Args:
        upstreams: the providers.
        share: callers share answers, whatever credentials they show; those of an upstream that is sent the
            proxy's key always do.
        secret: see `askonce.wire.requests.read_request`.
        namespaces: see there, too.
    """

    def __init__(
        self, upstreams: Upstreams, *, share: bool, secret: bytes, namespaces: Sequence[str] | None = None
    ) -> None:
        self._upstreams, self._share, self._secret, self._namespaces = upstreams, share, secret, namespaces
        self._recent: dict[bytes, ReadRequest] = {}
        self._recent_bytes = 0

    def read(self, call: ProxyCall, body: bytes | None) -> ReadRequest:
        """Read a request.

        Args:
            call: the request.
            body: all of it; ``None`` if it is not to be read.

        Raises:
            ConfigError: a header of ours has a wrong value, or the path leads out of the upstream's.
        """
        if body is None or len(body) > _LONGEST:
            return self._read(call, body)
        read = [pair for pair in call.raw_headers if is_read(pair[0])]
        name = _digest(call, read, body)
        found = self._recent.get(name)
        if found is None:
            found = self._read(call, body)
            self._recent_bytes += (size := _size(call, read, body))
            if self._recent_bytes > _MOST_BYTES:
                self._recent.clear()
                self._recent_bytes = size
            self._recent[name] = found
        return found

    def needs_body(self, call: ProxyCall) -> bool:
        """Whether a request's body is to be read: it may be cached, or the model in it says where it goes."""
        if api_of(call.method, call.path) is not None:
            return True
        kind = call.header("content-type") or ""  # which not all clients give to JSON
        is_text = kind.partition("/")[0] in ("", "application", "text") and "octet-stream" not in kind
        return call.method == "POST" and is_text and by_model(self._upstreams.of_path(call.path))

    def _read(self, call: ProxyCall, body: bytes | None) -> ReadRequest:
        if leaves(call.path):
            raise ConfigError("a path with .. in it is not passed on")
        in_path, whole = model_in(call.path), None if body is None else read_body(body)
        in_body = [] if body is None or whole is None else models_in(body, whole)
        models = (*filter(None, [in_path]), *in_body)
        others = tuple(further_models_in(body, whole)) if body is not None and whole is not None else ()
        among = self._upstreams.of_path(call.path) if call.path.startswith("/") else []
        found = chosen(among, models[0] if models else None)
        if found is None or (not models and not found[0].key_env and by_model(among) and _may_be_of_another(call)):
            return ReadRequest(models, None)
        upstream, url = found
        target = UpstreamTarget(upstream, f"{url}?{call.query}" if call.query else url)
        if body is None:
            return ReadRequest(models, target)
        one = upstream.key_env is not None  # whose key is the proxy's, it answers all alike
        share = self._share or one
        wire = read_request(
            call.method,
            target.url,
            call.headers,
            body,
            share=share,
            one_owner=one,
            secret=self._secret,
            namespaces=self._namespaces,
        )
        return ReadRequest(models, target, wire, whole is not None, others)


def _may_be_of_another(call: ProxyCall) -> bool:
    """Whether a request without a model may be meant for another provider than the default one, with its key."""
    return api_of(call.method, call.path) is not None or any(call.header(name) for name in _KEYS_OF_OTHERS)


def _digest(call: ProxyCall, read: list[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Identifies all of a request that is read; what it shows of credentials is not held in memory."""
    return hashlib.sha256(_encode((call.method, call.path, call.query, read, body))).digest()


def _size(call: ProxyCall, read: list[tuple[bytes, bytes]], body: bytes) -> int:
    """About how many bytes of memory a request takes that was read, with its normal form."""
    texts = len(body) + len(call.path) + len(call.query) + sum(len(name) + len(value) for name, value in read)
    values = sum(map(body.count, (b"[", b"{", b",", b":"))) + call.query.count("&") + len(read)
    return _OF_ANY_REQUEST + 4 * texts + _OF_A_VALUE * values
