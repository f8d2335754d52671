"""The processes that are measured: ours, LiteLLM's, and the bare ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from benchmarks.proxy.programs import ROOT

KEY = "sk-0f3c7a51b2d84e6f9a1c3b5d7e9f1a2b4c6d8e0f"
MODELS = ("bench-0", "bench-300")
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Subject:
    """A server on a port of its own. Use it as a context manager.

    Attributes:
        name: for people.
        command: starts it; ``{port}`` stands for the port.
        ready: a path that replies as soon as it serves.
        env: environment variables of its own.
        folder: for its log.
        start_seconds: from the start of the process to the first reply.
        start_mb: memory a second later.
    """

    name: str
    command: Sequence[str]
    folder: Path
    ready: str = "/health"
    env: dict[str, str] = field(default_factory=dict)
    port: int = 0
    start_seconds: float = 0.0
    start_mb: float = 0.0

    def __enter__(self) -> Self:
        self.port = self.port or free_port()
        command = [part.replace("{port}", str(self.port)) for part in self.command]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self._log = self.folder / f"{self.port}.log"
        began = time.monotonic()
        with self._log.open("wb") as out:
            self._process = subprocess.Popen(
                command, stdout=out, stderr=out, cwd=self.folder, env={**env, **self.env}, start_new_session=True
            )
        while not self._serves():
            if self._process.poll() is not None or time.monotonic() - began > 90:
                self.__exit__()
                tail = self._log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not start: {tail}")
            time.sleep(0.01)
        self.start_seconds = time.monotonic() - began
        time.sleep(1)
        self.start_mb = self.memory_mb()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)  # its own session, begun above
                self._process.wait()

    def _serves(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}{self.ready}", timeout=5):
                return True
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        """User and system time of the process and its children so far."""
        return sum(_cpu_seconds(pid) for pid in self._pids())

    def memory_mb(self) -> float:
        """Resident memory of the process and its children."""
        return sum(int(_read(pid, "statm").split()[1]) for pid in self._pids()) * _PAGE / 1e6

    def _pids(self) -> list[int]:
        pids, at = [self._process.pid], 0
        while at < len(pids):
            for task in Path(f"/proc/{pids[at]}/task").glob("*"):
                pids += [int(pid) for pid in (task / "children").read_text().split()]
            at += 1
        return pids


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text()
    except FileNotFoundError:
        return "0 0"


def _cpu_seconds(pid: int) -> float:
    fields = _read(pid, "stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK if len(fields) > 12 else 0.0


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def ours(name: str, folder: Path, upstream: str, store: str, *options: str) -> Subject:
    """Askonce's proxy."""
    command = [sys.executable, "-m", "askonce.cli", "proxy", "--port", "{port}", "--upstream", upstream]
    env = {"PYTHONPATH": str(ROOT / "src")}
    return Subject(name, [*command, "--store", store, *options], folder, env=env)


def served(name: str, python: Path, folder: Path, module: str, *arguments: str, workers: int = 1) -> Subject:
    """One of the servers in `benchmarks.proxy.served`, on uvicorn[standard]."""
    command = [str(python), "-m", "uvicorn", f"{module}:app", "--port", "{port}", "--log-level", "warning"]
    command += ["--no-access-log", "--app-dir", str(Path(__file__).parent / "served"), "--workers", str(workers)]
    return Subject(name, command, folder, "/count", {"UPSTREAM": arguments[0] if arguments else ""})


def litellm(
    name: str, python: Path, folder: Path, upstream: str, cache: dict[str, object], *, any_key: bool = False
) -> Subject:
    """LiteLLM's proxy, as lean as it can be: no database, no callbacks, no retries.

    Args:
        cache: its ``cache_params``.
        any_key: it takes any key, each as one of a user and a team of its own; else `KEY` alone.
    """
    home = folder / f"litellm-{name.rpartition(' ')[2]}"
    home.mkdir(exist_ok=True)
    models = [("openai", one) for one in (*MODELS, "gpt-4o", "text-embedding-3-small")] + [
        ("anthropic", "claude-sonnet-4-5")
    ]
    config = {
        "model_list": [
            {
                "model_name": model,
                "litellm_params": {
                    "model": f"{provider}/{model}",
                    "api_base": upstream + ("/v1" if provider == "openai" else ""),
                    "api_key": "sk-upstream",
                },
            }
            for provider, model in models
        ],
        "litellm_settings": {"cache": True, "cache_params": cache, "num_retries": 0, "drop_params": False},
        "router_settings": {"num_retries": 0},
        "general_settings": {"master_key": KEY, **({"custom_auth": "any_key.any_key"} if any_key else {})},
    }
    (home / "config.yaml").write_text(json.dumps(config))
    (home / "any_key.py").write_text(_ANY_KEY)
    command = [str(python.parent / "litellm"), "--config", str(home / "config.yaml"), "--port", "{port}"]
    env = {"LITELLM_LOG": "ERROR", "LITELLM_LOCAL_MODEL_COST_MAP": "True", "PYTHONPATH": str(home)}
    command += ["--host", "127.0.0.1", "--num_workers", "1", "--telemetry", "False"]
    return Subject(name, command, folder, "/health/liveliness", env)


_ANY_KEY = '''
from litellm.proxy._types import UserAPIKeyAuth


async def any_key(request, api_key):
    """Each key is of a user and a team of its own."""
    return UserAPIKeyAuth(api_key=api_key, user_id=f"user {api_key}", team_id=f"team {api_key}")
'''
