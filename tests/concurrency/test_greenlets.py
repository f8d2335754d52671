"""Under gevent each greenlet counts as a thread: one call for equal questions, and an answer for everybody."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import servers

PROGRAM = """
import gevent.monkey; gevent.monkey.patch_all()
import gevent, sys, time
from askonce import Cache
from tests.support.application import Application, lookup, update

application = Application(Cache(sys.argv[1]))
application.delay = 0.2
for _ in range(2):
    greenlets = [gevent.spawn(application.answer, f"q{number % 5}") for number in range(50)]
    gevent.joinall(greenlets, timeout=30)
    assert all(one.successful() for one in greenlets), [one.exception for one in greenlets]
assert application.calls == 5, application.calls

def all_are_answered_soon(question, leader):
    gevent.sleep(0.05)
    others = [gevent.spawn(application.answer, question) for _ in range(3)]
    gevent.sleep(0.05)
    leader.kill()
    began = time.monotonic()
    gevent.joinall(others, timeout=20)
    assert all(one.successful() for one in others), [one.exception for one in others]
    assert time.monotonic() - began < 10

all_are_answered_soon("its leader is killed", gevent.spawn(application.answer, "its leader is killed"))

def look_up_and_fail():
    lookup(application, "only looked up")
    gevent.sleep(60)

all_are_answered_soon("only looked up", gevent.spawn(look_up_and_fail))
application.cache.close()
print("all")
"""


@pytest.mark.skipif(importlib.util.find_spec("gevent") is None, reason="gevent is installed on Linux alone")
@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis"])
def test_greenlets_share_calls_and_all_are_answered(kind: str, tmp_path: Path) -> None:
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path / 'cache.db'}"}.get(kind)
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, url or servers.start("redis-8.2").url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "all", done.stderr[-3000:]
