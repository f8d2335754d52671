"""Vector search on the server: the vector sets of Redis 8.0 and newer, which need no module."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from askonce.errors import ConfigError, StoreError
from askonce.stores.redis.plans import Plan, Plans, T


class VectorSets(abc.ABC):
    """The part of the store that is `askonce.stores.base.VectorSearch`.

    A partition is one vector set, and so on one shard of a cluster. Its vectors are stored with 8 bits a number:
    384 numbers take about 1.1 kB, and a cosine is exact to 0.002.
    """

    url: str
    _plans: Plans

    @abc.abstractmethod
    def _run(self, plan: Plan[T]) -> T: ...

    @abc.abstractmethod
    async def _arun(self, plan: Plan[T]) -> T: ...

    def vector_check(self) -> None:
        try:
            self._run(self._plans.vector_check())
        except StoreError as error:
            raise self._without_vectors(error) from None

    async def avector_check(self) -> None:
        try:
            await self._arun(self._plans.vector_check())
        except StoreError as error:
            raise self._without_vectors(error) from None

    def _without_vectors(self, error: StoreError) -> Exception:
        if "unknown command" not in str(error):
            return error
        return ConfigError(
            f"{self.url} has no vector sets, which came with Redis 8.0: use Semantic(search='process')"
        )

    def vector_put(
        self, namespace: str, partition: bytes, key: bytes, vector: bytes, expires_at: float | None = None
    ) -> None:
        self._run(self._plans.vector_put(namespace, partition, key, vector, expires_at))

    async def avector_put(
        self, namespace: str, partition: bytes, key: bytes, vector: bytes, expires_at: float | None = None
    ) -> None:
        await self._arun(self._plans.vector_put(namespace, partition, key, vector, expires_at))

    def vector_search(self, namespace: str, partition: bytes, vector: bytes, k: int) -> list[tuple[bytes, float]]:
        return self._run(self._plans.vector_search(namespace, partition, vector, k))

    async def avector_search(
        self, namespace: str, partition: bytes, vector: bytes, k: int
    ) -> list[tuple[bytes, float]]:
        return await self._arun(self._plans.vector_search(namespace, partition, vector, k))

    def vector_delete(self, namespace: str, partition: bytes, keys: Sequence[bytes]) -> int:
        return self._run(self._plans.vector_delete(namespace, partition, keys))

    async def avector_delete(self, namespace: str, partition: bytes, keys: Sequence[bytes]) -> int:
        return await self._arun(self._plans.vector_delete(namespace, partition, keys))
