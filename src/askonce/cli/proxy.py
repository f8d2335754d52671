"""``askonce proxy``: a cache in front of providers, for any client."""

from __future__ import annotations

import difflib
import os
import re
from typing import Annotated, Any

import typer

from askonce.cli.common import StoreUrl, err
from askonce.errors import ConfigError, MissingExtraError

Upstreams = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        envvar="ASKONCE_PROXY_UPSTREAM",
        metavar="URL",
        help="The provider, such as https://api.openai.com. Again for further ones, by a prefix of the path"
        " (/anthropic=https://api.anthropic.com) or by models (claude-*=https://api.anthropic.com). In the variable"
        " there are spaces between them.",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", envvar="ASKONCE_PROXY_CONFIG", help="A TOML file of all options; those given here win over it."
    ),
]
Host = Annotated[
    str | None,
    typer.Option("--host", envvar="ASKONCE_PROXY_HOST", help="The address to listen on. Default: 127.0.0.1."),
]
Port = Annotated[int | None, typer.Option("--port", envvar="ASKONCE_PROXY_PORT", help="The port. Default: 8787.")]
Workers = Annotated[
    int | None, typer.Option("--workers", envvar="ASKONCE_PROXY_WORKERS", help="Processes. Default: 1.")
]
Ttl = Annotated[
    float | None,
    typer.Option("--ttl", envvar="ASKONCE_PROXY_TTL", help="Seconds that answers live. Default: for ever."),
]
ProxyNamespace = Annotated[
    str | None,
    typer.Option(
        "--namespace",
        envvar="ASKONCE_PROXY_NAMESPACE",
        help="The cache's namespace. Default: [tool.askonce], or 'default'.",
    ),
]
LocalTtl = Annotated[
    float | None,
    typer.Option(
        "--local-ttl",
        envvar="ASKONCE_PROXY_LOCAL_TTL",
        help="Seconds for which an answer found in the store is also held in memory. Default: 0.",
    ),
]
StaleWhileRevalidate = Annotated[
    float | None,
    typer.Option(
        "--stale-while-revalidate",
        envvar="ASKONCE_PROXY_STALE_WHILE_REVALIDATE",
        help="Seconds past --ttl for which an answer is served while a new one is made. Default: 0.",
    ),
]
StaleIfError = Annotated[
    float | None,
    typer.Option(
        "--stale-if-error",
        envvar="ASKONCE_PROXY_STALE_IF_ERROR",
        help="Seconds past --ttl for which an answer is served if the provider fails. Default: 0.",
    ),
]
MaxBytes = Annotated[
    str | None,
    typer.Option(
        "--max-bytes",
        envvar="ASKONCE_PROXY_MAX_BYTES",
        help="Limit of what is stored, such as 2GB. Each tenant of --keys-file and each of --namespaces has as much"
        " again. Default: none.",
    ),
]
Namespaces = Annotated[
    str | None,
    typer.Option(
        "--namespaces",
        envvar="ASKONCE_PROXY_NAMESPACES",
        metavar="NAMES",
        help="Names that clients may give in Askonce-Namespace, such as 'eval,team-*'; requests with others are not"
        " cached. Default: any; none if the size is limited.",
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        envvar="ASKONCE_PROXY_TIMEOUT",
        help="Seconds for which a provider may send nothing, before its answer and within. Default: 600.",
    ),
]
ConnectTimeout = Annotated[
    float | None,
    typer.Option(
        "--connect-timeout",
        envvar="ASKONCE_PROXY_CONNECT_TIMEOUT",
        help="Seconds until a provider must have accepted a connection. Default: 10.",
    ),
]
StoreTimeout = Annotated[
    float | None,
    typer.Option(
        "--store-timeout",
        envvar="ASKONCE_PROXY_STORE_TIMEOUT",
        help="Seconds that the store may take for one call before it is left out. Default: 0.25.",
    ),
]
MaxBodyBytes = Annotated[
    int | None,
    typer.Option(
        "--max-body-bytes",
        envvar="ASKONCE_PROXY_MAX_BODY_BYTES",
        help="The largest request or reply that is cached; a larger one is passed on. Default: 67108864.",
    ),
]
Share = Annotated[
    bool | None,
    typer.Option(
        "--share/--no-share",
        envvar="ASKONCE_PROXY_SHARE",
        help="Callers share answers, whatever key they show. Default: each key has its own.",
    ),
]
UpstreamKeyEnv = Annotated[
    str | None,
    typer.Option(
        "--upstream-key-env",
        envvar="ASKONCE_PROXY_UPSTREAM_KEY_ENV",
        help="The variable that holds the provider's key; sent in place of the caller's. With --keys-file.",
    ),
]
KeysFile = Annotated[
    str | None,
    typer.Option(
        "--keys-file",
        envvar="ASKONCE_PROXY_KEYS_FILE",
        help="A TOML file of keys for callers: [[keys]] with key, tenant and, if you like, models.",
    ),
]


_PREFIX = "ASKONCE_PROXY_"
_WITHOUT_OPTION = {f"{_PREFIX}ADMIN_TOKEN", f"{_PREFIX}SECRET", f"{_PREFIX}SETTINGS"}
_OF_KUBERNETES = re.compile(rf"{_PREFIX}(SERVICE_|PORT_\d)")
"""Which it sets for a service that is called askonce-proxy."""
_OF_CACHE = {
    "ttl": "ttl",
    "stale_while_revalidate": "stale_while_revalidate",
    "stale_if_error": "stale_if_error",
    "namespace": "namespace",
    "local_ttl": "local_ttl",
    "max_bytes": "max_bytes",
    "store_timeout": "timeout_seconds",
}
"""Options that are settings of the cache."""


def proxy(
    ctx: typer.Context,
    upstream: Upstreams = None,
    store: StoreUrl = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    ttl: Ttl = None,
    namespace: ProxyNamespace = None,
    local_ttl: LocalTtl = None,
    stale_while_revalidate: StaleWhileRevalidate = None,
    stale_if_error: StaleIfError = None,
    max_bytes: MaxBytes = None,
    namespaces: Namespaces = None,
    timeout: Timeout = None,
    connect_timeout: ConnectTimeout = None,
    store_timeout: StoreTimeout = None,
    max_body_bytes: MaxBodyBytes = None,
    share: Share = None,
    upstream_key_env: UpstreamKeyEnv = None,
    keys_file: KeysFile = None,
    config: Config = None,
) -> None:
    """Serve a cache in front of providers, for any client: it needs another base URL and nothing else.

    askonce proxy --upstream https://api.openai.com

    Then: OPENAI_BASE_URL=http://127.0.0.1:8787/v1

    Cached are chat completions, responses, embeddings and Anthropic's messages, plain and streamed. All else is
    passed on. The caller's own key is sent to the provider; callers with different keys share nothing.

    Variables without an option: ASKONCE_PROXY_ADMIN_TOKEN, which /askonce/stats wants to be shown;
    ASKONCE_PROXY_SECRET, on which the digests of callers' keys depend; ASKONCE_ENCRYPTION_KEYS, which encrypts what
    is stored.

    Settings of the cache that are given neither here nor in the file of --config are those of [tool.askonce].
    """
    try:
        from askonce.proxy.config import read_settings
        from askonce.proxy.serve import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("uvicorn", "aiohttp", "yarl"):
            raise
        raise MissingExtraError("askonce proxy", "proxy") from error
    _warn_of_unknown_variables(ctx)
    settings = read_settings(config, _given(dict(ctx.params)))

    def begun(url: str) -> None:
        err.print(f"askonce proxy on {url}", markup=False)
        for one in settings.upstreams:
            which = one.prefix or ", ".join(one.models) or "/"
            err.print(f"  {which} -> {one.base}", markup=False)

    serve(settings, begun)


def _warn_of_unknown_variables(ctx: typer.Context) -> None:
    """Say which variables of the environment have the proxy's prefix, and set nothing."""
    known = {str(one.envvar) for one in ctx.command.params if one.envvar} | _WITHOUT_OPTION
    unknown = (one for one in os.environ if one.startswith(_PREFIX) and one not in known)
    for name in sorted(one for one in unknown if not _OF_KUBERNETES.match(one)):
        near = difflib.get_close_matches(name, known, 1, cutoff=0.8)
        hint = f"; did you mean {near[0]}?" if near else ""
        err.print(f"askonce proxy: there is no variable {name}{hint}", markup=False)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Options as settings of the proxy, without those that were not given.

    Raises:
        ConfigError: it is not clear for whom a key is.
    """
    from askonce.proxy.config import upstream_of

    given = {name: value for name, value in options.items() if value is not None and name != "config"}
    upstreams, key_env = given.pop("upstream", []), given.pop("upstream_key_env", None)
    if key_env and len(upstreams) != 1:
        raise ConfigError(
            "--upstream-key-env is for one --upstream; give each of several its key_env in the file of --config"
        )
    if upstreams:
        given["upstreams"] = [upstream_of(one, key_env) for one in upstreams]
    if "namespaces" in given:
        given["namespaces"] = [one.strip() for one in given["namespaces"].split(",") if one.strip()]
    given["cache"] = {_OF_CACHE[name]: given.pop(name) for name in _OF_CACHE if name in given}
    return given
