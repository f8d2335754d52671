"""The LLMs and embeddings of many providers are cached: each gets two equal requests, and is called once."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage, ChatResponse

from askonce.llama_index import cached
from tests.providers.listed import packages

AWS = {"region_name": "us-east-1", "aws_access_key_id": "stub", "aws_secret_access_key": "stub"}
NOWHERE = "http://127.0.0.1:1"
AZURE = {"deployment_name": "stub", "api_key": "stub", "azure_endpoint": NOWHERE, "api_version": "2024-10-21"}
CLAUDE = "anthropic.claude-3-haiku-20240307-v1:0"
# The sizes are given: or these models request them of the provider.
SIZES = {"max_tokens": 100, "context_window": 1000}
CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-index-embeddings-azure-openai": ("AzureOpenAIEmbedding", AZURE),
    "llama-index-embeddings-bedrock": ("BedrockEmbedding", {"model_name": "amazon.titan-embed-text-v2:0", **AWS}),
    "llama-index-embeddings-google-genai": ("GoogleGenAIEmbedding", {"api_key": "stub"}),
    "llama-index-embeddings-ollama": ("OllamaEmbedding", {"model_name": "nomic"}),
    "llama-index-llms-anthropic": ("Anthropic", {"model": "claude-sonnet-4-5", "api_key": "stub"}),
    "llama-index-llms-azure-openai": ("AzureOpenAI", {"model": "gpt-4o", "engine": "stub", **AZURE}),
    "llama-index-llms-bedrock-converse": ("BedrockConverse", {"model": CLAUDE, **AWS}),
    "llama-index-llms-google-genai": ("GoogleGenAI", {"model": "gemini-2.5-flash", "api_key": "stub", **SIZES}),
    "llama-index-llms-ollama": ("Ollama", {"model": "llama", "context_window": 1000}),
    "llama-index-llms-openai-like": ("OpenAILike", {"model": "llama", "api_base": NOWHERE, "api_key": "stub"}),
}


def class_of(package: str) -> Any:
    kind, _, name = package.removeprefix("llama-index-").partition("-")
    return getattr(importlib.import_module(f"llama_index.{kind}.{name.replace('-', '_')}"), CLASSES[package][0])


def test_every_package_of_the_group_is_tried() -> None:
    assert packages("providers-llama-index") == set(CLASSES)


@pytest.mark.filterwarnings("default")  # what the packages warn of is theirs
@pytest.mark.parametrize("package", [one for one in CLASSES if "-llms-" in one])
def test_an_llm_is_cached(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, calls = class_of(package), list[Any]()

    def answer(self: Any, messages: Any, **_: Any) -> ChatResponse:
        calls.append(messages)
        return ChatResponse(message=ChatMessage(role="assistant", content=f"Answer {len(calls)}"))

    monkeypatch.setattr(cls, "chat", answer)
    llm = cached(cls(**CLASSES[package][1]), "memory://")
    assert isinstance(llm, cls)
    questions = ["Where is Paris?", "Where is Paris?", "Where is Rome?"]
    answers = [llm.chat([ChatMessage(role="user", content=question)]).message.content for question in questions]
    assert answers == ["Answer 1", "Answer 1", "Answer 2"]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("package", [one for one in CLASSES if "-embeddings-" in one])
def test_an_embedding_is_cached(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls, calls = class_of(package), list[str]()

    def embed(self: Any, text: str) -> list[float]:
        calls.append(text)
        return [float(len(calls)), 1.0]

    monkeypatch.setattr(cls, "_get_text_embedding", embed)
    embedding = cached(cls(**CLASSES[package][1]), "memory://")
    assert [embedding.get_text_embedding(text) for text in ("Paris", "Paris", "Rome")] == [[1, 1], [1, 1], [2, 1]]
