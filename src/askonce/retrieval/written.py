"""What writes documents, and what a write reports."""

from __future__ import annotations

import re
from dataclasses import dataclass

from askonce.provenance.additions import AddedVectors
from askonce.provenance.changes import Change

WRITING = re.compile(
    r"a?(async_)?(add|delete|update|upsert|remove|merge|drop|reset|clear|truncate|m?set|mdelete|put|insert|write|save"
    r"|store|ingest|index|replace|create|append|extend|upload|import|sync|purge|prune|patch)(_\w+)?$"
)
"""Names of methods that write, of objects that are none of a framework's own."""


@dataclass(slots=True)
class Written:
    """What a write does, or did.

    Attributes:
        ids: the documents that were changed or deleted; ``None``: any may have been.
        added: other documents were added, or the new content of these may be found by other questions.
        vectors: those of all added documents, if known.
    """

    ids: list[str] | None
    added: bool = True
    vectors: AddedVectors | None = None

    def includes(self, other: Written) -> bool:
        """Whether reporting this reports the other as well."""
        if self.ids is None:
            return True
        return other.ids is not None and {*other.ids} <= {*self.ids} and self.added >= other.added

    def change(self, states: dict[bytes, bytes]) -> Change:
        """It, as the end of the write reports it, with what the collections that were written to hold then."""
        return Change(None if self.ids is None else tuple(self.ids), self.added, self.vectors, states=states)
