"""Which documents a write to a document store concerns: those under its keys, and those that it puts there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.documents import Document

from askonce.langchain.retrieval.documents import ids_of


class StoreWrite:
    """A call of ``mset`` or ``mdelete``.

    Args:
        store: the document store.
        argument: the keys with their values, or the keys.
        puts: it is ``mset``.
    """

    def __init__(self, store: Any, argument: Sequence[Any], *, puts: bool) -> None:
        self._store = store
        self._keys = [key for key, _ in argument] if puts else list(argument)
        self._values = [value for _, value in argument] if puts else []

    def ids(self) -> list[str]:
        """The ids of what the keys held and will hold; none of keys that held nothing."""
        return self._ids(self._store.mget(self._keys))

    async def aids(self) -> list[str]:
        """Asynchronous `ids`."""
        return self._ids(await self._store.amget(self._keys))

    def _ids(self, before: Sequence[Any]) -> list[str]:
        held = [str(key) for key, value in zip(self._keys, before, strict=True) if value is not None]
        documents = [one for one in (*before, *self._values) if isinstance(one, Document)]
        return list(dict.fromkeys((*held, *ids_of(documents))))
