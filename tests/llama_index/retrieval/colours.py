"""Documents of colours, embeddings that count them, and retrievers of all kinds."""

import asyncio
import contextvars
import re
from collections.abc import Coroutine
from queue import SimpleQueue
from typing import Any

from llama_index.core import (
    Document,
    QueryBundle,
    StorageContext,
    SummaryIndex,
    VectorStoreIndex,
)
from llama_index.core.base.base_selector import BaseSelector, SelectorResult, SingleSelection
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.indices.query.query_transform import HyDEQueryTransform
from llama_index.core.llms import MockLLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.node_parser import HierarchicalNodeParser, TokenTextSplitter, get_leaf_nodes
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    BaseRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    RouterRetriever,
    TransformRetriever,
)
from llama_index.core.schema import IndexNode, NodeWithScore
from llama_index.core.tools import RetrieverTool
from llama_index.core.vector_stores import SimpleVectorStore

from askonce.llama_index import CachedRetriever

TOPICS = ("red", "blue", "green", "gold")
embedded: SimpleQueue[str] = SimpleQueue()
"""The questions that were embedded. A list of which the tests take something would be a setting of `Topics`."""


def questions_embedded() -> list[str]:
    """Those since this was called last."""
    return [embedded.get() for _ in range(embedded.qsize())]


class Topics(BaseEmbedding):
    """How often each topic occurs in a text; the questions stand in `embedded`."""

    def _get_text_embedding(self, text: str) -> list[float]:
        words = re.findall(r"\w+", text.lower())
        return [words.count(topic) + 0.125 for topic in TOPICS]

    def _get_query_embedding(self, query: str) -> list[float]:
        embedded.put(query)
        return self._get_text_embedding(query)

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)


def documents() -> list[Document]:
    texts = {"1": "red as fire", "2": "blue as the sea", "3": "green as grass, not red", "4": "gold and blue"}
    return [Document(id_=one, text=text, metadata={"n": int(one), "of": ["x"]}) for one, text in texts.items()]


async def apart(run: Coroutine[Any, Any, Any]) -> Any:
    """Run in a context in which nothing was retrieved."""
    return await asyncio.create_task(run, context=contextvars.Context())


def is_called(retriever: CachedRetriever, question: Any) -> bool:
    """Whether the retriever inside is called."""
    before = retriever.cache.stats().misses
    retriever.retrieve(question)
    return retriever.cache.stats().misses > before


def doc_ids(nodes: list[NodeWithScore]) -> list[str | None]:
    return [found.node.ref_doc_id for found in nodes]


class TextStore(SimpleVectorStore):
    """A vector store that holds the documents itself, as servers do."""

    stores_text: bool = True
    collection_name: str = "texts"
    password: str = "secret"
    _texts: dict[str, Any] = PrivateAttr(default_factory=dict)

    def __init__(self, **names: str) -> None:
        super().__init__()
        for name, value in names.items():
            setattr(self, name, value)

    def add(self, nodes: Any, **kwargs: Any) -> list[str]:
        self._texts.update({node.node_id: node for node in nodes})
        return super().add(nodes, **kwargs)

    def query(self, query: Any, **kwargs: Any) -> Any:
        query.node_ids = query.node_ids or None
        result = super().query(query, **kwargs)
        result.nodes = [self._texts[one] for one in result.ids or []]
        return result


def vector(index: VectorStoreIndex) -> BaseRetriever:
    return index.as_retriever(similarity_top_k=3)


def fusion(index: VectorStoreIndex) -> BaseRetriever:
    retrievers = [index.as_retriever(similarity_top_k=k) for k in (1, 3)]
    return QueryFusionRetriever(retrievers, llm=MockLLM(), num_queries=1, use_async=False, mode="reciprocal_rerank")


def auto_merging(index: VectorStoreIndex) -> BaseRetriever:
    text = Document(id_="long", text=" ".join(f"A red thing, the {n}th of many." for n in range(40)))
    splitters = {str(size): TokenTextSplitter(chunk_size=size, chunk_overlap=0) for size in (256, 64)}
    parser = HierarchicalNodeParser(node_parser_ids=["256", "64"], node_parser_map=splitters)
    nodes = parser.get_nodes_from_documents([text])
    storage = StorageContext.from_defaults()
    storage.docstore.add_documents(nodes)
    leaves = VectorStoreIndex(get_leaf_nodes(nodes), storage_context=storage, embed_model=Topics())
    return AutoMergingRetriever(leaves.as_retriever(similarity_top_k=6), storage)  # type: ignore[arg-type]


def router(index: VectorStoreIndex) -> BaseRetriever:
    tools = [RetrieverTool.from_defaults(index.as_retriever(), description="colours")]
    return RouterRetriever.from_defaults(tools, llm=MockFunctionCallingLLM(), selector=First())


def recursive(index: VectorStoreIndex) -> BaseRetriever:
    pointing = VectorStoreIndex([IndexNode(text="red things", index_id="inner")], embed_model=Topics())
    return RecursiveRetriever("root", {"root": pointing.as_retriever(), "inner": index.as_retriever()})


def pointing(index: VectorStoreIndex) -> BaseRetriever:
    to = IndexNode(text="red things", index_id="inner", obj=index.as_retriever(similarity_top_k=2))
    return VectorStoreIndex(objects=[to], embed_model=Topics()).as_retriever()


def summary(index: VectorStoreIndex) -> BaseRetriever:
    return SummaryIndex.from_documents(documents()).as_retriever()


def transforming(index: VectorStoreIndex) -> BaseRetriever:
    return TransformRetriever(index.as_retriever(), HyDEQueryTransform(llm=MockLLM()))


class First(BaseSelector):
    """Chooses the first tool."""

    def _get_prompts(self) -> dict[str, Any]:
        return {}

    def _update_prompts(self, prompts: Any) -> None: ...

    def _select(self, choices: Any, query: Any) -> SelectorResult:
        return SelectorResult(selections=[SingleSelection(index=0, reason="it is the first")])

    async def _aselect(self, choices: Any, query: Any) -> SelectorResult:
        return self._select(choices, query)


KINDS = [vector, fusion, auto_merging, router, recursive, pointing, summary, transforming]


class Given(BaseRetriever):
    """Finds what it was given, or raises it."""

    def __init__(self, found: Any) -> None:
        self.found, self.calls = found, 0
        super().__init__()

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.calls += 1
        if isinstance(self.found, Exception):
            raise self.found
        return list(self.found)


def inserting(index: VectorStoreIndex) -> None:
    index.insert(Document(id_="9", text="red red red"))
