"""A report as one HTML page that needs nothing else: no script, no font, no network.

On top what costs most, then the share of tokens read day by day, then for each family of prompts a strip: a segment
is as wide as it has tokens, and its height is divided among what became of it, so that areas are tokens.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from html import escape
from importlib import resources
from itertools import groupby

from askonce.costs.figures import count, percent, span, usd
from askonce.prefix.report.advice import ORDER
from askonce.prefix.report.report import Culprit, Family, Part, PrefixReport, Total

_MOST_SHOWN = 12
"""Culprits and families beyond are folded away."""
_LEAST_SHOWN, _MATTERS = 3, 0.01
"""So many culprits are always shown, further ones if they cost so much of what the worst costs."""
_LABELLED = 0.06
"""Shorter parts of a prompt have no room for a label."""
_LEVELS = {"tools": "tools", "system": "system prompt", "messages": "messages"}


def page_of(report: PrefixReport) -> str:
    """The page of a report, as HTML."""
    css = resources.files("askonce.prefix").joinpath("page.css").read_text("utf-8")
    period = report.since if report.since == report.until else f"{report.since} to {report.until}"
    numbers = {id(one): number for number, one in enumerate(report.culprits, 1)}
    families = sorted(
        (one for application in report.applications for one in application.families),
        key=lambda one: min((numbers[id(culprit)] for culprit in one.culprits), default=len(numbers) + 1),
    )
    cards = [_family(one, numbers) for one in families]
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Prompt prefixes, {period}</title>
<style>
{css}</style>
</head>
<body>
<main>
<h1>What the provider’s prompt cache read, and what it missed</h1>
<p class="soft">{period} (UTC) · {_several(report.total.requests, "request")} ·
{_several(len(report.applications), "application")}</p>
{_unknown(report.total)}
{_tiles(report)}
<h2>What costs most</h2>
{_culprits(report)}
<h2>Share of tokens read, day by day</h2>
{_legend(("read", "read from the cache"), ("missed", "could have been read"), ("new", "new"))}
{_chart(report)}
<h2>The prompts, from their first token to their last</h2>
<p class="soft">A segment is as wide as it has tokens; its height shows how often it was what.</p>
{
        _legend(
            ("read", "the same, and so is all before it: can be read"),
            ("broke", "broke the prefix"),
            ("lost", "the same, but behind the break: paid again"),
            ("new", "new"),
        )
    }
{_folded(cards, "family", "families")}
{_footer(report)}
</main>
</body>
</html>
"""


def _several(number: int, what: str, plural: str = "") -> str:
    return f"{count(number)} {what if number == 1 else plural or what + 's'}"


def _tiles(report: PrefixReport) -> str:
    total, days = report.total, report.number_of_days
    read_and_lost = total.read_share + total.lost_share
    unknown = total.unpriced and not total.lost_usd
    tiles = [
        ("", percent(total.read_share), "of all prompt tokens were read from the cache"),
        ("", percent(read_and_lost), "could have been"),
        (
            " bad",
            usd(None if unknown else total.lost_usd / days),
            "lost per day" if days > 1 else "lost on this day",
        ),
        (" bad", span(total.lost_seconds / days), "of waiting lost per day" if days > 1 else "of waiting lost"),
    ]
    shown = "".join(f'<div class="tile{kind}"><b>{figure}</b>{what}</div>' for kind, figure, what in tiles)
    return f'<div class="tiles">{shown}</div>'


def _legend(*kinds: tuple[str, str]) -> str:
    return f'<ul class="legend">{"".join(f"<li><i class={kind!r}></i>{what}</li>" for kind, what in kinds)}</ul>'


def _folded(shown: Sequence[str], one: str, several: str, most: int = _MOST_SHOWN) -> str:
    more = shown[most:]
    rest = f"<details><summary>{_several(len(more), one, several)} more</summary>{''.join(more)}</details>"
    return "".join(shown[:most]) + (rest if more else "")


# -- culprits ------------------------------------------------------------------------------------------------


def _culprits(report: PrefixReport) -> str:
    culprits = report.culprits
    if not culprits:
        return '<p class="soft">Nothing was lost.</p>'
    priced = any(one.lost_usd_per_day for one in culprits)
    most = max((_worth(one, priced) for one in culprits), default=0.0) or 1.0
    rows = []
    for number, one in enumerate(culprits, 1):
        per_day = usd(one.lost_usd_per_day) if priced else f"{count(one.lost_tokens_per_day)} tokens"
        rows.append(
            f'<li class="culprit" id="c{number}"><span class="badge">{number}</span><div>'
            f'<div class="row"><span class="name">{_name(one)}</span>'
            f'<div class="bar"><i style="width:{100 * _worth(one, priced) / most:.1f}%"></i></div>'
            f'<span class="figure money">{per_day}</span></div>'
            f'<p class="soft">{_where(one.application, one.family)} · {percent(one.requests_share)} of requests · '
            f"{count(one.lost_tokens_per_day)} tokens and {span(one.lost_seconds_per_day)} a day</p>"
            f'<p class="remedy">{_sentence(one.remedy)}</p></div></li>'
        )
    unit = "US dollars" if priced else "tokens"
    matter = sum(_worth(one, priced) >= _MATTERS * most for one in culprits)
    open_ones = min(_MOST_SHOWN, max(_LEAST_SHOWN, matter))
    return (
        f'<p class="soft">In {unit} per day, largest first, each with what to change.</p>'
        f'<ol class="culprits">{_folded(rows, "culprit", "culprits", open_ones)}</ol>'
    )


def _worth(one: Culprit, priced: bool) -> float:
    return (one.lost_usd_per_day or 0.0) if priced else one.lost_tokens_per_day


def _name(one: Culprit) -> str:
    looks = f" <span class='soft'>looks like {escape(one.looks_like)}</span>" if one.looks_like else ""
    named = escape(one.name[:1].upper() + one.name[1:])
    return named if one.segment == ORDER else named + looks


def _where(application: str, family: str) -> str:
    return escape(f"{application}, {family}" if application else family)


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:] + ".") if text else ""


# -- days ----------------------------------------------------------------------------------------------------

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 1000, 210, 44, 26, 8


def _chart(report: PrefixReport) -> str:
    first = datetime.date.fromisoformat(report.since)
    number = report.number_of_days
    high, step = _HEIGHT - _BOTTOM - _TOP, (_WIDTH - _LEFT) / number
    wide = min(step * 0.72, 90)
    drawn = [
        f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{share}%</text>'
        for share in (0, 25, 50, 75, 100)
        for y in (_TOP + high * (1 - share / 100),)
    ]
    every = -(-number // 12)  # so that the dates do not touch
    for day, total in report.days:
        at = (datetime.date.fromisoformat(day) - first).days
        middle = _LEFT + (at + 0.5) * step
        drawn.append(
            f"<g><title>{_day_text(day, total)}</title>{_column(total, middle - wide / 2, wide, high)}</g>"
        )
        if at % every == 0:
            shown = datetime.date.fromisoformat(day).strftime("%d %b").lstrip("0")
            drawn.append(f'<text x="{middle:.1f}" y="{_HEIGHT - 6}" text-anchor="middle">{shown}</text>')
    head = f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="Tokens read each day">'
    return f"{head}{''.join(drawn)}</svg>"


def _column(total: Total, left: float, wide: float, high: float) -> str:
    shares = (("read", total.read_share), ("missed", total.lost_share))
    parts = [*shares, ("new", max(0.0, 1 - total.read_share - total.lost_share))]
    below, drawn = 0.0, ""
    for kind, share in parts:
        y = _TOP + high * (1 - below - share)
        drawn += f'<rect class="{kind}" x="{left:.1f}" y="{y:.1f}" width="{wide:.1f}" height="{high * share:.1f}"/>'
        below += share
    return drawn


def _day_text(day: str, total: Total) -> str:
    return (
        f"{day}: {percent(total.read_share)} of {count(total.input_tokens)} tokens read, "
        f"{percent(total.lost_share)} lost, {_several(total.requests, 'request')}"
    )


# -- families ------------------------------------------------------------------------------------------------


def _family(family: Family, numbers: dict[int, int]) -> str:
    total = family.total
    badges: dict[str, int] = {}
    for one in reversed(family.culprits):
        segment = one.segment
        if segment == ORDER:  # it stands at the tool that came wrong most often
            segment = max((p for p in family.segments if p.level == "tools"), key=lambda p: p.breaks_share).label
        badges[segment] = numbers[id(one)]
    named = "".join(
        f'<li class="culprit"><span class="badge">{numbers[id(one)]}</span><div>{_name(one)}'
        f"{f'<code class=example>{escape(one.example)}</code>' if one.example else ''}</div></li>"
        for one in family.culprits
    )
    application = f"{escape(family.application)} · " if family.application else ""
    return (
        f'<section class="family"><div class="head"><h3>{application}{escape(family.name)}</h3>'
        f'<span class="soft">{_several(total.requests, "request")} of {count(_length(family))} tokens · '
        f"<b>{percent(total.read_share)}</b> read, {percent(total.lost_share)} lost</span></div>"
        f"{_strip(family.segments, badges)}"
        f"{f'<ul class=culprits>{named}</ul>' if named else ''}</section>"
    )


def _length(family: Family) -> float:
    return family.total.input_tokens / max(family.total.requests - family.total.unknown, 1)


def _unknown(total: Total) -> str:
    return f'<p class="warning">{escape(total.unknown_warning)}.</p>' if total.unknown else ""


def _strip(parts: Sequence[Part], badges: dict[str, int]) -> str:
    if not parts:
        return ""
    boxes = labels = ""
    broken = 0.0  # in which share of the requests the prefix was broken already
    for one in parts:
        boxes += _segment(one, badges.get(one.label), broken)
        broken = min(1.0, broken + one.breaks_share)
    whole = sum(one.tokens for one in parts)
    for level, some in groupby(parts, key=lambda one: one.level):
        group = list(some)
        tokens = sum(one.tokens for one in group)
        what = _several(len(group), "tool") if level == "tools" else _LEVELS.get(level, level)
        tooltip = f"{what}, {count(tokens)} tokens"
        text = tooltip if tokens >= _LABELLED * whole else ""
        # As wide as the boxes above it, their least widths and the gaps between them included.
        least = sum(14 if one.breaks_share or one.label in badges else 4 for one in group) + 2 * (len(group) - 1)
        labels += (
            f'<span style="flex:{max(tokens, 1):.1f} 1 {2 * (len(group) - 1)}px;min-width:{least}px" '
            f'title="{escape(tooltip)}">{escape(text)}</span>'
        )
    named = " named" if badges.keys() & {one.label for one in parts} else ""
    return f'<div class="strip{named}">{boxes}</div><div class="labels">{labels}</div>'


def _segment(one: Part, number: int | None, broken: float) -> str:
    broke = min(1.0, one.breaks_share / one.present_share) if one.present_share else 0.0
    read = min(one.prefix_share, max(0.0, 1 - broke - broken))
    lost = max(0.0, min(one.same_share, 1 - broke) - read)
    shares = (("new", max(0.0, 1 - broke - read - lost)), ("lost", lost), ("broke", broke), ("read", read))
    inside = "".join(f'<i class="{kind}" style="height:{100 * share:.1f}%"></i>' for kind, share in shares if share)
    badge = f'<a class="badge" href="#c{number}">{number}</a>' if number else ""
    tooltip = (
        f"{one.label}: {count(one.tokens)} tokens; the same in {percent(one.same_share)}, with all before it in "
        f"{percent(one.prefix_share)}; broke the prefix in {percent(one.breaks_share)} of requests"
    )
    guilty = " guilty" if broke or number else ""
    return (
        f'<div class="segment{guilty}" style="flex:{max(one.tokens, 1):.1f} 1 0" title="{escape(tooltip)}">'
        f"{badge}{inside}</div>"
    )


def _footer(report: PrefixReport) -> str:
    total = report.total
    sentences = [
        "“Could have been read” is what a request has in common with one that was sent lately; what was read is "
        "the provider’s own figure. Money is by list prices, days are in UTC.",
    ]
    if total.unpriced:
        sentences.append(f"No price is known for {_several(total.unpriced, 'request')} that lost tokens.")
    if total.disagreed:
        sentences.append(
            f"For {_several(total.disagreed, 'request')} ({percent(total.disagreed / total.requests)}) the "
            "provider read something else than its published rule predicts."
        )
    return f'<footer class="soft">{"".join(f"<p>{escape(one)}</p>" for one in sentences)}</footer>'
