"""The cache hook's view of a model, and a cache whose keys are looked at."""

from __future__ import annotations

import json
from typing import Any

from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
)

from askonce.langchain import AskOnceCache


def llm_string(kwargs: dict[str, Any] | None = None, /, **call: Any) -> str:
    """As a serializable chat model writes it."""
    constructor = {
        "lc": 1,
        "type": "constructor",
        "id": ["langchain", "chat_models", "openai", "ChatOpenAI"],
        "kwargs": {"model_name": "gpt-4o", "temperature": 0.5} | (kwargs or {}),
    }
    return json.dumps(constructor, sort_keys=True) + "---" + str(sorted({"stop": None, **call}.items()))


LLM = llm_string()
CACHE = AskOnceCache("memory://", namespace="keys")
HI: list[BaseMessage] = [HumanMessage("hi")]
