"""What happens in a cache, as values: one event for each hit, miss, stored answer, and so on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CacheEvent:
    """Something that happened."""
