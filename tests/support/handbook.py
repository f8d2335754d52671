"""A prefix that is worth a provider's cache."""

from __future__ import annotations

HANDBOOK = " ".join(f"Rule {number}: people of group {number * 7} go first." for number in range(200))
