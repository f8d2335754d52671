"""What lost tokens cost."""

from __future__ import annotations

import functools

from askonce.costs.pricing import cost_usd
from askonce.entries.entry import Usage
from askonce.prefix.tracking.diagnosis import Diagnosis


def lost_usd_of(model: str, diagnosis: Diagnosis) -> float | None:
    """What the lost tokens cost more than if they had been read, in US dollars; ``None`` if no price is known."""
    lost = diagnosis.lost_tokens
    if not lost:
        return 0.0
    whole, read, written = diagnosis.input_tokens, diagnosis.read_tokens, diagnosis.written_tokens
    lost = min(lost, whole - read)
    paid = _price(model, whole, read, written)
    better = _price(model, whole, read + lost, max(0, written - lost))
    return None if paid is None or better is None else max(0.0, paid - better)


def saved_usd_of(model: str, diagnosis: Diagnosis) -> float:
    """What reading saved minus what writing cost, in US dollars; 0 if no price is known."""
    whole, read, written = diagnosis.input_tokens, diagnosis.read_tokens, diagnosis.written_tokens
    computed, paid = _price(model, whole, 0, 0), _price(model, whole, read, written)
    return 0.0 if computed is None or paid is None else computed - paid


_LONG_PROMPT = 100_000
"""From about here on some models cost more for each token."""


def _price(model: str, whole: int, read: int, written: int) -> float | None:
    if whole >= _LONG_PROMPT:
        return cost_usd(model, Usage(whole, 0, read, written))
    prices = _prices(model)
    return None if prices is None else prices[0] * (whole - read - written) + prices[1] * read + prices[2] * written


@functools.lru_cache(maxsize=256)
def _prices(model: str) -> tuple[float, float, float] | None:
    """US dollars for one input token of a short prompt: computed, read, written."""
    computed, read, written = (cost_usd(model, Usage(1000, 0, *parts)) for parts in ((0, 0), (1000, 0), (0, 1000)))
    if computed is None or read is None or written is None:
        return None
    return computed / 1000, read / 1000, written / 1000
