"""Cached completion models."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models.llms import LLM, BaseLLM
from langchain_core.outputs import (
    Generation,
    GenerationChunk,
    LLMResult,
)

from askonce.langchain import AskOnceCache, cached
from askonce.stores.memory import MemoryStore
from tests.langchain.samples import CALLS


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
    for one in (by_name, by_object, cached(by_object, url)):
        assert pickle.loads(pickle.dumps(one)).invoke("a") == "a!"
    with pytest.raises(TypeError, match="URL"):
        pickle.dumps(cached(Simple(), MemoryStore()))
    assert cached(by_name, url) is by_name
    assert CALLS == ["a"]
