"""Vectors of a reply that are no embeddings are passed on and not stored, by the transport as by the proxy."""

from __future__ import annotations

import base64
from array import array
from typing import Any

import httpx
import pytest

from askonce import Cache
from askonce.httpx import CachedTransport
from tests.support.canned import Canned, Reply, plain_json

KEY = {"authorization": "Bearer k"}


def reply_of(vectors: list[list[float]]) -> Reply:
    data = [{"object": "embedding", "index": at, "embedding": one} for at, one in enumerate(vectors)]
    return plain_json({"object": "list", "data": data, "model": "m", "usage": {"total_tokens": 2}})


@pytest.mark.parametrize(
    ("body", "vectors", "stored"),
    [
        ({"input": ["a", "b"]}, [[1.0, 2.0], [3.0, 4.0]], 2),
        ({"input": ["a", "b"]}, [[1.0, 2.0], [0.0, 0.0]], 1),
        ({"input": ["a", "b"]}, [[1.0, 2.0], [3.0]], 0),
        ({"input": "a"}, [[0.0, 0.0]], 0),
        ({"input": "a", "dimensions": 2}, [[1.0, 2.0]], 1),
        ({"input": "a", "dimensions": 3}, [[1.0, 2.0]], 0),
        ({"input": ["a", "b"], "dimensions": 3}, [[1.0, 2.0], [3.0, 4.0]], 0),
        ({"input": "a", "dimensions": 16, "output_dtype": "binary"}, [[1.0, 2.0]], 1),
    ],
)
def test_what_is_stored_of_vectors(body: dict[str, Any], vectors: list[list[float]], stored: int) -> None:
    with Canned(lambda *_: reply_of(vectors)) as server, Cache("memory://") as cache:
        with httpx.Client(transport=CachedTransport(cache), base_url=server.url) as client:
            got = client.post("/v1/embeddings", json={"model": "m", **body}, headers=KEY).json()
        assert [one["embedding"] for one in got["data"]] == vectors
        assert cache.stats().stored == stored
        assert sum(cache.stats().not_stored_reasons.values()) == len(vectors) - stored


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_a_reply_never_mixes_stored_vectors_with_others_of_another_length(
    asynchronous: bool, encoding: str
) -> None:
    length = 4

    def replied(_: str, body: Any) -> Reply:
        vector = [1.0] * length
        packed: Any = base64.b64encode(array("f", vector).tobytes()).decode() if encoding == "base64" else vector
        return reply_of([packed] * len(body["input"]))

    with Canned(replied) as server, Cache("memory://") as cache:
        package = httpx.AsyncClient if asynchronous else httpx.Client
        client: Any = package(transport=CachedTransport(cache), base_url=server.url, headers=KEY)

        async def posted(*texts: str, **headers: str) -> httpx.Response:
            body = {"model": "m", "input": texts, "encoding_format": encoding}
            posting = client.post("/v1/embeddings", json=body, headers=headers)
            return await posting if asynchronous else posting  # type: ignore[no-any-return]

        async def lengths(*texts: str) -> list[int]:
            vectors = [one["embedding"] for one in (await posted(*texts)).json()["data"]]
            return [len(base64.b64decode(one)) // 4 if isinstance(one, str) else len(one) for one in vectors]

        assert await lengths("a", "b") == await lengths("c", "d") == [4, 4]
        length = 8
        assert await lengths("a", "b", "new") == [8, 8, 8]
        assert [body["input"] for _, body in server.requests[2:]] == [["new"], ["a", "b", "new"]]
        assert cache.stats().hits == 0 and cache.stats().miss_reasons == {"absent": 5, "other length": 2}
        assert cache.stats().saved_input_tokens == 0
        assert await lengths("a", "b", "new") == [8, 8, 8] and cache.stats().hits == 3
        assert (await posted("a", "c", **{"cache-control": "only-if-cached"})).status_code == 504
        assert await lengths("a", "c") == [8, 8]  # hits alone
        assert await lengths("c", "a") == [8, 8] and len(server.requests) == 5
        closed = client.aclose() if asynchronous else client.close()
        if closed is not None:
            await closed
