"""How long the pieces of a batch are."""

from itertools import accumulate, repeat

import pytest

from askonce.storage.pieces import FIRST_ENTRIES, MOST_ENTRIES, PIECE_SECONDS, after_failure, next_length


@pytest.mark.parametrize(
    ("call_seconds", "entry_seconds", "expected"),
    [
        (0.0001, 0.00001, MOST_ENTRIES),
        (0.001, 0.001, 49),
        (2 * PIECE_SECONDS, 0.001, FIRST_ENTRIES),  # a call that moves little takes as long
        (0.0, 1.0, FIRST_ENTRIES),
    ],
)
def test_pieces_are_as_long_as_the_store_is_fast(call_seconds: float, entry_seconds: float, expected: int) -> None:
    def following(length: int, _: None) -> int:
        return next_length(length, 0, call_seconds + length * entry_seconds)

    *_, length = accumulate(repeat(None, 20), following, initial=FIRST_ENTRIES)
    assert length == pytest.approx(expected, abs=2)


def test_pieces_of_large_values_are_short() -> None:
    assert next_length(16, 160_000_000, 0.001) == 1
    assert next_length(1, 10_000, 0.001) == 4  # and grow again


def test_a_batch_goes_on_after_a_pause_and_ends_where_the_store_is_down() -> None:
    assert after_failure(0, 16, 1) is None
    first, second, third = (after_failure(64, 16, failures) for failures in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert first.length == second.length == 4
    assert 0 < first.pause < 1 < second.pause  # a breaker is open for a second
    assert third is None
