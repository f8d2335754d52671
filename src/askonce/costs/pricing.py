"""The cost of an answer in dollars, from its tokens and the price of its model."""

from __future__ import annotations

import functools
import logging
from typing import Any

from askonce.entries.entry import Usage

logger = logging.getLogger("askonce")


def cost_usd(model: str | None, usage: Usage) -> float | None:
    """The price of one call by ``genai-prices`` (offline; the extra ``prices``).

    Args:
        model: the name under which the provider sells the model.
        usage: the tokens that the call took.

    Returns:
        US dollars, or ``None`` when the package is not installed, it does not have the model, or no tokens
        were reported.
    """
    if model is None or not usage.total_tokens:
        return None
    prices = _prices()
    if prices is None:
        return None
    try:
        price = prices.calc_price(
            prices.Usage(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens or None,
                cache_write_tokens=usage.cache_write_tokens or None,
            ),
            model_ref=model,
        )
    except LookupError:
        return None
    except Exception:
        logger.debug("askonce: no price for %s", model, exc_info=True)
        return None
    return float(price.total_price)


@functools.cache
def _prices() -> Any:
    try:
        import genai_prices
    except ModuleNotFoundError:
        return None
    return genai_prices
