"""Reports of what a tracker saw: every cause has its row and its fix, and the page shows it to people."""

from __future__ import annotations

import html.parser
import json
import random
from typing import Any

import pytest

from askonce.entries.entry import Usage
from askonce.prefix import PrefixReport, PrefixTracker
from askonce.prefix.report.advice import paying_lifetime
from askonce.prefix.report.page import page_of
from askonce.prefix.report.report import report_of
from askonce.prefix.requests.rules import rule_for
from askonce.prefix.tracking.aggregates import Day, SegmentSums
from askonce.testing import FakeClock

MARK = {"type": "ephemeral"}
TOOLS = [
    {"name": name, "description": name * 40, "input_schema": {"type": "object"}} for name in ("look", "<find>")
]


def words(number: int, seed: str) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(("order", "policy", "always", "refund", "never", "rules")) for _ in range(number))


def claude(system: str, question: str, *, marked: bool = True, tools: Any = ()) -> dict[str, Any]:
    block = {"type": "text", "text": system} | ({"cache_control": MARK} if marked else {})
    messages = [{"role": "user", "content": question}]
    return {"model": "claude-sonnet-4-5", "tools": list(tools), "system": [block], "messages": messages}


def gpt(system: str, question: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return {"model": "gpt-4.1", "messages": messages, **more}


def observe(tracker: PrefixTracker, payload: dict[str, Any], provider: str, application: str = "") -> None:
    """The provider reports what its rule says."""
    call = tracker.start(payload, provider, application=application)
    done = call.prediction
    usage = Usage(call.chain.tokens, 0, done.read_tokens, sum(done.written_tokens.values()))
    assert call.finish(usage) is not None


def traffic(tracker: PrefixTracker, clock: FakeClock) -> None:
    """Twelve requests of each kind of mistake; the provider reads what its rule says."""
    for number in range(12):
        question = f"question {number}"
        clock.advance(60)
        stamped = f"You are polite. It is 2026-11-21T05:{number:02}. {words(1500, 'clock')}"
        observe(tracker, claude(stamped, question, tools=TOOLS[:1]), "anthropic", application="clock")
        observe(tracker, claude(words(1500, "m"), question, marked=False), "anthropic", application="unmarked")
        shuffled = TOOLS[:: -1 if number % 2 and number < 4 else 1]
        observe(tracker, claude(words(1500, "t"), question, tools=shuffled), "anthropic", application="shuffled")
        observe(tracker, claude(words(300, "s"), question), "anthropic", application="short")
        key = {"prompt_cache_key": f"user {number}"}
        observe(tracker, gpt(words(1500, "k"), question, **key), "openai", application="keys")
    for number in range(12):
        clock.advance(900)
        observe(tracker, claude(words(1500, "e"), f"{number}"), "anthropic", application="expired")
    for number in range(40):
        clock.advance(1)
        observe(tracker, gpt(words(1500, "o"), f"{number}"), "openai", application="overflowed")


@pytest.fixture(scope="module")
def report() -> PrefixReport:
    clock = FakeClock()
    with PrefixTracker("memory://", keep_text=True, clock=clock) as tracker:
        traffic(tracker, clock)
        made = tracker.report()
    assert made is not None
    return made


@pytest.mark.parametrize(
    ("application", "name", "remedy"),
    [
        ("clock", "broken by system prompt", "looks like a clock): move it behind the stable text"),
        ("unmarked", "not marked", "behind system prompt, the last part that stays the same"),
        ("shuffled", "broken by the order of the tools", "give the tools in one order"),
        ("short", "too short", "below 1,024 nothing is cached"),
        ("keys", "cache key changed", "give the same key"),
        ("expired", "expired", 'set the lifetime 1h (cache_control={"type": "ephemeral", "ttl": "1h"})'),
        ("overflowed", "overflowed", "use 3 prompt_cache_keys"),
    ],
)
def test_each_cause_is_named_with_what_to_change(
    report: PrefixReport, application: str, name: str, remedy: str
) -> None:
    worst = next(one for one in report.culprits if one.application == application)
    assert worst.name == name
    assert remedy in worst.remedy
    assert (worst.lost_tokens > 0) == (worst.cause != "too short")
    assert worst.lost_usd_per_day is None or (worst.lost_usd_per_day > 0) == (worst.cause != "too short")


def test_sums_agree_on_all_levels(report: PrefixReport) -> None:
    families = [family for application in report.applications for family in application.families]
    assert report.total.requests == 5 * 12 + 12 + 40 == sum(family.total.requests for family in families)
    assert report.total.requests == sum(total.requests for _, total in report.days)
    lost = [one.lost_usd_per_day or 0.0 for one in report.culprits]
    assert lost == sorted(lost, reverse=True)
    assert sum(lost) * report.number_of_days == pytest.approx(report.total.lost_usd, rel=0.01)
    parsed = json.loads(report.to_json())
    assert parsed["total"]["read_share"] == report.total.read_share
    assert parsed["applications"][0]["families"][0]["culprits"][0]["remedy"] == report.culprits[0].remedy


def test_a_segment_shows_whether_it_was_the_same_and_whether_it_broke(report: PrefixReport) -> None:
    family = next(one for one in report.applications if one.name == "clock").families[0]
    _, system, question = family.segments
    assert (system.label, system.same_share) == ("system prompt", 0.0)
    assert system.breaks_share == pytest.approx(11 / 12)
    assert question.breaks_share == 0.0
    assert sum(one.tokens for one in family.segments) == pytest.approx(
        family.total.input_tokens / family.total.requests
    )


def test_no_text_is_in_a_report_unless_texts_are_stored(report: PrefixReport) -> None:
    assert "05:1" in report.culprits[0].example + "".join(one.example for one in report.culprits)
    clock = FakeClock()
    with PrefixTracker("memory://", clock=clock) as tracker:
        traffic(tracker, clock)
        made = tracker.report()
    assert made is not None
    assert not any(one.example for one in made.culprits)
    assert "05:1" not in made.to_json() + page_of(made)


def test_a_longer_lifetime_is_advised_only_if_it_pays() -> None:
    rule = rule_for("anthropic", "claude-sonnet-4-5")
    assert rule is not None

    def paying(within_5_minutes: int, within_an_hour: int, later: int) -> str:
        gaps = [0, within_5_minutes, 0, 0, within_an_hour, 0, 0, later]
        known = sum(gaps)
        row = SegmentSums("", "", 0, "system", "system prompt", known + 1, known, known, 100 * (known + 1), 1, gaps)
        return paying_lifetime([row], rule)[0].name

    # One more read within the hour saves 1.25 - 0.1, each of the other writes costs 0.75 more.
    assert paying(100, 10, 0) == "1h"
    assert paying(0, 10, 20) == "5m"
    assert paying(0, 20, 10) == "1h"
    assert paying(100, 0, 10) == "5m"


def test_requests_without_usage_are_neither_reads_nor_losses() -> None:
    clock = FakeClock()
    with PrefixTracker("memory://", clock=clock) as tracker:
        for _ in range(4):
            observe(tracker, claude(words(1500, "d"), "hello"), "anthropic")
            before = tracker.report()
            clock.advance(1)
        for _ in range(3):
            tracker.observe(claude(words(1500, "d"), "hello"), "anthropic", None)
        after = tracker.report()
    assert before is not None and after is not None
    assert (after.total.requests, after.total.unknown) == (7, 3)
    for name in ("input_tokens", "read_tokens", "lost_tokens", "predicted_tokens", "disagreed", "read_share"):
        assert getattr(after.total, name) == getattr(before.total, name)
    assert not after.culprits
    assert after.total.unknown_warning.startswith("3 of 7 requests are unknown")
    assert after.total.unknown_warning.split(":")[0] in page_of(after)


def test_days_limit_what_is_reported_and_nothing_is_no_report(report: PrefixReport) -> None:
    assert report_of([]) is None
    assert report_of([Day("2026-11-21")]) is None
    clock = FakeClock()
    with PrefixTracker("memory://", clock=clock) as tracker:
        for _ in range(3):
            observe(tracker, claude(words(1500, "d"), "hello"), "anthropic")
            clock.advance(2 * 86_400)
        whole, last = tracker.report(), tracker.report(days=3)
    assert whole is not None
    assert last is not None
    assert (whole.number_of_days, len(whole.days), whole.total.requests) == (5, 3, 3)
    assert (last.number_of_days, last.total.requests) == (3, 2)


class _Page(html.parser.HTMLParser):
    """Tags that are open, and what a page loads from the network."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "line", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_loads_nothing_and_names_the_culprits(report: PrefixReport) -> None:
    text = page_of(report)
    page = _Page()
    page.feed(text)
    assert page.open == []
    assert all(one.startswith("#c") for one in page.fetched)
    assert "url(" not in text
    assert "tool &lt;find&gt;" in text
    assert "<find>" not in text
    assert "looks like a clock" in text
