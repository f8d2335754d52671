"""Questions about Python, answered from its own documentation: first by LangChain, then by LlamaIndex.

The documentation is embedded by MiniLM, which runs here. The answers come from an offline stand-in, or from the
model that ``--model`` names. askonce stores what was embedded, what was found and what was answered, so that what
was answered before costs neither time nor money: some questions come twice within a run, and in a second run all
of them were answered before. Half way, documents change, and those until then are repeated: see ``changes.py``.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from changes import Documents, change
from corpus import MODULES, Chunk, stdlib_chunks
from offline_model import PRICED_AS
from report import Change, Part, report
from rich.console import Console
from rich.markup import escape
from rich.progress import track

from askonce import AskOnceError, Cache, Stats, Store, open_store

STORE = f"sqlite:///{Path(tempfile.gettempdir()) / 'askonce-demo.db'}"
NAMESPACE = "demo"
BATCH = 64  # pieces of documentation embedded at a time
TIMEOUT_SECONDS = 5.0  # of the store; a server would rather call its model than wait so long

T = TypeVar("T")


class Embeddings(Protocol):
    """LangChain's, which is not imported yet."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]: ...


class Pipeline(Documents, Protocol):
    """What `LangChainRAG` and `LlamaIndexRAG` have in common; the attributes are their caches."""

    answers: Cache
    retrieved: Cache
    embedded: Cache

    def converse(self, questions: list[str]) -> Iterator[str]: ...
    def close(self) -> None: ...


def main() -> None:
    options = arguments()
    console = Console(highlight=False)
    try:
        conversations = read_conversations(options.questions, options.limit)
        if not conversations:
            raise SystemExit("There are no questions.")
        chunks = stdlib_chunks(options.modules.split(","))
        with closing(open_reachable(options.store)) as store:
            if options.fresh:
                store.clear(NAMESPACE)
            greet(console, store, options.model, sum(map(len, conversations)))
            parts = run(console, store, chunks, conversations, options)
    except (AskOnceError, OSError, ModuleNotFoundError) as error:
        raise SystemExit(f"The demo cannot run: {error}") from error
    except Exception as error:
        if options.model is None:
            raise
        raise SystemExit(f"The demo stopped, {options.model} failed: {error}") from error
    except KeyboardInterrupt:
        raise SystemExit("Stopped. What was answered so far is stored.") from None
    stand_in = f"priced as {PRICED_AS}, which the stand-in imitates"
    report(console, parts, f"at the prices of {options.model}" if options.model else stand_in)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    questions = Path(__file__).with_name("questions.txt")
    parser.add_argument("--store", default=STORE, help="sqlite:///file, redis://host or mongodb://host")
    parser.add_argument("--model", help="a real model instead of the stand-in, such as openai:gpt-4.1-mini")
    parser.add_argument("--fresh", action="store_true", help="first delete what earlier runs stored")
    parser.add_argument("--questions", type=Path, default=questions, help="a file of questions")
    parser.add_argument("--limit", type=int, help="only the first so many questions")
    parser.add_argument("--modules", default=",".join(MODULES), help="whose documentation is read")
    parser.add_argument("--delay", type=float, default=1.0, help="how slow the stand-in is (1: as a real model)")
    return parser.parse_args()


def read_conversations(file: Path, limit: int | None) -> list[list[str]]:
    """The questions in a file, up to ``limit``; those that go on with a conversation are in one list."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    conversations: list[list[str]] = []
    for line in [line for line in lines if line and not line.startswith("#")][:limit]:
        if line.startswith(">") and conversations:
            conversations[-1].append(line.removeprefix(">").strip())
        else:
            conversations.append([line])
    return conversations


def open_reachable(url: str) -> Store:
    """The store, if it is there. An application would go on without it; a demo of it should not."""
    logger = logging.getLogger("askonce")
    logger.setLevel(logging.ERROR)  # it would warn of what is raised here
    store = open_store(url, timeout_seconds=TIMEOUT_SECONDS)
    store.check()
    logger.setLevel(logging.WARNING)
    return store


def greet(console: Console, store: Store, model: str | None, questions: int) -> None:
    entries = store.size(NAMESPACE).entries
    console.print(f"{questions} questions about Python go through LangChain, and then through LlamaIndex.")
    console.print("Half way, documents change, and the questions until then are repeated.")
    if entries:
        console.print(f"The cache at {store.url} holds {entries:,} entries from an earlier run.", soft_wrap=True)
    else:
        console.print(f"The cache at {store.url} is empty; this run fills it.", soft_wrap=True)
    if model is None:
        console.print(
            "The model is an offline stand-in: it picks sentences of the documentation, and takes as long as a "
            "real one.\nFor a real one: --model openai:gpt-4.1-mini"
        )


def run(
    console: Console, store: Store, chunks: list[Chunk], conversations: list[list[str]], options: argparse.Namespace
) -> list[Part]:
    """Embed the documentation, and answer the questions through each framework."""
    with console.status("Loading LangChain, LlamaIndex and MiniLM"):  # imported here: it takes some seconds
        from models import open_models
        from offline_langchain import MiniLMEmbeddings
        from offline_llama_index import MiniLMEmbedding
        from rag_langchain import LangChainRAG
        from rag_llama_index import LlamaIndexRAG

        from askonce.langchain import cached

        chat_model, llm = open_models(options.model, options.delay)
        embeddings, embed_model = MiniLMEmbeddings(), MiniLMEmbedding()

    # Caches of one namespace share what they keep; each has its own counts.
    cache = partial(Cache, store, namespace=NAMESPACE, timeout_seconds=TIMEOUT_SECONDS)
    with cache() as embedded:
        started = time.monotonic()
        vectors = embed(console, cached(embeddings, embedded), chunks)
        parts = [Part("documentation", 0, time.monotonic() - started, Stats(), Stats(), embedded.stats(), [])]
    with cache() as answers, cache() as retrieved, cache() as embedded:
        chain = LangChainRAG(chunks, vectors, chat_model, embeddings, answers, retrieved, embedded)
        parts.append(answer_questions(console, "LangChain", chain, chunks, conversations, show=0))
    with cache() as answers, cache() as retrieved, cache() as embedded:
        engine = LlamaIndexRAG(chunks, vectors, llm, embed_model, answers, retrieved, embedded)
        parts.append(answer_questions(console, "LlamaIndex", engine, chunks, conversations, show=1))
    return parts


def embed(console: Console, embeddings: Embeddings, chunks: list[Chunk]) -> list[list[float]]:
    """The vectors of the documentation, a batch at a time."""
    batches = [[chunk.title for chunk in chunks[at : at + BATCH]] for at in range(0, len(chunks), BATCH)]
    vectors: list[list[float]] = []
    for batch in progress(console, batches, len(batches), "Embedding the documentation"):
        vectors += embeddings.embed_documents(batch)
    return vectors


def answer_questions(
    console: Console, name: str, pipeline: Pipeline, chunks: list[Chunk], conversations: list[list[str]], show: int
) -> Part:
    """Answer all questions, with the changes of the documents half way, and print one of the answers."""
    middle = (len(conversations) + 1) // 2
    started = time.monotonic()
    answered = list(exchange(console, pipeline, conversations[:middle], f"Answers through {name}"))
    first_half = [list(questions) for questions in dict.fromkeys(map(tuple, conversations[:middle]))]
    with closing(change(pipeline, chunks)) as events:
        changes = [answer_again(console, pipeline, event, first_half) for event in events]
    answered += exchange(console, pipeline, conversations[middle:], f"Answers through {name}")
    seconds = time.monotonic() - started
    pipeline.close()
    for question, answer in answered[show : show + 1]:
        console.print(f"\n[bold]{name}[/bold], question: {escape(question)}\nanswer: {escape(answer)}")
    caches = pipeline.answers.stats(), pipeline.retrieved.stats(), pipeline.embedded.stats()
    return Part(name, len(answered) + sum(one.repeated for one in changes), seconds, *caches, changes)


def answer_again(console: Console, pipeline: Pipeline, event: str, conversations: list[list[str]]) -> Change:
    """Answer questions again after a change, and see which are not answered from the cache."""
    made, looked_for = pipeline.answers.stats().misses, pipeline.retrieved.stats().misses
    repeated, anew = 0, []
    for question, _ in exchange(console, pipeline, conversations, f"{event}: repeated questions"):
        repeated += 1
        if pipeline.answers.stats().misses > made:
            anew.append(question)
        made = pipeline.answers.stats().misses
    return Change(event, repeated, pipeline.retrieved.stats().misses - looked_for, anew)


def exchange(
    console: Console, pipeline: Pipeline, conversations: list[list[str]], label: str
) -> Iterator[tuple[str, str]]:
    """Questions, one after the other, each with its answer."""
    all_questions = [question for questions in conversations for question in questions]
    replies = (reply for questions in conversations for reply in pipeline.converse(questions))
    return zip(all_questions, progress(console, replies, len(all_questions), label), strict=True)


def progress(console: Console, items: Iterable[T], total: int, label: str) -> Iterable[T]:
    """A progress bar, where there is a terminal to show it."""
    return track(items, label, total=total, console=console, transient=True, disable=not console.is_terminal)


if __name__ == "__main__":
    main()
