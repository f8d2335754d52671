"""An index of colours and its corpus."""

import pytest
from llama_index.core import (
    VectorStoreIndex,
)

from askonce import Cache, Corpus
from tests.llama_index.retrieval.colours import Topics, documents, questions_embedded


@pytest.fixture
def index() -> VectorStoreIndex:
    questions_embedded()
    return VectorStoreIndex.from_documents(documents(), embed_model=Topics())


@pytest.fixture
def corpus(cache: Cache) -> Corpus:
    return Corpus(cache, name="colours")
