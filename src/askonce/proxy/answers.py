"""Cached requests: from the store, from what another request is just being given, or from the provider."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal, NamedTuple

import msgspec

from askonce.concurrency.beside import beside_if
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss, Place
from askonce.proxy.call import ProxyCall
from askonce.proxy.incoming import ReplySoFar
from askonce.proxy.relay import Relay, UpstreamTarget, failed
from askonce.proxy.tape import Tape
from askonce.proxy.upstream import Head, Refused, Reply, Unsendable, UpstreamFailed
from askonce.wire import headers, replies
from askonce.wire.refusals import nothing_cached
from askonce.wire.requests import WireRequest

logger = logging.getLogger("askonce")

Item = Hit | Head | bytes
"""A hit; or the head of a reply, and then the parts of its body."""


class CacheableCall(NamedTuple):
    """A call whose answer may be cached.

    Attributes:
        call: the client's.
        wire: what it says.
        request: to the cache.
        target: where the provider is.
        body: as it came.
        name: what all have in common to whom the same bytes are sent.
        rules: how old a stored answer may be: those with equal ones find the same.
    """

    call: ProxyCall
    wire: WireRequest
    request: Request
    target: UpstreamTarget
    body: bytes
    name: object
    rules: object


class Answers:
    """Answers to chat completions, messages and responses.

    Args:
        engine: the cache's.
        relay: passes on what is not cached.
        max_bytes: a larger reply is passed on and not stored.
    """

    def __init__(self, engine: CacheEngine, relay: Relay, max_bytes: int) -> None:
        self._engine, self._relay, self._max_bytes = engine, relay, max_bytes
        self._live: dict[object, Tape[Item]] = {}
        self._looked_up: set[object] = set()
        self._making: set[asyncio.Task[None]] = set()
        self._storing: dict[Place, asyncio.Task[None]] = {}

    async def respond(self, call: ProxyCall, wire: WireRequest, target: UpstreamTarget, body: bytes) -> None:
        """Respond to a request."""
        request = await beside_if(wire.is_large, replies.request_to, self._engine, wire)
        if request is not None:
            rules = (request.freshness, request.options.ttl_seconds)
            await self._respond(CacheableCall(call, wire, request, target, body, _name(wire, request), rules))
        elif wire.directives.only_if_cached:
            await call.say(nothing_cached())
        else:
            await self._relay.pass_on(call, target, body, "bypass", wire.barred)

    async def _respond(self, of: CacheableCall) -> None:
        storing = self._storing.get(of.request.place)
        if storing is not None and not of.wire.directives.refresh:
            await asyncio.wait((storing,))  # somebody has the whole of that answer: it is to be found
        found = await self._cached(of)
        if isinstance(found, Hit):
            await self._replay(of.call, found)
        elif of.wire.directives.only_if_cached:
            await of.call.say(nothing_cached())
        else:
            while await self._play(of, found) == "not for him":
                found = None

    def _looks_up(self, of: CacheableCall) -> bool:
        """Whether a request looks up by itself: of a crowd for the same, the first one, and the second one for all.

        A thousand lookups at once would be so slow that the store is taken to be down.
        """
        live = self._live.get(of.name)
        return (of.name, of.rules) not in self._looked_up and (live is None or of.rules not in live.found)

    async def _cached(self, of: CacheableCall) -> Hit | Miss | None:
        """What is stored, perhaps a stale answer, which is then made anew; ``None``: it was not looked up."""
        directives, found = of.wire.directives, None
        if directives.only_if_cached:
            return await self._engine.apeek(of.request)
        if directives.refresh:
            return None
        if self._looks_up(of):
            looked_up = await self._found(of)
            if isinstance(looked_up, Hit):
                return looked_up
            found = looked_up
        live = self._live.get(of.name)
        if live is not None:
            found = live.found[of.rules] = found or live.found.get(of.rules)
        stale = None if found is None else self._engine.stale(of.request, found)
        if stale is not None and live is None:
            self._begin(of, of.name, found).is_behind = True
        return stale or found

    async def _found(self, of: CacheableCall) -> Hit | Miss:
        self._looked_up.add((of.name, of.rules))
        try:
            return await self._engine.apeek(of.request)
        finally:
            self._looked_up.discard((of.name, of.rules))

    async def finish(self, seconds: float) -> None:
        """Wait until nothing more is being made, no longer than so many seconds; what is then made is given up."""
        if self._making:
            _, late = await asyncio.wait(self._making, timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=1.0)

    # -- one tape for all who want the same bytes ----------------------------------------------------------------

    async def _play(self, of: CacheableCall, found: Miss | None) -> Literal["done", "not for him"]:
        """Respond with what a tape holds, as it comes."""
        call, wire = of.call, of.wire
        name = None if wire.directives.refresh else of.name  # a refresh is nobody's to follow
        began, tape = time.monotonic(), None if name is None else self._live.get(name)
        follows = tape is not None
        if tape is None:
            tape = self._begin(of, name, found)
        reader = tape.reader()
        watch = asyncio.create_task(call.left())
        watch.add_done_callback(reader.go)
        try:
            first = await reader.next()
            if isinstance(first, Hit):
                hit = self._judged(of, tape, first)
                if hit is None:
                    self._forget(name, tape)
                    return "not for him"
                await self._replay(call, hit, tape.failure)
            elif isinstance(first, Head):
                await call.start(200, _shown(first, wire, forwarded_since(wire, tape.found.get(of.rules)), follows))
                while (part := await reader.next()) is not None:
                    assert isinstance(part, bytes)
                    await call.write(part)
                if not reader.gone:
                    await call.finish()
            if follows and (made := first if isinstance(first, Hit) else tape.answer) is not None:
                seconds = time.monotonic() - began
                await beside_if(of.request.is_large, self._engine.coalesced, of.request, made, seconds)
        except (Refused, UpstreamFailed) as error:
            if follows and not call.begun and (tape.scope != wire.scope or isinstance(error, Unsendable)):
                self._forget(name, tape)
                return "not for him"
            stale = None if call.begun or tape.rules == of.rules else self._stale(of, tape, error)
            if stale is not None:
                await self._replay(call, stale, error)
            else:
                await say(call, error, forwarded_since(wire, tape.found.get(of.rules)))
        finally:
            watch.cancel()
            tape.leave(reader)
        return "done"

    def _judged(self, of: CacheableCall, tape: Tape[Item], hit: Hit) -> Hit | None:
        """What was found for another request, if it is found for this one too.

        Raises:
            Refused, UpstreamFailed: it is stale, and this request is to know that no other could be made.
        """
        if tape.rules == of.rules or hit.kind == "coalesced":  # which has just been made
            return hit
        judged = self._engine.judged(of.request, hit)
        if isinstance(judged, Miss) and tape.failure is not None:
            tape.found[of.rules] = judged
            raise tape.failure
        return judged if isinstance(judged, Hit) else None

    def _stale(self, of: CacheableCall, tape: Tape[Item], error: Exception) -> Hit | None:
        """The stale answer that stands in for one that could not be made for another request."""
        found = tape.found.get(of.rules)
        return None if found is None else self._engine.instead(of.request, found, error)

    def _begin(self, of: CacheableCall, name: object, found: Miss | None) -> Tape[Item]:
        """Begin to make an answer, in a task of its own, which goes on as long as anybody waits for it.

        Args:
            of: whose it is.
            name: under which others find the tape; ``None``: they do not.
            found: what was just looked up; ``None``: nothing was.
        """

        def abandoned() -> None:
            self._forget(name, tape)
            task.cancel()

        tape: Tape[Item] = Tape(of.wire.scope, of.rules, abandoned)
        tape.found[of.rules] = found
        if name is not None:
            self._live[name] = tape

        def stores() -> None:
            self._storing[of.request.place] = task

        task = asyncio.create_task(self._make(tape, of, found, stores))
        self._making.add(task)

        def done(_: object) -> None:
            self._making.discard(task)
            self._forget(name, tape)
            if self._storing.get(of.request.place) is task:
                del self._storing[of.request.place]
            if tape.is_behind and tape.error is not None:
                logger.warning("askonce: a stale answer could not be made anew: %s", tape.error)

        task.add_done_callback(done)
        return tape

    def _forget(self, name: object, tape: Tape[Item]) -> None:
        if self._live.get(name) is tape:
            del self._live[name]

    async def _make(
        self, tape: Tape[Item], of: CacheableCall, found: Miss | None, stores: Callable[[], None]
    ) -> None:
        """Write a tape: what is stored by now, or what the provider replies, which is stored.

        Args:
            tape: what is written.
            of: whose it is.
            found: see `_begin`.
            stores: called when all came, and the rest is to store it.
        """
        came = ReplySoFar(self._max_bytes)

        async def call_model() -> AsyncIterator[Any]:
            try:
                reply = await self._fetched(of)
            except (Refused, UpstreamFailed) as failure:
                tape.failure = failure
                raise
            try:
                came.head, came.is_encoded = reply.head, reply.is_encoded
                yield reply.head
                async for part in reply.parts():
                    if not came.add(part) and not tape.is_dropped:
                        self._forget(of.name, tape)  # who comes now could not read its beginning
                        tape.drop()
                    yield part
            finally:
                reply.close()
            tape.is_whole = True
            await came.prepare(of.wire)

        def pack() -> Answer | None:
            try:
                tape.answer = came.packed(of.wire)
            finally:
                answer = tape.answer
                if answer is None or answer.truncated or answer.empty or answer.invalid:
                    self._forget(of.name, tape)  # later requests call the provider
                else:
                    stores()
                tape.end()  # nobody of those who have it waits for the store
            return answer

        items: Any = self._engine.astream(
            of.request, call_model, pack, lambda hit: iter((hit,)), lambda: came.has_ended(of.wire), found
        )
        error: BaseException | None = None
        try:
            async with contextlib.aclosing(items):  # so that the provider's connection is closed at once
                async for item in items:
                    await tape.write(item)
        except (Exception, asyncio.CancelledError) as raised:
            error = raised if isinstance(raised, (Refused, UpstreamFailed)) else _fault(raised)
        tape.end(error)

    async def _fetched(self, of: CacheableCall) -> Reply:
        """The provider's reply, with status 200.

        Raises:
            UpstreamFailed: there is none.
            Refused: it has another status.
        """
        reply = await self._relay.upstreams.send(
            of.target.upstream, of.call.method, of.target.url, of.call.headers, of.body, decoded=True
        )
        if reply.head.status == 200:
            return reply
        try:
            raise Refused(reply.head, b"".join([part async for part in reply.parts()]))
        finally:
            reply.close()

    async def _replay(self, call: ProxyCall, hit: Hit, failure: Exception | None = None) -> None:
        stored: replies.StoredReply = hit.value
        about = headers.of_hit(hit, self._engine.settings.clock(), status_of(failure))
        await call.respond(200, [*stored.headers, *about], stored.body)


def _name(wire: WireRequest, request: Request) -> object:
    """The name of a `CacheableCall`."""
    options = msgspec.json.encode([wire.body.get("stream"), wire.body.get("stream_options")])
    return request.place, options, replies.echoed(wire)


def _shown(head: Head, wire: WireRequest, why: headers.Forwarded, follows: bool) -> list[tuple[bytes, bytes]]:
    """The headers of a reply; one who follows gets those that are true of it for him too."""
    status = (b"cache-status", headers.of_forwarded(why, collapsed=follows)[1].encode())
    if not follows:
        return [*head.raw, status]
    lasting = {name.lower() for name, _ in headers.lasting(head.headers, shared=wire.is_shared)} | {
        "content-length",
        "content-encoding",
    }
    return [*((name, value) for name, value in head.raw if name.decode("latin-1").lower() in lasting), status]


def _fault(error: BaseException) -> UpstreamFailed:
    return UpstreamFailed(502, f"the request failed ({type(error).__name__})")


async def say(call: ProxyCall, error: Refused | UpstreamFailed, why: headers.Forwarded) -> None:
    """Respond with what the provider replied, byte for byte, or with what went wrong."""
    if isinstance(error, UpstreamFailed):
        await failed(call, error, headers.of_forwarded(why))
        return
    raw = [pair for pair in error.head.raw if pair[0].lower() != b"content-length"]
    status = headers.of_forwarded(why, status=error.head.status)[1].encode()
    about = [(b"cache-status", status)]
    if error.head.status not in (204, 304):  # which have none
        about.append((b"content-length", b"%d" % len(error.body)))
    await call.start(error.head.status, [*raw, *about])
    await call.finish(error.body)


def status_of(failure: Exception | None) -> int | None:
    """Of a provider's reply, 0 if there was none; ``None``: it did not fail."""
    if failure is None:
        return None
    return failure.status if isinstance(failure, Refused) else 0


def forwarded_since(wire: WireRequest, *found: Hit | Miss | None) -> headers.Forwarded:
    """Why the provider is called, if nothing else stands against the cache.

    Args:
        wire: the request.
        found: what was found for it, as far as it is known.
    """
    if wire.directives.refresh:
        return "request"
    return "stale" if any(isinstance(one, Miss) and one.reason == "expired" for one in found) else "miss"
