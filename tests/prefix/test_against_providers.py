"""The tracker against the emulated provider, through the real clients of both frameworks.

What it foresees is compared to the token; what it names is compared with what was broken on purpose. The full size
of both is run by ``python -m benchmarks.prefix_emulator``.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from askonce.testing import FakeClock
from tests.support.provider import Provider
from tests.support.workload.breakages import BREAKAGES, Breakage, Rule, broken
from tests.support.workload.conversations import interleaved
from tests.support.workload.driving import LANES, NAMES, Lane, drive

REQUESTS = {"openai": 75, "anthropic": 300}
"""For each client, so that each provider gets 600."""


@pytest.fixture(scope="module")
def serving() -> Iterator[Provider]:
    with Provider() as provider:
        yield provider


@pytest.fixture
def provider(serving: Provider, clock: FakeClock) -> Provider:
    serving.forget()
    serving.clock = clock
    return serving


@pytest.mark.parametrize("lane", LANES, ids=str)
async def test_reads_and_writes_are_foreseen_to_the_token(lane: Lane, provider: Provider, clock: FakeClock) -> None:
    async with lane.watched(provider, clock) as (client, diagnosed):
        script = interleaved(lane.setting(client, "ci"), REQUESTS[lane.provider])
        exchanges = await drive(client, script, provider, clock, diagnosed)
    assert len(exchanges) == REQUESTS[lane.provider]
    assert not [one for one in exchanges if not one.equal]
    rows = [one.row for one in exchanges if one.row]
    assert sum(row.read for row in rows) > 0.2 * sum(row.input for row in rows)  # or there was little to foresee


def lanes_of(rule: Rule) -> list[Lane]:
    return [lane for lane in LANES if lane.rule == rule]


@pytest.mark.parametrize(
    ("breakage", "rule"),
    [(breakage, rule) for breakage in BREAKAGES for rule in breakage.rules],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
async def test_what_broke_a_prefix_is_named(
    breakage: Breakage, rule: Rule, provider: Provider, clock: FakeClock
) -> None:
    lanes = lanes_of(rule)
    lane = lanes[BREAKAGES.index(breakage) % len(lanes)]
    async with lane.watched(provider, clock) as (client, diagnosed):
        *_, last = await drive(client, broken(breakage, 0, rule), provider, clock, diagnosed)
    assert NAMES[breakage.name](last.diagnosis), str(last.diagnosis)
