"""How long the vectors of a model are: one of another length is not its own."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from askonce.keys.normal_form import NormalForm, encode

_WANTED = frozenset(
    """
    dimensions dimension output_dimensionality outputDimensionality output_dimension output_dimensions truncate_dim
    """.split()
)
_OF_ONE_TEXT = frozenset({"text", "meant_as", "kind"})
_UNTIL_BELIEVED = 3
"""So many calls in a row with another length: then the model itself is another, as behind an alias."""
_MOST_MODELS = 1_000


class VectorLengths:
    """The lengths that were requested of models, or that their vectors had in this process. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[bytes, tuple[int, int]] = {}  # the length, and how many calls in a row had another

    def oddity(self, form: NormalForm, lengths: Sequence[int]) -> dict[int, str]:
        """What is wrong with vectors of these lengths, by length, as far as anything is.

        Args:
            form: of the request, or of one of several to a model that were answered together.
            lengths: those of the vectors; none is 0.
        """
        wanted = set(_wanted(form.body))
        if wanted:
            named = " or ".join(map(str, sorted(wanted)))
            return {
                one: f"the vector has {one} numbers, and {named} are requested"
                for one in lengths
                if one not in wanted
            }
        if not lengths:
            return {}
        model = {name: part for name, part in form.body.items() if name not in _OF_ONE_TEXT}
        key = hashlib.sha256(encode(model)).digest()
        with self._lock:
            known, others = self._known.get(key, (lengths[0], 0))
            others = others + 1 if known not in lengths else 0
            if others >= _UNTIL_BELIEVED:
                known, others = lengths[0], 0
            if len(self._known) < _MOST_MODELS or key in self._known:
                self._known[key] = known, others
        return {
            one: f"the vector has {one} numbers, and others of its model have {known}"
            for one in lengths
            if one != known
        }


def _wanted(place: Any) -> Iterator[int]:
    """The lengths that a request names."""
    if isinstance(place, Mapping):
        for name, value in place.items():
            if name in _WANTED and isinstance(value, int) and not isinstance(value, bool) and value > 0:
                yield value
            else:
                yield from _wanted(value)
    elif isinstance(place, (list, tuple)):
        for one in place:
            yield from _wanted(one)
