"""Where blocking calls are forbidden on the event loop."""

from __future__ import annotations


def is_forbidden(error: BaseException) -> bool:
    """Whether a call was refused since it blocks the event loop: by ``blockbuster``, as in ``langgraph dev``."""
    return any(kind.__name__ == "BlockingError" for kind in type(error).__mro__)
