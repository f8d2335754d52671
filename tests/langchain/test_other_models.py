"""`cached` over models of other kinds than OpenAI's: completion models, and odd or older chat models."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.llms import LLM, BaseLLM
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    ChatResult,
    Generation,
    GenerationChunk,
    LLMResult,
)

from askonce.langchain import AskOnceCache, cached
from askonce.langchain.keys.requests import Digests


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'cache.db'}"


# -- completion models -----------------------------------------------------------------------------------------

CALLS: list[Any] = []


@pytest.fixture(autouse=True)
def no_calls() -> None:
    CALLS.clear()


class Completing(BaseLLM):
    temperature: float = 0.5

    @property
    def _llm_type(self) -> str:
        return "completing"

    def _generate(self, prompts: list[str], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> LLMResult:
        CALLS.append(prompts)
        generations = [
            [Generation(text=f"{prompt} {len(CALLS)}", generation_info={"finish_reason": "stop"})]
            for prompt in prompts
        ]
        return LLMResult(generations=generations, llm_output={"token_usage": {"prompt_tokens": 3}})

    def _stream(
        self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[GenerationChunk]:
        CALLS.append(prompt)
        for word in (prompt, " ", "streamed"):
            chunk = GenerationChunk(text=word)
            if run_manager:
                run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk


class Tokens(BaseCallbackHandler):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.seen.append(token)


async def test_completions_are_made_once(url: str) -> None:
    model = cached(Completing(), url)
    assert model.invoke("a") == await model.ainvoke("a") == "a 1"
    assert model.generate(["a", "b", "c"]).flatten()[2].generations[0][0].text == "c 2"
    assert await model.abatch(["c", "b", "d"]) == ["c 2", "b 2", "d 3"]
    assert CALLS == [["a"], ["b", "c"], ["d"]]
    assert cached(Completing(temperature=0.1), url).invoke("a") == "a 4"


async def test_completions_are_replayed_as_streams(url: str) -> None:
    model, tokens = cached(Completing(), url), Tokens()
    first = "".join(model.stream("a"))
    second = list(model.stream("a", {"callbacks": [tokens]}))
    third = [chunk async for chunk in model.astream("a")]
    assert first == "".join(second) == "".join(third) == model.invoke("a") == "a streamed"
    assert len(second) > 1
    assert tokens.seen == second
    assert CALLS == ["a"]


async def test_a_batch_of_completions_passes_the_hook_together(url: str) -> None:
    set_llm_cache(AskOnceCache(url))
    model = Completing()
    first = model.generate(["a", "b"]).generations
    assert [one[0].text for one in first] == ["a 1", "b 1"]
    assert await model.abatch(["b", "c", "a"]) == ["b 1", "c 2", "a 1"]
    assert CALLS == [["a", "b"], ["c"]]


class Simple(LLM):
    @property
    def _llm_type(self) -> str:
        return "simple"

    def _call(self, prompt: str, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> str:
        CALLS.append(prompt)
        return f"{prompt}!"


async def test_a_simple_completion_model_is_cached_and_copied(url: str) -> None:
    model = cached(Simple(), url)
    for one in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert isinstance(one, Simple)
        assert one.invoke("a") == await one.ainvoke("a") == "a!"
    assert CALLS == ["a"]
    assert list(model.stream("a")) == ["a!"]


def test_a_model_can_be_pickled_if_it_was_given_a_url_whatever_came_before(url: str) -> None:
    by_url = AskOnceCache(url)
    by_object = cached(Simple(), by_url.cache)
    by_name = cached(Simple(), url)
    assert type(by_name)._askonce_cache is type(by_object)._askonce_cache
    for one in (by_name, cached(by_object, url)):
        assert pickle.loads(pickle.dumps(one)).invoke("a") == "a!"
    with pytest.raises(TypeError, match="URL"):
        pickle.dumps(by_object)
    assert cached(by_name, url) is by_name
    assert CALLS == ["a"]


# -- the names of requests -------------------------------------------------------------------------------------


def test_names_are_remembered_without_a_copy_of_the_parameters_for_each() -> None:
    digests, parameters = Digests(characters=200_000), f"[('model', 'm'), ('tools', '{'t' * 20_000}')]"
    first = digests.of("0", parameters)
    tracemalloc.start()
    for number in range(200):
        digests.of(str(number), parameters[:9] + parameters[9:])  # LangChain writes them anew for each call
    taken, _ = tracemalloc.get_traced_memory()
    assert taken < 500_000

    for number in range(1_000):  # more than there is room for
        digests.of(str(number), parameters.replace("t", "u", number % 3))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 1_000_000
    assert digests.of("0", parameters) == first == Digests().of("0", parameters)


# -- chat models -----------------------------------------------------------------------------------------------


class Old(BaseChatModel):
    """Streams inside of its calls, and takes no run manager."""

    model: str = "old"

    @property
    def _llm_type(self) -> str:
        return "old"

    def _generate(self, messages: list[BaseMessage], stop: Any = None) -> ChatResult:  # type: ignore[override]
        chunks = list(self._stream(messages, stop=stop))
        message = AIMessage("".join(str(chunk.message.content) for chunk in chunks))
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        CALLS.append(messages)
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


async def test_a_model_that_calls_its_own_methods_is_looked_up_once(url: str) -> None:
    model = cached(Old(), url)
    assert model.invoke("a").content == "one two"
    assert (await model.ainvoke("a")).content == "one two"
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert len(CALLS) == 1
    assert (await cached(Old(model="new"), url).ainvoke("a")).content == "one two"
    stats = type(model)._askonce_cache.stats()
    assert (stats.misses, stats.hits, stats.stored) == (2, 2, 2)


class Blocks(BaseChatModel):
    """Answers in content blocks, and makes protocol events itself."""

    @property
    def _llm_type(self) -> str:
        return "blocks"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        content = [
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "text", "text": "so it is", "annotations": []},
        ]
        return ChatResult(generations=[ChatGeneration(message=AIMessage(content, id="msg_1"))])

    def _stream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        raise AssertionError("only replayed")
        yield

    def _stream_chat_model_events(self, messages: list[BaseMessage], **kwargs: Any) -> Iterator[Any]:
        CALLS.append(messages)
        yield {"event": "message-start", "id": "msg_2", "metadata": {}}
        yield {"event": "content-block-start", "index": 0, "content": {"type": "text", "text": ""}}
        yield {"event": "content-block-delta", "index": 0, "delta": {"type": "text-delta", "text": "native"}}
        yield {"event": "content-block-finish", "index": 0, "content": {"type": "text", "text": "native"}}
        yield {"event": "message-finish", "reason": "stop"}


def test_content_blocks_are_replayed_one_by_one(url: str) -> None:
    model = cached(Blocks(), url)
    kept = model.invoke("a").content
    chunks = list(model.stream("a"))
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    assert [{name: value for name, value in block.items() if name != "index"} for block in whole.content] == kept
    assert len([chunk for chunk in chunks if chunk.content]) == 4
    assert len(CALLS) == 1


@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
def test_native_events_are_recorded_and_replayed(url: str) -> None:
    model = cached(Blocks(), url)
    texts = [model.stream_events("a", version="v3").output.text for _ in range(2)]
    assert texts == ["native", "native"]
    assert model.invoke("a").text == "native"
    assert len(CALLS) == 1


class Whole(BaseChatModel):
    """Neither streams nor is asynchronous."""

    @property
    def _llm_type(self) -> str:
        return "whole"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("all of it"))])


async def test_a_model_that_does_not_stream_still_does_not(url: str) -> None:
    model = cached(Whole(), url)
    assert [chunk.content for chunk in model.stream("a")] == ["all of it"]
    assert [chunk.content async for chunk in model.astream([HumanMessage("a")])] == ["all of it"]
    assert len(CALLS) == 1


def test_the_adapter_imports_little() -> None:
    code = (
        "import sys, langchain_core.caches; before = set(sys.modules); import askonce.langchain;"
        "askonce.langchain.AskOnceCache; print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {
        "langchain",
        "langgraph",
        "openai",
        "numpy",
        "redis",
        "pymongo",
        "transformers",
    }


def test_without_langchain_the_extra_is_named() -> None:
    code = "import sys; sys.modules['langchain_core'] = None\nimport askonce.langchain"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in run.stderr
    assert "askonce[langchain]" in run.stderr


class Async(BaseChatModel):
    """Streams asynchronously only."""

    @property
    def _llm_type(self) -> str:
        return "async"

    def _generate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> ChatResult:
        CALLS.append(messages)
        return ChatResult(generations=[ChatGeneration(message=AIMessage("one two"))])

    async def _astream(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        CALLS.append(messages)
        for word in ("one ", "two"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))


async def test_a_model_that_streams_only_asynchronously(url: str) -> None:
    model = cached(Async(), url)
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert [chunk.content for chunk in model.stream("a")] == ["one two"]
    assert [chunk.content async for chunk in model.astream("a")] == ["one ", "two", ""]
    assert len(CALLS) == 1
