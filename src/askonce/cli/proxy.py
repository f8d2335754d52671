"""``askonce proxy``: a cache in front of providers, for any client."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from askonce.cli.common import err
from askonce.errors import ConfigError, MissingExtraError

Upstreams = Annotated[
    list[str] | None,
    typer.Option(
        "--upstream",
        envvar="ASKONCE_PROXY_UPSTREAM",
        metavar="URL",
        help="The provider, such as https://api.openai.com. Again for further ones, by a prefix of the path"
        " (/anthropic=https://api.anthropic.com) or by models (claude-*=https://api.anthropic.com).",
    ),
]
Config = Annotated[
    str | None,
    typer.Option(
        "--config", envvar="ASKONCE_PROXY_CONFIG", help="A TOML file of all options; those given here win over it."
    ),
]
ProxyStore = Annotated[
    str | None,
    typer.Option("--store", help="The store's URL. Default: ASKONCE_STORE, or the user's own file."),
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
    str | None, typer.Option("--namespace", envvar="ASKONCE_PROXY_NAMESPACE", help="The cache's namespace.")
]
LocalTtl = Annotated[
    float | None,
    typer.Option(
        "--local-ttl",
        envvar="ASKONCE_PROXY_LOCAL_TTL",
        help="Seconds for which an answer found in the store is also held in memory. Default: 0.",
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


def proxy(
    upstream: Upstreams = None,
    store: ProxyStore = None,
    host: Host = None,
    port: Port = None,
    workers: Workers = None,
    ttl: Ttl = None,
    namespace: ProxyNamespace = None,
    local_ttl: LocalTtl = None,
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
    """
    try:
        from askonce.proxy.config import read_settings, upstream_of
        from askonce.proxy.serve import serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("uvicorn", "aiohttp", "yarl"):
            raise
        raise MissingExtraError("askonce proxy", "proxy") from error
    given: dict[str, Any] = {
        "store": store, "host": host, "port": port, "workers": workers, "share": share, "keys_file": keys_file,
    }  # fmt: skip
    given = {name: value for name, value in given.items() if value is not None}
    cache = {"ttl": ttl, "namespace": namespace, "local_ttl": local_ttl}
    given["cache"] = {name: value for name, value in cache.items() if value is not None}
    if upstream_key_env and len(upstream or ()) != 1:
        raise ConfigError(
            "--upstream-key-env is for one --upstream; give each of several its key_env in the file of --config"
        )
    if upstream:
        given["upstreams"] = [upstream_of(one, upstream_key_env) for one in upstream]
    settings = read_settings(config, given)
    err.print(f"askonce proxy on http://{settings.host}:{settings.port}", markup=False)
    for one in settings.upstreams:
        which = one.prefix or ", ".join(one.models) or "/"
        err.print(f"  {which} -> {one.base}", markup=False)
    serve(settings)
