"""What a retriever makes in a search, such as a client when it is first needed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from askonce.keys.counters import record_counters
from askonce.retrieval.held import attributes_of, found_within
from askonce.retrieval.parts import own_bases

_MOST = 100


class MadeInSearches:
    """The objects that the application's own parts of a retriever have made in searches.

    Before, there was nothing: what was found then had a key without them. So one that cannot be read counts by its
    class alone. What the application puts there itself is none of these.
    """

    def __init__(self) -> None:
        self._objects: deque[Any] = deque(maxlen=_MOST)
        self._has_own = True

    def __contains__(self, part: object) -> bool:
        return any(one is part for one in self._objects)

    @contextmanager
    def during(self, retriever: Any, models: Iterable[Any] = ()) -> Iterator[None]:
        """A search by a retriever, after which what its models have counted in it is no setting either."""
        before = [(part, _there(part)) for part in found_within(retriever, _is_own)] if self._has_own else []
        self._has_own = bool(before)
        try:
            yield
        finally:
            for part, names in before:
                now = attributes_of(part)
                made = (now[name] for name in _there(part) - names)
                self._objects.extend(one for one in made if one not in self)
            for one in models:
                record_counters(one)


def _is_own(part: Any) -> bool:
    return not isinstance(part, type) and bool(own_bases(type(part)))


def _there(part: Any) -> set[str]:
    return {name for name, one in attributes_of(part).items() if one is not None}
