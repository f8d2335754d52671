"""The settings of the proxy: a TOML file, and what the command line gives in its place."""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import tomllib
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from askonce.engine.settings import Settings
from askonce.entries.decodable import decodable
from askonce.errors import ConfigError
from askonce.proxy.own_paths import is_own

GRACE_SECONDS = 30
"""How long requests may still take when the proxy is to stop."""


class UpstreamSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A provider.

    Attributes:
        url: where it is, such as ``https://api.openai.com``.
        prefix: of the paths that go to it, such as ``/openai``; it is taken off.
        models: patterns of the models whose requests go to it, such as ``claude-*``.
        key_env: the variable that holds the key which is sent to it in place of the caller's.
    """

    url: str
    prefix: str = ""
    models: tuple[str, ...] = ()
    key_env: str | None = None

    @property
    def base(self) -> str:
        """The URL without a slash at its end."""
        return self.url.rstrip("/")


@decodable
class ProxySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """All settings of a proxy; the names are those of the TOML file.

    Attributes:
        upstreams: the providers; the first one that fits gets a request.
        store: a store's URL; ``None`` for the default.
        cache: settings of `askonce.Cache`, such as ``ttl``.
        host: the address to listen on.
        port: the port.
        workers: processes.
        share: callers share answers, whatever credentials they show, also if they show none.
        keys_file: a TOML file of the proxy's own keys; see `askonce.proxy.tenants`.
        namespaces: patterns of the names that clients may give in ``Askonce-Namespace``; ``None``: any, or none if
            the size of the cache is limited: each namespace has a limit of its own.
        connect_timeout: seconds until a provider must have accepted a connection.
        timeout: seconds for which a provider may send nothing.
        max_body_bytes: of a request or a reply; a larger one is passed on and not cached.
    """

    upstreams: tuple[UpstreamSettings, ...] = ()
    store: str | None = None
    cache: dict[str, Any] = {}
    host: str = "127.0.0.1"
    port: int = 8787
    workers: int = 1
    share: bool = False
    keys_file: str | None = None
    namespaces: tuple[str, ...] | None = None
    connect_timeout: float = 10.0
    timeout: float = 600.0
    max_body_bytes: int = 64 * 2**20

    def check(self) -> None:
        """See that a proxy can be started with them.

        Raises:
            ConfigError: it cannot.
        """
        if not self.upstreams:
            raise ConfigError("no upstream: give one, such as --upstream https://api.openai.com")
        for one in self.upstreams:
            _check_url(one.url)
            if one.prefix and (not one.prefix.startswith("/") or one.prefix.endswith("/")):
                raise ConfigError(f"a prefix is a path such as /openai, got {one.prefix!r}")
            if one.prefix and is_own(one.prefix):
                raise ConfigError(f"{one.prefix} is the proxy's own, and no prefix of an upstream")
        _check_each_is_served(self.upstreams)
        if not 0 <= self.port < 65536 or self.workers < 1:
            raise ConfigError("port is a number below 65536, and workers is at least 1")
        if not (self.connect_timeout > 0 and self.timeout > 0 and self.max_body_bytes > 0):
            raise ConfigError("connect_timeout, timeout and max_body_bytes are positive")
        for one in self.upstreams:
            if one.key_env and not os.environ.get(one.key_env):
                raise ConfigError(f"the variable {one.key_env}, which is to hold the provider's key, is not set")
        holds_key = any(one.key_env for one in self.upstreams)
        if holds_key and self.keys_file is None and not is_loopback(self.host):
            raise ConfigError(
                f"who reaches {self.host} could spend your provider's key: give --keys-file, or stay on 127.0.0.1"
            )
        if self.keys_file is not None and not all(one.key_env for one in self.upstreams):
            raise ConfigError("with keys of its own the proxy needs the provider's: give --upstream-key-env")
        proxies_of_network()


def proxies_of_network() -> dict[str, str]:
    """The proxy to the internet for each scheme, by ``HTTP_PROXY``, ``HTTPS_PROXY`` and ``ALL_PROXY``.

    Raises:
        ConfigError: one of them is no HTTP proxy.
    """
    found = urllib.request.getproxies()
    proxies = {scheme: found.get(scheme) or found.get("all", "") for scheme in ("http", "https")}
    proxies = {scheme: one if "://" in one else f"http://{one}" for scheme, one in proxies.items() if one}
    for scheme, one in proxies.items():
        if not one.lower().startswith(("http://", "https://")):
            named = one.partition("://")[0]
            raise ConfigError(
                f"{scheme.upper()}_PROXY or ALL_PROXY names a {named} proxy, and only HTTP proxies are used: set "
                f"{scheme.upper()}_PROXY to one, or unset it"
            )
    return proxies


def _check_each_is_served(upstreams: tuple[UpstreamSettings, ...]) -> None:
    """See that no upstream stands behind another one for the same requests.

    Raises:
        ConfigError: one does.
    """
    taken: set[tuple[str, str]] = set()
    for one in upstreams:
        for pair in {(one.prefix, pattern) for pattern in one.models or ("",)}:
            if pair in taken:
                names = [f"the prefix {pair[0]}" * bool(pair[0]), f"the model {pair[1]}" * bool(pair[1])]
                which = " and ".join(filter(None, names)) or "neither a prefix nor models"
                raise ConfigError(f"two upstreams have {which}: the second one would get no request")
            taken.add(pair)


def _check_url(url: str) -> None:
    """See that an upstream's URL is one.

    Raises:
        ConfigError: it is none.
    """
    try:
        parts = urlsplit(url)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_one = False
    if not is_one or _NOT_OF_AN_UPSTREAM.search(url):
        shown = "one that may hold a key" if re.search("[?#@]", url) else repr(url)
        several = "; write spaces between several" if re.search("[,;]", url) else ""
        raise ConfigError(
            f"an upstream is a URL such as https://api.openai.com, without query or key, got {shown}{several}"
        )


_NOT_OF_AN_UPSTREAM = re.compile(r"[^!-~]|[?#@,;\"<>\\^`{|}]")


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def upstream_of(text: str, key_env: str | None = None) -> UpstreamSettings:
    """An upstream as the command line writes it: ``URL``, ``/prefix=URL`` or ``model-pattern=URL``."""
    which, is_named, url = text.partition("=")
    if not is_named or "://" in which:
        return UpstreamSettings(text, key_env=key_env)
    models = tuple(filter(None, which.split(",")))
    if not models:
        raise ConfigError("an upstream is URL, /prefix=URL or model-pattern=URL, and one begins with =")
    if which.startswith("/"):
        return UpstreamSettings(url, prefix=which.rstrip("/"), key_env=key_env)
    return UpstreamSettings(url, models=models, key_env=key_env)


def read_settings(path: str | None, given: dict[str, Any]) -> ProxySettings:
    """The settings of a file, and over them those that were given otherwise.

    Args:
        path: of a TOML file; ``None`` for none.
        given: by name, without those that were not given.

    Raises:
        ConfigError: the file cannot be read, or a setting is wrong.
    """
    table: dict[str, Any] = {}
    if path is not None:
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path} cannot be read: {error}") from error
    if path is not None and isinstance(keys_file := table.get("keys_file"), str):
        table["keys_file"] = str(Path(path).parent / keys_file)
    if not isinstance(table.get("cache", {}), dict):
        raise ConfigError(f"{path}: [cache] is a table of settings")
    misplaced = sorted(table.keys() & Settings.__annotations__.keys() - set(ProxySettings.__struct_fields__))
    if misplaced:
        raise ConfigError(f"{path}: {misplaced[0]} is a setting of the cache: write it below [cache]")
    for name in sorted(table.get("cache", {}).keys() - Settings.__annotations__.keys()):
        near = difflib.get_close_matches(name, Settings.__annotations__, 1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(Settings.__annotations__))}"
        raise ConfigError(f"{path}: [cache] has no setting {name}; {hint}")
    merged = {**table, **given, "cache": {**table.get("cache", {}), **given.get("cache", {})}}
    try:
        settings = msgspec.convert(merged, ProxySettings)
    except msgspec.ValidationError as error:
        of = UpstreamSettings if "$.upstreams" in str(error) else ProxySettings
        raise ConfigError(f"{path or 'the settings'}: {error}{known_fields(error, of)}") from error
    settings.check()
    return settings


def known_fields(error: msgspec.ValidationError, of: type[msgspec.Struct]) -> str:
    """What a message of an unknown field is to say beside its name; empty for other errors."""
    return f"; known are {', '.join(of.__struct_fields__)}" if "unknown field" in str(error) else ""
