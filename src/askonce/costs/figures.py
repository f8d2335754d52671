"""Figures as people read them."""

from __future__ import annotations


def usd(amount: float | None) -> str:
    """``$1,234``, ``$1.23``, ``$0.012``, ``< $0.001``; a dash where no price is known."""
    if amount is None:
        return "–"
    if amount >= 100:
        return f"${amount:,.0f}"
    if amount >= 0.1 or not amount:
        return f"${amount:,.2f}"
    return f"${amount:.3f}" if amount >= 0.001 else "< $0.001"


def percent(share: float) -> str:
    """``42%``; what is little but not nothing is ``under 1%``."""
    return "under 1%" if 0 < share < 0.01 else f"{share:.0%}"


def span(seconds: float) -> str:
    """``3 s``, ``5 min``, ``1 h``."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            amount = seconds / size
            return f"{amount:,.0f} {unit}" if amount >= 10 else f"{round(amount, 1):g} {unit}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{round(seconds, 1):g} s"


def count(number: float) -> str:
    """``1,234``."""
    return f"{number:,.0f}"


def number_of(number: float, one: str = "entry", many: str = "entries") -> str:
    """A number of things, such as ``1 entry``."""
    return f"{count(number)} {one if number == 1 else many}"
