"""Real proxies: processes of ``askonce proxy``."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx2


@dataclass
class Proxy:
    """A running proxy.

    Attributes:
        url: its address.
        process: its (first) process.
        log: what it wrote.
    """

    url: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> int:
        """End it as a service manager does; returns its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


def start(
    upstream: str | None,
    *arguments: str,
    folder: Path,
    store: str | None = None,
    env: dict[str, str] | None = None,
) -> Proxy:
    """Start a proxy and wait until it serves.

    Args:
        upstream: the URL of one, if it is one.
        arguments: of the command.
        folder: for its log and, by default, its store.
        store: the URL of its store.
        env: variables beside those of this process.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / f"proxy-{port}.log"
    command = [sys.executable, "-m", "askonce.cli", "proxy", "--port", str(port)]
    command += ["--upstream", upstream] if upstream else []
    command += ["--store", store or f"sqlite:///{folder}/proxy.db", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})
    proxy = Proxy(f"http://127.0.0.1:{port}", process, log)
    deadline = time.monotonic() + 60
    while True:
        try:
            httpx2.get(f"{proxy.url}/health", timeout=5)
            return proxy
        except httpx2.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                raise AssertionError(log.read_text()) from None
            time.sleep(0.02)
