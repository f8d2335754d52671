"""What other systems, and other versions of packages, do differently: each difference is patched in."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from askonce import Cache, ConfigError, Semantic, StoreUnavailable, open_store
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm
from askonce.langchain import cached
from askonce.prefix import PrefixTracker
from askonce.semantic.index import shared
from askonce.simulate.log import read_log
from askonce.storage import access_log
from askonce.stores.memory import MemoryStore

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the differences are patched into Linux and macOS")
BINARY = 1 << 40
"""Stands for Windows' O_BINARY."""


def named(cache: Cache, question: object) -> Request:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}))
    assert request is not None
    return request


def send(cache: Cache, question: object) -> str:
    found = cache.engine.answer(named(cache, question), lambda: b"because", Answer)
    return found.kind if isinstance(found, Hit) else "fresh"


# -- the access log ------------------------------------------------------------------------------------------------


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files as on Windows: in text mode if nothing else is given, and not to be renamed while they are open."""
    opened: dict[int, tuple[str, bool]] = {}
    real = {name: getattr(os, name) for name in ("open", "write", "close", "replace")}

    def opens(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        number: int = real["open"](path, flags & ~BINARY, *rest, **more)
        opened[number] = os.fspath(path), bool(flags & BINARY)
        return number

    def writes(number: int, data: bytes) -> int:
        text = number in opened and not opened[number][1]
        real["write"](number, bytes(data).replace(b"\n", b"\r\n") if text else data)
        return len(data)

    def closes(number: int) -> None:
        opened.pop(number, None)
        real["close"](number)

    def replaces(old: Any, new: Any, **more: Any) -> None:
        if os.fspath(old) in [path for path, _ in opened.values()]:
            raise PermissionError(errno.EACCES, "the file is used by another process", os.fspath(old))
        real["replace"](old, new, **more)

    monkeypatch.setattr(os, "O_BINARY", BINARY, raising=False)
    for name, function in (("open", opens), ("write", writes), ("close", closes), ("replace", replaces)):
        monkeypatch.setattr(os, name, function)


@pytest.mark.usefixtures("windows")
def test_an_access_log_that_is_written_on_windows_can_be_read(tmp_path: Path) -> None:
    with Cache("memory://", access_log=tmp_path / "log") as cache:
        for number in range(400):
            send(cache, number)
    assert len(read_log(tmp_path / "log")) == 400


@pytest.mark.usefixtures("windows")
def test_a_large_access_log_is_renamed_on_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_log, "ROTATE_BYTES", 1000)
    for part in range(3):
        with Cache("memory://", access_log=tmp_path / "log") as cache:
            for number in range(30):
                send(cache, (part, number))
    assert sorted(one.name for one in tmp_path.iterdir()) == ["log", "log.1"]


def test_damaged_records_of_an_access_log_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Cache("memory://", access_log=log) as cache:
        for number in range(50):
            send(cache, number)
    data = bytearray(log.read_bytes())
    size = len(data) // 50
    data[20 * size] ^= 0xFF
    cut_off = data[30 * size : 30 * size + 17]  # by a process that died
    log.write_bytes(data[: 40 * size] + cut_off + data[40 * size :])
    assert len(read_log(log)) == 49


# -- folders -------------------------------------------------------------------------------------------------------


def embed(text: str) -> list[float]:
    number = int("".join(filter(str.isdigit, text)) or 0)
    return [float(number % 7 + 1), float(number % 11), float(number % 13), float(number % 17)]


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No HOME, and no entry in the list of users."""

    def fails(*_: Any, **__: Any) -> str:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("platformdirs.user_cache_dir", fails)


@pytest.mark.usefixtures("homeless")
def test_a_semantic_cache_over_a_named_store_needs_no_home_directory(tmp_path: Path) -> None:
    with Cache(f"sqlite:///{tmp_path / 'cache.db'}", semantic=Semantic(embed, model="numbers")) as cache:
        assert send(cache, "why?") == "fresh"


def test_a_cache_closes_where_the_folder_of_its_index_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocked = tmp_path / "blocked"
    blocked.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked / "cache"))
    monkeypatch.setattr(shared, "_SAVE_INDEX_FROM", 1)
    cache = Cache(
        f"sqlite:///{tmp_path / 'cache.db'}", semantic=Semantic(embed, model="numbers"), timeout_seconds=5
    )
    model = cached(FakeListChatModel(responses=["because"]), cache)
    for number in range(3):
        model.invoke(f"why is it {number}?")
    cache.close()


def test_tokens_are_counted_where_there_is_no_folder_for_temporary_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tiktoken")

    def fails() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", fails)
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    payload = {"model": "gpt-4.1-2025-04-14", "messages": [{"role": "user", "content": "why?"}]}
    assert PrefixTracker().start(payload, "openai").chain.tokens > 0


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")
@pytest.mark.parametrize("home", [None, "/", "/nowhere"])
def test_a_user_without_a_home_directory_caches_in_a_named_file(home: str | None) -> None:
    code = """
import os, sys
from askonce import Cache, ConfigError, Semantic
from askonce.entries.entry import Answer, Hit
from askonce.keys.normal_form import NormalForm

def is_hit(cache):
    request = cache.engine.request("answer", lambda: NormalForm({"q": 1}))
    return isinstance(cache.engine.answer(request, lambda: b"because", Answer), Hit)

def use(name):
    semantic = Semantic(lambda text: [1.0, 2.0], model="m")
    with Cache(f"sqlite:///{sys.argv[1]}/{name}.db", semantic=semantic, timeout_seconds=5) as cache:
        return is_hit(cache), is_hit(cache)

use("of root")  # who may read what is imported
os.setgid(12345)
os.setuid(12345)
print(*use("of another"))
try:
    Cache()
except ConfigError as error:
    print("sqlite:///" in str(error) or "writable folder" in str(error))
"""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        os.chmod(folder, 0o777)
        environment = {"PYTHONPATH": os.pathsep.join(sys.path)} | ({} if home is None else {"HOME": home})
        command = [sys.executable, "-c", code, folder]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert "~" not in os.listdir(folder)
    assert done.stdout == "False True\nTrue\n", done.stderr


# -- what a system or a package has not ----------------------------------------------------------------------------


def test_a_unix_socket_is_refused_where_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(ConfigError):
        open_store("unix:///tmp/redis.sock").close()


def test_a_langchain_without_its_private_bridge_can_still_be_used() -> None:
    code = """
import sys
from langchain_core.language_models.fake_chat_models import FakeListChatModel
sys.modules["langchain_core.language_models._compat_bridge"] = None
from askonce import Cache
from askonce.langchain import cached
print(cached(FakeListChatModel(responses=["so"]), Cache("memory://")).invoke("why?").text)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "so\n"


@pytest.mark.parametrize(
    ("arguments", "encoding"),
    [
        (("prefix", "report", "--store", "{url}"), "cp1252"),
        (("prefix", "report", "--store", "{url}", "--json"), "cp1252"),
        (("simulate", "--help"), "ascii"),
    ],
    ids=["report", "JSON", "help"],
)
def test_the_command_line_prints_to_any_encoding(arguments: tuple[str, ...], encoding: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    with PrefixTracker(url, application="α→β", timeout_seconds=5) as tracker:
        payload = {"model": "gpt-4.1", "messages": [{"role": "user", "content": "why? " * 2000}]}
        tracker.observe(payload, "openai", None, 0.5)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0", "LC_ALL": "C"}
    command = [sys.executable, "-m", "askonce.cli", *(one.format(url=url) for one in arguments)]
    done = subprocess.run(command, capture_output=True, env=environment)
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)


# -- time ----------------------------------------------------------------------------------------------------------


class Failing(MemoryStore):
    """Fails while `fails` is set: all look-ups that come together, together."""

    def __init__(self, together: int) -> None:
        super().__init__()
        self.fails, self.looked_up = False, 0
        self._barrier = threading.Barrier(together)

    def get_many(self, namespace: str, keys: Sequence[bytes]) -> list[bytes | None]:
        self.looked_up += 1
        if self.fails:
            self._barrier.wait(60)
            raise StoreUnavailable("connection refused")
        return super().get_many(namespace, keys)


def test_calls_that_fail_in_one_tick_of_the_clock_leave_the_store_out_for_one_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    store = Failing(8)
    with Cache(store) as cache:
        store.fails = True
        threads = [
            threading.Thread(target=cache.engine.lookup_many, args=([named(cache, number)],)) for number in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.fails, looked_up = False, store.looked_up
        now[0] += 1.5
        cache.engine.lookup_many([named(cache, "why?")])
        assert store.looked_up > looked_up


def test_a_busy_event_loop_is_no_failure_of_the_store(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def burst(cache: Cache) -> None:
        async def answer() -> bytes:
            return b"because"

        async def busy() -> None:
            time.sleep(0.4)  # noqa: ASYNC251

        calls = [cache.engine.aanswer(named(cache, number), answer, Answer) for number in range(3)]
        await asyncio.gather(*calls, busy())

    with closing(Cache(f"sqlite:///{tmp_path / 'cache.db'}")) as cache:
        send(cache, "why?")
        asyncio.run(burst(cache))
        assert cache.stats().errors == 0
