"""The cache of ingestion pipelines: nodes of one document never come back as another's."""

from __future__ import annotations

import asyncio
import copy
import datetime
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import Document
from llama_index.core.embeddings.mock_embed_model import MockEmbedding
from llama_index.core.extractors import TitleExtractor
from llama_index.core.ingestion import IngestionCache as LlamaIngestionCache
from llama_index.core.ingestion import IngestionPipeline
from llama_index.core.ingestion.pipeline import run_transformations
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter, SentenceWindowNodeParser, TokenTextSplitter
from llama_index.core.schema import BaseNode, TransformComponent

from askonce import Cache, ConfigError
from askonce.llama_index import AskOnceKVStore, IngestionCache
from askonce.llama_index.ingestion import key_of
from askonce.stores.memory import MemoryStore
from tests.llama_index.conftest import LLAMA_INDEX_WARNINGS
from tests.support.stores import FailingStore

pytestmark = LLAMA_INDEX_WARNINGS

runs: list[int] = []


class Upper(TransformComponent):
    """Writes texts in capitals, in place, and counts."""

    ending: str = ""

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        runs.append(len(nodes))
        for node in nodes:
            node.set_content(node.get_content().upper() + self.ending)
        return nodes


class Slow(Upper):
    """Waits until another one runs, too."""

    def __call__(self, nodes: Sequence[BaseNode], **kwargs: Any) -> Sequence[BaseNode]:
        both.wait(60)
        return super().__call__(nodes)


both = threading.Barrier(2)


@pytest.fixture(autouse=True)
def no_runs() -> None:
    runs.clear()


def documents(*texts: str, names: str = "abcdef", **metadata: Any) -> list[Document]:
    return [
        Document(text=text, id_=name, metadata=dict(metadata)) for text, name in zip(texts, names, strict=False)
    ]


def ran(cache: Cache, given: list[Document], *transformations: TransformComponent) -> list[BaseNode]:
    pipeline = IngestionPipeline(
        transformations=list(transformations) or [SentenceSplitter(), Upper()], cache=IngestionCache(cache)
    )
    return list(pipeline.run(documents=given))


def test_equal_input_is_transformed_once(cache: Cache) -> None:
    first, second = (ran(cache, documents("one. two.", "three")) for _ in range(2))
    assert first == second
    assert first[0] is not second[0]
    assert (cache.stats().hits, runs) == (2, [2])


def test_nodes_are_of_their_own_document(cache: Cache) -> None:
    nodes = [ran(cache, documents("The same text.", names=name))[0] for name in "ab"]
    assert [node.ref_doc_id for node in nodes] == ["a", "b"]
    assert nodes[0].node_id != nodes[1].node_id


def test_texts_with_other_borders_have_other_nodes(cache: Cache) -> None:
    texts = [[node.get_content() for node in ran(cache, documents(*given))] for given in (("ab", "c"), ("a", "bc"))]
    assert texts == [["AB", "C"], ["A", "BC"]]


@pytest.mark.parametrize(
    "other",
    [
        documents("text", topic="birds"),
        documents("text", topic=1),
        [Document(text="text", id_="a", metadata={"topic": "1"}, excluded_embed_metadata_keys=["topic"])],
        [Document(text="text", id_="a", metadata={"topic": "1"}, embedding=[0.5])],
        documents("text", "", topic="1"),
    ],
    ids=["value", "type", "excluded", "embedding", "another document"],
)
def test_whatever_nodes_hold_counts(other: list[Document], cache: Cache) -> None:
    ran(cache, documents("text", topic="1"))
    ran(cache, other)
    assert len(runs) == 2


def words(text: str) -> list[str]:
    return text.split()


def letters(text: str) -> list[str]:
    return list(text)


def splitting_at(separator: str) -> Callable[[str], list[str]]:
    return lambda text: text.split(separator)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (lambda: SentenceSplitter(chunk_size=300), lambda: SentenceSplitter(chunk_size=301)),
        (lambda: SentenceSplitter(tokenizer=words), lambda: SentenceSplitter(tokenizer=letters)),
        (
            lambda: SentenceSplitter(chunking_tokenizer_fn=splitting_at(".")),
            lambda: SentenceSplitter(chunking_tokenizer_fn=splitting_at(",")),
        ),
        (lambda: TokenTextSplitter(separator=" "), lambda: TokenTextSplitter(separator=",")),
        (lambda: Upper(ending="."), lambda: Upper(ending="!")),
        (lambda: MockEmbedding(embed_dim=2), lambda: MockEmbedding(embed_dim=3)),
        (lambda: TitleExtractor(llm=MockLLM(max_tokens=1)), lambda: TitleExtractor(llm=MockLLM(max_tokens=2))),
        (SentenceWindowNodeParser, lambda: SentenceWindowNodeParser(window_size=1)),
    ],
)
def test_transformations_have_separate_keys_and_are_recognized(
    one: Callable[[], TransformComponent], other: Callable[[], TransformComponent]
) -> None:
    given = documents("text")
    assert key_of(given, one()) == key_of(given, one())
    assert key_of(given, one()) != key_of(given, other())


def test_a_transformation_that_was_written_anew_is_another_one() -> None:
    def written(body: str) -> TransformComponent:
        scope: dict[str, Any] = {"TransformComponent": TransformComponent, "__name__": "notebook"}
        exec(f"class Own(TransformComponent):\n def __call__(self, nodes, **kw):\n  return {body}", scope)
        made: TransformComponent = scope["Own"]()
        return made

    given = documents("text")
    assert key_of(given, written("nodes")) == key_of(given, written("nodes"))
    assert key_of(given, written("nodes")) != key_of(given, written("nodes[:1]"))


KEY = """
from llama_index.core import Document
from llama_index.core.node_parser import TokenTextSplitter
from askonce.llama_index.ingestion import key_of
print(key_of([Document(text="text", id_="a")], TokenTextSplitter(tokenizer=str.split)).hex())
"""


def test_the_key_is_the_same_in_every_process() -> None:
    done = subprocess.run([sys.executable, "-c", KEY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == key_of(documents("text"), TokenTextSplitter(tokenizer=str.split)).hex()


def test_pipelines_at_once_over_equal_texts_store_each_its_own() -> None:
    cache = Cache(MemoryStore())
    with ThreadPoolExecutor(2) as threads:
        list(threads.map(lambda name: ran(cache, documents("same", names=name), Slow()), "ab"))
    assert [ran(cache, documents("same", names=name), Slow())[0].node_id for name in "ab"] == ["a", "b"]
    assert len(runs) == 2


async def test_asynchronous_pipelines_at_once_store_each_their_own(cache: Cache) -> None:
    async def run(name: str) -> str | None:
        pipeline = IngestionPipeline(transformations=[SentenceSplitter()], cache=IngestionCache(cache))
        return (await pipeline.arun(documents=documents("same", names=name)))[0].ref_doc_id

    assert await asyncio.gather(*map(run, "abab")) == list("abab")
    assert await asyncio.gather(*map(run, "ab")) == list("ab")
    assert cache.stats().hits >= 2


def test_metadata_of_everyday_types_comes_back(cache: Cache) -> None:
    at = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    first, second = (ran(cache, documents("text", at=at)) for _ in range(2))
    assert [node.metadata["at"] for node in (*first, *second)] == [at, at]
    assert cache.stats().hits == 2


def test_what_cannot_be_named_is_made_each_time_with_one_warning(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    class Thing:
        def __call__(self, text: str) -> list[str]:
            return [text]

    for _ in range(2):
        ran(cache, documents("text"), SentenceSplitter(tokenizer=Thing()), Upper())
        ran(cache, documents("text", what=object()), Upper())
    assert len(runs) == 4
    assert [record.getMessage() for record in caplog.records if "Thing" in record.getMessage()] != []
    assert len(caplog.records) == 2


def test_a_cache_that_does_not_see_the_nodes_serves_nothing(cache: Cache) -> None:
    own = IngestionCache(cache)
    own.put("key", documents("text"))
    assert own.get("key") is None


def test_a_store_that_is_down_leaves_the_pipeline_as_it_is() -> None:
    cache = Cache(FailingStore(failing=True))
    assert [node.get_content() for node in ran(cache, documents("text"))] == ["TEXT"]


def test_a_collection_is_cleared_alone(cache: Cache) -> None:
    own = {name: IngestionCache(cache, collection=name) for name in ("one", "two")}
    for name in (*own, *own):
        run_transformations(documents("text"), [Upper()], cache=own[name])
    assert len(runs) == 2
    own["one"].clear()
    for name in own:
        run_transformations(documents("text"), [Upper()], cache=own[name])
    assert len(runs) == 3


def test_it_is_copied_and_pickled_with_its_url(tmp_path: Path) -> None:
    own = IngestionCache(f"sqlite:///{tmp_path}/cache.db", collection="docs")
    for again in (copy.deepcopy(own), pickle.loads(pickle.dumps(own))):
        assert again.collection == "docs"
        assert again.cache.cache is own.cache.cache
    own.cache.cache.close()


def test_wrong_arguments_are_refused(cache: Cache) -> None:
    assert IngestionCache(cache=AskOnceKVStore(cache)).cache.cache is cache
    with pytest.raises(ConfigError, match="URL"):
        IngestionCache(cache, cache=AskOnceKVStore(cache))
    with pytest.raises(ConfigError, match="URL"):
        IngestionCache(cache={})  # type: ignore[arg-type]


# -- erased --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [True, False], ids=["IngestionCache", "AskOnceKVStore"])
def test_what_was_made_of_a_document_is_erased_with_it(own: bool) -> None:
    cache = Cache(MemoryStore(), timeout_seconds=10)
    store = AskOnceKVStore(cache)
    pipeline = IngestionPipeline(
        transformations=[TokenTextSplitter(chunk_size=32, chunk_overlap=0), Upper()],
        cache=IngestionCache(cache=store) if own else LlamaIngestionCache(cache=store),
    )
    embeddings = MockEmbedding(embed_dim=3, embeddings_cache=AskOnceKVStore(cache))
    for document in documents("This tells of Jane Doe, and of others. " * 9, "This tells of nobody. " * 9):
        nodes = pipeline.run(documents=[document])
        embeddings.get_text_embedding_batch([node.get_content() for node in nodes])
    before = [entry for entry in cache.entries() if b"JANE" in entry.payload.upper()]
    others = cache.stats().entries - len(before)
    assert len(before) > 2
    assert others > 2
    assert cache.erase(source="a").total == len(before)
    assert cache.stats().entries == others
    assert not [entry for entry in cache.entries() if b"JANE" in entry.payload.upper()]
    assert cache.erase(source="a").total == 0
