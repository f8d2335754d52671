"""Vectors of a reply that are no embeddings are passed on and not stored, by the transport as by the proxy."""

from __future__ import annotations

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
