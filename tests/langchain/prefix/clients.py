"""Real clients of the provider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

from tests.support.provider import Provider

Make = Callable[..., Any]


def chat(provider: Provider, **fields: Any) -> ChatOpenAI:
    fields = {"model": "gpt-4.1", "stream_usage": True} | fields
    return ChatOpenAI(base_url=provider.openai_url, api_key="sk-none", max_retries=0, **fields)


def newest(provider: Provider, **fields: Any) -> ChatOpenAI:
    return chat(provider, model="gpt-5.6", **fields)


def claude(provider: Provider, **fields: Any) -> ChatAnthropic:
    return ChatAnthropic(
        base_url=provider.anthropic_url, api_key="sk-none", model="claude-opus-4-8", max_retries=0, **fields
    )
