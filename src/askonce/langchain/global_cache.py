"""`AskOnceCache`: LangChain's own cache hook, `langchain_core.caches.BaseCache`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from functools import partial
from types import FrameType
from typing import Any, Unpack

from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

from askonce.cache import Cache, shared_cache
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Hit, Miss
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.langchain.keys.caller import asking_model, parameters_of_call
from askonce.langchain.keys.llm_string import parameters_of
from askonce.langchain.keys.model import Parameters, parameters_of_model
from askonce.langchain.keys.requests import Digests, form_of
from askonce.langchain.models.answers import mark, marked, pack, unpack
from askonce.langchain.models.prompts import follow_prompts, record_prompt_parts_of_completion
from askonce.stats import Stats
from askonce.stores import Store

logger = logging.getLogger("askonce")


class AskOnceCache(BaseCache):
    """LangChain's global cache: answers every model call that was answered before.

        set_llm_cache(AskOnceCache())                          # a SQLite file in the user's cache directory
        set_llm_cache(AskOnceCache("redis://localhost:6379", ttl=3600, namespace="shop"))

    LangChain does not use this cache for streams, and does not report calls that fail to it. With
    `askonce.langchain.cached` streams are cached too, and stale answers can be served when a call fails.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: the `Cache` that is asked.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(self, store: str | Store | Cache | None = None, **settings: Unpack[Settings]) -> None:
        self.cache = shared_cache(store, settings)
        if self.cache.engine.is_semantic:
            follow_prompts()
        self._digests = Digests()
        self._told = _ToldByTheApplication()

    # -- LangChain's side --------------------------------------------------------------------------------------

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to a prompt, or ``None``; then the caller makes it and calls `update`."""
        request = self._request(prompt, llm_string)
        if request is None:
            return None
        group = llm_string if _is_completion(prompt) else None
        return _found(self.cache.engine.lookup(request, group, _caller(sys._getframe(1))))

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Asynchronous `lookup`."""
        request = self._request(prompt, llm_string, asynchronous=True)
        if request is None:
            return None
        return _found(await self.cache.engine.alookup(request, llm_string if _is_completion(prompt) else None))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store the answer to a prompt."""
        request = self._request(prompt, llm_string, updating=True)
        if request is not None:
            self.cache.engine.update(request, lambda: pack(return_val, request.model))
            mark(return_val, self.cache.engine.mark_of_fresh(request))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Asynchronous `update`."""
        request = self._request(prompt, llm_string, updating=True, asynchronous=True)
        if request is not None:
            await self.cache.engine.aupdate(request, lambda: pack(return_val, request.model))
            mark(return_val, self.cache.engine.mark_of_fresh(request))

    def clear(self, **kwargs: Any) -> None:
        """Delete all answers of the current namespace.

        Raises:
            StoreError: the store failed, so the answers may still be there.
        """
        self.cache.clear()

    async def aclear(self, **kwargs: Any) -> None:
        """Asynchronous `clear`."""
        await self.cache.aclear()

    def _request(
        self, prompt: str, llm_string: str, *, updating: bool = False, asynchronous: bool = False
    ) -> Request | None:
        engine = self.cache.engine
        if engine.is_semantic and _is_completion(prompt):
            record_prompt_parts_of_completion()
        frame: FrameType | None = sys._getframe(2)
        parameters: Parameters | None = None

        def parameters_now() -> Parameters:
            nonlocal parameters, frame
            if parameters is None:
                asked = asking_model(frame)
                frame = None  # or it would live as long as the request
                if asked is None and updating:
                    self._told.add(prompt, llm_string)
                told = asked is None or self._told.has(prompt, llm_string)
                parameters = parameters_of(llm_string) if told else parameters_of_call(asked, asynchronous)
            return parameters

        return engine.request(
            "answer",
            lambda: form_of(prompt, parameters_now()),
            digest=lambda: self._digests.of(prompt, parameters_now()),
            unpack=partial(unpack, name_runs=True),
            semantic=True,
        )

    # -- the application's side --------------------------------------------------------------------------------

    def explain(self, prompt: str, model: Any) -> NormalForm:
        """The normal form of a request, and what was left out of it.

        Args:
            prompt: as LangChain hands it to a cache: a text, or ``langchain_core.load.dumps(messages)``.
            model: the model that is asked, or the ``llm_string`` by which an application asks without one.

        Raises:
            ConfigError: it has none, so that it is not cached; the message says why.
        """
        try:
            told = parameters_of(model) if isinstance(model, str) else parameters_of_model(model, None, {})
            return form_of(prompt, told)
        except Uncacheable as error:
            raise ConfigError(f"not cached: {error}") from error

    def stats(self) -> Stats:
        """What was hit, missed and saved in this process, and what the current namespace holds."""
        return self.cache.stats()

    async def astats(self) -> Stats:
        """Asynchronous `stats`."""
        return await self.cache.astats()

    def invalidate(self, tag: str) -> int:
        """Delete all answers with a tag from the current namespace; returns how many there were.

        Raises:
            StoreError: the store failed, so the answers may still be there.
        """
        return self.cache.invalidate(tag)

    async def ainvalidate(self, tag: str) -> int:
        """Asynchronous `invalidate`."""
        return await self.cache.ainvalidate(tag)

    def feedback(self, response: object, *, wrong: bool) -> bool:
        """Report that a response was wrong, so that it is dropped, or right; see `askonce.Cache.feedback`.

        Raises:
            StoreError: the store failed, so the answer may still be there.
        """
        return self.cache.feedback(response, wrong=wrong)

    async def afeedback(self, response: object, *, wrong: bool) -> bool:
        """Asynchronous `feedback`."""
        return await self.cache.afeedback(response, wrong=wrong)

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until what runs in the background is done; see `askonce.Cache.flush`."""
        return self.cache.flush(seconds)

    def close(self) -> None:
        """Flush hits, and close the store if this cache opened it."""
        self.cache.close()

    async def aclose(self) -> None:
        """Asynchronous `close`."""
        await self.cache.aclose()


class _ToldByTheApplication:
    """Requests whose answers the application stored itself, by LangChain's texts: models are answered by them."""

    def __init__(self, most: int = 1000) -> None:
        self._most = most
        self._known: dict[tuple[str, str], None] = {}

    def add(self, prompt: str, llm_string: str) -> None:
        if len(self._known) < self._most:
            self._known[prompt, llm_string] = None

    def has(self, prompt: str, llm_string: str) -> bool:
        return bool(self._known) and (prompt, llm_string) in self._known


def _caller(frame: FrameType) -> FrameType:
    """The call that looks up and then updates; a completion model's looks up through a function of its own."""
    return frame.f_back or frame if frame.f_code.co_name == "get_prompts" else frame


def _is_completion(prompt: str) -> bool:
    """A completion model looks up all prompts of a batch before it calls; a chat model one before each call."""
    return not prompt.startswith('[{"lc":')


def _found(found: Hit | Miss) -> list[Generation] | None:
    return marked(found) if isinstance(found, Hit) else None
