"""Structured output that a class has its provider's SDK parse, past its own methods of chat.

Such a prediction is a request of its own. Stored is the text of the SDK's answer, if it parses to the output class;
a hit is parsed from it as the SDK parses. Which methods do so, and when, is known of the classes below.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.types import PydanticProgramMode

from askonce.engine.request import Request
from askonce.entries.entry import Answer, Hit
from askonce.llama_index.keys.requests import structured_form
from askonce.llama_index.models import answers, events
from askonce.llama_index.models.twin import plain_view

_SDKS = frozenset({"openai", "anthropic", "google"})
_PREDICT = frozenset({"structured_predict", "astructured_predict"})
_STREAMS = frozenset({"stream_structured_predict", "astream_structured_predict"})
_WITHOUT_TOOLS = "structured_predict_without_function_calling"


def _always(llm: Any, name: str) -> bool:
    return True


def _anthropic_parses(llm: Any, name: str) -> bool:
    module = sys.modules["llama_index.llms.anthropic.base"]
    others = tuple(
        getattr(module.anthropic, f"{kind}Anthropic{cloud}")
        for kind in ("", "Async")
        for cloud in ("Vertex", "Bedrock")
    )
    client = llm._aclient if name.startswith("a") else llm._client
    return not isinstance(client, others) and bool(module.is_anthropic_structured_output_supported(llm.model))


def _google_parses(llm: Any, name: str) -> bool:
    return name == _WITHOUT_TOOLS or llm.pydantic_program_mode == PydanticProgramMode.DEFAULT


_KNOWN: dict[str, tuple[frozenset[str], Callable[[Any, str], bool]]] = {
    "llama_index.llms.openai.responses.OpenAIResponses": (_PREDICT, _always),
    "llama_index.llms.anthropic.base.Anthropic": (_PREDICT | _STREAMS, _anthropic_parses),
    "llama_index.llms.google_genai.base.GoogleGenAI": (_PREDICT | _STREAMS | {_WITHOUT_TOOLS}, _google_parses),
}
"""By class, its methods that go past its chat, and whether one does for a model."""


def routed(name: str, method: Callable[..., Any], otherwise: Callable[..., Any]) -> Callable[..., Any]:
    """A method of a twin's class that goes through the cache where the model's own goes past its chat.

    Args:
        name: of the method.
        method: of the model's own class.
        otherwise: what is called where it does not.
    """
    owner = f"{method.__module__}.{method.__qualname__.rpartition('.')[0]}"
    names, goes_past = _KNOWN.get(owner, (frozenset[str](), _always))
    if name not in names:
        return otherwise
    if name.startswith("astream"):
        wrapped = _astream
    elif name.startswith("stream"):
        wrapped = _stream
    else:
        wrapped = _apredict if name.startswith("a") else _predict

    through = wrapped(name)

    def structured(self: Any, *args: Any, **kwargs: Any) -> Any:
        return (through if goes_past(self, name) else otherwise)(self, *args, **kwargs)

    async def astructured(self: Any, *args: Any, **kwargs: Any) -> Any:
        return await (through if goes_past(self, name) else otherwise)(self, *args, **kwargs)

    return astructured if name.startswith("a") else structured


def _predict(name: str) -> Callable[..., Any]:
    def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _SdkCall(self, name, args, kwargs)
        request = call.request()
        if request is None:
            return call.run()
        return call.result(call.cache.engine.answer(request, call.run, lambda _: call.pack()))

    return predict


def _apredict(name: str) -> Callable[..., Any]:
    async def predict(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _SdkCall(self, name, args, kwargs)
        request = call.request()
        if request is None:
            return await call.run()
        return call.result(await call.cache.engine.aanswer(request, call.run, lambda _: call.pack()))

    return predict


def _stream(name: str) -> Callable[..., Any]:
    def stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _SdkCall(self, name, args, kwargs)
        request = call.request()
        if request is None:
            return call.run()
        return call.cache.engine.stream(request, call.run, call.pack, call.replay)

    return stream


def _astream(name: str) -> Callable[..., Any]:
    async def stream(self: Any, *args: Any, **kwargs: Any) -> Any:
        call = _SdkCall(self, name, args, kwargs)
        request = call.request()
        if request is None:
            return await call.run()
        return call.cache.engine.astream(request, call.run_stream, call.pack, call.replay)

    return stream


@dataclass(slots=True)
class _SdkCall:
    """One prediction.

    Attributes:
        llm: the twin.
        name: of the method.
        args: the arguments.
        kwargs: those by keyword.
        returned: what the SDK's client returned.
        model: the model's name, once the request has a key.
    """

    llm: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    returned: list[Any] = field(default_factory=list)
    model: str | None = None

    @property
    def cache(self) -> Any:
        return self.llm._askonce.cache

    def request(self) -> Request | None:
        """Its name; ``None`` if it is not to be looked up."""
        given = self._given(*self.args, **self.kwargs)
        if given is None:
            return None  # the LLM says what is missing
        form = functools.partial(self._form, *given)
        request: Request | None = self.cache.engine.request(
            "answer", form, unpack=functools.partial(_parsed, given[0])
        )
        self.model = None if request is None else request.model
        return request

    @staticmethod
    def _given(
        output_cls: Any = None, prompt: Any = None, llm_kwargs: Any = None, **prompt_args: Any
    ) -> tuple[Any, Any, Any, dict[str, Any]] | None:
        return None if output_cls is None or prompt is None else (output_cls, prompt, llm_kwargs, prompt_args)

    def _form(self, output_cls: Any, prompt: Any, llm_kwargs: Any, prompt_args: dict[str, Any]) -> Any:
        return structured_form(
            self.llm,
            output_cls,
            prompt,
            prompt_args,
            llm_kwargs or {},
            by=_WITHOUT_TOOLS if self.name == _WITHOUT_TOOLS else "structured_predict",
            asynchronous=self.name.startswith("a"),
        )

    def run(self) -> Any:
        """Call the LLM. Of an asynchronous method the result is to be awaited."""
        view = plain_view(self.llm)
        private = dict(view.__pydantic_private__ or {})
        for client in ("_client", "_aclient"):
            if private.get(client) is not None:
                private[client] = _Recorder(private[client], self.returned)
        object.__setattr__(view, "__pydantic_private__", private)
        return getattr(view, self.name)(*self.args, **self.kwargs)

    async def run_stream(self) -> AsyncIterator[Any]:
        async for part in await self.run():
            yield part

    def pack(self) -> Answer | None:
        """What is stored of the SDK's answer.

        Raises:
            ValueError: it does not parse to the output class.
        """
        chunks = _as_chunks([one for one in self.returned if _is_answer(one)])
        given = self._given(*self.args, **self.kwargs)
        if not chunks or given is None:
            return None
        given[0].model_validate_json(chunks[-1].message.content or "")
        return answers.pack_stream(chunks, self.model, None, answers.WHOLE)

    def result(self, found: Any) -> Any:
        """What the method returns: the object that a hit was parsed to, in the method's span, or a fresh one."""
        return self._in_span(lambda: found.value) if isinstance(found, Hit) else found

    def replay(self, hit: Hit) -> Iterator[Any]:
        """A hit as a stream: the whole object."""
        yield self._in_span(lambda: hit.value)

    def _in_span(self, body: Callable[[], Any]) -> Any:
        return events.in_span(self.llm, self.name, self.args, self.kwargs, body)


def _parsed(output_cls: Any, payload: bytes) -> Any:
    """The object that a stored answer says.

    Raises:
        ValueError: it does not parse to the class.
    """
    response = answers.unpack(payload, of_chat=True)
    assert isinstance(response, ChatResponse)
    return output_cls.model_validate_json(response.message.content or "")


# -- the SDK's answers -----------------------------------------------------------------------------------------


class _Recorder:
    """An SDK's client, or a part of one, that notes what its calls return."""

    def __init__(self, part: Any, returned: list[Any]) -> None:
        self._askonce_part, self._askonce_returned = part, returned

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        return type(self._askonce_part)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._askonce_part, name)
        is_part = callable(found) or type(found).__module__.partition(".")[0] in _SDKS
        return _Recorder(found, self._askonce_returned) if is_part else found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self._askonce_part(*args, **kwargs)
        return self._awaited(result) if inspect.isawaitable(result) else self._recorded(result)

    async def _awaited(self, result: Any) -> Any:
        return self._recorded(await result)

    def _recorded(self, result: Any) -> Any:
        if hasattr(result, "__anext__"):
            return self._achunks(result)
        if hasattr(result, "__next__"):
            return self._chunks(result)
        self._askonce_returned.append(result)
        return result

    def _chunks(self, chunks: Iterator[Any]) -> Iterator[Any]:
        for chunk in chunks:
            self._askonce_returned.append(chunk)
            yield chunk

    async def _achunks(self, chunks: AsyncIterator[Any]) -> AsyncIterator[Any]:
        async for chunk in chunks:
            self._askonce_returned.append(chunk)
            yield chunk


def _is_answer(returned: Any) -> bool:
    """Whether it is an answer or a chunk of one; files that were sent are none."""
    return hasattr(returned, "usage_metadata") or hasattr(returned, "usage")


def _as_chunks(returned: Sequence[Any]) -> list[ChatResponse]:
    """Answers of an SDK as chunks of a chat's stream."""
    chunks, whole = [], ""
    for one in returned:
        delta = _text(one)
        whole += delta
        message = ChatMessage(role="assistant", content=whole)
        chunks.append(ChatResponse(message=message, delta=delta, raw=one))
    return chunks


def _text(returned: Any) -> str:
    for name in ("output_text", "text"):
        text = getattr(returned, name, None)
        if isinstance(text, str):
            return text
    content = getattr(returned, "content", None)
    blocks = content if isinstance(content, (list, tuple)) else ()
    return "".join(text for block in blocks if isinstance(text := getattr(block, "text", None), str))
