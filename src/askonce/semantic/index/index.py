"""All indexed questions of a cache, and the search for the nearest ones."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from askonce.errors import ConfigError
from askonce.semantic.index.vectors import EXACT, Vectors
from askonce.semantic.types import IndexedQuery, Neighbour

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIECE_BYTES = 8_000_000
"""About the length of a piece of a dump."""
_ROWS = 4_000


class _QuestionRow(msgspec.Struct, frozen=True, array_like=True):
    """An indexed question in a dump; the vector (float16) is empty if a graph has it."""

    key: bytes
    answer: bytes
    namespace: str
    partition: bytes
    text: str
    expires_at: float | None
    vector: bytes = b""


class _Rows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    rows: list[_QuestionRow]


class _Graph(msgspec.Struct, frozen=True, array_like=True, tag="graph"):
    """A piece of one of a partition's graphs, which come before its rows."""

    partition: bytes
    dimensions: int
    number: int
    last: bool
    data: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Rows | _Graph)


class Index:
    """Indexed questions of many namespaces and partitions, by their vectors. Thread-safe.

    With vectors of 384 dimensions, a question takes about 1.3 kB in a partition of many and 1.9 kB in one of two,
    text and keys included.

    Args:
        exact: see `askonce.semantic.index.vectors.EXACT`.

    Raises:
        MissingExtraError: numpy or usearch is not installed (when the module is imported).
    """

    def __init__(self, *, exact: int = EXACT) -> None:
        self._exact = exact
        self._lock = threading.RLock()
        self._dimensions: int | None = None
        self._queries: dict[int, IndexedQuery] = {}
        self._answers: dict[bytes, list[int]] = {}
        self._partitions: dict[bytes, Vectors] = {}
        self._round: list[int] = []

    def __len__(self) -> int:
        return len(self._queries)

    # -- changing --------------------------------------------------------------------------------------------

    def add(self, query: IndexedQuery, vector: NDArray[np.float32]) -> None:
        """Add a question, in the place of one with the same key.

        Args:
            query: the question.
            vector: float32, of the shape (dimensions,) and of unit length.

        Raises:
            ConfigError: the vector has another shape than those before it, or is not of unit length.
        """
        if vector.ndim != 1 or not 0.98 < float(vector @ vector) < 1.02:
            raise ConfigError("a question's vector has unit length and the shape (dimensions,)")
        label = _label(query.key)
        with self._lock:
            self._check(vector)
            if label in self._queries:
                self._drop(label)
            vectors = self._partitions.get(query.partition)
            if vectors is None:
                vectors = self._partitions[query.partition] = Vectors(len(vector), self._exact)
            vectors.put(label, vector)
            self._enter(label, query)
            vectors.tidy(lambda other: self._is_in(other, query.partition))

    def remove(self, keys: Iterable[bytes]) -> int:
        """Remove questions by their keys; returns how many there were."""
        return sum(self._remove(key) is not None for key in keys)

    def remove_answer(self, answer: bytes) -> list[IndexedQuery]:
        """Remove all questions that have an answer, and return them."""
        with self._lock:
            keys = [self._queries[label].key for label in self._answers.get(answer, ())]
        return [query for key in keys if (query := self._remove(key)) is not None]

    def remove_namespace(self, namespace: str) -> int:
        """Remove all questions of a namespace; returns how many there were."""
        with self._lock:
            labels = [label for label, query in self._queries.items() if query.namespace == namespace]
            for label in labels:
                self._drop(label)
        return len(labels)

    def _remove(self, key: bytes) -> IndexedQuery | None:
        label = _label(key)
        with self._lock:
            query = self._queries.get(label)
            if query is None or query.key != key:
                return None
            self._drop(label)
            vectors = self._partitions.get(query.partition)
            if vectors is not None:
                vectors.tidy(lambda other: self._is_in(other, query.partition))
        return query

    def _enter(self, label: int, query: IndexedQuery) -> None:
        self._queries[label] = query
        self._answers.setdefault(query.answer, []).append(label)

    def _drop(self, label: int) -> None:
        query = self._queries.pop(label)
        labels = self._answers[query.answer]
        labels.remove(label)
        if not labels:
            del self._answers[query.answer]
        vectors = self._partitions[query.partition]
        vectors.discard(label)
        if not vectors.living:
            del self._partitions[query.partition]

    def _is_in(self, label: int, partition: bytes) -> bool:
        query = self._queries.get(label)
        return query is not None and query.partition == partition

    def _check(self, vector: NDArray[np.floating[Any]]) -> None:
        if not self._queries:
            self._dimensions = len(vector)
        elif vector.shape != (self._dimensions,):
            raise ConfigError(
                f"the indexed questions have vectors of {self._dimensions} dimensions, this one has "
                f"the shape {vector.shape}: the embeddings have changed. Give them a namespace of their own"
            )

    # -- searching -------------------------------------------------------------------------------------------

    def search(
        self, partition: bytes, vector: NDArray[np.float32], k: int = 10, *, now: float | None = None
    ) -> list[Neighbour]:
        """The questions of a partition that are nearest to a vector, best first.

        Those that have expired are dropped.

        Args:
            partition: which.
            vector: as in `add`.
            k: how many at most.
            now: seconds since the epoch; ``None`` for this moment.

        Raises:
            ConfigError: the vector has another shape than those of the indexed questions.
        """
        now = time.time() if now is None else now
        expired: set[int] = set()

        def usable(label: int) -> bool:
            query = self._queries.get(label)
            if query is None or query.partition != partition:
                return False
            if query.expires_at is not None and query.expires_at <= now:
                expired.add(label)
                return False
            return True

        with self._lock:
            vectors = self._partitions.get(partition)
            if vectors is None:
                return []
            self._check(vector)
            found = vectors.nearest(vector, k, usable)
            for label in expired:
                self._drop(label)
            return [self._neighbour(label, similarity) for label, similarity in found]

    def _neighbour(self, label: int, similarity: float) -> Neighbour:
        query = self._queries[label]
        return Neighbour(query, max(-1.0, min(1.0, similarity)), len(self._answers[query.answer]))

    def aliases(self, answer: bytes) -> int:
        """How many indexed questions have an answer."""
        return len(self._answers.get(answer, ()))

    def get(self, key: bytes) -> IndexedQuery | None:
        """The indexed question with a key."""
        query = self._queries.get(_label(key))
        return query if query is not None and query.key == key else None

    def namespaces(self) -> set[str]:
        """The namespaces of the indexed questions."""
        with self._lock:
            return {query.namespace for query in self._queries.values()}

    def patrol(self, limit: int) -> list[IndexedQuery]:
        """The next ``limit`` questions in turn, to check whether their entries still exist.

        After the last one comes the first one again; fewer are returned at the end of a round.
        """
        with self._lock:
            if not self._round:
                self._round = list(self._queries)
            labels, self._round = self._round[-limit:], self._round[:-limit]
            return [query for label in labels if (query := self._queries.get(label)) is not None]

    # -- saving ----------------------------------------------------------------------------------------------

    def dump(self) -> Iterator[bytes]:
        """All questions and vectors, in pieces from which `restore` makes the same index.

        What is added or removed meanwhile may or may not be in it. The graph of a large partition is copied at
        once: 100,000 questions take about 50 ms, in which nothing else happens in the process.
        """
        with self._lock:
            partitions = list(self._partitions)
        rows: list[_QuestionRow] = []
        for partition in partitions:
            with self._lock:
                vectors = self._partitions.get(partition)
                if vectors is None:
                    continue
                few = [_row(self._queries[label], vector) for label, vector in vectors.few()]
                labels, graphs = vectors.graphs()
            rows += few
            yield from _graph_pieces(partition, self._dimensions or 0, graphs)
            for label in labels:
                query = self._queries.get(label)
                if query is not None and query.partition == partition:
                    rows.append(_row(query))
                    if len(rows) >= _ROWS:
                        yield _encoder.encode(_Rows(rows))
                        rows = []
            if len(rows) >= _ROWS:
                yield _encoder.encode(_Rows(rows))
                rows = []
        yield _encoder.encode(_Rows(rows))

    def restore(self, pieces: Iterable[bytes]) -> None:
        """Replace all questions by those of a dump.

        Raises:
            ValueError: the pieces are not a dump. Nothing is changed then.
        """
        other = Index(exact=self._exact)
        try:
            other._read(pieces)
        except (msgspec.MsgspecError, ConfigError, IndexError) as error:
            raise ValueError(f"not a dump of an index: {error}") from error
        with self._lock:
            self._dimensions, self._queries, self._answers = other._dimensions, other._queries, other._answers
            self._partitions, self._round = other._partitions, []

    def _read(self, pieces: Iterable[bytes]) -> None:
        graphs: list[bytearray] = []
        in_graphs: dict[bytes, set[int]] = {}
        shared: dict[bytes | str, Any] = {}  # one object for all that are equal
        for piece in map(_decoder.decode, pieces):
            if isinstance(piece, _Rows):
                for row in piece.rows:
                    namespace = shared.setdefault(row.namespace, row.namespace)
                    partition = shared.setdefault(row.partition, row.partition)
                    query = IndexedQuery(row.key, row.answer, namespace, partition, row.text, row.expires_at)
                    self._read_row(query, row.vector, in_graphs.get(partition, ()))
                continue
            if piece.number == len(graphs):
                graphs.append(bytearray())
            graphs[piece.number] += piece.data
            if piece.last:
                self._dimensions = piece.dimensions
                vectors = self._partitions[piece.partition] = Vectors(piece.dimensions, self._exact)
                in_graphs[piece.partition] = vectors.load(graphs)
                graphs = []
        self._partitions = {name: vectors for name, vectors in self._partitions.items() if vectors.living}

    def _read_row(self, query: IndexedQuery, data: bytes, in_graph: Container[int]) -> None:
        label = _label(query.key)
        if label in self._queries:
            return
        if data:
            vector = np.frombuffer(data, np.float16)
            self._check(vector)
            vectors = self._partitions.get(query.partition)
            if vectors is None:
                vectors = self._partitions[query.partition] = Vectors(len(vector), self._exact)
            vectors.put(label, vector)
        elif label in in_graph:
            self._partitions[query.partition].living += 1
        else:
            return
        self._enter(label, query)


def _label(key: bytes) -> int:
    """A number for a key, the same in every process."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) >> 1


def _row(query: IndexedQuery, vector: bytes = b"") -> _QuestionRow:
    return _QuestionRow(
        query.key, query.answer, query.namespace, query.partition, query.text, query.expires_at, vector
    )


def _graph_pieces(partition: bytes, dimensions: int, graphs: Sequence[bytes]) -> Iterator[bytes]:
    for number, graph in enumerate(graphs):
        for start in range(0, len(graph), PIECE_BYTES):
            last = number == len(graphs) - 1 and start + PIECE_BYTES >= len(graph)
            data = bytes(graph[start : start + PIECE_BYTES])
            yield _encoder.encode(_Graph(partition, dimensions, number, last, data))
