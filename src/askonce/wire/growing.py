"""Texts that come in many pieces: each is joined once, when all came."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


class Growing:
    """The texts of one answer that grow."""

    def __init__(self) -> None:
        self._texts: list[tuple[Json, str, _Pieces]] = []

    def add(self, of: Json, name: str, piece: str) -> bool:
        """Add a piece to a member of an object, which is a text when all are joined.

        Returns:
            whether it was added: not if the member is something else.
        """
        known: Any = of.get(name)
        if type(known) is not _Pieces:
            if not isinstance(known or "", str):
                return False
            known = of[name] = _Pieces(known or "")
            self._texts.append((of, name, known))
        known.parts.append(piece)
        return True

    def join(self) -> None:
        """Make texts of them all."""
        for of, name, pieces in self._texts:
            if of.get(name) is pieces:  # else it was replaced
                of[name] = "".join(pieces.parts)
        self._texts.clear()


class _Pieces:
    __slots__ = ("parts",)

    def __init__(self, first: str) -> None:
        self.parts = [first]
