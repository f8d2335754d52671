"""``askonce stats`` and ``askonce top``, as they are typed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from askonce import Cache, cache_options
from askonce.stores import open_store
from askonce.stores.base import pages
from askonce.totals.records import totals_namespace
from tests.cli.test_simulate import askonce
from tests.totals.requests import USD, send


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{tmp_path_factory.mktemp('counted') / 'cache.db'}"
    with Cache(url) as cache:
        for number in range(12):
            send(cache, number % 4)
        with cache_options(namespace="acme", tags=["[prices]"]):
            for _ in range(3):
                send(cache, "how much?", model="gpt-4o-mini")
    return url


def test_stats_report_what_all_processes_did(url: str) -> None:
    done = askonce("stats", "--store", url)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("15 requests", "67% of them hits", "5 entries", "misses: 5 absent", "hits: 10 exact"):
        assert text in " ".join(done.stdout.split())
    reported = json.loads(askonce("stats", "--store", url, "--json", "--by", "tenant", "--since", "1h").stdout)
    assert (reported["hits"], reported["misses"], reported["entries"]) == (10, 5, 5)
    assert reported["rows"]["acme"]["hits"] == 2
    of_tenant = json.loads(askonce("stats", "--store", url, "--json", "--tenant", "acme").stdout)
    assert (of_tenant["hits"], of_tenant["entries"]) == (2, 1)


def test_top_shows_what_saves_and_what_costs_most(url: str) -> None:
    reported = json.loads(askonce("top", "--store", url, "--json").stdout)
    assert list(reported["saves_most"]) == list(reported["costs_most"]) == ["gpt-4o", "gpt-4o-mini"]
    assert reported["saves_most"]["gpt-4o"]["saved_usd"] == pytest.approx(8 * USD)
    assert list(json.loads(askonce("top", "--store", url, "--json", "--most", "1").stdout)["saves_most"]) == [
        "gpt-4o"
    ]
    done = askonce("top", "--store", url, "--by", "tag")
    assert "[prices]" in done.stdout and "saves most" in done.stdout and "costs most" in done.stdout


def test_counts_that_cannot_be_read_are_missed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'cache.db'}"
    for number in range(2):
        with Cache(url) as cache:
            send(cache, number)
    store = open_store(url)
    one = next(record for records in pages(store, totals_namespace("default")) for record in records)
    store.put(totals_namespace("default"), [msgspec.structs.replace(one, value=b"damaged")])
    store.close()
    done = askonce("stats", "--store", url)
    assert done.returncode == 0 and "1 request," in done.stdout
    assert "1 record of counts" in done.stderr and "cannot be read" in done.stderr


def test_a_mistake_is_one_line_and_makes_no_file(url: str, tmp_path: Path) -> None:
    none = tmp_path / "none.db"
    for command in ("stats", "top"):
        for arguments, message in (
            (("--store", f"sqlite:///{none}"), "there is no store in"),
            (("--store", url, "--namespace", "other"), "nothing was counted in namespace 'other'"),
            (("--store", url, "--tenant", "nobody"), "nothing was counted"),
        ):
            done = askonce(command, *arguments)
            assert done.returncode == 1
            assert done.stderr.startswith("askonce: ")
            assert message in done.stderr
            assert len(done.stderr.splitlines()) == 1
        wrong = askonce(command, "--store", url, "--since", "tomorrow")
        assert wrong.returncode == 2
        assert "since is a time such as" in wrong.stderr
    assert not none.exists()
