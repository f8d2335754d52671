"""The chat models of many providers are cached: each gets two equal requests, and is called once."""

from __future__ import annotations

import importlib
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from askonce.langchain import cached
from tests.providers.listed import packages

AWS = {"region_name": "us-east-1", "aws_access_key_id": "stub", "aws_secret_access_key": "stub"}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "langchain-aws": ("ChatBedrockConverse", {"model": "anthropic.claude-3-haiku-20240307-v1:0", **AWS}),
    "langchain-cohere": ("ChatCohere", {"model": "command-a", "cohere_api_key": "stub"}),
    "langchain-deepseek": ("ChatDeepSeek", {"model": "deepseek-chat", "api_key": "stub"}),
    "langchain-fireworks": ("ChatFireworks", {"model": "llama", "api_key": "stub"}),
    "langchain-google-genai": ("ChatGoogleGenerativeAI", {"model": "gemini-2.5-flash", "google_api_key": "stub"}),
    "langchain-groq": ("ChatGroq", {"model": "llama", "api_key": "stub"}),
    "langchain-litellm": ("ChatLiteLLM", {"model": "openai/gpt-4o", "api_key": "stub"}),
    "langchain-mistralai": ("ChatMistralAI", {"model": "mistral-small", "api_key": "stub"}),
    "langchain-ollama": ("ChatOllama", {"model": "llama"}),
    "langchain-openrouter": ("ChatOpenRouter", {"model": "openai/gpt-4o", "api_key": "stub"}),
    "langchain-perplexity": ("ChatPerplexity", {"model": "sonar", "api_key": "stub"}),
    "langchain-xai": ("ChatXAI", {"model": "grok-4", "api_key": "stub"}),
}


def test_every_package_of_the_group_is_tried() -> None:
    assert packages("providers-langchain") == set(MODELS)


@pytest.mark.filterwarnings("default")  # what the packages warn of is theirs
@pytest.mark.parametrize("package", MODELS)
def test_a_model_is_cached(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # or it loads prices from the net at import
    name, settings = MODELS[package]
    cls = getattr(importlib.import_module(package.replace("-", "_")), name)
    calls: list[Any] = []

    def answer(self: Any, messages: Any, *_: Any, **__: Any) -> ChatResult:
        calls.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(f"Answer {len(calls)}"))])

    monkeypatch.setattr(cls, "_generate", answer)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "_stream", lambda *_, **__: pytest.fail("it is not called for a stream"))
        model = cached(cls(**settings), "memory://")
        assert isinstance(model, cls)
        assert [model.invoke("Where is Paris?").content for _ in range(2)] == ["Answer 1", "Answer 1"]
        assert model.invoke("Where is Rome?").content == "Answer 2"
    assert len(calls) == 2
