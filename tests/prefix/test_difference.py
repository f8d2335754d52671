"""The smallest difference of two texts, and what it looks like."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.prefix.tracking.difference import difference


@pytest.mark.parametrize(
    ("before", "now", "looks_like"),
    [
        ("It is 2026-11-21T05:14 now.", "It is 2026-11-21T05:15 now.", "a clock"),
        ("It is 5:14 pm now.", "It is 5:15 pm now.", "a clock"),
        ("Today is 2026-11-21.", "Today is 2026-11-22.", "a date"),
        ("Today is Friday, all day.", "Today is Saturday, all day.", "a date"),
        ("At 1763701200 sharp", "At 1763701261 sharp", "a time stamp"),
        (
            "id 0e2054cf-88a5-4a2f-a9ee-3cc6283c5dc1 ok",
            "id dc264b2e-3989-41ba-8706-e646d086dbe0 ok",
            "a uuid",
        ),
        ("Request 17 of many", "Request 18 of many", "a counter"),
        ("session x8Kq2mZp begins", "session pQ77aLw1 begins", "a random id"),
        ('{"a":1,"b":{"c":2}}', '{"b":{"c":2},"a":1}', "reordered JSON keys"),
        ("Be kind to all.", "Be rude to all.", ""),
    ],
)
def test_what_varies_is_recognised(before: str, now: str, looks_like: str) -> None:
    assert difference(before, now).looks_like == looks_like


def test_a_difference_shows_whole_words_and_their_place() -> None:
    found = difference("It is 2026-11-21T05:14 now.", "It is 2026-11-21T05:15 now.")
    assert (found.before, found.now) == ("2026-11-21T05:14", "2026-11-21T05:15")
    assert str(found) == "characters 7–22: '2026-11-21T05:14', now '2026-11-21T05:15'; looks like a clock"


@given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=20), st.text(max_size=20))
def test_any_two_texts_have_a_difference_that_lies_within_them(head: str, tail: str, old: str, new: str) -> None:
    found = difference(head + old + tail, head + new + tail)
    assert 1 <= found.first <= found.last <= max(1, len(head + new + tail), found.first)
