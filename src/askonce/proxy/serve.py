"""The proxy's server: uvicorn."""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import uvicorn
from uvicorn.supervisors import Multiprocess

from askonce.errors import ConfigError
from askonce.proxy.app import ProxyApp
from askonce.proxy.config import GRACE_SECONDS, ProxySettings
from askonce.proxy.connection import ClientConnection

logger = logging.getLogger("askonce")
_VARIABLE = "ASKONCE_PROXY_SETTINGS"
_HANGUP: signal.Signals | None = getattr(signal, "SIGHUP", None)
"""None on Windows."""
_MOST_OPEN_FILES = 2**17


def serve(settings: ProxySettings, begun: Callable[[str], object]) -> None:
    """Serve until the process is to stop (SIGINT, SIGTERM, SIGHUP); what is being answered then is finished.

    Args:
        settings: of the proxy.
        begun: called with the proxy's URL when the settings were checked and the port is the proxy's.

    Raises:
        ConfigError: a setting is wrong, or the store or the port cannot be used.
    """
    options: dict[str, Any] = {
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": GRACE_SECONDS,
        "lifespan": "on",
        "ws": "none",
        "http": ClientConnection,
    }
    _allow_many_connections()
    app = ProxyApp(settings)
    listener = _bound(settings.host, settings.port)
    port = listener.getsockname()[1]
    # When all is finished, uvicorn raises the signal again, for the handler that was there before its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    _stop_on_hangup()
    begun(f"http://{f'[{settings.host}]' if ':' in settings.host else settings.host}:{port}")
    if settings.workers == 1:
        config = uvicorn.Config(app, **options)
        _log_no_breaks()
        uvicorn.Server(config).run(sockets=[listener])
        return
    if (settings.store or "").startswith("memory:"):
        logger.warning(
            "askonce: each of %d workers has a cache of its own in memory: share a store", settings.workers
        )
    app.cache.close()  # it was opened to see that it can be
    os.environ[_VARIABLE] = msgspec.json.encode(settings).decode()
    config = uvicorn.Config("askonce.proxy.serve:worker", factory=True, workers=settings.workers, **options)
    _Workers(config, listener).run()


class _Workers(Multiprocess):
    """Several processes that accept the connections of one socket.

    Args:
        config: of each.
        listener: is bound.
    """

    def __init__(self, config: uvicorn.Config, listener: socket.socket) -> None:
        older: dict[str, Any] = {}
        if "target" in inspect.signature(Multiprocess.__init__).parameters:
            older["target"] = uvicorn.Server(config).run
        listener.set_inheritable(True)
        on_hangup = None if _HANGUP is None else signal.getsignal(_HANGUP)
        super().__init__(config, sockets=[listener], **older)
        if _HANGUP is not None:
            signal.signal(_HANGUP, on_hangup)  # the server's handler would start the workers anew
        self._listener = listener

    def terminate_all(self) -> None:
        """End all; the socket first, or connections would be accepted that nobody answers."""
        self._listener.close()
        super().terminate_all()


def worker() -> ProxyApp:
    """The application of one of several processes."""
    _stop_on_hangup()
    _log_no_breaks()
    return ProxyApp(msgspec.json.decode(os.environ[_VARIABLE], type=ProxySettings))


def _stop_on_hangup() -> None:
    """Have SIGHUP, which the end of a terminal sends, do what SIGTERM does, unless ``nohup`` ignores it."""
    if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        signal.signal(_HANGUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _bound(host: str, port: int) -> socket.socket:
    """A socket of an address, which does not listen yet.

    Raises:
        ConfigError: there is no such address here, or it is taken.
    """
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {host} at port {port}: {error.strerror}") from error
    return listener


def _allow_many_connections() -> None:
    """Raise the limit of open files, often 1,024, as far as this process may; a connection is one."""
    try:
        import resource
    except ModuleNotFoundError:  # on Windows, which has none
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_no_breaks() -> None:
    """Leave out what the server says of a response without its end: ASGI has no other way to show a cut body.

    Also of what is no HTTP request, since `ClientConnection` says more; and of WebSockets, which no library that it
    names would have the proxy pass on: the client is told so.
    """
    left_out = re.compile("without completing|Invalid HTTP request|Unsupported upgrade|No supported WebSocket")
    logging.getLogger("uvicorn.error").addFilter(lambda record: left_out.search(record.getMessage()) is None)
