"""The tracker by itself: what processes share, what is stored, and what is learned."""

from __future__ import annotations

import inspect
import multiprocessing
import random
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import pytest

from askonce import Cache
from askonce.entries.entry import Usage
from askonce.errors import CodecError, ConfigError, StoreUnavailable
from askonce.prefix import PrefixOptimizer, PrefixTracker
from askonce.prefix.requests.rules import ProviderRule, all_rules, rule_for
from askonce.prefix.requests.tokens import tiktoken_counter
from askonce.prefix.tracker import TrackerOptions
from askonce.prefix.tracking.diagnosis import Cause, Diagnosis
from askonce.stores import open_store
from askonce.stores.memory import MemoryStore
from askonce.testing import FakeClock
from tests.support import servers
from tests.support.provider import MODELS, Model, Provider, count

Json = dict[str, Any]
WORDS = [
    f"{head}{tail}" for head in ("sal", "mer", "tor", "vin", "gra") for tail in ("ta", "dion", "ben", "ly", "s")
]


def text(words: int, seed: object) -> str:
    rng = random.Random(str(seed))
    return " ".join(rng.choice(WORDS) for _ in range(words))


def request(*questions: str, model: str = "claude-sonnet-4-5", system: str = "", **more: Any) -> Json:
    mark = {"cache_control": {"type": "ephemeral"}}
    return {
        "model": model,
        "max_tokens": 9,
        "system": [{"type": "text", "text": system or text(1500, "system"), **mark}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": one} for one in questions]}],
    } | more


def send(tracker: PrefixTracker, provider: Provider, payload: Json) -> Diagnosis:
    """Send a request past the emulated provider's HTTP, and return what became of it."""
    call = tracker.start(payload, "anthropic")
    _, _, bill = provider.serve("messages", payload)
    diagnosis = call.finish(Usage(bill.input, bill.output, bill.read, sum(bill.written.values())), 0.5)
    assert diagnosis is not None
    return diagnosis


@pytest.fixture
def provider(clock: FakeClock) -> Iterator[Provider]:
    with Provider(clock) as provider:
        yield provider


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


# -- processes -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "redis-8.2", "mongodb"])
def any_url(request: pytest.FixtureRequest, url: str) -> str:
    return url if request.param == "sqlite" else servers.start(request.param).url


def test_trackers_over_one_store_share_one_view(any_url: str, provider: Provider, clock: FakeClock) -> None:
    options: Json = {"namespace": uuid.uuid4().hex, "timeout_seconds": 5, "count_tokens": count, "clock": clock}
    with PrefixTracker(any_url, **options) as one, PrefixTracker(any_url, **options) as other:
        history: list[str] = []
        for turn in range(6):
            history.append(f"And {turn}?")
            clock.advance(5)
            sender, waiting = (one, other) if turn % 2 else (other, one)
            diagnosis = send(sender, provider, request(*history))
            assert diagnosis.predicted_read_tokens == diagnosis.read_tokens == (1500 if turn else 0)
            sender.sync()
            waiting.sync()
        assert [*one.history._prefixes] == [*other.history._prefixes]
        assert {name: seen[0].chain for name, seen in one.history._contents.items()} == {
            name: seen[0].chain for name, seen in other.history._contents.items()
        }


PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload([__name__])


def child(url: str, number: int) -> tuple[str, int]:
    """A process that sends three requests; what became of its first request."""
    with PrefixTracker(url, count_tokens=count, application="shop", timeout_seconds=30) as tracker:
        tracker.sync()
        payloads = [request(f"child {number}, {turn}") for turn in range(3)]
        first, *_ = [tracker.observe(one, "anthropic", Usage(1600, 9, 1500, 0), 0.5) for one in payloads]
        assert first is not None
        return first.cause.value, first.predicted_read_tokens


def test_eight_processes_share_one_view_and_no_request_is_counted_twice(url: str) -> None:
    with PrefixTracker(url, count_tokens=count, application="shop", timeout_seconds=30) as tracker:
        tracker.observe(request("parent"), "anthropic", Usage(1504, 9, 0, 1500), 0.5)
        tracker.sync()
        with ProcessPoolExecutor(8, mp_context=PROCESSES) as pool:
            assert list(pool.map(child, [url] * 8, range(8))) == [("hit", 1500)] * 8
        days = tracker.days()
        assert sum(row.requests for day in days for row in day.sums) == 1 + 8 * 3
        assert sum(row.read_tokens for day in days for row in day.sums) == 8 * 3 * 1500
        [system] = [row for row in days[-1].segments if row.level == "system"]
        assert (system.requests, system.known, system.prefix_known, sum(system.gaps)) == (25, 24, 24, 24)
        assert tracker.days() == days


class BrokenStore(MemoryStore):
    """A store whose server is down."""

    def put(self, *_: Any) -> int:
        raise StoreUnavailable("down")

    def log_read(self, *_: Any) -> Any:
        raise StoreUnavailable("down")


def test_a_store_that_is_down_takes_nothing_from_the_process_itself(provider: Provider, clock: FakeClock) -> None:
    with PrefixTracker(BrokenStore(), count_tokens=count, clock=clock) as tracker:
        send(tracker, provider, request("one?"))
        tracker.sync()
        clock.advance(5)
        assert send(tracker, provider, request("two?")).cause is Cause.HIT


# -- what is stored ----------------------------------------------------------------------------------------------

SECRET = "the launch code is swordfish"


def stored(url: str) -> bytes:
    store = open_store(url)
    names = ("default:prefix", "default:prefix:days")
    data = b"".join(key + value for name in names for key, value in store.scan(name))
    store.close()
    return data


def after_two(url: str, provider: Provider, clock: FakeClock, **options: Any) -> PrefixTracker:
    tracker = PrefixTracker(url, count_tokens=count, clock=clock, **options)
    for moment in ("05:14", "05:15"):
        system = f"{SECRET}, at {moment}. {text(1500, 'rest')}"
        send(tracker, provider, request(SECRET, system=system))
        clock.advance(5)
    tracker.sync()
    return tracker


def test_no_text_of_a_prompt_is_stored(url: str, provider: Provider, clock: FakeClock) -> None:
    with after_two(url, provider, clock) as tracker:
        data = stored(url)
        [row] = [row for row in tracker.days()[0].sums if row.cause == Cause.BROKEN]
        assert (row.segment, row.example) == ("system prompt", b"")
    assert len(data) > 500
    for word in (*SECRET.split(), "05:1", *WORDS[:5]):
        assert word.encode() not in data or len(word) < 4


def test_no_cache_key_is_stored_since_it_may_name_a_user(url: str, clock: FakeClock) -> None:
    payload = {"model": "gpt-4o", "messages": [{"role": "user", "content": text(1500, "said")}]}
    diagnoses = []
    with PrefixTracker(url, count_tokens=count, clock=clock) as tracker:
        for key in ("bob@example.com", "bob@example.com", "eve@example.com"):
            sent = {**payload, "prompt_cache_key": key, "user": key}
            call = tracker.start(sent, "openai")
            diagnoses.append(call.finish(Usage(call.chain.tokens, 0, call.prediction.read_tokens)))
            clock.advance(1)
        tracker.sync()
        data = stored(url)
    assert b"example.com" not in data
    assert [one and (one.cause, one.changed) for one in diagnoses[1:]] == [
        (Cause.HIT, ""),
        (Cause.CHANGED, "cache key"),
    ]


def test_of_texts_only_the_difference_is_stored_and_sealed_if_there_are_keys(
    url: str, provider: Provider, clock: FakeClock
) -> None:
    key = bytes(32)
    with after_two(url, provider, clock, keep_text=True, encryption_keys=(key,)) as tracker:
        [row] = [row for row in tracker.days()[0].sums if row.cause == Cause.BROKEN]
        assert row.looks_like == "a clock"
        assert "'05:14.', now '05:15.'" in tracker.example_of(row)
        data = stored(url)
        assert b"05:1" not in data
        assert b"swordfish" not in data
        with pytest.raises(CodecError):
            PrefixTracker().example_of(row)


def test_memory_is_bounded(clock: FakeClock) -> None:
    tracker = PrefixTracker(count_tokens=count, clock=clock, most=20)
    for number in range(60):
        payload = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"{number} " + text(1300, number)}]}
        tracker.observe(payload, "openai", Usage(1305, 1, 0, 0), 0.1)
    history = tracker.history
    held = (history._entries, history._prefixes, history._contents, history._segments, history._families)
    assert [len(one) <= 100 for one in (*held, history._routes)] == [True] * 6


# -- diagnosis -------------------------------------------------------------------------------------------------


def test_requests_sent_together_are_distinguished_from_those_that_expired(clock: FakeClock) -> None:
    tracker = PrefixTracker(count_tokens=count, clock=clock)
    first, second = (tracker.start(request(one), "anthropic") for one in ("one?", "two?"))
    clock.advance(3)
    usage = Usage(1506, 1, 0, 1500)
    first.finish(usage)
    diagnosis = second.finish(usage)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.lost_tokens) == (Cause.SENT_TOGETHER, 1500)
    clock.advance(301)
    late = tracker.observe(request("three?"), "anthropic", usage)
    assert late is not None
    assert late.cause is Cause.EXPIRED


def test_a_provider_that_reads_less_than_the_rule_allows_is_not_explained_away(clock: FakeClock) -> None:
    tracker = PrefixTracker(count_tokens=count, clock=clock)
    for read, cause in ((0, Cause.FIRST_SEEN), (1500, Cause.HIT), (0, Cause.UNEXPLAINED)):
        diagnosis = tracker.observe(request(f"{cause}?"), "anthropic", Usage(1506, 1, read, 0))
        assert diagnosis is not None
        assert (diagnosis.cause, diagnosis.reported) == (cause, True)
    assert sum(row.disagreed for row in tracker.days()[0].sums) == 1


def test_lost_tokens_have_a_price_and_seconds(provider: Provider, clock: FakeClock) -> None:
    tracker = PrefixTracker(count_tokens=count, clock=clock)
    send(tracker, provider, request("one?"))
    clock.advance(301)
    send(tracker, provider, request("two?"))
    [row] = [row for row in tracker.days()[0].sums if row.cause == Cause.EXPIRED]
    assert row.lost_usd == pytest.approx(1500 * 3e-6 * (1.25 - 0.1))  # written again instead of read
    assert row.lost_seconds == pytest.approx(1500 * 1e-4, rel=0.9)
    assert row.remedy


@pytest.mark.parametrize("keys", [(), (b"k" * 32,)])
def test_what_providers_read_is_in_the_totals_of_a_cache_with_the_same_namespace(
    url: str, keys: tuple[bytes, ...]
) -> None:
    with PrefixTracker(url, count_tokens=count, namespace="a shop", encryption_keys=keys) as tracker:
        for read, written in ((0, 1500), (1500, 0), (1500, 0)):
            tracker.observe(request("who?"), "anthropic", Usage(1504, 9, read, written), 0.5)
        tracker.observe(request("who?"), "anthropic", None)
        tracker.sync()
        with Cache(url, namespace="a shop", encryption_keys=keys) as cache:
            totals = cache.totals(by="layer")
    row = totals.rows["prefix"]
    assert (row.prompt_read_tokens, row.prompt_written_tokens) == (3000, 1500)
    assert row.prompt_saved_usd == pytest.approx(3e-6 * (3000 * 0.9 - 1500 * 0.25))
    assert (totals.prompt_read_tokens, totals.saved_usd) == (3000, 0)


def test_nothing_that_processes_share_of_prompts_is_unsealed(tmp_path: Path) -> None:
    """Whoever has a text could see from digests that it was sent, so they are sealed too."""
    for keys, sealed in (((), False), ((b"k" * 32,), True)):
        path = tmp_path / f"{sealed}.db"
        with PrefixTracker(f"sqlite:///{path}", count_tokens=count, encryption_keys=keys) as tracker:
            tracker.observe(request("who?"), "anthropic", Usage(1504, 9, 0, 1500), 0.5)
            chain = tracker.start(request("who?"), "anthropic").chain
            tracker.sync()
            assert tracker._shared is not None
            [key] = [event for _, event in tracker._store.log_read(tracker._shared._log, 0).events]
            data = tracker._store.get(tracker._shared._log, key)
        assert data is not None
        assert any(one.digest in data for one in chain.segments) is not sealed


def test_what_was_sent_reaches_a_process_that_begins_later(url: str) -> None:
    with PrefixTracker(url, count_tokens=count, namespace=uuid.uuid4().hex) as one:
        one.observe(request("who?"), "anthropic", Usage(1504, 9, 0, 1500), 0.5)
        one.sync()
        other = PrefixTracker(url, count_tokens=count, namespace=one._shared._log.removesuffix(":prefix"))
        other.sync()
        assert other.start(request("who?"), "anthropic").prediction.read_tokens > 1400
        other.close()


@pytest.mark.parametrize("provider_name", ["gemini", "bedrock", "deepseek", "vllm", "sglang"])
def test_the_other_providers_are_predicted_by_their_rules(provider_name: str, clock: FakeClock) -> None:
    model = {"gemini": "gemini-2.5-flash", "bedrock": "anthropic.claude-sonnet-4-5-v1:0"}.get(
        provider_name, "deepseek-v4"
    )
    tracker = PrefixTracker(count_tokens=count, clock=clock)
    handbook = text(2500, "handbook")
    payloads: list[Json] = []
    for question in ("One?", "Two?"):
        if provider_name == "gemini":
            contents = [{"role": "user", "parts": [{"text": question}]}]
            payloads.append(
                {"model": model, "systemInstruction": {"parts": [{"text": handbook}]}, "contents": contents}
            )
        elif provider_name == "bedrock":
            system = [{"text": handbook}, {"cachePoint": {"type": "default"}}]
            messages = [{"role": "user", "content": [{"text": question}]}]
            payloads.append({"modelId": model, "system": system, "messages": messages})
        else:
            messages = [{"role": "system", "content": handbook}, {"role": "user", "content": question}]
            payloads.append({"model": model, "messages": messages})
    first, second = (tracker.start(one, provider_name) for one in payloads[:1] * 2)
    assert first.prediction.read_tokens == second.prediction.read_tokens == 0
    first.finish(None)
    clock.advance(1)
    read = tracker.start(payloads[1], provider_name).prediction.read_tokens
    assert 2500 - 64 <= read <= 2504


# -- rules and tokens ------------------------------------------------------------------------------------------


def test_every_rule_says_where_and_when_it_was_read() -> None:
    for rule in all_rules():
        assert "https://" in rule.source
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", rule.date)
        assert rule.lifetimes
        re.compile(rule.models)
        written = msgspec.to_builtins(rule)
        with pytest.raises(msgspec.ValidationError, match="lookback_block`"):  # not passed over in silence
            msgspec.convert({**written, "lookback_block": 20}, ProviderRule)
        with pytest.raises(msgspec.ValidationError, match="minimum_tokens"):
            msgspec.convert({**written, "minimum_tokens": "1024"}, ProviderRule)


@pytest.mark.parametrize(
    ("provider", "model", "minimum"),
    [
        ("openai", "gpt-5.6-terra", 1024),
        ("openai", "openai/gpt-4.1-mini", 1024),
        ("anthropic", "claude-opus-5", 512),
        ("anthropic", "claude-opus-4-7-20260416", 2048),
        ("anthropic", "claude-haiku-4-5", 4096),
        ("anthropic", "claude-sonnet-4-5", 1024),
        ("bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", 4096),
        ("gemini", "models/gemini-3.1-pro", 4096),
        ("openai", "gpt-3.5-turbo", None),
        ("nobody", "gpt-4o", None),
    ],
)
def test_a_model_has_the_rule_of_its_family(provider: str, model: str, minimum: int | None) -> None:
    rule = rule_for(provider, model)
    assert (rule.minimum_tokens if rule else None) == minimum


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.family)
def test_rules_are_those_that_the_emulator_was_given(model: Model) -> None:
    """Both were read off the providers' pages, by different people."""
    rule = rule_for("anthropic" if model.family.startswith("claude") else "openai", model.family)
    assert rule is not None
    assert {one.name: one.idle_seconds for one in rule.lifetimes} == model.lifetimes
    written = {one.name: one.write_multiple for one in rule.lifetimes if one.write_multiple != 1}
    assert (rule.minimum_tokens, rule.read_multiple, written) == (
        model.minimum,
        model.read_factor,
        model.write_factors,
    )


@pytest.mark.parametrize(
    ("model", "longest"),
    [
        ("gpt-4.1-2025-04-14", 86_400),
        ("gpt-4.1-mini", 300),
        ("o3", 300),
        ("gpt-5-2025-08-07", 86_400),
        ("gpt-5-codex", 86_400),
        ("gpt-5.1-chat-latest", 86_400),
        ("gpt-5-mini-2025-08-07", 300),
        ("gpt-5.4", 86_400),
    ],
)
def test_a_day_is_offered_only_by_models_that_take_it(model: str, longest: float) -> None:
    rule = rule_for("openai", model)
    assert rule is not None
    assert rule.longest_lifetime_seconds == longest


def test_a_model_without_a_rule_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    tracker = PrefixTracker()
    for model in ("gpt-3.5-turbo", "gpt-3.5-turbo", "gpt-4"):
        payload = {"model": model, "messages": [{"role": "user", "content": "Who?"}]}
        assert tracker.observe(payload, "openai", Usage(9, 9)) is None
    assert len(caplog.records) == 2
    assert "no rule is known for gpt-3.5-turbo of openai" in caplog.text


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_that_was_forked_while_requests_were_taken_in_goes_on(url: str) -> None:
    optimizer = PrefixOptimizer()
    with PrefixTracker(url, count_tokens=count) as tracker:
        taken, done = threading.Event(), threading.Event()

        def take() -> None:
            with tracker.history.lock, optimizer._lock:
                taken.set()
                done.wait(60)

        thread = threading.Thread(target=take)
        thread.start()
        taken.wait(60)
        process = multiprocessing.get_context("fork").Process(target=send_in_child, args=(tracker, optimizer))
        process.start()
        process.join(60)
        done.set()
        thread.join()
        code = process.exitcode
        process.kill()
        process.join()
        assert code == 0


def send_in_child(tracker: PrefixTracker, optimizer: PrefixOptimizer) -> None:
    body = optimizer.sending(request("child"), "anthropic")
    assert tracker.observe(body, "anthropic", Usage(1504, 9, 0, 1500), 0.5) is not None


def test_tokens_are_learned_within_three_percent_from_twenty_requests_of_a_kind() -> None:
    rng = random.Random(5)
    tracker = PrefixTracker()
    tools = [
        {"name": f"tool_{n}", "description": text(30, n), "input_schema": {"type": "object"}} for n in range(6)
    ]
    off = []
    for number in range(60):
        turns: list[Json] = []
        for turn in range(rng.randint(1, 8)):
            turns.append({"role": "user", "content": text(rng.randint(20, 300), (number, turn))})
            use = {"type": "tool_use", "id": f"call{turn}", "name": "tool_1", "input": {"q": text(8, turn)}}
            result = {
                "type": "tool_result",
                "tool_use_id": f"call{turn}",
                "content": text(rng.randint(50, 500), turn),
            }
            turns += [{"role": "assistant", "content": [use]}, {"role": "user", "content": [result]}]
        payload = {"model": "claude-sonnet-4-5", "system": text(800, "s"), "tools": tools, "messages": turns}
        call = tracker.start(payload, "anthropic")
        true = PrefixTracker(count_tokens=count).start(payload, "anthropic").chain.tokens
        if number >= 20:
            off.append(abs(call.chain.tokens - true) / true)
        call.finish(Usage(true, 10, 0, 0), 0.5)
    assert max(off) < 0.03


def test_a_tokenizer_is_not_downloaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    tiktoken_counter.cache_clear()
    assert tiktoken_counter("gpt-4o") is None
    tiktoken_counter.cache_clear()


def test_wrong_arguments_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="count_tokens"):
        PrefixTracker(count_tokens=128)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="namespace"):
        PrefixTracker(namespace="")


def test_the_options_that_adapters_pass_on_are_those_of_the_tracker() -> None:
    named = inspect.signature(PrefixTracker).parameters.keys() - {"store"}
    assert named == TrackerOptions.__annotations__.keys()
