"""What the demo prints in the end: requests, calls and savings, changes of documents, and what to try next."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from askonce import Stats


@dataclass(frozen=True)
class Change:
    """What a change of documents brought about.

    Attributes:
        event: what happened.
        repeated: how many questions were repeated.
        retrievals: how many of them were looked up in the documents again.
        anew: those whose answers were made anew.
    """

    event: str
    repeated: int
    retrievals: int
    anew: Sequence[str]


@dataclass(frozen=True)
class Part:
    """What one part of the run took; ``answers``, ``retrieved`` and ``embedded`` are the counts of its caches."""

    name: str
    questions: int
    seconds: float
    answers: Stats
    retrieved: Stats
    embedded: Stats
    changes: Sequence[Change]

    @property
    def calls(self) -> int:
        """How often the model was called."""
        return self.answers.misses + self.answers.bypassed

    @property
    def retrievals(self) -> int:
        """How often documents were looked for."""
        return self.retrieved.misses + self.retrieved.bypassed

    @property
    def embeddings(self) -> int:
        """How many texts were embedded."""
        return self.embedded.misses + self.embedded.bypassed

    @property
    def saved_seconds(self) -> float:
        return sum(one.saved_seconds for one in (self.answers, self.retrieved, self.embedded))


ROWS: list[tuple[str, str, Callable[[Part], float]]] = [
    ("questions answered", "{:,}", lambda part: part.questions),
    ("model calls made", "{:,}", lambda part: part.calls),
    ("model calls saved", "{:,}", lambda part: part.answers.hits),
    ("retrievals made", "{:,}", lambda part: part.retrievals),
    ("retrievals saved", "{:,}", lambda part: part.retrieved.hits),
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
    report_changes(console, [part for part in parts if part.changes])
    seconds = sum(part.saved_seconds for part in parts)
    usd = sum(part.answers.saved_usd for part in parts)
    console.print(f"\n[bold]In this run askonce saved {seconds:,.0f} seconds and ${usd:.2f}.[/bold]")
    if any(part.embeddings for part in parts):
        console.print("Now run it again: next time only the changes of documents cost anything.")
    else:
        console.print("Only the changes cost model calls. To start anew: make demo ARGS=--fresh")
    console.print('Over a server: make demo ARGS="--store redis://localhost:6379/0"')


def report_changes(console: Console, parts: Sequence[Part]) -> None:
    """Print what each change of documents brought about."""
    if not parts:
        return
    table = Table(show_lines=True)
    table.add_column("change, and which questions were answered anew")
    for part in parts:
        table.add_column(f"made anew by {part.name}", no_wrap=True)
    for changes in zip(*(part.changes for part in parts), strict=True):
        questions = dict.fromkeys(question for change in changes for question in change.anew)
        what = "\n".join([changes[0].event, *(f"- {escape(question)}" for question in questions)])
        table.add_row(what, *map(_made_anew, changes))
    console.print("\nHalf way documents changed, and the questions until then were repeated:")
    console.print(table)
    console.print(
        "The first change of an index in memory concerns all that was found in it. After\n"
        "that a deletion concerns only the retrievals that returned the document. A new\n"
        "text may be what any question looks for, so all retrievals are made anew, but\n"
        "answers only where what was found is another."
    )


def _made_anew(change: Change) -> str:
    cached = change.repeated - len(change.anew)
    made = f"{_count(change.retrievals, 'retrieval')}, {_count(len(change.anew), 'answer')};"
    return f"{made}\n{cached} of {change.repeated} answers cached"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
