"""The contract of stores, as tests.

Subclass ``StoreConformance`` to test a store::

    class TestSQLite(StoreConformance):
        @pytest.fixture
        def open(self, tmp_path):
            return lambda clock=time.time: SQLiteStore(f"sqlite:///{tmp_path}/a.db", clock=clock)

        @pytest.fixture
        def url(self, tmp_path):
            return f"sqlite:///{tmp_path}/a.db"

Each test uses namespaces of its own, so that one server serves all of them, and runs twice: with the plain
methods and with their asynchronous twins.
"""

from __future__ import annotations

from askonce.testing._budgets import BudgetTests
from askonce.testing._records import RecordTests
from askonce.testing._sharing import SharingTests


class StoreConformance(RecordTests, BudgetTests, SharingTests):
    """The contract of ``askonce.stores.base.Store``.

    A subclass defines the fixture ``open``, and ``url`` if processes share the data. Where eviction is not exact
    (a sharded store), it sets ``exact_eviction = False``. A slow store makes ``trace_examples``, ``work_rounds``
    and ``scan_records`` smaller, and defines ``log_length``.
    """
