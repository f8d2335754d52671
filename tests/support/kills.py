"""Processes that are killed while they write documents through `watch`, and what is found afterwards.

The documents are files, so that they outlive the process. A child writes through a watched store of LangChain or
LlamaIndex, and is killed before one of its steps: the lease, the begin of the write in the change log, the write
itself, its end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStore
from llama_index.core.base.base_retriever import BaseRetriever as NodeRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.core.vector_stores import SimpleVectorStore

import askonce.langchain
import askonce.llama_index
from askonce import Cache, Corpus

LEASE_SECONDS = 1.0
STEPS = 6
"""The lease, the begin, the write, the end, what is freed after it; and none is left."""
FRAMEWORKS = ("LangChain", "LlamaIndex")
KINDS = ("delete", "clear", "add", "replace")


def written(directory: Path, kind: str) -> None:
    """Change the files."""
    secret = directory / "secret"
    if kind == "delete":
        secret.unlink()
    elif kind == "clear":
        for one in directory.iterdir():
            one.unlink()
    else:
        (directory / ("secret" if kind == "replace" else "third")).write_text("another text")


def content(directory: Path) -> list[str]:
    return [one.read_text() for one in sorted(directory.iterdir())]


class Files(BaseRetriever):
    """Finds all files of a directory."""

    directory: str

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return [Document(one.read_text(), id=one.name) for one in sorted(Path(self.directory).iterdir())]


class NodeFiles(NodeRetriever):
    """Finds all files of a directory."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        files = sorted(self._directory.iterdir())
        return [NodeWithScore(node=TextNode(text=one.read_text(), id_=one.name), score=1.0) for one in files]


class FileStore(VectorStore):
    """Writes as it was made to."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool | None:
        self._write("clear" if ids is None else "delete")
        return True

    def add_texts(self, texts: Any, metadatas: Any = None, *, ids: Any = None, **kwargs: Any) -> list[str]:
        self._write("replace" if ids else "add")
        return []

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        return []

    @classmethod
    def from_texts(cls, texts: list[str], embedding: Any, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


class NodeFileStore(SimpleVectorStore):
    """Writes as it was made to."""

    write: Any = None

    def delete(self, ref_doc_id: str, **kwargs: Any) -> None:
        self.write("delete")

    def clear(self) -> None:
        self.write("clear")

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self.write("replace" if nodes[0].node_id == "secret" else "add")
        return []


def write_through(corpus: Corpus, framework: str, kind: str, write: Callable[[str], None]) -> None:
    """Write documents through a watched store."""
    if framework == "LangChain":
        store = askonce.langchain.watch(FileStore(write), corpus)
        if kind in ("delete", "clear"):
            store.delete(["secret"] if kind == "delete" else None)
        else:
            store.add_texts(["another text"], ids=["secret"] if kind == "replace" else None)
        return
    nodes = NodeFileStore()
    nodes.write = write
    askonce.llama_index.watch(nodes, corpus)
    if kind in ("delete", "clear"):
        nodes.delete("secret") if kind == "delete" else nodes.clear()
    else:
        name = "secret" if kind == "replace" else "third"
        nodes.add([TextNode(id_=name, text="another text", embedding=[1.0])])


def child(url: str, settings: dict[str, Any], case: Case) -> None:
    """Write, and die before step ``case.at``."""
    done = 0

    def step(call: Callable[..., Any], *args: Any) -> Any:
        nonlocal done
        if done == case.at:
            os.kill(os.getpid(), signal.SIGKILL)
        done += 1
        return call(*args)

    with Cache(url, lease_seconds=LEASE_SECONDS, timeout_seconds=5, **settings) as cache:
        store: Any = cache.store
        for operation in ("lease", "log_append", "delete_tag"):
            setattr(store, operation, partial(step, getattr(store, operation)))
        write = partial(step, written, case.directory)
        write_through(Corpus(cache, name=case.name), case.framework, case.kind, write)
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass
class Case:
    """A child that is killed, and the retriever of those that live on."""

    directory: Path
    framework: str
    kind: str
    at: int

    @property
    def name(self) -> str:
        return f"{self.framework}-{self.kind}-{self.at}-{self.directory.name}"

    def find(self, cache: Cache) -> list[str]:
        corpus = Corpus(cache, name=self.name)
        if self.framework == "LangChain":
            inner = Files(directory=str(self.directory))
            found = askonce.langchain.CachedRetriever(inner, corpus=corpus, name="files", nearest=True)
            return [one.page_content for one in found.invoke("secret")]
        nodes = askonce.llama_index.CachedRetriever(NodeFiles(self.directory), corpus=corpus, name="files")
        return [one.text for one in nodes.retrieve("secret")]


def campaign(url: str, directory: Path, rounds: int = 1, **settings: Any) -> tuple[int, list[str]]:
    """Kill a process at each step of each kind of write; returns how many, and what is served wrongly after it."""
    cases = [
        Case(directory / f"{number}-{framework}-{kind}-{at}", framework, kind, at)
        for number in range(rounds)
        for framework in FRAMEWORKS
        for kind in KINDS
        for at in range(STEPS)
    ]
    with Cache(url, lease_seconds=LEASE_SECONDS, timeout_seconds=5, **settings) as cache:
        for one in cases:
            one.directory.mkdir(parents=True)
            for name in ("other", "secret"):
                (one.directory / name).write_text(f"the {name} text")
            assert one.find(cache) == one.find(cache) == ["the other text", "the secret text"]
        assert cache.stats().hits == len(cases)
    fork = multiprocessing.get_context("fork")
    for one in cases:
        process = fork.Process(target=child, args=(url, settings, one))
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL, f"{one.name} ended with {process.exitcode}"
    with Cache(url, lease_seconds=LEASE_SECONDS, timeout_seconds=5, **settings) as cache:
        # Documents that were named fall at once. Nothing that is found before the lease's end outlives it.
        wrong = [
            f"{one.name} at once" for one in cases
            if one.kind in ("delete", "replace") and one.find(cache) != content(one.directory)
        ]  # fmt: skip
        for one in cases:
            one.find(cache)
        time.sleep(LEASE_SECONDS + 0.5)
        wrong += [f"{one.name} later" for one in cases if one.find(cache) != content(one.directory)]
        misses = cache.stats().misses
        wrong += [f"{one.name} once more" for one in cases if one.find(cache) != content(one.directory)]
        again = cache.stats().misses - misses
        assert again <= sum(not content(one.directory) for one in cases) + 2, f"{again} are not stored again"
    return len(cases), wrong
