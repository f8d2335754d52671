"""The cost of an answer in dollars, from its tokens and the price of its model."""

from __future__ import annotations

import functools
import logging
from typing import Any

from askonce.entries.entry import Usage

logger = logging.getLogger("askonce")

_PROVIDERS = {
    "amazon_bedrock": "aws",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "azure_openai": "azure",
    "google_genai": "google",
    "google_vertexai": "google",
    "mistralai": "mistral",
    "xai": "x-ai",
}
"""What frameworks call a provider -> its name in the price list, where that is another."""
_warned: set[str] = set()
_MOST_WARNED = 1_000


def cost_usd(model: str | None, usage: Usage, provider: str | None = None) -> float | None:
    """The price of one call by ``genai-prices`` (offline; the extra ``prices``).

    A model without a price is named once in the log.

    Args:
        model: the name under which the provider sells the model.
        usage: the tokens that the call took.
        provider: who sells it, as the framework says: ``openai``, ``openrouter``, ``bedrock``, ``azure``, ….

    Returns:
        US dollars, or ``None`` when the package is not installed, it does not have the model, or no tokens
        were reported.
    """
    if model is None or not usage.total_tokens:
        return None
    prices = _prices()
    if prices is None:
        return None
    tokens = prices.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens or None,
        cache_write_tokens=usage.cache_write_tokens or None,
    )
    for name, seller in _names(model, provider):
        try:
            price = prices.calc_price(tokens, model_ref=name, provider_id=seller)
        except LookupError:
            continue
        except Exception:
            logger.debug("askonce: no price for %s", model, exc_info=True)
            return None
        return float(price.total_price)
    if model not in _warned and len(_warned) < _MOST_WARNED:
        _warned.add(model)
        logger.warning("askonce: no price is known for %s: its answers count in seconds, not in dollars", model)
    return None


def _names(model: str, provider: str | None) -> list[tuple[str, str | None]]:
    """The names, and who sells them, under which a price is looked for, the most exact first."""
    seller = _PROVIDERS.get(provider, provider) if provider else None
    plain = model.removeprefix("models/")
    found: list[tuple[str, str | None]] = [(plain, seller)] if seller else []
    found.append((plain, None))
    first, slash, _ = plain.partition("/")
    if slash:  # ``openai/gpt-4o`` of a gateway
        found += [(plain, "openrouter"), (plain.partition("/")[2], _PROVIDERS.get(first, first))]
    if plain.startswith("text-embedding-"):
        found.append((plain, "openai"))
    if plain.startswith(("us.", "eu.", "apac.", "global.", "amazon.", "anthropic.", "meta.")):
        found.append((plain, "aws"))
    return found


@functools.cache
def _prices() -> Any:
    try:
        import genai_prices
    except ModuleNotFoundError:
        return None
    return genai_prices
