"""An application that gets answers through a cache: what the tests of the core share."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable, Iterator

from askonce import Cache
from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit, Miss, Usage
from askonce.keys.normal_form import NormalForm


def pack(text: str) -> Answer:
    return Answer(text.encode(), Usage(10, 5), "gpt-4o", truncated="…" in text, empty=not text)


class Application:
    """Answers questions through a cache, sync or async, and counts the calls of its model."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.calls = self.at_once = self.most_at_once = 0
        self.delay = 0.0
        self.fails: Callable[[int], bool] = lambda call: False

    def request(self, question: str) -> Request:
        request = self.cache.engine.request("answer", lambda: NormalForm({"question": question}))
        assert request is not None
        return request

    def model(self, question: str) -> str:
        self.calls += 1
        call = self.calls
        time.sleep(self.delay)
        if self.fails(call):
            raise RuntimeError(f"call {call} fails")
        return f"{question}!"

    async def amodel(self, question: str) -> str:
        self.calls += 1
        call = self.calls
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.delay)
        self.at_once -= 1
        if self.fails(call):
            raise RuntimeError(f"call {call} fails")
        return f"{question}!"

    def answer(self, question: str) -> str:
        return self.text(self.cache.engine.answer(self.request(question), lambda: self.model(question), pack))

    async def aanswer(self, question: str) -> str:
        return self.text(
            await self.cache.engine.aanswer(self.request(question), lambda: self.amodel(question), pack)
        )

    @staticmethod
    def text(found: str | Hit) -> str:
        return f"{found.kind}: {found.entry.payload.decode()}" if isinstance(found, Hit) else found


class Both:
    """Calls the sync or the async methods, so that every behaviour is tested on both."""

    def __init__(self, application: Application, asynchronous: bool) -> None:
        self.application, self.asynchronous = application, asynchronous

    def answer(self, question: str = "why?") -> str:
        return (
            asyncio.run(self.application.aanswer(question))
            if self.asynchronous
            else self.application.answer(question)
        )


def lookup(application: Application, question: str, group: str | None = None) -> Hit | Miss:
    return application.cache.engine.lookup(application.request(question), group)


def update(application: Application, question: str) -> None:
    application.cache.engine.update(application.request(question), lambda: pack(f"{question}!"))


class Streamer(Application):
    def chunks(self, question: str) -> Iterator[str]:
        def produce() -> Iterator[str]:
            for letter in self.model(question):
                heard.append(letter)
                yield letter

        heard: list[str] = []
        return self.cache.engine.stream(
            self.request(question), produce, lambda: pack("".join(heard)), lambda hit: iter(self.text(hit))
        )

    def achunks(self, question: str) -> AsyncIterator[str]:
        async def produce() -> AsyncIterator[str]:
            for letter in await self.amodel(question):
                heard.append(letter)
                yield letter

        heard: list[str] = []
        return self.cache.engine.astream(
            self.request(question), produce, lambda: pack("".join(heard)), lambda hit: iter(self.text(hit))
        )


async def gathered(chunks: AsyncIterator[str]) -> str:
    return "".join([chunk async for chunk in chunks])


def collect(of: Callable[[], object], seconds: float = 30.0) -> None:
    """Run the garbage collector until a weak reference is dead; it does nothing while it runs elsewhere."""
    deadline = time.monotonic() + seconds
    while of() is not None and time.monotonic() < deadline:
        gc.collect()


def eventually(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.01)
