"""Vectors of a reply that are no embeddings are passed on and not stored, by the transport as by the proxy."""

from __future__ import annotations

import base64
import json
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


def by_neighbours(_: str, body: Any) -> Reply:
    """Vectors that depend on all texts of the request, if it says so."""
    texts = body["input"]
    is_split = not any(map(body.get, ("late_chunking", "context"))) and "context" not in body["model"]
    around = 0.0 if is_split else float(len("".join(texts)))
    return reply_of([[float(len(one)), around, 1.0] for one in texts])


@pytest.mark.parametrize(
    ("more", "calls"),
    [
        ({}, 2),
        ({"late_chunking": False, "task": "retrieval.passage", "context": None}, 2),
        ({"late_chunking": True}, 3),
        ({"context": 1}, 3),
        ({"model": "voyage-context-3"}, 3),
    ],
)
def test_texts_are_split_only_if_their_vectors_depend_on_nothing_else(more: dict[str, Any], calls: int) -> None:
    with (
        Canned(by_neighbours) as server,
        Cache("memory://") as cache,
        httpx.Client(transport=CachedTransport(cache), base_url=server.url, headers=KEY) as client,
    ):
        for texts in (["a", "bb"], ["ccc", "bb"], ["ccc", "bb"]):
            body = {"model": "m", "input": texts, **more}
            got = client.post("/v1/embeddings", json=body).json()
            expected = json.loads(by_neighbours("", body)[1])
            assert [one["embedding"] for one in got["data"]] == [one["embedding"] for one in expected["data"]]
        assert len(server.requests) == calls
        alone = [client.post("/v1/embeddings", json={"model": "m", "input": ["one"], **more}) for _ in range(2)]
        assert alone[1].headers["cache-status"].startswith("askonce; hit")


def test_a_hit_has_the_members_of_the_reply() -> None:
    def replied(_: str, body: Any) -> Reply:
        texts = body["input"]
        details = {"cached_tokens": 2 * len(texts)}
        usage = {"prompt_tokens": 3 * len(texts), "total_tokens": 3 * len(texts), "completion_tokens": 0}
        data = [{"object": "embedding", "index": at, "embedding": [1.0, 2.0]} for at in range(len(texts))]
        more = {"id": "emb-1", "created": 5, "texts": texts, "echo": None}
        usage |= {"prompt_tokens_details": details, "cost": 0.5 * len(texts), "prompt_audio_seconds": None}
        return plain_json({**more, "object": "list", "data": data, "model": "m", "usage": usage})

    with Canned(replied) as server, Cache("memory://") as cache:
        with httpx.Client(transport=CachedTransport(cache), base_url=server.url, headers=KEY) as client:

            def members(*texts: str) -> Any:
                got = client.post("/v1/embeddings", json={"model": "m", "input": texts}).json()
                return {name: one for name, one in got.items() if name not in ("data", "texts")}

            fresh = members("a", "b", "c")
            assert members("a", "b", "c") == fresh and members("c", "new", "a") == fresh
            assert members("b") == members("d") != fresh
        assert [body["input"] for _, body in server.requests] == [["a", "b", "c"], ["new"], ["d"]]


@pytest.mark.parametrize("more", [{}, {"output_dtype": "int8"}])
@pytest.mark.parametrize("texts", ["a", ["a", "b"]])
def test_a_hit_has_the_numbers_as_the_reply_wrote_them(more: dict[str, Any], texts: Any) -> None:
    def replied(*_: Any) -> Reply:
        return reply_of([[12, -5, 0.5, 1.0, 127]] * len(texts))

    with Canned(replied) as server, Cache("memory://", timeout_seconds=10) as cache:
        with httpx.Client(transport=CachedTransport(cache), base_url=server.url, headers=KEY, timeout=60) as client:
            got = [client.post("/v1/embeddings", json={"model": "m", "input": texts, **more}) for _ in range(2)]
        assert len(server.requests) == 1 and repr(got[1].json()["data"]) == repr(got[0].json()["data"])


@pytest.mark.parametrize("indexes", [("0", "1"), ([], {}), (0, 0), (1, 2)])
@pytest.mark.parametrize("texts", [["a"], ["a", "b"]])
def test_a_reply_whose_vectors_have_no_clear_order_is_passed_on(indexes: Any, texts: list[str]) -> None:
    data = [{"index": at, "embedding": [1.0]} for at in indexes]
    with Canned(lambda *_: plain_json({"data": data})) as server, Cache("memory://", timeout_seconds=10) as cache:
        with httpx.Client(transport=CachedTransport(cache), base_url=server.url, headers=KEY, timeout=60) as client:
            for _ in range(2):
                assert client.post("/v1/embeddings", json={"model": "m", "input": texts}).json()["data"] == data
        assert len(server.requests) == 2


def test_a_reply_with_a_number_that_no_store_holds_is_passed_on() -> None:
    huge = plain_json({"object": "list", "data": [{"index": 0, "embedding": [1.0]}], "model": "m", "id": 10**30})
    with Canned(lambda *_: huge) as server, Cache("memory://") as cache:
        with httpx.Client(transport=CachedTransport(cache), base_url=server.url, headers=KEY) as client:
            for _ in range(2):
                assert client.post("/v1/embeddings", json={"model": "m", "input": ["a"]}).json()["id"] == 10**30
        assert len(server.requests) == 2
