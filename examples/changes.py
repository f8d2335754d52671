"""Documents change in the middle of the demo: one is deleted, one is revised, then both are as they were.

The pipelines write to a vector store or an index that `watch` watches, so the application need not report it.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

from corpus import Chunk

DELETED = "timeit.default_timer"
REVISED = Chunk(
    "textwrap.dedent: Remove the leading whitespace that all lines of a multiline string share.",
    "textwrap.dedent: Revised: remove the leading whitespace that all lines of a multiline string share. "
    "A line with less of it than the others decides how much is removed from each.",
)


class Documents(Protocol):
    """Documents that can be changed; of both pipelines."""

    def write(self, chunks: Iterable[Chunk]) -> None: ...
    def delete(self, name: str) -> None: ...


def change(documents: Documents, chunks: Sequence[Chunk]) -> Iterator[str]:
    """Change documents step by step, as far as they are there, and report after each step what was done."""
    originals = {chunk.name: chunk for chunk in chunks if chunk.name in (DELETED, REVISED.name)}
    if not originals:
        return
    try:
        if DELETED in originals:
            documents.delete(DELETED)
            yield f"{DELETED} was deleted"
        if REVISED.name in originals:
            documents.write([REVISED])
            yield f"{REVISED.name} was revised"
    finally:  # also if the run is stopped here, since the next one begins with these
        documents.write(originals.values())
    yield f"{' and '.join(originals)} {'were' if len(originals) > 1 else 'was'} put back"
