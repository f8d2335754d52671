"""From amounts to `Counts`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from askonce.stats import Counts

_GROUPS = {"hits": "hit_kinds", "misses": "miss_reasons", "not_stored": "not_stored_reasons"}
"""Amounts that have a reason, and the field that holds them by reason."""
_WHOLE = frozenset(
    name
    for name in Counts.__struct_fields__
    if not name.endswith(("_usd", "_seconds")) and name not in _GROUPS.values()
)


def counts_of(amounts: Mapping[str, float]) -> dict[str, Any]:
    """The arguments of `Counts`. Amounts that this version does not have are left out."""
    made: dict[str, Any] = {field: {} for field in _GROUPS.values()}
    for name, amount in amounts.items():
        whole, _, reason = name.partition(".")
        if whole in _GROUPS:
            if reason and amount:
                made[_GROUPS[whole]][reason] = int(amount)
                made[whole] = made.get(whole, 0) + int(amount)
        elif whole in Counts.__struct_fields__:
            made[whole] = int(amount) if whole in _WHOLE else float(amount)
    kinds, reasons = made["hit_kinds"], made["miss_reasons"]
    return made | {
        "coalesced": kinds.get("coalesced", 0),
        "stale": kinds.get("stale", 0),
        "semantic_hits": kinds.get("semantic", 0),
        "corrupt": reasons.get("corrupt", 0),
    }
