"""The directives in the headers of a request."""

from __future__ import annotations

import math

import pytest

from askonce import ConfigError
from askonce.storage.freshness import Freshness
from askonce.wire.directives import Directives, read_directives


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], Directives()),
        ([("Cache-Control", "no-cache")], Directives(refresh=True)),
        ([("pragma", "no-cache")], Directives(refresh=True)),
        ([("cache-control", "max-age=60"), ("pragma", "no-cache")], Directives(max_age=60.0)),
        ([("cache-control", "MAX-AGE=0")], Directives(refresh=True)),
        ([("cache-control", "max-age=soon")], Directives(refresh=True)),
        ([("cache-control", "no-store, only-if-cached")], Directives(bypass=True, only_if_cached=True)),
        (
            [("cache-control", "min-fresh=5"), ("cache-control", 'max-stale="7"')],
            Directives(min_fresh=5.0, max_stale=7.0),
        ),
        ([("cache-control", "max-stale")], Directives(max_stale=math.inf)),
        ([("cache-control", "stale-if-error=9, other=1")], Directives(stale_if_error=9.0)),
        ([("cache-control", "stale-if-error=0")], Directives(stale_if_error=0.0)),
        ([("cache-control", "stale-if-error=-1, max-stale=x")], Directives(stale_if_error=0.0)),
        (
            [
                ("Askonce-TTL", "60"),
                ("askonce-tags", "a, b,"),
                ("askonce-namespace", "ann"),
                ("askonce-sample", "2"),
            ],
            Directives(ttl=60.0, tags=("a", "b"), namespace="ann", sample=2),
        ),
        ([("askonce-tags", "a"), ("Askonce-Tags", "b, c")], Directives(tags=("a", "b", "c"))),
        ([("pragma", "x"), ("pragma", "y, No-Cache")], Directives(refresh=True)),
        ([("cache-control", "max-age=60"), ("cache-control", "no-store")], Directives(max_age=60.0, bypass=True)),
    ],
)
def test_headers_as_directives(headers: list[tuple[str, str]], expected: Directives) -> None:
    assert read_directives(headers) == expected


@pytest.mark.parametrize(
    "header",
    [
        ("askonce-ttl", "soon"),
        ("askonce-ttl", "0"),
        ("askonce-sample", "-1"),
        ("askonce-sample", "1.5"),
        ("askonce-namespace", ""),
    ],
)
def test_a_wrong_header_of_ours_is_an_error_that_says_what_to_write(header: tuple[str, str]) -> None:
    with pytest.raises(ConfigError, match=header[0]):
        read_directives([header])


def test_two_lines_that_can_be_only_one_are_an_error() -> None:
    for name in ("askonce-ttl", "askonce-sample"):
        with pytest.raises(ConfigError, match=name):
            read_directives([(name, "1"), (name, "2")])


def test_the_rules_of_one_request() -> None:
    rules = Freshness(100.0, stale_if_error_seconds=5.0)
    assert Directives().freshness(rules, None) is None
    assert Directives(max_age=60).freshness(rules, None) == Freshness(60.0, stale_if_error_seconds=5.0)
    assert Directives(max_age=600).freshness(rules, None) == Freshness(100.0, stale_if_error_seconds=5.0)
    made = Directives(stale_if_error=50, min_fresh=1, max_stale=2).freshness(rules, 30.0)
    expected = Freshness(30.0, stale_if_error_seconds=50.0, min_fresh_seconds=1.0, max_stale_seconds=2.0)
    assert made == expected


def test_who_says_how_old_an_answer_may_be_gets_none_that_is_just_made_anew() -> None:
    rules = Freshness(100.0, stale_while_revalidate_seconds=50.0, stale_if_error_seconds=5.0)
    for directives in (Directives(max_age=60), Directives(min_fresh=10)):
        made = directives.freshness(rules, None)
        assert made is not None
        assert made.stale_while_revalidate_seconds == 0
        assert made.stale_if_error_seconds == 5
    refused = Directives(stale_if_error=0.0).freshness(rules, None)
    assert refused is not None
    assert (refused.stale_if_error_seconds, refused.stale_while_revalidate_seconds) == (0, 50)
