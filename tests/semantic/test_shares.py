import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from askonce.errors import CodecError
from askonce.semantic.decision.rule import Rule
from askonce.semantic.decision.shares import VERSION
from tests.semantic.questions import Player, questions


def played(seed: int, times: int = 3, requests: int = 120) -> list[bytes]:
    """What one process shares while it answers questions."""
    player, shares = Player(Rule(0.05), seed), []
    for number, (text, intent) in enumerate(questions(seed)[: times * requests], start=1):
        player.ask(text, intent)
        if number % requests == 0:
            share = player.rule.share()
            assert share is not None
            shares.append(share)
    return shares


SHARES = played(1) + played(2)


def merged(*shares: bytes) -> Rule:
    rule = Rule(0.05)
    for share in shares:
        rule.merge(share)
    return rule


@settings(max_examples=25, deadline=None)
@given(st.permutations(range(len(SHARES))))
def test_any_order_of_shares_gives_the_same_sums(order: list[int]) -> None:
    rule, other = merged(*SHARES), merged(*(SHARES[number] for number in order))
    assert other._learned.total == rule._learned.total
    assert other._learned._records == rule._learned._records
    assert other.statistics() == rule.statistics()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, len(SHARES) - 1), max_size=20))
def test_a_share_that_comes_again_is_not_counted_again(again: list[int]) -> None:
    rule = merged(*SHARES)
    before = rule.snapshot()
    for number in again:
        rule.merge(SHARES[number])
    assert rule.snapshot() == before


@pytest.mark.parametrize("cut", range(len(SHARES)))
def test_any_grouping_gives_the_same_model(cut: int) -> None:
    """Shares merged one by one, or the first of them out of a snapshot: byte by byte the same state."""
    first = merged(*SHARES[:cut]).snapshot()
    rule = Rule(0.05)
    rule.restore(first)
    for share in SHARES[cut:]:
        rule.merge(share)
    assert rule.snapshot() == merged(*SHARES).snapshot()


def test_own_shares_come_back_from_the_log_without_effect() -> None:
    player = Player(Rule(0.05), 1)
    shares = []
    for text, intent in questions(1)[:300]:
        player.ask(text, intent)
        if share := player.rule.share():
            shares.append(share)
    before = player.rule.snapshot()
    for share in shares:
        player.rule.merge(share)
    assert player.rule.snapshot() == before
    assert player.rule.share() is None


def test_a_snapshot_holds_all_but_what_is_still_to_be_shared() -> None:
    player, other = Player(Rule(0.05), 1), Rule(0.05)
    stream = questions(1)
    for text, intent in stream[:400]:
        player.ask(text, intent)
    first = player.rule.share()
    for text, intent in stream[400:700]:
        player.ask(text, intent)
    other.restore(player.rule.snapshot())
    second = player.rule.share()
    assert first is not None
    assert second is not None
    other.merge(second)
    other.merge(first)
    assert other.statistics() == player.rule.statistics()
    assert other._learned._records == player.rule._learned._records


def test_what_is_not_shared_yet_survives_a_restore() -> None:
    rule = Rule(0.05)
    player = Player(rule, 3)
    for text, intent in questions(3)[:100]:
        player.ask(text, intent)
    own = rule.statistics()
    rule.restore(merged(*SHARES).snapshot())
    both = rule.statistics()
    assert both.requests == own.requests + merged(*SHARES).statistics().requests
    share = rule.share()
    assert share is not None
    assert merged(*SHARES, share).statistics() == both


def test_a_restart_loses_nothing() -> None:
    player = Player(Rule(0.05), 4)
    stream = questions(4)
    for text, intent in stream[:700]:
        player.ask(text, intent)
    player.rule.share()
    snapshot = player.rule.snapshot()
    again = Rule(0.05)
    again.restore(snapshot)
    assert again.snapshot() == snapshot
    coins = random.Random(5)
    for text, _ in stream[700:719]:  # until the threshold is chosen anew
        coin, neighbours = coins.random(), player.neighbours(text)
        mine, theirs = player.rule.decide(text, neighbours, coin), again.decide(text, neighbours, coin)
        assert (mine.action, mine.p_wrong, mine.audit_probability) == (
            theirs.action,
            theirs.p_wrong,
            theirs.audit_probability,
        )


def test_eight_processes_keep_one_budget() -> None:
    players = [Player(Rule(0.05), seed) for seed in range(8)]
    streams = [questions(seed)[:240] for seed in range(8)]
    for turn in range(0, 240, 12):
        for player, stream in zip(players, streams, strict=True):
            for text, intent in stream[turn : turn + 12]:
                player.ask(text, intent)
        shares = [player.rule.share() for player in players]
        for player, share in itertools.product(players, shares):
            if share is not None:
                player.rule.merge(share)
    told = [player.rule.statistics() for player in players]
    assert all(one == told[0] for one in told)
    assert told[0].requests == 8 * 240
    assert told[0].hits == sum(player.hits for player in players) > 0.5 * told[0].requests
    assert sum(player.wrong for player in players) <= 0.05 * told[0].requests


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2000))
def test_what_cannot_be_read_is_refused_and_changes_nothing(noise: bytes, cut: int) -> None:
    rule = merged(SHARES[0])
    before = rule.snapshot()
    share = SHARES[1]
    for bad in (noise, bytes((VERSION,)) + noise, share[:cut], bytes((VERSION + 1,)) + share[1:], before[:cut]):
        with pytest.raises(CodecError):
            rule.merge(bad)
        with pytest.raises(CodecError):
            rule.restore(bad)
    assert rule.snapshot() == before
