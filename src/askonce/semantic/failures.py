"""Errors in the log without their message, which may hold a text."""

from __future__ import annotations

import traceback

from askonce.errors import AskOnceError


def kind_and_place(error: BaseException) -> str:
    """The type of an error and where it was raised; its message only if it was made here, without a text."""
    kind = type(error).__name__
    if isinstance(error, AskOnceError):
        return f"{kind}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    return f"{kind} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else kind
