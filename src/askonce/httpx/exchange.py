"""One request of a client to an API that is known, and its response."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import TYPE_CHECKING

from askonce.concurrency.beside import LARGE_BYTES
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.httpx.fetched import Fetched, RefusedReply
from askonce.httpx.package import package_of, refused, reply, say
from askonce.httpx.sides import SyncSide
from askonce.wire import embeddings, headers, replies
from askonce.wire.embeddings import StoredVector
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest

if TYPE_CHECKING:
    import httpx2


class Exchange:
    """A request and how it is answered.

    Args:
        wire: the request as the cache reads it.
        request: the client's.
        side: how it is sent.
    """

    def __init__(self, wire: WireRequest, request: httpx2.Request, side: SyncSide) -> None:
        self._wire, self._request, self._side = wire, request, side
        self._failed: int | None = None

    async def response(self) -> httpx2.Response:
        """The response: the upstream's, or one from the cache.

        Raises:
            Exception: what the transport raised.
        """
        try:
            if self._wire.api == "embeddings":
                return await self._embeddings()
            return await self._answer()
        except RefusedReply as error:
            return self._fresh(error.response)

    async def _answer(self) -> httpx2.Response:
        side, wire = self._side, self._wire
        cacheable = await side.beside_if(wire.is_large, replies.request_to, side.engine, wire)
        if wire.directives.only_if_cached:
            found = [] if cacheable is None else await side.lookup_many([cacheable])
            return self._from_cache(found[0]) if found and isinstance(found[0], Hit) else self._nothing()
        if cacheable is None:
            return self._fresh(await side.send(self._request), "bypass")
        if wire.streams:
            streamed = await side.stream(cacheable, wire, lambda: self._fetched(self._request, whole=False))
            return self._from_cache(streamed) if isinstance(streamed, Hit) else self._fresh(streamed)
        got = await side.answer(cacheable, lambda: self._fetched(self._request), lambda one: one.packed(wire))
        return self._from_cache(got) if isinstance(got, Hit) else self._fresh(got.response)

    async def _fetched(self, request: httpx2.Request, *, whole: bool = True) -> Fetched:
        """What the upstream replies; its body is read if ``whole``.

        Raises:
            RefusedReply: its status is not 200.
        """
        try:
            response = await self._side.send(request)
            response.request = request
            if response.status_code != 200:
                await self._side.read(response)
                raise RefusedReply(response)
            return Fetched(response, await self._side.read(response)) if whole else Fetched(response)
        except Exception as error:
            self._failed = error.response.status_code if isinstance(error, RefusedReply) else 0
            raise

    # -- responses ---------------------------------------------------------------------------------------------

    def _from_cache(self, hit: Hit) -> httpx2.Response:
        stored: replies.StoredReply = hit.value
        about = headers.of_hit(hit, self._side.engine.settings.clock(), self._failed)
        return reply(self._request, 200, [*stored.headers, *about], stored.body)

    def _fresh(self, response: httpx2.Response, why: headers.Forwarded = "miss") -> httpx2.Response:
        """A response of the upstream, which says why it was called."""
        if why == "miss" and self._wire.directives.refresh:
            why = "request"
        detail = self._wire.barred if why == "bypass" else ""
        say(response, headers.of_forwarded(why, status=response.status_code, detail=detail))
        return response

    def _nothing(self) -> httpx2.Response:
        return refused(self._request, nothing_cached())

    # -- embeddings --------------------------------------------------------------------------------------------

    async def _embeddings(self) -> httpx2.Response:
        side, wire = self._side, self._wire
        has_many = embeddings.has_many_texts(wire)
        requests = await side.beside_if(has_many, embeddings.requests_to, side.engine, wire)
        if requests is None:
            if wire.directives.only_if_cached:
                return self._nothing()
            return self._fresh(await side.send(self._request), "bypass")
        if len(requests) == 1 and not wire.directives.only_if_cached:
            return await self._one_embedding(*requests.items())
        looked_up = await side.lookup_many(list(requests.values()), embeddings.length_of)
        found = dict(zip(requests, looked_up, strict=True))
        hits = {name: one for name, one in found.items() if isinstance(one, Hit)}
        if len(hits) == len(requests):
            return await self._vectors(hits)
        if wire.directives.only_if_cached:
            return self._nothing()
        try:
            return await self._missing(requests, hits)
        except Exception as error:
            if self._failed is None:  # it was not the upstream
                raise
            instead = embeddings.stale_instead(side.engine, requests, found, error)
            if instead is None:
                raise
            return await self._vectors(instead)

    async def _one_embedding(self, one: tuple[bytes, Request]) -> httpx2.Response:
        """A single text, or one that is given several times: others wait while it is embedded."""
        name, cacheable = one

        def packed(fetched: Fetched) -> Answer | None:
            answers = self._packed(embeddings.texts_in(self._wire) or [], fetched)
            return answers[0] if answers else None

        got = await self._side.answer(cacheable, lambda: self._fetched(self._request), packed)
        if isinstance(got, Hit):
            return await self._vectors({name: got})
        return self._fresh(got.response)

    def _packed(self, texts: list[object], fetched: Fetched, hits: Collection[Hit] = ()) -> list[Answer] | None:
        """See `embeddings.packed`; also ``None`` if the reply cannot be decoded."""
        try:
            body = fetched.body()
        except Exception:
            return None
        return embeddings.packed(self._wire, texts, fetched.headers, body, hits)

    async def _missing(self, requests: dict[bytes, Request], hits: dict[bytes, Hit]) -> httpx2.Response:
        """Request the texts that are not stored; where some are, the reply is made of both."""
        wire, texts = self._wire, embeddings.texts_in(self._wire) or []
        missing = embeddings.not_stored(texts, hits)
        request = self._request if not hits else self._request_for(missing)
        began = time.monotonic()
        fetched = await self._fetched(request)
        answers = await self._side.beside_if(fetched.is_large, self._packed, missing, fetched, hits.values())
        if answers is None:
            whole = fetched if request is self._request else await self._fetched(self._request)
            return self._fresh(whole.response)
        made = dict(zip(map(embeddings.name_of, missing), answers, strict=True))
        await self._side.store_many(
            [requests[name] for name in made], list(made.values()), time.monotonic() - began
        )
        if not hits:
            return self._fresh(fetched.response)
        is_large = embeddings.bytes_of(hits.values(), answers) > LARGE_BYTES
        body = await self._side.beside_if(is_large, embeddings.reply_of_both, wire, hits, made)
        if body is None:
            self._side.engine.not_served((requests[name], hit) for name, hit in hits.items())
            return await self._missing(requests, {})
        return self._fresh(reply(self._request, 200, headers.lasting(fetched.headers), body))

    def _request_for(self, texts: list[object]) -> httpx2.Request:
        given = self._request
        sent = [pair for pair in given.headers.multi_items() if pair[0] != "content-length"]
        made: httpx2.Request = package_of(given).Request(
            given.method, given.url, headers=sent, content=embeddings.body_for(self._wire, texts),
            extensions=given.extensions,
        )  # fmt: skip
        return made

    async def _vectors(self, hits: dict[bytes, Hit]) -> httpx2.Response:
        oldest = embeddings.oldest_of(hits.values())
        is_large = embeddings.bytes_of(hits.values()) > LARGE_BYTES
        body = await self._side.beside_if(is_large, embeddings.reply_of_hits, self._wire, hits)
        about = headers.of_hit(oldest, self._side.engine.settings.clock(), self._failed)
        stored: StoredVector = oldest.value
        return reply(self._request, 200, [*stored.headers, *about], body)
