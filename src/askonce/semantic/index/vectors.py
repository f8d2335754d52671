"""The vectors of one partition, and which of them are nearest.

A few vectors are compared one by one. More are a graph (HNSW, Malkov and Yashunin, arXiv:1603.09320), in which
`EXACT` of them are still compared one by one. Each is stored once, as float16.

A vector that is discarded stays in the graph as a signpost that is passed over, and comes back to life if it is
put again, as when an answer expired and was made anew. (Usearch would give its place to another vector, whose
neighbours there are not its own: after as many removals as there are vectors, 5% of the nearest ones are not found
any more.) When more than half of a graph is signposts, each change moves a few living vectors to a new graph, and
both are searched until all have moved.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from askonce.errors import MissingExtraError

try:
    import numpy as np
    from usearch.index import Index as Graph
except ModuleNotFoundError as error:
    raise MissingExtraError("Semantic caching", "semantic") from error

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 32
"""Up to so many vectors there is no graph."""
EXACT = 4_000
"""In a graph of up to so many, all are compared, so that none is missed: for 384 dimensions in 0.1 ms, half as long
again as a search of the graph."""
MOVES = 3
"""How many vectors a change moves at most from an old graph to the new one; each takes 0.3 ms among 100,000."""
PASSED = 64
"""How many labels of the old graph it looks at for that."""

# 16 links to each vector, 128 candidates when it is added and 80 when it is searched for: of the ten nearest real
# questions 99% are found, and 95% among 100,000 that are less unlike (benchmarks/semantic_index.py), there
# in 0.26 ms; fewer candidates find fewer, and more links take as long for the same.
_LINKS, _ADD_CANDIDATES, _SEARCH_CANDIDATES = 16, 128, 80

Usable = Callable[[int], bool]
"""Whether the vector with a label may be found."""


class Vectors:
    """Unit vectors under labels (integers from 0 to 2**63 - 1). Not thread-safe.

    Args:
        dimensions: of each vector.
        exact: `EXACT`, for tests that cannot wait for so many.
    """

    __slots__ = ("_dimensions", "_exact", "_graph", "_labels", "_matrix", "_moving", "_old", "living")

    def __init__(self, dimensions: int, exact: int = EXACT) -> None:
        self._dimensions, self._exact = dimensions, exact
        self.living = 0
        self._labels: list[int] = []
        self._matrix: NDArray[np.float16] = np.empty((1, dimensions), np.float16)
        self._graph: Graph | None = None
        self._old: Graph | None = None  # what is in both is true in the new one
        self._moving: Iterator[int] = iter(())

    def put(self, label: int, vector: NDArray[np.floating[Any]]) -> None:
        """Store a vector under a label that has none, or none that is living."""
        self.living += 1
        row = vector.astype(np.float16)
        if self._graph is None:
            if len(self._labels) < FEW:
                self._append(label, row)
                return
            self._graph = self._plant()
        _place(self._graph, label, row)

    def discard(self, label: int) -> None:
        """Forget a living vector."""
        self.living -= 1
        if self._graph is None:
            place, last = self._labels.index(label), self._labels.pop()
            if place < len(self._labels):
                self._labels[place] = last
                self._matrix[place] = self._matrix[len(self._labels)]

    def tidy(self, usable: Usable) -> None:
        """Go on with moving what is living out of a graph that is mostly signposts; a few of them at a call."""
        if self._graph is None:
            return
        if self._old is None:
            if len(self._graph) <= 2 * self.living + FEW:
                return
            self._old, self._graph = self._graph, self._new_graph()
            self._moving = iter(_labels(self._old))
        moved = 0
        for _ in range(PASSED):
            label = next(self._moving, None)
            if label is None:
                self._old = None
                return
            if usable(label) and label not in self._graph:
                self._graph.add(label, _vector(self._old, label), threads=1)
                moved += 1
                if moved == MOVES:
                    return

    def nearest(self, vector: NDArray[np.float32], k: int, usable: Usable) -> list[tuple[int, float]]:
        """The usable labels whose vectors have the highest cosines with ``vector``, and these; best first."""
        query = vector.astype(np.float16)
        if self._graph is None:
            rows = self._matrix[: len(self._labels)].astype(np.float32)
            # No product of matrices, for which BLAS may start threads: slower for so few.
            cosines = np.einsum("ij,j->i", rows, query.astype(np.float32))
            found = [(self._labels[place], float(cosines[place])) for place in np.argsort(-cosines, kind="stable")]
            return [row for row in found if usable(row[0])][:k]
        found = self._in_graph(self._graph, query, k, usable)
        if self._old is not None:
            moved = self._graph
            found += self._in_graph(self._old, query, k, lambda label: label not in moved and usable(label))
            found.sort(key=lambda row: -row[1])
        return found[:k]

    def _in_graph(
        self, graph: Graph, query: NDArray[np.float16], k: int, usable: Usable
    ) -> list[tuple[int, float]]:
        slots = len(graph)
        if not slots:
            return []
        # Signposts take places among the candidates: so many more are requested.
        count = int(_SEARCH_CANDIDATES * min(4.0, max(1.0, slots / max(self.living, 1))))
        while True:
            matches = graph.search(query, min(count, slots), threads=1, exact=slots <= self._exact)
            found = []
            for label, distance in zip(matches.keys.tolist(), matches.distances.tolist(), strict=True):
                if usable(label):
                    found.append((label, 1.0 - distance))
                    if len(found) == k:
                        return found
            if count >= slots or len(found) >= self.living:
                return found
            count *= 4

    def _append(self, label: int, row: NDArray[np.float16]) -> None:
        count = len(self._labels)
        if count == len(self._matrix):
            larger = np.empty((min(2 * count, FEW), self._dimensions), np.float16)
            larger[:count] = self._matrix
            self._matrix = larger
        self._matrix[count] = row
        self._labels.append(label)

    def _plant(self) -> Graph:
        """The graph of the few vectors, to which more are to be added."""
        graph = self._new_graph()
        graph.add(np.array(self._labels, np.uint64), self._matrix[: len(self._labels)], threads=1)
        self._labels, self._matrix = [], self._matrix[:0]
        return graph

    def _new_graph(self) -> Graph:
        return Graph(
            ndim=self._dimensions,
            metric="ip",
            dtype="f16",
            connectivity=_LINKS,
            expansion_add=_ADD_CANDIDATES,
            expansion_search=_SEARCH_CANDIDATES,
        )

    # -- saving ----------------------------------------------------------------------------------------------

    def few(self) -> list[tuple[int, bytes]]:
        """Labels and vectors (float16) that are in no graph."""
        return [(label, self._matrix[place].tobytes()) for place, label in enumerate(self._labels)]

    def graphs(self) -> tuple[list[int], list[bytes]]:
        """The labels in graphs, signposts among them, and the graphs' bytes: an old one first."""
        graphs = [graph for graph in (self._old, self._graph) if graph is not None]
        labels = {label for graph in graphs for label in _labels(graph)}
        return list(labels), [graph.save() or b"" for graph in graphs]

    def load(self, graphs: Sequence[bytearray]) -> set[int]:
        """Begin with graphs that were saved, and give the labels in them; ``living`` is the caller's to count.

        Raises:
            ValueError: they are none, or of vectors of another kind.
        """
        loaded = [self._new_graph() for _ in graphs]
        for graph, data in zip(loaded, graphs, strict=True):
            try:
                graph.load(data)
            except RuntimeError as error:
                raise ValueError(f"no graph: {error}") from error
            if (graph.ndim, str(graph.dtype)) != (self._dimensions, str(self._new_graph().dtype)):
                raise ValueError("a graph of vectors of another kind")
        *olds, self._graph = loaded
        if olds:
            self._old = olds[0]
            self._moving = iter(_labels(self._old))
        return {label for graph in loaded for label in _labels(graph)}


def _place(graph: Graph, label: int, row: NDArray[np.float16]) -> None:
    if label in graph:
        if np.array_equal(_vector(graph, label), row):
            return
        graph.remove(label)
    graph.add(label, row, threads=1)


def _labels(graph: Graph) -> list[int]:
    labels: list[int] = np.asarray(graph.keys[:]).tolist()
    return labels


def _vector(graph: Graph, label: int) -> NDArray[np.float16]:
    return np.asarray(graph.get(label), np.float16)
