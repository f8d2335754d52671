"""Cached embeddings."""

from __future__ import annotations

import asyncio
import math
from array import array
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import httpx2
import pytest
import tiktoken
from langchain_core.embeddings import Embeddings, FakeEmbeddings
from langchain_openai import OpenAIEmbeddings
from pydantic import BaseModel, PrivateAttr

from askonce import AskOnceError, Cache, ConfigError, cache_options
from askonce.langchain import CachedEmbeddings
from tests.support.holds import holds_of_the_loop
from tests.support.provider import Provider


class Hashing(BaseModel, Embeddings):
    """Counts the texts; a vector depends on its text."""

    model: str = "hashing"
    dimensions: int = 3
    query_prefix: str = ""
    api_key: str = "sk-secret"
    calls: list[Any] = []

    _log: list[list[str]] = PrivateAttr(default_factory=list)
    _faults: SimpleQueue[str] = PrivateAttr(default_factory=SimpleQueue)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._log.append(list(texts))
        fault = None if self._faults.empty() else self._faults.get()
        if fault == "fails":
            raise RuntimeError("overloaded")
        left_out = 1 if fault == "gives too few" else 0
        return [[math.sin(len(text) + at) / 3 for at in range(self.dimensions)] for text in texts[left_out:]]

    def embed_query(self, text: str) -> list[float]:
        self._log.append([f"query: {text}"])
        return [0.1 * len(text)] * self.dimensions

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        await asyncio.sleep(0.01)
        return self.embed_documents(texts)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


class Large(BaseModel, Embeddings):
    model: str = "large"

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vector = [0.1] * 1536
        return [vector] * len(texts)

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)


async def test_a_large_batch_does_not_hold_up_the_event_loop(url: str) -> None:
    cached, texts = CachedEmbeddings(Large(), url), [f"text {number}" for number in range(3000)]
    for _ in range(2):
        async with holds_of_the_loop() as holds:
            vectors = await cached.aembed_documents(texts)
        assert len(vectors) == len(texts)
        assert holds.longest_seconds < 0.1, "it was 0.5 s, and 0.15 s when all was stored"
    assert cached.cache.stats().hits == len(texts)


async def test_only_what_is_missing_is_embedded_in_one_call(url: str) -> None:
    inner = Hashing()
    cached = CachedEmbeddings(inner, url)
    assert cached.embed_documents([]) == []
    first = cached.embed_documents(["a", "bb", "a"])
    second = await cached.aembed_documents(["ccc", "bb", "dddd", "a", "ccc"])
    assert inner._log == [["a", "bb"], ["ccc", "dddd"]]
    assert [second[3], second[1]] == first[:2]
    assert first[0] == first[2]
    assert second == [
        list(array("f", inner.embed_documents([text])[0])) for text in ["ccc", "bb", "dddd", "a", "ccc"]
    ]
    assert cached.cache.stats().hits == 2


async def test_queries_and_documents_have_separate_keys(url: str) -> None:
    inner = Hashing()
    cached = CachedEmbeddings(inner, url)
    assert cached.embed_query("a") == await cached.aembed_query("a") == list(array("f", [0.1] * 3))
    assert cached.embed_documents(["a"]) != [cached.embed_query("a")]
    assert inner._log == [["query: a"], ["a"]]


def test_what_changes_the_vectors_changes_the_key(url: str) -> None:
    for fields, calls in (
        ({}, 1),
        ({"model": "other"}, 1),
        ({"dimensions": 2}, 1),
        ({"query_prefix": "query: "}, 1),
        ({"api_key": "sk-other"}, 1),
        ({"api_key": "sk-other"}, 0),
    ):
        inner = Hashing(**fields)
        CachedEmbeddings(inner, url).embed_documents(["a"])
        assert len(inner._log) == calls, fields


def test_a_failure_keeps_nothing_of_its_batch_and_loses_nothing(url: str) -> None:
    inner = Hashing()
    cached = CachedEmbeddings(inner, url)
    cached.embed_documents(["a"])
    inner._faults.put("fails")
    with pytest.raises(RuntimeError, match="overloaded"):
        cached.embed_documents(["a", "b"])
    cached.embed_documents(["a", "b"])
    assert inner._log == [["a"], ["b"], ["b"]]
    inner._faults.put("gives too few")
    with pytest.raises(AskOnceError, match="gave 1 vectors for 2 texts"):
        cached.embed_documents(["c", "d"])
    cached.embed_documents(["c", "d"])
    assert inner._log[-1] == ["c", "d"]


async def test_batches_at_the_same_time_are_right(url: str) -> None:
    inner = Hashing()
    cached = CachedEmbeddings(inner, url)
    batches = [[f"{'x' * (at % 7)}{other}" for other in range(5)] for at in range(20)]
    vectors = await asyncio.gather(*(cached.aembed_documents(batch) for batch in batches))
    for batch, got in zip(batches, vectors, strict=True):
        assert got == [list(array("f", inner.embed_documents([text])[0])) for text in batch]


def test_options_hold(url: str) -> None:
    inner = Hashing()
    cached = CachedEmbeddings(inner, url)
    cached.embed_documents(["a"])
    with cache_options(bypass=True):
        cached.embed_documents(["a"])
    with cache_options(refresh=True):
        cached.embed_documents(["a"])
    assert len(inner._log) == 3


def test_the_answer_comes_when_the_store_does_not() -> None:
    cached = CachedEmbeddings(Hashing(), "redis://127.0.0.1:9/0", timeout_seconds=0.2)
    assert len(cached.embed_documents(["a", "b"])) == 2
    assert len(cached.embed_query("a")) == 3


class Nameless(Embeddings):
    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return [1.0]


def test_embeddings_that_do_not_show_their_model_must_be_named(url: str) -> None:
    with pytest.raises(ConfigError, match="Nameless does not show which model it is"):
        CachedEmbeddings(Nameless(), url)
    assert CachedEmbeddings(Nameless(), url, model="ones").embed_query("a") == [1.0]


def test_openai_shows_its_model_but_not_its_key(url: str) -> None:
    one = CachedEmbeddings(OpenAIEmbeddings(model="text-embedding-3-small", api_key="sk-1"), url)
    other = CachedEmbeddings(OpenAIEmbeddings(model="text-embedding-3-small", api_key="sk-2", timeout=9), url)
    short = CachedEmbeddings(OpenAIEmbeddings(model="text-embedding-3-small", api_key="sk-1", dimensions=8), url)
    forms = [cached._reading()().form for cached in (one, other, short)]
    assert forms[0] == forms[1] != forms[2]
    assert one.dimensions is None
    assert "sk-1" not in str(forms)


class Unwell(Embeddings):
    """Embeds a text as no number, or too short, at first, and rightly from then on."""

    def __init__(self, *vectors: list[float]) -> None:
        self.model = "unwell"
        self.faults = list(vectors)  # a name that is of no consequence for the key

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.faults.pop(0) for _ in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.faults.pop(0)


def test_a_vector_that_is_none_is_not_stored() -> None:
    nan = float("nan")
    with Cache("memory://") as cache:
        query = CachedEmbeddings(Unwell([nan, 1.0], [1.0, 1.0]), cache)
        assert [query.embed_query("x")[1], query.embed_query("x")] == [1.0, [1.0, 1.0]]
        batch = CachedEmbeddings(Unwell([1.0, 1.0], [2.0], [1.0, 1.0], [2.0, 2.0]), cache)
        batch.embed_documents(["a", "b"])
        assert batch.embed_documents(["a", "b"]) == [[1.0, 1.0], [2.0, 2.0]]
        nulls: list[Any] = [None, None]
        passed_on = CachedEmbeddings(Unwell(nulls, nulls, [1.0, 1.0]), cache, model="nulls")
        assert [passed_on.embed_query("x"), *passed_on.embed_documents(["x"])] == [nulls, nulls]
        assert passed_on.embed_documents(["x"]) == [[1.0, 1.0]]
        assert cache.stats().not_stored_reasons == {"invalid": 5}


class Sized(Unwell):
    """One that is to give vectors of a length."""

    def __init__(self, dimensions: int | None, *vectors: list[float]) -> None:
        super().__init__(*vectors)
        self.dimensions = dimensions


def test_a_vector_of_zeros_or_of_another_length_is_not_stored() -> None:
    right = [1.0, 1.0]
    with Cache("memory://") as cache:
        zeros = CachedEmbeddings(Sized(2, [0.0, 0.0], right), cache)
        assert [zeros.embed_query("x"), zeros.embed_query("x")] == [[0.0, 0.0], right]
        long = CachedEmbeddings(Sized(2, [1.0, 1.0, 1.0], [2.0], [3.0], right, right), cache)
        long.embed_query("y")
        long.embed_documents(["a", "b"])
        assert [long.embed_query("y"), *long.embed_documents(["a"])] == [right, right]
        assert cache.stats().not_stored_reasons == {"invalid": 4}


class Behind(Embeddings):
    """What is behind one name: the length of its vectors changes."""

    def __init__(self, length: int) -> None:
        self.length, self.short, self.log = length, "", list[Any]()

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.log.append(list(texts))
        return [[1.0] * (1 if text == self.short else self.length) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        self.log.append(text)
        return [1.0] * self.length

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        return self.embed_documents(texts)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_batch_never_mixes_stored_vectors_with_others_of_another_length(asynchronous: bool) -> None:
    with Cache("memory://") as cache:
        model = Behind(4)
        embeddings = CachedEmbeddings(model, cache, model="m")

        async def lengths(*texts: str) -> list[int]:
            batch = list(texts)
            made = await embeddings.aembed_documents(batch) if asynchronous else embeddings.embed_documents(batch)
            return [len(vector) for vector in made]

        assert await lengths("a", "b") == await lengths("c", "c") == [4, 4]
        model.length = 8
        assert await lengths("a", "b", "new") == [8, 8, 8]
        assert model.log[2:] == [["new"], ["a", "b", "new"]]
        stats = cache.stats()
        assert (stats.hits, stats.misses, stats.miss_reasons["other length"]) == (0, 6, 2)
        assert stats.saved_seconds == pytest.approx(0) and stats.hit_kinds == {}
        assert await lengths("a", "b", "new") == [8, 8, 8] and cache.stats().hits == 3
        assert await lengths("a", "c") == [8, 8]  # hits alone
        assert model.log[4:] == [["a", "c"]] and cache.stats().hits == 3
        assert await lengths("c", "a", "b") == [8, 8, 8] and len(model.log) == 5


def test_one_odd_vector_of_a_model_is_replaced_and_does_not_replace_others() -> None:
    with Cache("memory://") as cache:
        model = Behind(4)
        embeddings = CachedEmbeddings(model, cache, model="m")
        model.short = "a"
        assert embeddings.embed_documents(["a"]) == [[1.0]]  # nothing is known yet
        model.short = ""
        assert embeddings.embed_documents(["a", "b"]) == [[1.0] * 4] * 2
        model.short = "c"
        assert [len(vector) for vector in embeddings.embed_documents(["a", "c"])] == [4, 1]
        model.short = ""
        assert embeddings.embed_documents(["a", "b"]) == [[1.0] * 4] * 2
        assert model.log == [["a"], ["b"], ["a", "b"], ["c"], ["a", "c"]]


def test_a_model_that_has_another_length_from_now_on_is_cached_at_once() -> None:
    with Cache("memory://") as cache:
        model = Behind(4)
        embeddings = CachedEmbeddings(model, cache, model="m")
        embeddings.embed_query("a")
        model.length = 8
        assert embeddings.embed_query("b") == embeddings.embed_query("b") == [1.0] * 8
        assert cache.stats().stored == 2 and model.log == ["a", "b"]


class OnDevice(Embeddings):
    """Of the shape of embeddings that run a model on this machine; one of their settings is an object."""

    def __init__(self, truncate_dim: int) -> None:
        self.model_name = "bge"
        self.model_kwargs = {"truncate_dim": truncate_dim, "torch_dtype": object()}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return [0.5] * self.model_kwargs["truncate_dim"]


def test_settings_beside_an_object_separate_embeddings(url: str) -> None:
    for dimensions in (2, 3):
        try:
            embeddings = CachedEmbeddings(OnDevice(dimensions), url)
        except ConfigError:
            return  # it wants a name for them, which is right too
        assert [len(vector) for vector in embeddings.embed_documents(["x"])] == [dimensions]


class Letters:
    """A tokenizer that needs no download."""

    def encode_ordinary(self, text: str) -> list[int]:
        return list(map(ord, text[::2]))

    def encode(self, text: str, **kwargs: Any) -> list[int]:
        return self.encode_ordinary(text)


@pytest.mark.parametrize(
    "changed",
    [
        {"check_embedding_ctx_length": True},  # sends tokens, which not all servers read as OpenAI does
        {"default_headers": {"x-portkey-config": "another"}},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_what_is_sent_separates_embeddings(
    url: str, provider: Provider, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda name: Letters())
    usual = {"check_embedding_ctx_length": False, "default_headers": {"x-portkey-config": "one"}}
    for fields in (usual, usual | changed):
        embeddings = OpenAIEmbeddings(
            model="e", base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields
        )
        CachedEmbeddings(embeddings, url).embed_documents(["a text"])
    assert provider.count == 2


class Prefixed(Embeddings):
    """Embeddings of one's own, with a setting that is nobody else's business."""

    def __init__(self, prefix: str) -> None:
        self.model, self._prefix = "bge", prefix

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[float(len(self._prefix + text))] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


async def test_private_attributes_and_later_changes_count(url: str) -> None:
    assert [CachedEmbeddings(Prefixed(prefix), url).embed_query("hi") for prefix in ("", "query: ")] == [[2], [9]]
    inner = Prefixed("")
    cached = CachedEmbeddings(inner, url)
    for prefix, length in (("", 2), ("a: ", 5), ("", 2)):
        inner._prefix = prefix
        assert cached.embed_query("hi") == await cached.aembed_query("hi") == [length]
        assert cached.embed_documents(["hi"]) == await cached.aembed_documents(["hi"]) == [[length]]


class Configured(Prefixed):
    """Holds whatever its author liked, private or not, and a memo."""

    def __init__(self, **held: Any) -> None:
        super().__init__("")
        self.__dict__.update(held)
        self._memo: dict[str, int] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self._memo.update(dict.fromkeys(texts, 1))
        return [[float(len(repr(sorted(self.__dict__.items())))), float(self.model == "bge")] for _ in texts]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"_size": 1}, {"_size": 2}),
        ({"_normalized": True}, {"_normalized": False}),
        ({"_options": {"pooling": ["mean"]}}, {"_options": {"pooling": ["cls"]}}),
        ({"tags": ["formal"]}, {"tags": ["rude"]}),
        ({"metadata": {"language": "de"}}, {"metadata": {"language": "en"}}),
        ({"profile": {"domain": "law"}}, {"profile": {"domain": "art"}}),
        ({"cache": {"of": "x"}}, {"cache": {"of": "y"}}),
    ],
    ids=str,
)
def test_all_of_embeddings_of_ones_own_counts(url: str, one: dict[str, Any], other: dict[str, Any]) -> None:
    with Cache(url) as cache:
        for held in (one, other, one | {"_model": (n for n in ())}):
            inner = CachedEmbeddings(Configured(**held), cache)
            for text in ("hi", "hi", "ho"):
                inner.embed_query(text)
        assert (cache.stats().misses, cache.stats().hits) == (4, 5)


class Counting(Prefixed):
    """Counts its calls beside its settings, as an application's own class does."""

    def __init__(self, size: int) -> None:
        super().__init__("")
        self.size, self.calls = size, 0

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.calls += 1
        return [[0.5] * self.size for _ in texts]


async def test_a_number_that_the_application_changes_counts_and_a_counter_does_not(url: str) -> None:
    inner = Counting(2)
    cached = CachedEmbeddings(inner, url)
    for size, calls in ((2, 1), (2, 1), (3, 2), (2, 2)):
        inner.size = size
        assert (len(await cached.aembed_query("hi")), len(cached.embed_query("hi"))) == (size, size)
        assert inner.calls == calls


async def test_asynchronous_methods_are_named_by_the_asynchronous_client(url: str, provider: Provider) -> None:
    for tenant, calls in (("a", 2), ("b", 4), ("a", 4)):
        async with httpx2.AsyncClient(headers={"x-tenant": tenant}) as client:
            embeddings = OpenAIEmbeddings(
                model="e",
                base_url=provider.openai_url,
                api_key="sk-none",
                check_embedding_ctx_length=False,
                http_async_client=client,
            )
            cached = CachedEmbeddings(embeddings, url)
            await cached.aembed_query("hi")
            await cached.aembed_documents(["ho"])
            assert provider.count == calls


def test_what_is_no_vector_is_passed_on_and_not_stored() -> None:
    class Broken(FakeEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            vectors: list[Any] = [None if text == "b" else [1.0, 2.0] for text in texts]
            return vectors

    with Cache("memory://") as cache:
        embeddings = CachedEmbeddings(Broken(size=2), cache, model="broken")
        for _ in range(2):
            assert embeddings.embed_documents(["a", "b", "b"]) == [[1.0, 2.0], None, None]
        assert (cache.stats().hits, cache.stats().not_stored_reasons) == (1, {"invalid": 2})
