"""The rules by which providers cache prompt prefixes, read from ``rules.json`` beside this file.

To update a rule, edit the file: one entry for each provider and pattern of model names, the first that matches
holds, and each says where it was read (``source``) and when (``date``).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Literal

import msgspec

from askonce.entries.decodable import decodable

Level = Literal["tools", "system", "messages"]
Marking = Literal["automatic", "marks", "both"]


class Lifetime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long a prefix is cached, and what that costs.

    Attributes:
        name: as the provider's parameter names it (``5m``, ``1h``, ``24h``).
        write_multiple: the price of a written token, in prices of an input token that is not cached.
        idle_seconds: it is gone when it was not read for so long. Where the provider gives a range, its lower end.
        longest_seconds: it is gone when it was written so long ago, read or not; ``None`` for no such limit.
    """

    name: str
    write_multiple: float
    idle_seconds: float
    longest_seconds: float | None = None


class ProviderRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How one provider caches prefixes for one group of models.

    Attributes:
        name: for people.
        provider: ``openai``, ``anthropic``, ``gemini``, ``bedrock``, ``deepseek``, ``vllm`` or ``sglang``.
        models: a regular expression that is searched in the model's name.
        source: where the rule was read.
        date: when.
        minimum_tokens: a shorter prefix is neither written nor read.
        step_tokens: an automatic cache reads multiples of it.
        marking: ``automatic``: every prefix is written; ``marks``: those that end at a marked segment; ``both``:
            those, and unless the request turns it off one that the provider chooses.
        order: in which order the levels of a request are hashed. A change on one loses all later ones.
        lifetimes: the first is the default.
        read_multiple: the price of a token that was read, in prices of an input token that is not cached.
        parameters: for each level the parameters of the request (dotted paths) whose change loses it and all
            later levels. ``images`` stands for whether the request holds any image.
        most_marks: how many marks a request may write; ``None`` where there are none.
        looked_up_marks: how many of the first and of the last marks of a request are looked up.
        looked_up_endings: how many of the first and of the last places where the provider might have put a
            breakpoint of its own are looked up.
        lookback_blocks: how many segments a mark looks back for a prefix that was written, itself included, a run
            of tool calls or of tool results being one; ``None`` where only what ends at a mark is found.
        requests_per_minute: with more for one prefix and key, further ones reach another machine.
        routed_tokens: a request is routed by the hash of so many first tokens.
    """

    name: str
    provider: str
    models: str
    source: str
    date: str
    minimum_tokens: int
    step_tokens: int
    marking: Marking
    order: tuple[Level, ...]
    lifetimes: tuple[Lifetime, ...]
    read_multiple: float
    parameters: Mapping[str, tuple[str, ...]] = {}
    most_marks: int | None = None
    looked_up_marks: tuple[int, int] | None = None
    looked_up_endings: tuple[int, int] | None = None
    lookback_blocks: int | None = None
    requests_per_minute: int | None = None
    routed_tokens: int | None = None

    def lifetime(self, name: str | None) -> Lifetime:
        """The lifetime of that name; the default for ``None`` and for names that the rule does not know."""
        return next((one for one in self.lifetimes if one.name == name), self.lifetimes[0])

    @property
    def longest_lifetime_seconds(self) -> float:
        """After so long without a read nothing that was sent matters any more."""
        return max(one.idle_seconds for one in self.lifetimes)


@decodable
class _File(msgspec.Struct, forbid_unknown_fields=True):
    rules: tuple[ProviderRule, ...]


@functools.cache
def all_rules() -> tuple[ProviderRule, ...]:
    """All rules, in the order in which they are tried."""
    data = resources.files("askonce.prefix.requests").joinpath("rules.json").read_bytes()
    return msgspec.json.decode(data, type=_File).rules


@functools.lru_cache(maxsize=256)
def rule_for(provider: str, model: str) -> ProviderRule | None:
    """The rule for a model, or ``None`` when none is known: old models, unknown providers.

    Args:
        provider: as in `ProviderRule.provider`.
        model: as the provider names it; a path or a region before the name does no harm.
    """
    name = model.lower().rpartition("/")[2]
    return next((one for one in all_rules() if one.provider == provider and re.search(one.models, name)), None)
