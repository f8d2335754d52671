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
from askonce.entries.entry import Answer, Hit, Miss
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.langchain.keys.llm_string import parameters_of
from askonce.langchain.keys.requests import Digests, form_of
from askonce.langchain.models.acceptance import requested_in
from askonce.langchain.models.answers import STREAM, STREAM_WITH_USAGE, WHOLE, mark, marked, pack, unpack
from askonce.langchain.models.calls import asks_for_usage
from askonce.langchain.models.prompts import follow_prompts, record_prompt_parts_of_completion
from askonce.stats import Stats
from askonce.stores import Store

logger = logging.getLogger("askonce")

_TELLS_HEADERS = '"include_response_headers": true'


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

    def __reduce__(self) -> Any:
        return type(self), (self.cache,)

    # -- LangChain's side --------------------------------------------------------------------------------------

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to a prompt, or ``None``; then the caller makes it and calls `update`."""
        request = self._request(prompt, llm_string, sys._getframe(1))
        if request is None:
            return None
        group = llm_string if _is_completion(prompt) else None
        return _found(self.cache.engine.lookup(request, group, _caller(sys._getframe(1))))

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Asynchronous `lookup`."""
        request = self._request(prompt, llm_string, sys._getframe(1))
        if request is None:
            return None
        return _found(await self.cache.engine.alookup(request, llm_string if _is_completion(prompt) else None))

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store the answer to a prompt."""
        request = self._request(prompt, llm_string)
        if request is not None:
            asked = _asked_by(sys._getframe(1))
            self.cache.engine.update(request, lambda: _packed(llm_string, return_val, asked))
            mark(return_val, self.cache.engine.mark_of_fresh(request))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Asynchronous `update`."""
        request = self._request(prompt, llm_string)
        if request is not None:
            asked = _asked_by(sys._getframe(1))
            await self.cache.engine.aupdate(request, lambda: _packed(llm_string, return_val, asked))
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

    def _request(self, prompt: str, llm_string: str, caller: FrameType | None = None) -> Request | None:
        engine = self.cache.engine
        if engine.is_semantic and _is_completion(prompt):
            record_prompt_parts_of_completion()
        return engine.request(
            "answer",
            partial(form_of, prompt, llm_string),
            digest=partial(self._digests.of, prompt, llm_string),
            unpack=partial(
                unpack,
                name_runs=True,
                asked=partial(_asked_by, caller),
                headers=_TELLS_HEADERS in llm_string,
            ),
            semantic=True,
        )

    # -- the application's side --------------------------------------------------------------------------------

    def explain(self, prompt: str, llm_string: str) -> NormalForm:
        """The normal form of a request, and what was left out of it.

        Raises:
            ConfigError: it has none, so that it is not cached; the message says why.
        """
        try:
            return self.cache.engine.without_ignored(form_of(prompt, llm_string))
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


def _caller(frame: FrameType) -> FrameType:
    """The call that looks up and then updates; a completion model's looks up through a function of its own."""
    return frame.f_back or frame if frame.f_code.co_name == "get_prompts" else frame


def _is_completion(prompt: str) -> bool:
    """A completion model looks up all prompts of a batch before it calls; a chat model one before each call."""
    return not prompt.startswith('[{"lc":')


def _asked_by(caller: FrameType | None) -> int:
    """How the model is asked that calls: LangChain streams for callbacks, too, and does not tell its cache."""
    known: dict[str, Any] = {} if caller is None else caller.f_locals
    model, kwargs = known.get("self"), known.get("kwargs") or {}
    try:
        streaming = partial(model._should_stream, run_manager=known.get("run_manager"), **kwargs)  # type: ignore[union-attr]
        streams = streaming(async_api=False) or streaming(async_api=True)
    except Exception:  # it is none of LangChain's
        return WHOLE if model is None else STREAM
    if streams:
        return STREAM_WITH_USAGE if asks_for_usage(model, kwargs) else STREAM
    return WHOLE if hasattr(model, "stream_usage") else STREAM


def _packed(llm_string: str, generations: Sequence[Generation], asked: int) -> Answer | None:
    parameters = parameters_of(llm_string)
    return pack(generations, parameters.name, asked=asked, requested=requested_in(parameters.form))


def _found(found: Hit | Miss) -> list[Generation] | None:
    return marked(found) if isinstance(found, Hit) else None
