"""What stores do while the interpreter shuts down."""

from __future__ import annotations

import sys

from askonce.errors import StoreUnavailable


def refuse_at_exit(where: str) -> None:
    """Refuse a call while the interpreter shuts down: clients cannot start threads or import modules then.

    Raises:
        StoreUnavailable: it does.
    """
    if sys.is_finalizing():
        raise StoreUnavailable(f"{where}: the interpreter is shutting down")
