"""Keys of the proxy's own: who shows one, and of which tenant he is.

[[keys]]
key = "a long random text"
tenant = "team-a"
models = ["gpt-*"]        # all, if left out
"""

from __future__ import annotations

import hashlib
import hmac
import os
import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from askonce.entries.decodable import decodable
from askonce.errors import ConfigError
from askonce.options import check_name
from askonce.proxy.config import known_fields
from askonce.wire.scope import Headers

_LEAST_LENGTH = 16
_SHOWN_IN = ("authorization", "x-api-key", "api-key", "x-goog-api-key")


class ProxyKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key of the proxy.

    Attributes:
        key: what a caller shows.
        tenant: whose it is; callers of one tenant share answers.
        models: patterns of the models that he may call.
    """

    key: str
    tenant: str
    models: tuple[str, ...] = ()

    def allows(self, models: Sequence[str], others: Sequence[str] = ()) -> bool:
        """Whether a request that names these models, and others beside, may be sent: any of them may be called."""
        return not self.models or (
            bool(models) and all(any(fnmatchcase(one, may) for may in self.models) for one in (*models, *others))
        )


@decodable
class _KeysFile(msgspec.Struct, forbid_unknown_fields=True):
    keys: tuple[ProxyKey, ...]


class KeyRing:
    """The keys of a proxy. How long a search takes says nothing of them: it is one for digests."""

    def __init__(self, keys: Sequence[ProxyKey]) -> None:
        self._secret = os.urandom(32)
        self._by_digest = {self._digest(one.key): one for one in keys}

    def find(self, shown: str) -> ProxyKey | None:
        """The key that equals what a caller shows."""
        found = self._by_digest.get(self._digest(shown))
        same = hmac.compare_digest(shown.encode(), found.key.encode()) if found is not None else False
        return found if same else None

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), key=self._secret).digest()


def read_keys(path: str) -> KeyRing:
    """The keys in a TOML file.

    Raises:
        ConfigError: it cannot be read, a key is too short to be safe or cannot be shown, or there is one twice.
    """
    try:
        keys = msgspec.convert(tomllib.loads(Path(path).read_text(encoding="utf-8")), _KeysFile).keys
    except msgspec.ValidationError as error:
        of = ProxyKey if "$.keys[" in str(error) else _KeysFile
        raise ConfigError(f"{path} is no file of keys: {error}{known_fields(error, of)}") from error
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path} cannot be read as a file of keys: {error}") from error
    for one in keys:
        check_name("a tenant", one.tenant)
        if len(one.key) < _LEAST_LENGTH:
            raise ConfigError(f"{path}: the key of {one.tenant!r} is shorter than {_LEAST_LENGTH} characters")
        if one.key != one.key.strip():  # no header can show it
            raise ConfigError(f"{path}: the key of {one.tenant!r} begins or ends with spaces")
    tenants: dict[str, str] = {}
    for one in keys:
        if one.key in tenants:
            raise ConfigError(f"{path}: a key of {one.tenant!r} is one of {tenants[one.key]!r} too")
        tenants[one.key] = one.tenant
    return KeyRing(keys)


def shown_key(headers: Headers) -> str:
    """The key that a request shows in the header of any provider; empty if none."""
    by_name = {name.lower(): value for name, value in headers}
    shown = next((by_name[name] for name in _SHOWN_IN if by_name.get(name)), "")
    scheme, _, rest = shown.partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else shown


def header_of_key(headers: Headers, path: str, key: str) -> tuple[str, str]:
    """The header in which a provider wants its key: where the caller showed his own."""
    names = {name.lower() for name, value in headers if value}
    name = next((one for one in _SHOWN_IN if one in names), "")
    if not name:
        name = "x-api-key" if path.rstrip("/").endswith("/v1/messages") else "authorization"
    return (name, f"Bearer {key}") if name == "authorization" else (name, key)
