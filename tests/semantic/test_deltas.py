import itertools
import random

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.changelog.journal import unpacked
from askonce.errors import CodecError
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.types import IndexedQuery
from tests.semantic.questions import Player, key, questions


def played(seed: int, times: int = 3, requests: int = 120) -> list[RuleDelta]:
    """What one process deltas while it answers questions."""
    player, deltas = Player(DecisionRule(0.05), seed), []
    for number, (text, intent) in enumerate(questions(seed)[: times * requests], start=1):
        player.put(text, intent)
        if number % requests == 0:
            delta = player.rule.take()
            assert delta is not None
            deltas.append(delta)
    return deltas


DELTAS = played(1) + played(2)


def merged(*deltas: RuleDelta) -> DecisionRule:
    rule = DecisionRule(0.05)
    for delta in deltas:
        rule.merge(delta)
    return rule


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(DELTAS))))
def test_any_order_of_deltas_gives_the_same_sums(order: list[int]) -> None:
    rule, other = merged(*DELTAS), merged(*(DELTAS[number] for number in order))
    assert other._state.total == rule._state.total
    assert other._state._records == rule._state._records
    assert other.stats() == rule.stats()


@pytest.mark.parametrize("cut", range(len(DELTAS)))
def test_any_grouping_gives_the_same_model(cut: int) -> None:
    """Shares merged one by one, or the first of them out of a snapshot: byte by byte the same state."""
    _, first = merged(*DELTAS[:cut]).snapshot()
    rule = DecisionRule(0.05)
    rule.restore(first)
    for delta in DELTAS[cut:]:
        rule.merge(delta)
    assert rule.snapshot() == merged(*DELTAS).snapshot()


def test_a_snapshot_contains_what_is_new_and_returns_it() -> None:
    player, other = Player(DecisionRule(0.05), 1), DecisionRule(0.05)
    stream = questions(1)
    for text, intent in stream[:400]:
        player.put(text, intent)
    first = player.rule.take()
    for text, intent in stream[400:700]:
        player.put(text, intent)
    second, snapshot = player.rule.snapshot()
    assert first is not None and second is not None and player.rule.take() is None
    other.restore(snapshot)
    assert other.stats() == player.rule.stats() == merged(first, second).stats()
    assert other._state._records == player.rule._state._records


def test_what_is_not_published_yet_survives_a_restore() -> None:
    rule = DecisionRule(0.05)
    player = Player(rule, 3)
    for text, intent in questions(3)[:100]:
        player.put(text, intent)
    own = rule.stats()
    rule.restore(merged(*DELTAS).snapshot()[1])
    both = rule.stats()
    assert both.requests == own.requests + merged(*DELTAS).stats().requests
    delta = rule.take()
    assert delta is not None
    assert merged(*DELTAS, delta).stats() == both


def test_a_restart_loses_nothing() -> None:
    player = Player(DecisionRule(0.05), 4)
    stream = questions(4)
    for text, intent in stream[:700]:
        player.put(text, intent)
    _, snapshot = player.rule.snapshot()
    again = DecisionRule(0.05)
    again.restore(snapshot)
    assert again.snapshot() == (None, snapshot)
    coins = random.Random(5)
    for text, _ in stream[700:719]:  # until the threshold is chosen anew
        coin, neighbours = coins.random(), player.neighbours(text)
        mine, theirs = player.rule.decide(text, neighbours, coin), again.decide(text, neighbours, coin)
        assert (mine.action, mine.p_wrong, mine.audit_probability) == (
            theirs.action,
            theirs.p_wrong,
            theirs.audit_probability,
        )


def test_eight_processes_share_one_budget() -> None:
    players = [Player(DecisionRule(0.05), seed) for seed in range(8)]
    streams = [questions(seed)[:240] for seed in range(8)]
    for turn in range(0, 240, 12):
        for player, stream in zip(players, streams, strict=True):
            for text, intent in stream[turn : turn + 12]:
                player.put(text, intent)
        deltas = [player.rule.take() for player in players]
        for (at, player), (source, delta) in itertools.product(enumerate(players), enumerate(deltas)):
            if delta is not None and source != at:
                player.rule.merge(delta)
    stats = [player.rule.stats() for player in players]
    assert all(one == stats[0] for one in stats)
    assert stats[0].requests == 8 * 240
    assert stats[0].hits == sum(player.hits for player in players) > 0.5 * stats[0].requests
    assert sum(player.wrong for player in players) <= 0.05 * stats[0].requests


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_invalid_deltas_are_refused(noise: bytes, cut: int) -> None:
    _, snapshot = merged(DELTAS[0]).snapshot()
    delta, whole = msgspec.msgpack.encode(DELTAS[1]), msgspec.msgpack.encode(snapshot)
    for bad, kind in itertools.product((noise, delta[:cut], whole[:cut]), (RuleDelta, RuleSnapshot)):
        with pytest.raises(CodecError):
            unpacked(msgspec.Raw(bad), kind)


def test_numbers_that_are_not_finite_are_refused() -> None:
    _, snapshot = merged(DELTAS[0]).snapshot()
    nan = np.full(2 * len(DELTAS[0].labels[0].features), np.nan, np.float16).tobytes()
    one = msgspec.structs.replace(DELTAS[0].labels[0], features=nan[: len(DELTAS[0].labels[0].features)])
    for bad in (
        {"floor": float("nan")},
        {"coefficients": np.full(len(snapshot.coefficients) // 8, np.inf).tobytes()},
        {"covariance": b""},
        {"labels": [one]},
    ):
        with pytest.raises(ValueError, match=r"finite|coefficients"):
            msgspec.structs.replace(snapshot, **bad).__post_init__()


KEYS = st.integers(1, 6).map(key)


@given(st.lists(st.tuples(st.sampled_from(["join", "renew", "publish", "forget"]), KEYS, KEYS), max_size=40))
def test_what_answers_mean_is_the_same_in_other_processes(steps: list[tuple[str, bytes, bytes]]) -> None:
    one, following, late = (DecisionRule(0.05) for _ in range(3))

    def publish() -> None:
        if (delta := one.take()) is not None:
            following.merge(msgspec.msgpack.decode(msgspec.msgpack.encode(delta), type=RuleDelta))

    for what, question, answer in steps:
        if what == "join":
            one.join(question, IndexedQuery(answer, answer, "", b"", ""))
        elif what == "renew":
            one.renew(question)
        else:
            publish()
            if what == "forget":
                for rule in (one, following):
                    rule.forget([question])
    publish()
    late.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(one.snapshot()[1]), type=RuleSnapshot))
    for number in range(1, 7):
        query = IndexedQuery(key(number), key(number), "", b"", "")
        group = one._state.group(query)
        for other in (following, late):
            assert other._state.group(query) == group
            assert other._state.equals(group) == one._state.equals(group)
