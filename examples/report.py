"""What the demo prints in the end: a table of what was asked, made and saved, and what to try next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from askonce import Stats


@dataclass(frozen=True)
class Part:
    """What one part of the run took; ``answers`` and ``embedded`` are the counts of its two caches."""

    name: str
    questions: int
    seconds: float
    answers: Stats
    embedded: Stats

    @property
    def calls(self) -> int:
        """How often the model was asked."""
        return self.answers.misses + self.answers.bypassed

    @property
    def embeddings(self) -> int:
        """How many texts were embedded."""
        return self.embedded.misses + self.embedded.bypassed

    @property
    def saved_seconds(self) -> float:
        return self.answers.saved_seconds + self.embedded.saved_seconds


ROWS: list[tuple[str, str, Callable[[Part], float]]] = [
    ("questions asked", "{:,}", lambda part: part.questions),
    ("model calls made", "{:,}", lambda part: part.calls),
    ("model calls saved", "{:,}", lambda part: part.answers.hits),
    ("embeddings made", "{:,}", lambda part: part.embeddings),
    ("embeddings saved", "{:,}", lambda part: part.embedded.hits),
    ("seconds waited", "{:,.1f}", lambda part: part.seconds),
    ("seconds saved", "{:,.1f}", lambda part: part.saved_seconds),
    ("tokens saved", "{:,}", lambda part: part.answers.saved_tokens),
    ("money spent", "${:.4f}", lambda part: part.answers.spent_usd),
    ("money saved", "${:.4f}", lambda part: part.answers.saved_usd),
]


def report(console: Console, parts: Sequence[Part], prices: str) -> None:
    """Print the table and the closing lines.

    Args:
        console: where to.
        parts: what was measured, in the order in which it ran.
        prices: whose prices the money is counted in.
    """
    table = Table(caption=f"Money: {prices}.", caption_justify="left")
    table.add_column()
    for part in parts:
        table.add_column(part.name, justify="right")
    table.add_column("together", justify="right")
    for label, form, value in ROWS:
        values = [value(part) for part in parts]
        table.add_row(label, *map(form.format, values), form.format(sum(values)))
    console.print()
    console.print(table)
    seconds = sum(part.saved_seconds for part in parts)
    usd = sum(part.answers.saved_usd for part in parts)
    console.print(f"\n[bold]In this run askonce saved {seconds:,.0f} seconds and ${usd:.2f}.[/bold]")
    if any(part.calls or part.embeddings for part in parts):
        console.print("Now run it again: what it asked this time costs nothing next time.")
    else:
        console.print("Nothing was asked or embedded twice. To start anew: make demo ARGS=--fresh")
    console.print('Over a server: make demo ARGS="--store redis://localhost:6379/0"')
