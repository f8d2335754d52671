"""A user with the rights that the documentation names can do all; with one fewer, `doctor` says so."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from askonce import Cache, cache_options
from askonce.cli.app import app
from askonce.stores.base import Store
from askonce.stores.redis import RedisStore
from askonce.stores.redis.rights import RIGHTS, VECTOR_RIGHTS
from askonce.testing import StoreConformance
from tests.stores.redis.conftest import PATIENT
from tests.support import servers
from tests.support.application import Application

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "production.md"


def user(server: servers.Server, rules: str) -> str:
    """The URL of a user with these rights alone."""
    name = f"u{uuid.uuid4().hex[:12]}"
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", name, "reset", "on", ">pw", *rules.split())
    return server.url.replace("redis://", f"redis://{name}:pw@")


class _WithTheRights(StoreConformance):
    trace_examples = 5
    work_rounds = 10
    name: servers.Name
    rules = RIGHTS

    @pytest.fixture
    def url(self) -> str:
        if reason := servers.available(self.name):
            pytest.skip(reason)
        return user(servers.start(self.name), self.rules)

    @pytest.fixture
    def open(self, url: str) -> Callable[..., Store]:
        return lambda clock=time.time: RedisStore(url, timeout_seconds=PATIENT, clock=clock)

    @pytest.fixture
    def log_length(self, monkeypatch: pytest.MonkeyPatch) -> int:
        monkeypatch.setattr("askonce.stores.redis.plans.LOG_LENGTH", 100)
        return 100


class TestRedis82(_WithTheRights):
    name = "redis-8.2"
    rules = f"{RIGHTS} {VECTOR_RIGHTS}"


class TestValkey91(_WithTheRights):
    name = "valkey-9.1"


@pytest.mark.parametrize("lacking", [one for one in RIGHTS.split()[1:] if one not in ("+info", "+time")])
def test_doctor_names_what_is_lacking(lacking: str) -> None:
    url = user(servers.start("redis-8.2"), " ".join(one for one in RIGHTS.split() if one != lacking))
    done = CliRunner().invoke(app, ["doctor", "--store", url, "--json"])
    assert done.exit_code == 1
    findings = {one["name"]: one for one in json.loads(done.stdout)["findings"]}
    found = (
        findings.get("permissions") or findings["using the store"]
    )  # it is lacking so soon that no cache can be made
    assert found["level"] == "problem"
    assert lacking[1:] in found["value"]
    assert RIGHTS in found["value"] + found["advice"]


@pytest.mark.parametrize("name", ["redis-8.2", "valkey-9.1", "redis-6.2", "redis-7.0"])
def test_with_the_rights_of_the_page_all_commands_work(name: servers.Name, tmp_path: Path) -> None:
    if reason := servers.available(name):
        pytest.skip(reason)
    [rule] = re.findall(r"^ACL SETUSER \S+ on >\S+ (~askonce:.*)$", PAGE.read_text(), re.MULTILINE)
    assert rule == RIGHTS
    server = servers.start(name, private=True)  # namespaces of other tests look encrypted
    url, space, file = user(server, rule), "shop", str(tmp_path / "backup.askonce")
    with Cache(url, namespace=space, timeout_seconds=PATIENT, max_entries=9) as cache:
        for number in range(12):
            with cache_options(tags=["tag"], namespace="jane"):
                Application(cache).answer(f"{number}")
        for number in range(12):
            Application(cache).answer(f"{number}")
        cache.flush()
        stats = cache.stats()
        assert (stats.stored, stats.errors, cache.totals().stored) == (24, 0, 24)
    for command in (
        *("doctor", "ls", "stats", "top", "invalidate tag --tenant jane --yes", f"export {file}", f"import {file}"),
        *("delete --text 11 --yes", "delete --tenant jane --yes", "clear --yes"),
    ):
        own = () if command.startswith("import") else ("--namespace", space)
        done = CliRunner().invoke(app, [*command.split(), "--store", url, *own])
        assert done.exit_code == 0, (command, done.output, done.exception)
    done = CliRunner().invoke(app, ["bench", "--rounds", "10", "--store", url])
    assert done.exit_code == 0, done.output
    server.close()
