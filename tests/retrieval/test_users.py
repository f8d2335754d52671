"""Many users at once: each answer has the documents of its own prompt as its sources, and no others."""

import os
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from tests.support import servers, users


@pytest.mark.parametrize("framework", list(users.OFFICES))
@pytest.mark.parametrize("name", ["sqlite", "redis-8.2"])
def test_no_answer_has_sources_of_another_request_and_none_lacks_its_own(
    name: str, framework: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db" if name == "sqlite" else servers.start(name).url
    outcome = users.run(url, framework, processes=2, requests=1200)
    assert outcome.hits > outcome.answers / 10
    assert (outcome.foreign, outcome.missing, outcome.outlived) == (0, 0, 0), outcome.examples


def dies(*_: object) -> None:
    os._exit(1)


def test_a_process_that_dies_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "work", dies)
    with pytest.raises(BrokenProcessPool):
        users.run("", "LangChain", processes=2, requests=2)
