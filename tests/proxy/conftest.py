"""Real proxies: processes in front of an upstream of a test."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest


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


Serve = Callable[..., Proxy]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start a proxy; arguments are those of the command, after its upstream (if it is one)."""
    running: list[Proxy] = []

    def started(
        upstream: str | None, *arguments: str, store: str | None = None, env: dict[str, str] | None = None
    ) -> Proxy:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = tmp_path / f"proxy-{port}.log"
        command = [sys.executable, "-m", "askonce.cli", "proxy", "--port", str(port)]
        command += ["--upstream", upstream] if upstream else []
        command += ["--store", store or f"sqlite:///{tmp_path}/proxy.db", *arguments]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=out, env={**os.environ, **(env or {})})
        proxy = Proxy(f"http://127.0.0.1:{port}", process, log)
        running.append(proxy)
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx2.get(f"{proxy.url}/health", timeout=5)
                return proxy
            except httpx2.TransportError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)

    yield started
    for proxy in running:
        proxy.stop()
