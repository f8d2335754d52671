"""A report: what the provider's prompt caches read, what was lost, to what, and the remedy.

    report = tracker.report()
    for culprit in report.culprits:
        print(culprit.lost_usd_per_day, culprit.name, culprit.remedy)

Plain values, made from the sums in `askonce.prefix.tracking.aggregates` alone.
"""

from __future__ import annotations

import datetime
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from operator import attrgetter

from msgspec.structs import replace

from askonce.entries.codec import Codec
from askonce.errors import CodecError
from askonce.prefix.report.advice import ORDER, advice
from askonce.prefix.tracking.aggregates import Day, SegmentSums, Sums, added_up, days_namespace, together
from askonce.prefix.tracking.losses import Cause
from askonce.stores.base import Store

_NO_LOSS = (Cause.HIT, Cause.FIRST_SEEN, Cause.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over requests.

    Attributes:
        requests: how many.
        unknown: how many of them the provider reported no usage for. All that follows is of the others.
        input_tokens: of their prompts.
        readable_tokens: that could have been read if nothing had gone wrong.
        predicted_tokens: that should have been read by the provider's rule, as the requests were sent.
        read_tokens: that were read.
        written_tokens: that were written.
        lost_tokens: that could have been read and were not.
        lost_usd: what these cost more than if they had been read.
        lost_seconds: how much longer they took.
        unpriced: requests that lost tokens of a model without a known price.
        disagreed: requests of which the provider read something else than predicted.
    """

    requests: int = 0
    unknown: int = 0
    input_tokens: int = 0
    readable_tokens: int = 0
    predicted_tokens: int = 0
    read_tokens: int = 0
    written_tokens: int = 0
    lost_tokens: int = 0
    lost_usd: float = 0.0
    lost_seconds: float = 0.0
    unpriced: int = 0
    disagreed: int = 0

    @property
    def unknown_warning(self) -> str:
        """What to say of the requests without usage; empty if there are none."""
        if not self.unknown:
            return ""
        return (
            f"{self.unknown:,} of {self.requests:,} requests are unknown: the provider reported no usage. Streams"
            " do so on request: stream_usage=True in LangChain, stream_options={'include_usage': True} of OpenAI"
        )

    @property
    def read_share(self) -> float:
        """Share of the prompts' tokens that was read, 0 to 1."""
        return self.read_tokens / self.input_tokens if self.input_tokens else 0.0

    @property
    def lost_share(self) -> float:
        """Share of the prompts' tokens that could have been read and was not."""
        return self.lost_tokens / self.input_tokens if self.input_tokens else 0.0


@dataclass(frozen=True, slots=True)
class Culprit:
    """What requests of one family lost to one cause.

    Attributes:
        application: as the application named itself.
        family: of prompts; see `askonce.prefix.requests.chain.Chain.family`.
        cause: a value of `askonce.prefix.tracking.diagnosis.Cause`.
        segment: which segment broke the prefix, or what changed; else empty.
        name: the two in words.
        looks_like: what the difference looked like in the last of them: ``a clock``, …
        example: the last difference, with ``keep_text``.
        requests: how many it hit.
        requests_share: of the family's, 0 to 1.
        lost_tokens: in all.
        lost_tokens_per_day: on average over the days of the report.
        lost_usd_per_day: likewise; ``None`` if the model's price is not known.
        lost_seconds_per_day: likewise.
        remedy: what to change where.
    """

    application: str
    family: str
    cause: str
    segment: str
    name: str
    looks_like: str
    example: str
    requests: int
    requests_share: float
    lost_tokens: int
    lost_tokens_per_day: float
    lost_usd_per_day: float | None
    lost_seconds_per_day: float
    remedy: str


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a family's prompts.

    Attributes:
        label: its name.
        level: ``tools``, ``system`` or ``messages``.
        tokens: on average over the family's requests, those without it included.
        present_share: in which share of the requests it is.
        same_share: in which share of these it was the same as in an earlier one.
        prefix_share: in which share of these the whole prompt up to its end was: its tokens can hit.
        breaks_share: in which share of the family's requests it broke the prefix.
    """

    label: str
    level: str
    tokens: float
    present_share: float
    same_share: float
    prefix_share: float
    breaks_share: float


@dataclass(frozen=True, slots=True)
class Family:
    """Prompts of one kind.

    Attributes:
        application: as the application named itself.
        provider: as in `askonce.prefix.requests.rules.ProviderRule`.
        model: as the requests named it.
        name: see `askonce.prefix.requests.chain.Chain.family`.
        total: of its requests.
        culprits: what it lost, largest first.
        segments: in the order in which the provider hashes them.
    """

    application: str
    provider: str
    model: str
    name: str
    total: Total
    culprits: tuple[Culprit, ...]
    segments: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Application:
    """What one application sent; its families are sorted by what they lost, largest first."""

    name: str
    total: Total
    families: tuple[Family, ...]


@dataclass(frozen=True, slots=True)
class PrefixReport:
    """What was tracked from one day to another, both included.

    Attributes:
        since: the first day on which anything was tracked: ``2026-11-21``, in UTC.
        until: the last one.
        total: of all requests.
        days: the days on which anything was tracked, with the total of each, oldest first.
        applications: sorted by what they lost, largest first.
    """

    since: str
    until: str
    total: Total
    days: tuple[tuple[str, Total], ...]
    applications: tuple[Application, ...]

    @property
    def number_of_days(self) -> int:
        """From the first to the last, both included: what "per day" divides by."""
        return _number_of_days(self.since, self.until)

    @property
    def culprits(self) -> tuple[Culprit, ...]:
        """All culprits of all families, largest loss first."""
        return _largest_first(
            one for app in self.applications for family in app.families for one in family.culprits
        )

    def to_json(self) -> str:
        """All of it as JSON, shares included; in ASCII, so that it can be written anywhere."""
        values = asdict(self)
        values["days"] = [{"day": day, **_with_shares(total)} for day, total in self.days]
        values["total"] = _with_shares(self.total)
        values["number_of_days"] = self.number_of_days
        for application, written in zip(self.applications, values["applications"], strict=True):
            written["total"] = _with_shares(application.total)
            for family, row in zip(application.families, written["families"], strict=True):
                row["total"] = _with_shares(family.total)
        return json.dumps(values, indent=2)


def report_of(
    days: Iterable[Day], *, example_of: Callable[[Sums], str] = lambda row: "", most_days: int | None = None
) -> PrefixReport | None:
    """The report of some days' sums.

    Args:
        days: of all processes, oldest first; see `askonce.prefix.tracking.aggregates.added_up`.
        example_of: decodes `Sums.example`.
        most_days: only the last so many calendar days before the last one that was tracked.

    Returns:
        ``None`` if nothing was tracked on these days.
    """
    days = [day for day in days if day.sums]
    if not days:
        return None
    until = days[-1].day
    if most_days is not None:
        days = [day for day in days if _number_of_days(day.day, until) <= most_days]
    number, whole = _number_of_days(days[0].day, until), together(days)
    rows: dict[tuple[str, str], list[Sums]] = defaultdict(list)
    for row in whole.sums:
        rows[row.application, row.family].append(row)
    segments: dict[tuple[str, str], list[SegmentSums]] = defaultdict(list)
    for part in sorted(whole.segments, key=lambda one: one.position):
        segments[part.application, part.family].append(part)
    families: dict[str, list[Family]] = defaultdict(list)
    for name, own in rows.items():
        families[name[0]].append(_family(own, segments[name], number, example_of))
    applications = [
        Application(name, _total(one.total for one in own), tuple(sorted(own, key=_by_loss)))
        for name, own in families.items()
    ]
    return PrefixReport(
        since=days[0].day,
        until=until,
        total=_total(whole.sums),
        days=tuple((day.day, _total(day.sums)) for day in days),
        applications=tuple(sorted(applications, key=_by_loss)),
    )


def stored_report(
    store: Store, namespace: str, *, days: int | None = None, encryption_keys: Sequence[bytes] = ()
) -> PrefixReport | None:
    """The report of all that processes tracked in a store; see `report_of`.

    Differences that were sealed with other keys stay closed.

    Raises:
        StoreError: the store cannot be read.
    """
    codec = Codec(encryption_keys)

    def example_of(row: Sums) -> str:
        try:
            return codec.decode(row.example).payload.decode() if row.example else ""
        except CodecError:
            return ""

    tracked = added_up(value for _, value in store.scan(days_namespace(namespace)))
    return report_of(tracked, example_of=example_of, most_days=days)


def _family(
    rows: Sequence[Sums], segments: Sequence[SegmentSums], number_of_days: int, example_of: Callable[[Sums], str]
) -> Family:
    first, total = max(rows, key=lambda row: row.requests), _total(rows)
    losses = _with_one_order([row for row in rows if row.cause not in _NO_LOSS])
    culprits = [_culprit(row, segments, total.requests, number_of_days, example_of(row)) for row in losses]
    breaks: dict[str, int] = defaultdict(int)
    for row in rows:
        if row.cause == Cause.BROKEN:
            breaks[row.segment] += row.requests
    parts = (_part(one, total.requests, breaks[one.label]) for one in segments)
    return Family(
        first.application, first.provider, first.model, first.family, total, _largest_first(culprits), tuple(parts)
    )


def _with_one_order(rows: Sequence[Sums]) -> list[Sums]:
    """Tools that come in another order break the prefix now at this, now at that tool: that is one culprit."""
    renamed = [
        replace(row, segment=ORDER, example=b"") if row.looks_like == "reordered tools" else row for row in rows
    ]
    return together([Day("", renamed)]).sums


def _culprit(
    row: Sums, segments: Sequence[SegmentSums], family_requests: int, number_of_days: int, example: str
) -> Culprit:
    named = {Cause.BROKEN: f"broken by {row.segment}", Cause.CHANGED: f"{row.segment} changed"}
    return Culprit(
        application=row.application,
        family=row.family,
        cause=row.cause,
        segment=row.segment,
        name=named.get(Cause(row.cause), row.cause),
        looks_like=row.looks_like,
        example=example,
        requests=row.requests,
        requests_share=row.requests / family_requests,
        lost_tokens=row.lost_tokens,
        lost_tokens_per_day=row.lost_tokens / number_of_days,
        lost_usd_per_day=None if row.unpriced and not row.lost_usd else row.lost_usd / number_of_days,
        lost_seconds_per_day=row.lost_seconds / number_of_days,
        remedy=advice(row, segments, family_requests, example),
    )


def _part(one: SegmentSums, family_requests: int, breaks: int) -> Part:
    requests = max(one.requests, 1)
    return Part(
        label=one.label,
        level=one.level,
        tokens=one.tokens / family_requests,
        present_share=min(1.0, one.requests / family_requests),
        same_share=one.known / requests,
        prefix_share=one.prefix_known / requests,
        breaks_share=breaks / family_requests,
    )


_ADDED = tuple(field.name for field in fields(Total))


def _total(rows: Iterable[Sums | Total]) -> Total:
    return Total(*(sum(values) for values in zip(*map(attrgetter(*_ADDED), rows), strict=True)))


def _with_shares(total: Total) -> dict[str, float]:
    return asdict(total) | {"read_share": total.read_share, "lost_share": total.lost_share}


def _by_loss(one: Family | Application) -> tuple[float, ...]:
    return -one.total.lost_usd, -one.total.lost_tokens, -one.total.requests


def _largest_first(culprits: Iterable[Culprit]) -> tuple[Culprit, ...]:
    return tuple(
        sorted(culprits, key=lambda one: (-(one.lost_usd_per_day or 0.0), -one.lost_tokens, -one.requests))
    )


def _number_of_days(first: str, last: str) -> int:
    return (datetime.date.fromisoformat(last) - datetime.date.fromisoformat(first)).days + 1
