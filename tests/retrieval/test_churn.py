"""Documents that change while several processes look for them: nothing stale is ever served."""

from pathlib import Path

import pytest

from askonce import Cache
from tests.support import churn, nearest_churn, servers


@pytest.mark.parametrize("name", ["sqlite", "redis-8.2", "mongodb"])
def test_no_stale_retrieval_is_served_while_documents_change(name: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db" if name == "sqlite" else servers.start(name).url
    with Cache(url, namespace="churn", timeout_seconds=5) as cache:
        cache.clear()
    operations = 600 if name == "mongodb" else 2000
    outcome = churn.run(url, tmp_path, processes=4, operations=operations, writes=0.1)
    assert outcome.operations == operations
    assert outcome.stale == 0
    assert outcome.hits > outcome.searches / 20  # otherwise nothing was tested


def test_with_nearness_hardly_a_search_is_needless() -> None:
    outcome = nearest_churn.run(near_margin=0.0, operations=1000)
    assert outcome.stale == 0
    assert outcome.searches < outcome.reads / 5
    assert outcome.needless < outcome.searches / 5
