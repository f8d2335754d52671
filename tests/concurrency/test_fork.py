"""A forked child waits for nothing that a thread of its parent held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import servers

PROGRAM = """
import os, random, signal, sys, threading, time
from askonce import Cache
from askonce.entries.entry import Answer
from askonce.keys.normal_form import NormalForm

sys.setswitchinterval(1e-4)
cache = Cache(sys.argv[1], max_entries=100, timeout_seconds=2)

def send(question):
    request = cache.engine.request("answer", lambda: NormalForm({"q": question}))
    cache.engine.answer(request, lambda: b"because", Answer)

def busy():
    while True:
        send(random.random())
        time.sleep(float(sys.argv[3]))

for _ in range(8):
    threading.Thread(target=busy, daemon=True).start()
hung = 0
for number in range(int(sys.argv[2])):
    child = os.fork()
    if not child:
        send(number)
        os._exit(0)
    deadline = time.monotonic() + 20
    while not (ended := os.waitpid(child, os.WNOHANG)[0]) and time.monotonic() < deadline:
        time.sleep(0.005)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        hung += 1
        break
print(hung, flush=True)
os._exit(0)
"""


@pytest.mark.parametrize(
    ("kind", "forks", "pause"), [("memory", 30, 0.0), ("sqlite", 20, 0.002), ("redis", 20, 0.002)]
)
def test_a_child_sends_requests_while_threads_of_its_parent_do(
    kind: str, forks: int, pause: float, tmp_path: Path
) -> None:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'cache.db'}"}.get(kind)
    command = [sys.executable, "-c", PROGRAM, url or servers.start("redis-8.2").url, str(forks), str(pause)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout == "0\n", done.stderr
