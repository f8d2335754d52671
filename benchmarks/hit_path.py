"""One hit, counted: how many of askonce's own files and calls a reader passes through, adapter to store and back.

    python -m benchmarks.hit_path             # a table
    python -m benchmarks.hit_path --calls     # every call, indented by depth

Counted with ``sys.setprofile`` on an unchanged model, SQLite, after three hits that warm up: functions whose
code lies in ``src/askonce``. A coroutine or generator counts each time it is resumed, comprehensions and lambdas
too.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import askonce

SOURCE = str(Path(askonce.__file__).parent)


@dataclass
class Count:
    """What one hit passes through."""

    calls: list[tuple[int, str, str]] = field(default_factory=list)  # depth, file, function
    depth: int = 0

    @property
    def files(self) -> set[str]:
        return {file for _, file, _ in self.calls}

    @property
    def deepest(self) -> int:
        return max(depth for depth, _, _ in self.calls)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if not frame.f_code.co_filename.startswith(SOURCE):
            return
        if event == "call":
            self.depth += 1
            file = frame.f_code.co_filename.removeprefix(SOURCE).lstrip("/")
            self.calls.append((self.depth, file, frame.f_code.co_qualname))
        elif event == "return":
            self.depth -= 1


def counted(hit: Callable[[], object]) -> Count:
    for _ in range(3):
        hit()
    count = Count()
    sys.setprofile(count)
    try:
        hit()
    finally:
        sys.setprofile(None)
    return count


def langchain_cache(store: str) -> Callable[[], object]:
    from langchain_core.messages import HumanMessage, SystemMessage

    from askonce.langchain import AskOnceCache

    model = langchain_model()
    model.cache = AskOnceCache(store)
    messages = [SystemMessage("You are a helpful assistant."), HumanMessage("Why is the sky blue?")]
    return lambda: model.invoke(messages)


def langchain_model() -> Any:
    from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
    from langchain_core.messages import AIMessage
    from langchain_openai import ChatOpenAI

    def answered(*_: Any, **__: Any) -> Any:
        return GenericFakeChatModel(messages=iter([AIMessage("Scattering.")]))._generate([])

    # A class of the application's own would count by its code, too.
    ChatOpenAI._generate = answered  # type: ignore[method-assign]
    return ChatOpenAI(model="gpt-4.1", api_key="none")  # type: ignore[arg-type]


def langchain_chat(store: str) -> Callable[[], object]:
    from langchain_core.messages import HumanMessage, SystemMessage

    from askonce.langchain import cached

    model = cached(langchain_model(), store)
    messages = [SystemMessage("You are a helpful assistant."), HumanMessage("Why is the sky blue?")]
    return lambda: model.invoke(messages)


def llama_index_chat(store: str) -> Callable[[], object]:
    from llama_index.core.llms import ChatMessage, ChatResponse
    from llama_index.llms.openai import OpenAI

    from askonce.llama_index import cached

    def answered(*_: Any, **__: Any) -> ChatResponse:
        return ChatResponse(message=ChatMessage("Scattering.", role="assistant"))

    OpenAI.chat = answered  # type: ignore[method-assign]
    llm = cached(OpenAI(model="gpt-4.1", api_key="none"), store)
    messages = [ChatMessage("You are a helpful assistant.", role="system"), ChatMessage("Why is the sky blue?")]
    return lambda: llm.chat(messages)


PATHS: dict[str, Callable[[str], Callable[[], object]]] = {
    "LangChain, set_llm_cache(AskOnceCache())": langchain_cache,
    "LangChain, cached(chat model)": langchain_chat,
    "LlamaIndex, cached(LLM), chat": llama_index_chat,
}


@contextlib.contextmanager
def fresh_store() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        yield f"sqlite:///{folder}/cache.db"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--calls", action="store_true", help="print every call")
    show_calls = arguments.parse_args().calls
    print(f"{'path':44} calls files deepest")
    for name, make in PATHS.items():
        try:
            with fresh_store() as store:
                count = counted(make(store))
        except ImportError as error:
            print(f"{name:44} skipped: {error}")
            continue
        print(f"{name:44} {len(count.calls):5} {len(count.files):5} {count.deepest:7}")
        if show_calls:
            for depth, file, function in count.calls:
                print(f"  {'  ' * depth}{function}  ({file})")


if __name__ == "__main__":
    main()
