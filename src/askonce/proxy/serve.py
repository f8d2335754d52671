"""The proxy's server: uvicorn."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import msgspec
import uvicorn

from askonce.proxy.app import ProxyApp
from askonce.proxy.config import ProxySettings

_VARIABLE = "ASKONCE_PROXY_SETTINGS"
_GRACE_SECONDS = 30


def serve(settings: ProxySettings) -> None:
    """Serve until the process is told to stop (SIGINT, SIGTERM); what is being answered then is finished.

    Raises:
        ConfigError: a setting is wrong, or the store cannot be used.
    """
    options: dict[str, Any] = {
        "host": settings.host,
        "port": settings.port,
        "log_level": "warning",
        "access_log": False,
        "server_header": False,
        "timeout_keep_alive": 75,
        "timeout_graceful_shutdown": _GRACE_SECONDS,
        "lifespan": "on",
        "ws": "none",
    }
    # When all is finished, uvicorn raises the signal again, for the handler that was there before its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    app = ProxyApp(settings)
    if settings.workers == 1:
        uvicorn.run(app, **options)
        return
    app.cache.close()  # it was opened to see that it can be
    os.environ[_VARIABLE] = msgspec.json.encode(settings).decode()
    uvicorn.run("askonce.proxy.serve:worker", factory=True, workers=settings.workers, **options)


def worker() -> ProxyApp:
    """The application of one of several processes."""
    return ProxyApp(msgspec.json.decode(os.environ[_VARIABLE], type=ProxySettings))
