"""How long vectors are to be, where a request says it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from askonce.keys.normal_form import NormalForm

_WANTED = frozenset(
    """
    dimensions dimension output_dimensionality outputDimensionality output_dimension output_dimensions truncate_dim
    """.split()
)


def odd_lengths(form: NormalForm, lengths: Collection[int]) -> dict[int, str]:
    """What is wrong with vectors of these lengths, by length, as far as anything is.

    Args:
        form: of the request, or of one of several to a model that were answered together.
        lengths: those of the vectors; none is 0.
    """
    wanted = set(_wanted(form.body))
    if not wanted:
        return {}
    named = " or ".join(map(str, sorted(wanted)))
    return {one: f"the vector has {one} numbers, and {named} are requested" for one in lengths if one not in wanted}


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
