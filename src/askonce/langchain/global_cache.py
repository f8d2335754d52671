"""`AskOnceCache`: LangChain's own cache hook, `langchain_core.caches.BaseCache`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from functools import partial
from types import FrameType
from typing import Any, Unpack

import msgspec
from langchain_core.caches import BaseCache
from langchain_core.outputs import Generation

from askonce.cache import Cache, CacheMethods, shared_cache
from askonce.engine.request import Request
from askonce.engine.settings import Settings
from askonce.entries.entry import Answer, Hit
from askonce.errors import ConfigError
from askonce.keys.counters import CallUnderWay
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.langchain.keys.caller import Caller, find_caller
from askonce.langchain.keys.llm_string import given_in, parameters_of
from askonce.langchain.keys.model import Parameters, parameters_of_model
from askonce.langchain.keys.requests import Digests, form_of
from askonce.langchain.models.acceptance import gives_end_reason, requested_in, requested_of
from askonce.langchain.models.answers import STREAM, STREAM_WITH_USAGE, WHOLE, mark, marked, pack, unpack
from askonce.langchain.models.calls import model_name, requests_usage
from askonce.langchain.models.prompts import follow_prompts, record_prompt_parts_of_completion
from askonce.stores import Client, Store

logger = logging.getLogger("askonce")

_MOST_GIVEN = 1_000
_MOST_BEGUN = 8
_CHAT = '[{"lc":'
_REPORTS_HEADERS = '"include_response_headers": true'


class _Begun(msgspec.Struct):
    """A call of a model that began after a lookup.

    Attributes:
        parameters: what its answer depends on besides the prompt.
        call: the call; ``None``: the model was changed between two lookups for it.
        is_done: its answer has come.
    """

    parameters: Parameters
    call: CallUnderWay | None
    is_done: bool = False


_NONE_BEGUN: dict[tuple[int, int], _Begun] = {}
_begun: ContextVar[dict[tuple[int, int], _Begun]] = ContextVar("askonce_begun_calls", default=_NONE_BEGUN)
"""By the ids of the model and of the frame of its call."""


class AskOnceCache(BaseCache, CacheMethods):
    """LangChain's global cache: answers every model call that was answered before.

        set_llm_cache(AskOnceCache())                          # a SQLite file in the user's cache directory
        set_llm_cache(AskOnceCache("redis://localhost:6379", ttl=3600, namespace="shop"))

    LangChain does not use this cache for streams, and does not report calls that fail to it. With
    `askonce.langchain.cached` streams are cached too, and stale answers can be served when a call fails.

    It has the methods of `Cache`, too: ``stats``, ``totals``, ``explain``, ``entries``, ``invalidate``, ``erase``,
    ``feedback``, ``flush``, and their asynchronous twins.

    Args:
        store: a store's URL, a store, a `Cache`, or ``None`` for a SQLite file in the user's cache directory.
        settings: of `askonce.Cache`, such as ``ttl`` and ``namespace``.

    Attributes:
        cache: the `Cache` in use.

    Raises:
        ConfigError: an argument is wrong, or the store cannot be used.
    """

    def __init__(self, store: str | Store | Client | Cache | None = None, **settings: Unpack[Settings]) -> None:
        self.cache = shared_cache(store, settings)
        if self.cache.engine.is_semantic:
            follow_prompts()
        self._digests = Digests()
        self._given: dict[tuple[str, str], None] = {}  # what the application stored itself

    def __reduce__(self) -> Any:
        return type(self), (self.cache,)

    # -- LangChain's side --------------------------------------------------------------------------------------

    def lookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """The answer to a prompt, or ``None``; then the caller makes it and calls `update`."""
        call = _CacheUse(prompt, llm_string, sys._getframe(1), (prompt, llm_string) in self._given)
        request = self._request(call)
        if request is None:
            return None
        # A completion model looks up all prompts of a batch before it calls, a chat model one before each call.
        group = None if prompt.startswith(_CHAT) else llm_string
        found = self.cache.engine.lookup(request, group, call.frame)
        if not isinstance(found, Hit):
            call.begin()
        call.frame = None  # what it holds would live as long as the request
        return marked(found) if isinstance(found, Hit) else None

    async def alookup(self, prompt: str, llm_string: str) -> list[Generation] | None:
        """Asynchronous `lookup`."""
        call = _CacheUse(prompt, llm_string, sys._getframe(1), (prompt, llm_string) in self._given)
        request = self._request(call)
        if request is None:
            return None
        group = None if prompt.startswith(_CHAT) else llm_string
        found = await self.cache.engine.alookup(request, group)
        if not isinstance(found, Hit):
            call.begin()
        call.frame = None  # what it holds would live as long as the request
        return marked(found) if isinstance(found, Hit) else None

    def update(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Store the answer to a prompt.

        What an application stores itself answers its own lookups, and in this process the models whose
        ``llm_string`` that is: it does not say all that a model's own answers depend on.
        """
        call = _CacheUse(
            prompt, llm_string, sys._getframe(1), (prompt, llm_string) in self._given, is_answered=True
        )
        request = self._request(call)
        if request is not None:
            self.cache.engine.update(request, lambda: call.pack(return_val))
            self._done(call)
            mark(return_val, self.cache.engine.mark_of_fresh(request))

    async def aupdate(self, prompt: str, llm_string: str, return_val: Sequence[Generation]) -> None:
        """Asynchronous `update`."""
        call = _CacheUse(
            prompt, llm_string, sys._getframe(1), (prompt, llm_string) in self._given, is_answered=True
        )
        request = self._request(call)
        if request is not None:
            await self.cache.engine.aupdate(request, lambda: call.pack(return_val))
            self._done(call)
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

    def _done(self, call: _CacheUse) -> None:
        call.frame = None
        if call.caller is None and len(self._given) < _MOST_GIVEN:
            self._given[call.prompt, call.llm_string] = None

    def _request(self, call: _CacheUse) -> Request | None:
        engine = self.cache.engine
        if engine.is_semantic and not call.prompt.startswith(_CHAT):
            record_prompt_parts_of_completion()
        return engine.request(
            "answer",
            lambda: form_of(call.prompt, call.parameters()),
            digest=partial(self._digests.of, call.prompt, call.parameters),
            unpack=partial(
                unpack, name_runs=True, delivery=call.delivery, headers=_REPORTS_HEADERS in call.llm_string
            ),
            semantic=True,
            counts=not call.is_answered,
        )

    # -- the application's side --------------------------------------------------------------------------------

    def form(self, prompt: str, model: Any) -> NormalForm:
        """The normal form of a request, and what was left out of it.

        Args:
            prompt: as LangChain gives it to a cache: a text, or ``langchain_core.load.dumps(messages)``.
            model: the model, or the ``llm_string`` where an application uses the cache without one.

        Raises:
            ConfigError: it has none, so that it is not cached; the message says why.
        """
        try:
            given = parameters_of(model) if isinstance(model, str) else parameters_of_model(model, None, {})
            return self.cache.engine.without_ignored(form_of(prompt, given))
        except Uncacheable as error:
            raise ConfigError(f"not cached: {error}") from error

    def close(self) -> None:
        """Flush hits, and close the store if this cache opened it."""
        self.cache.close()

    async def aclose(self) -> None:
        """Asynchronous `close`."""
        await self.cache.aclose()


class _CacheUse(msgspec.Struct):
    """One use of the cache, by a model that looks up or updates, or by the application.

    Attributes:
        prompt: as LangChain writes it.
        llm_string: as LangChain writes the model and the call.
        frame: of the model's call, as soon as it is found; until then of the call to the cache.
        is_given: the application stored the answer itself, by these texts.
        is_answered: the model has made the answer.
        caller: the model's call; ``None`` for the application's own, and before `parameters`.
    """

    prompt: str
    llm_string: str
    frame: FrameType | None
    is_given: bool
    is_answered: bool = False
    caller: Caller | None = None
    _parameters: Parameters | None = None

    def parameters(self) -> Parameters:
        """What the answer depends on besides the prompt.

        Raises:
            Uncacheable: something that it depends on cannot be read.
        """
        if self._parameters is None:
            found = find_caller(self.frame)
            if found is not None:
                self.caller, self.frame = found
            if self.caller is None or self.is_given:
                self._parameters = parameters_of(self.llm_string)
            else:
                model, stop, kwargs = self.caller.model, self.caller.stop, self.caller.kwargs
                read = partial(parameters_of_model, model, stop, kwargs, asynchronous=self.caller.asynchronous)
                self._parameters = self._before(model, read) if self.is_answered else read()
        return self._parameters

    def begin(self) -> None:
        """Note that the model makes the answer now."""
        if self.caller is None or self._parameters is None:
            return
        at, begun = (id(self.caller.model), id(self.frame)), _begun.get()
        known = begun.get(at)
        latest = _Begun(self._parameters, CallUnderWay(self.caller.model))
        # Of a batch all prompts are looked up before the call.
        of_batch = None if self.prompt.startswith(_CHAT) or known is None or known.is_done else known
        if of_batch and (of_batch.call is None or of_batch.parameters.encoded != self._parameters.encoded):
            latest.call = None
        others = [(key, one) for key, one in begun.items() if key != at]
        _begun.set(dict([*others, (at, latest)][-_MOST_BEGUN:]))

    def _before(self, model: Any, read: Callable[[], Parameters]) -> Parameters:
        """What the answer depends on besides the prompt, as it was when it was looked up.

        Raises:
            Uncacheable: the model was changed since, and not by its own code.
        """
        begun = _begun.get().get((id(model), id(self.frame)))
        if begun is None:  # a cache around this one has looked it up elsewhere
            raise Uncacheable(f"the lookup of {type(model).__name__}'s answer was not seen; wrap it: cached(model)")
        begun.is_done, before, call = True, begun.parameters, begun.call
        if call is not None:
            call.end()
        now = read()
        if call is None or not call.has_left(msgspec.Raw(before.encoded), msgspec.Raw(now.encoded)):
            raise Uncacheable(
                f"{type(model).__name__} was changed while it answered, and not by its own code as far as can be"
                " read; where that says nothing of its answers, name it: cached(model, name='…')"
            )
        return before

    def delivery(self) -> int:
        """How the answer is requested: LangChain streams for callbacks, too, and does not say so to its cache."""
        if self.caller is None:
            return WHOLE
        model, kwargs = self.caller.model, self.caller.kwargs
        if self.caller.streams():
            return STREAM_WITH_USAGE if requests_usage(model, kwargs) else STREAM
        return WHOLE if hasattr(model, "stream_usage") else STREAM

    def pack(self, generations: Sequence[Generation]) -> Answer | None:
        with_reason = False
        if self.caller is None:
            name, requested = parameters_of(self.llm_string).name, requested_in(*given_in(self.llm_string))
        else:
            model = self.caller.model
            name, requested = model_name(model), requested_of(model, self.caller.kwargs)
            with_reason = gives_end_reason(model, streamed=self.caller.streams())
        return pack(generations, name, delivery=self.delivery(), requested=requested, with_end_reason=with_reason)
