"""The key-value store."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from llama_index.core import Document
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.llms.mock import MockLLM
from llama_index.core.node_parser import SentenceSplitter
from llama_index.core.storage.docstore.keyval_docstore import KVDocumentStore
from llama_index.embeddings.openai import OpenAIEmbedding

from askonce import Cache, StoreError, cache_options
from askonce.llama_index import AskOnceKVStore, cached
from tests.support.provider import Provider
from tests.support.stores import FailingStore


async def test_values_are_stored_by_key_and_collection() -> None:
    with Cache("memory://") as cache:
        store = AskOnceKVStore(cache)
        cached(MockLLM(max_tokens=1), cache).complete("something else in the same namespace")
        assert bool(store) and store.get("k") is None and not store.delete("k")
        store.put("k", {"a": [1, None, "ü"]})
        await store.aput("k", {"b": 2.5}, collection="other")
        store.put("K\u0308", {"c": 1})
        store.put("\u1e08", {"c": 2})
        value = store.get("k")
        assert value == {"a": [1, None, "ü"]}
        value["a"].append("changed by the application")
        assert await store.aget("k") == {"a": [1, None, "ü"]}
        assert store.get_all() == {"k": {"a": [1, None, "ü"]}, "K\u0308": {"c": 1}, "\u1e08": {"c": 2}}
        assert await store.aget_all(collection="other") == {"k": {"b": 2.5}}
        assert store.get_many(["nothing", "k"]) == [None, {"a": [1, None, "ü"]}]
        assert await store.adelete("k", collection="other") and store.get("k", collection="other") is None
        store.put_all([(str(n), {"n": n}) for n in range(5)], collection="many", batch_size=2)
        await store.aput_all([("5", {"n": 5})], collection="many")
        assert await store.aget_many(["0", "5"], collection="many") == [{"n": 0}, {"n": 5}]
        assert len(store.get_all("many")) == 6
        with pytest.raises(TypeError):
            store.put("k", {"a": object()})
        with cache_options(bypass=True):
            store.put("k", {})
            assert store.get("k") is None and store.get_many(["k"]) == [None]
        assert store.get("k") == {"a": [1, None, "ü"]}


def test_a_store_that_is_down_holds_nothing_and_says_so_when_it_is_to_delete() -> None:
    store = AskOnceKVStore(Cache(FailingStore(failing=True)))
    store.put("k", {"a": 1})
    assert store.get("k") is None
    with pytest.raises(StoreError):
        store.delete("k")


def test_it_passes_as_a_docstore(cache: Cache) -> None:
    docstore = KVDocumentStore(AskOnceKVStore(cache), batch_size=2)
    documents = [Document(text=text) for text in ("one", "two", "three")]
    docstore.add_documents(documents)
    assert {document.get_content() for document in docstore.docs.values()} == {"one", "two", "three"}
    docstore.delete_document(documents[0].node_id)
    assert len(docstore.docs) == 2


async def test_an_ingestion_run_twice_is_made_once(
    embedding: OpenAIEmbedding, provider: Provider, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"

    def pipeline() -> IngestionPipeline:
        cache = IngestionCache(cache=AskOnceKVStore(url), collection="docs")
        model = cached(embedding, url, namespace="vectors")
        return IngestionPipeline(transformations=[SentenceSplitter(), model], cache=cache)

    documents = [Document(text=f"text {n}", doc_id=str(n)) for n in range(3)]
    first = pipeline().run(documents=documents)
    calls = provider.count
    second = pipeline().run(documents=documents)
    third = await pipeline().arun(documents=documents)
    assert provider.count == calls == 1
    assert [node.node_id for node in first] == [node.node_id for node in second] == [node.node_id for node in third]
    assert second[0].embedding == pytest.approx(first[0].embedding)
    used = pipeline().cache
    used.clear()
    assert used.cache.get_all("docs") == {}
    assert pipeline().run(documents=documents)[0].embedding == pytest.approx(first[0].embedding)
    assert provider.count == 1, "the vectors are still stored"
    AskOnceKVStore(url).cache.close()
    cached(embedding, url, namespace="vectors")._askonce.cache.close()


def test_processes_share_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/cache.db"
    store = AskOnceKVStore(url)
    store.put("mine", {"a": 1})
    code = f"""if True:
        from askonce.llama_index import AskOnceKVStore
        store = AskOnceKVStore({url!r})
        store.put("theirs", store.get("mine"))
        store.cache.close()
    """
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert store.get("theirs") == {"a": 1}
    assert pickle.loads(pickle.dumps(store)).cache is store.cache
    store.cache.close()
    with pytest.raises(TypeError, match="URL"):
        pickle.dumps(AskOnceKVStore(Cache("memory://")))
