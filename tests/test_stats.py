"""Statistics can be read where a program prints them."""

from __future__ import annotations

from askonce.stats import Counts, Stats


def test_what_is_nothing_is_not_printed() -> None:
    counts = Counts(hits=2, hit_kinds={"exact": 2}, saved_seconds=1.23456)
    stats = Stats(hits=2, kinds={"answer": counts}, entries=3)
    inner = "Counts(hits=2, hit_kinds={'exact': 2}, misses=0, saved_seconds=1.235)"
    assert str(counts) == inner
    assert str(stats) == f"Stats(hits=2, misses=0, kinds={{'answer': {inner}}}, entries=3, store='up')"
    assert "bypassed=0" in repr(stats)
    assert str(Stats()) == "Stats(hits=0, misses=0, store='up')"
