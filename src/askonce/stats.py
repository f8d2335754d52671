"""What is counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from askonce.costs.figures import count, number_of, percent, span, usd
from askonce.entries.entry import HitKind, MissReason, NotStoredReason, RequestKind


class SemanticStats(msgspec.Struct, frozen=True):
    """Counts of semantic lookups, in all processes that share the store.

    Attributes:
        requests: questions that were compared.
        hits: those answered with the answer to another question.
        audits: those that could have been, and were sent to the model to learn how often that would be wrong.
        unjudged: audits without a verdict so far. Until it comes, each counts as a wrong answer in the bound: a
            judge that is often undecided closes the cache.
        judged: answers that a judge, or the application, compared.
        wrong_found: audits that would have been wrong.
        reported_wrong: hits that the application reported as wrong.
        estimated_error: the estimated share of ``requests`` answered wrongly.
        error_low: the lower end of its interval.
        error_high: its upper end. It holds at all moments at once, with the configured confidence.
        certified_error: what the share is at most, at all moments at once, with that confidence.
        max_error: the configured limit of that share.
        questions: how many this process has indexed; ``None`` if the server searches.
        aliases: how many this process found to have the answer of another one.
        saved_bytes: what this process did not store twice.
        not_judged: fresh answers of this process that came too fast for the judge.
        waiting: those that wait for it, with the one that it is at.
        undecided: comparisons of this process on which the judge gave no verdict.
        judge_failures: those of them on which it raised an error, or returned something else than a verdict.
        judge_calls: how often this process's judge called a model.
        judge_usd: what that cost, as far as prices are known.
        reasons: why requests of this process were not answered with another question's answer, and how many: of
            those that were compared "learning", "no candidate", "new partition", "doubtful", "guard", "budget" and
            "audit"; of the others "switched off", "skipped", "follow-up", "no question found" and the like, and
            "skip failed", "embedding failed" and "search failed".
        partitions: how many different prompts around the question this process saw: only within one are questions
            compared.
        advice: what to do about the most frequent reason, or about a judge without verdicts.
    """

    requests: int
    hits: int
    audits: int
    unjudged: int
    judged: int
    wrong_found: int
    reported_wrong: int
    estimated_error: float
    error_low: float
    error_high: float
    certified_error: float
    max_error: float
    questions: int | None = None
    aliases: int = 0
    saved_bytes: int = 0
    not_judged: int = 0
    waiting: int = 0
    undecided: int = 0
    judge_failures: int = 0
    judge_calls: int = 0
    judge_usd: float = 0.0
    reasons: Mapping[str, int] = msgspec.field(default_factory=dict)
    partitions: int = 0
    advice: str | None = None


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What a cache did.

    Attributes:
        hits: requests answered without the model, stale and coalesced ones included.
        hit_kinds: how many of them of which kind.
        misses: requests that went to the model.
        miss_reasons: how many of them for which reason.
        coalesced: hits that waited for an identical request in progress.
        stale: hits past their time to live.
        semantic_hits: hits that answer another question of the same meaning.
        bypassed: requests that were neither looked up nor stored: by option, or because they have no key.
        stored: answers stored.
        not_stored: answers not stored: empty, truncated, refused, or not storable.
        not_stored_reasons: how many of them for which reason.
        audited: hits of retrievers that were compared with a new search.
        audited_wrong: those of them that differed, and were deleted.
        corrupt: stored answers that could not be read, and were made anew.
        evicted: entries evicted for this process's answers, and answers that were not admitted.
        saved_seconds: what the hits would have taken.
        saved_input_tokens: what the hits would have sent.
        saved_output_tokens: what the hits would have received.
        saved_usd: what the hits would have cost, as far as prices are known.
        spent_seconds: what the fresh answers took, stored or not.
        spent_input_tokens: what they sent.
        spent_output_tokens: what they received.
        spent_usd: what they cost, as far as prices are known; what was bypassed is in no cost.
        prompt_read_tokens: tokens that providers read from their prompt caches, as a `PrefixTracker` with the same
            store and namespace saw it. In totals only, in the layer ``prefix``.
        prompt_written_tokens: those that they wrote there; likewise.
        prompt_saved_usd: what that saved, the price of writing subtracted, as far as prices are known; likewise.
        errors: calls to the store that failed. Not counted by kind, model, tenant or tag.
    """

    hits: int = 0
    hit_kinds: Mapping[HitKind, int] = msgspec.field(default_factory=dict)
    misses: int = 0
    miss_reasons: Mapping[MissReason, int] = msgspec.field(default_factory=dict)
    coalesced: int = 0
    stale: int = 0
    semantic_hits: int = 0
    bypassed: int = 0
    stored: int = 0
    not_stored: int = 0
    not_stored_reasons: Mapping[NotStoredReason, int] = msgspec.field(default_factory=dict)
    audited: int = 0
    audited_wrong: int = 0
    corrupt: int = 0
    evicted: int = 0
    saved_seconds: float = 0.0
    saved_input_tokens: int = 0
    saved_output_tokens: int = 0
    saved_usd: float = 0.0
    spent_seconds: float = 0.0
    spent_input_tokens: int = 0
    spent_output_tokens: int = 0
    spent_usd: float = 0.0
    prompt_read_tokens: int = 0
    prompt_written_tokens: int = 0
    prompt_saved_usd: float = 0.0
    errors: int = 0

    @property
    def saved_tokens(self) -> int:
        """Input and output tokens together."""
        return self.saved_input_tokens + self.saved_output_tokens

    @property
    def hit_rate(self) -> float:
        """Hits over hits and misses; 0 before the first request."""
        requests = self.hits + self.misses
        return self.hits / requests if requests else 0.0

    def __str__(self) -> str:
        """A few lines to read; ``repr`` has it all."""
        seen = (
            f"{number_of(self.hits, 'hit', 'hits')} ({percent(self.hit_rate)}) and "
            f"{number_of(self.misses, 'miss', 'misses')}"
        )
        bypassed = f", {count(self.bypassed)} bypassed" if self.bypassed else ""
        errors = f", {number_of(self.errors, 'error', 'errors')} of the store" if self.errors else ""
        stored = f"stored {count(self.stored)}"
        if self.not_stored:
            reasons = ", ".join(f"{reason}: {number}" for reason, number in self.not_stored_reasons.items())
            stored += f", {count(self.not_stored)} not ({reasons})"
        saved = _used(self.saved_usd, self.saved_seconds, self.saved_tokens)
        spent = _used(self.spent_usd, self.spent_seconds, self.spent_input_tokens + self.spent_output_tokens)
        return f"{seen}{bypassed}{errors}\n{stored}\nsaved {saved}\nspent {spent}"


class Stats(Counts, frozen=True, kw_only=True):
    """`Counts` of all requests of this process since the cache was made, and what the namespace holds now.

    Attributes:
        kinds: the counts of each kind of request: ``answer``, ``embedding``, ``retrieval``, …
        not_awaited: requests that went to the model beside an identical one in progress: it took longer than
            ``max_wait``, or waiting for it would not have ended.
        max_wait: the setting, in seconds.
        entries: how many entries the namespace holds, retrieved documents of 512 bytes or more included; ``None``
            when the store is down.
        size_bytes: the bytes of their values.
        store: ``up``, or ``down`` while the store is left alone after failures.
        semantic: what was learned of questions of the same meaning; ``None`` if they are not compared.
    """

    kinds: Mapping[RequestKind, Counts] = msgspec.field(default_factory=dict)
    not_awaited: int = 0
    max_wait: float = 0.0
    entries: int | None = None
    size_bytes: int | None = None
    store: Literal["up", "down"] = "up"
    semantic: SemanticStats | None = None

    def __str__(self) -> str:
        """`Counts`, and whether the store is up."""
        held = (
            ""
            if self.entries is None
            else f", {number_of(self.entries)}, {number_of(self.size_bytes or 0, 'byte', 'bytes')}"
        )
        return f"{super().__str__()}\nthe store is {self.store}{held}"


TotalsBy = Literal["hour", "day", "layer", "model", "tenant", "tag"]


class Totals(Counts, frozen=True, kw_only=True):
    """`Counts` of all processes that use the namespace of a cache in one store, its tenants included.

    Attributes:
        by: what the rows are.
        rows: the counts of each hour, day, layer (``answer``, ``embedding``, ``retrieval``, …), model, tenant or
            tag. Hours and days are of UTC, as ``2026-11-28T09:00`` and ``2026-11-28``, in their order; the rest
            has those with the most requests first. What has no model or tenant is under an empty name, and names
            beyond about a thousand in one hour are counted together under ``(other)``. A request with two tags is
            in two rows, one without tags in none.
        since: the beginning of the first hour that is counted, seconds since the epoch; ``None``: all.
        entries: how many entries the store holds for them now.
        size_bytes: the bytes of their values.
        unreadable: how many records of counts are damaged, so that what they count is missing.
    """

    by: TotalsBy | None = None
    rows: Mapping[str, Counts] = msgspec.field(default_factory=dict)
    since: float | None = None
    entries: int | None = None
    size_bytes: int | None = None
    unreadable: int = 0


class RoutingStats(msgspec.Struct, frozen=True):
    """Requests, costs and savings: of this process, or of all that share the store if the strategy learns.

    Attributes:
        requests: answered requests.
        calls: how often each model was called, by its name, as a verifier or a judge too.
        answers: how many of its answers were given to the caller.
        failures: how often it raised.
        escalated: requests for which a cheap answer was paid for and not used: rejected, or failed.
        audits: cheap answers that the judge compared with the last model's, whether to check or to learn.
        spent_usd: what all calls cost whose price is known, those of verifiers and judges that are models included.
        always_last_usd: what the last model alone would have cost, by what its calls cost; where it has no price,
            as much as was spent.
        quality: the estimated share of requests whose answer passes; ``None`` where nothing says so.
        quality_at_least: the share that is sure: with a judge, with the strategy's confidence at all times at once.
        store: ``up``, or ``down`` while what is learned cannot be shared; ``None`` where nothing is.
        unpriced_seconds: how long the calls took whose price is not known.
    """

    requests: int
    calls: dict[str, int]
    answers: dict[str, int]
    failures: dict[str, int]
    escalated: int
    audits: int
    spent_usd: float
    always_last_usd: float
    quality: float | None
    quality_at_least: float | None
    store: str | None = None
    unpriced_seconds: float = 0.0

    @property
    def saved_usd(self) -> float:
        """What was saved against always calling the last model, net of verifiers and judges; may be negative."""
        return self.always_last_usd - self.spent_usd


def _used(dollars: float, seconds: float, tokens: int) -> str:
    known = f"{usd(dollars)}, " if dollars else ""
    return f"{known}{span(seconds)}, {number_of(tokens, 'token', 'tokens')}"
