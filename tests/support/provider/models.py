"""What the emulated providers sell: caching rule, minimum, lifetime and price of each model family.

Seen on 2026-11-21:

* https://developers.openai.com/api/docs/guides/prompt-caching (2026-09-23) and /api/docs/pricing
* https://platform.claude.com/docs/en/build-with-claude/prompt-caching and /docs/en/about-claude/pricing

The minimum of OpenAI's earlier models "varies by request settings" in the present guide; the 1,024 tokens of its
older editions stand here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Rule = Literal["steps", "boundaries", "marks"]

MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True)
class Model:
    """One family of models; prices in US dollars for a million tokens, factors of the input price."""

    family: str
    rule: Rule
    input_usd: float
    output_usd: float
    minimum: int = 1024
    read_factor: float = 0.1
    write_factors: dict[str, float] = field(default_factory=dict)
    lifetimes: dict[str, float] = field(default_factory=dict)
    """Seconds that an entry lives after its last use, by retention or lifetime that a request sets."""
    longest: dict[str, float] = field(default_factory=dict)
    """Seconds after which an entry is gone however often it was used."""

    def cost_usd(self, uncached: int, read: int, written: dict[str, int], output: int) -> float:
        """What a call costs: each input token is paid once, as uncached, read or written."""
        paid = uncached + read * self.read_factor
        paid += sum(tokens * self.write_factors.get(lifetime, 0.0) for lifetime, tokens in written.items())
        return (paid * self.input_usd + output * self.output_usd) / 1e6


def _before_5_6(family: str, input_usd: float, output_usd: float, read_factor: float, *retentions: str) -> Model:
    lifetimes = {"in_memory": 5 * MINUTE, "24h": DAY}
    cached = {name: lifetimes[name] for name in retentions or ("in_memory",)}
    return Model(
        family,
        "steps",
        input_usd,
        output_usd,
        read_factor=read_factor,
        lifetimes=cached,
        longest={"in_memory": HOUR},
    )


def _from_5_6(family: str, input_usd: float, output_usd: float) -> Model:
    return Model(
        family, "boundaries", input_usd, output_usd, write_factors={"30m": 1.25}, lifetimes={"30m": 30 * MINUTE}
    )


def _claude(family: str, minimum: int, input_usd: float, output_usd: float) -> Model:
    return Model(
        family,
        "marks",
        input_usd,
        output_usd,
        minimum,
        write_factors={"5m": 1.25, "1h": 2.0},
        lifetimes={"5m": 5 * MINUTE, "1h": HOUR},
    )


MODELS = (
    _before_5_6("gpt-4o", 2.50, 10.0, 0.5),
    _before_5_6("gpt-4o-mini", 0.15, 0.60, 0.5),
    _before_5_6("gpt-4.1", 2.0, 8.0, 0.25, "in_memory", "24h"),
    _before_5_6("gpt-4.1-mini", 0.40, 1.60, 0.25),
    _before_5_6("gpt-5", 1.25, 10.0, 0.1, "in_memory", "24h"),
    _before_5_6("gpt-5.5", 5.0, 30.0, 0.1, "24h"),
    _from_5_6("gpt-5.6", 4.0, 20.0),
    _claude("claude-opus-5", 512, 5.0, 25.0),
    _claude("claude-fable-5", 512, 10.0, 50.0),
    _claude("claude-opus-4-8", 1024, 5.0, 25.0),
    _claude("claude-opus-4-7", 2048, 5.0, 25.0),
    _claude("claude-opus-4-6", 4096, 5.0, 25.0),
    _claude("claude-opus-4-5", 4096, 5.0, 25.0),
    _claude("claude-opus-4", 1024, 15.0, 75.0),
    _claude("claude-sonnet-5", 1024, 2.0, 10.0),
    _claude("claude-sonnet-4", 1024, 3.0, 15.0),
    _claude("claude-haiku-4-5", 4096, 1.0, 5.0),
)


def find(name: str) -> Model | None:
    """The family of a model: the longest one that its name begins with."""
    families = [model for model in MODELS if name == model.family or name.startswith((f"{model.family}-",))]
    return max(families, key=lambda model: len(model.family), default=None)
