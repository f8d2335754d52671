"""LlamaIndex's answers as bytes, and back.

The bytes are MessagePack of `StoredAnswer`: plain data, from which only LlamaIndex's own response and block classes
are built, by pydantic's validation.
"""

from __future__ import annotations

import contextlib
import datetime
import enum
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any, get_args

import msgspec
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import AnyUrl, BaseModel

from askonce.entries.entry import Answer, Hit, Incomplete
from askonce.entries.requested import Requested
from askonce.llama_index.models.acceptance import breaks_off, is_empty, legacy_calls, misfit_of
from askonce.llama_index.models.items import renew_items
from askonce.llama_index.models.raw import as_requested, classes_in, records
from askonce.llama_index.models.usage import cost_of, finish_reason, is_routed, model_name, usage_of

Response = ChatResponse | CompletionResponse

_BLOCKS = frozenset(get_args(get_args(ContentBlock)[0]))


STREAM, STREAM_WITH_USAGE, WHOLE = 0, 1, 2
"""How an answer is delivered; what a provider reports of the usage may grow in this order."""
# By these a client would go on with what the provider stores of the first call.
_STATE = ("container", "conversation", "previous_response_id", "interaction_id", "previous_interaction_id")


class StoredAnswer(msgspec.Struct, omit_defaults=True):
    """What is stored of an answer.

    Attributes:
        message: of a chat: role, blocks and additional_kwargs.
        text: of a completion.
        raw: the provider's answer.
        delta: as it stood in an answer that was not streamed.
        logprobs: log probabilities of the tokens.
        more: the response's additional_kwargs, and what a response of a provider's own class has beyond the
            plain class.
        classes: the SDK's classes of the objects in ``raw``, the message's additional_kwargs, and ``more``.
        ended: why it ended.
        delivery: for callers of this kind, or of a lesser one, it has the usage as a fresh answer would: `STREAM`,
            `STREAM_WITH_USAGE` or `WHOLE`.
    """

    message: dict[str, Any] | None = None
    text: str | None = None
    raw: Any = None
    delta: str | None = None
    logprobs: list[Any] | None = None
    more: dict[str, Any] = {}
    classes: dict[str, str] = {}
    ended: str | None = None
    delivery: int = WHOLE


class NotStorable(Exception):
    """Something in an answer cannot be turned into plain data."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(StoredAnswer)


# -- to bytes --------------------------------------------------------------------------------------------------


def pack(response: Any, model: str | None, requested: Requested | None = None) -> Answer | None:
    """What is stored of a response; ``None`` if it would not come back as it is.

    Args:
        response: from the endpoint.
        model: the model's name, should the response not say it.
        requested: the form that the request requires.
    """
    if not isinstance(response, Response):
        return None
    return _pack(response, model, [response], requested, WHOLE, delta=response.delta)


def pack_stream(
    chunks: Sequence[Response], model: str | None, requested: Requested | None = None, delivery: int = STREAM
) -> Answer | None:
    """What is stored of a stream that ran to its end; ``delivery`` is `STREAM` or `STREAM_WITH_USAGE`."""
    final = _final(chunks) if chunks else None
    return None if final is None else _pack(final, model, chunks, requested, delivery, delta=None)


def _pack(
    response: Response,
    model: str | None,
    chunks: Sequence[Response],
    requested: Requested | None,
    delivery: int,
    delta: str | None,
) -> Answer | None:
    reported = [chunk for chunk in chunks if usage_of(chunk).total_tokens]
    usage = usage_of(reported[-1]) if reported else usage_of(response)
    ends = [ended for chunk in chunks if (ended := finish_reason(chunk))]
    try:
        message = _message(response.message) if isinstance(response, ChatResponse) else None
        more = _more(response)
        kwargs = response.message.additional_kwargs if isinstance(response, ChatResponse) else {}
        stored = StoredAnswer(
            message=message,
            text=response.text if isinstance(response, CompletionResponse) else None,
            raw=_lasting(_plain_part(response.raw)),
            delta=delta,
            logprobs=plain_data(response.logprobs),
            more=plain_data(more),
            classes=classes_in({"raw": response.raw, "message": kwargs, "more": more}),
            ended=ends[-1] if ends else None,
            delivery=WHOLE if usage.total_tokens else delivery,
        )
    except NotStorable:
        return None
    broken, misfit = breaks_off(response, ends), misfit_of(response, requested or Requested())
    return Answer(
        payload=_encoder.encode(stored),
        usage=usage,
        model=model_name(response) or model,
        truncated=bool(broken),
        empty=is_empty(response),
        invalid=bool(misfit),
        detail=broken or misfit,
        cost_usd=cost_of(response, (), None) if is_routed(response) else None,
        answer_text=_answer_text(response),
        values=(response,),
    )


def _lasting(raw: Any) -> Any:
    """The provider's answer without what is true of the first call alone: the names are there, the values not."""
    if not isinstance(raw, dict):
        return raw
    lasting = {name: None if name in _STATE else value for name, value in raw.items()}
    if str(raw.get("id", "")).startswith(("resp", "interaction")) or raw.get("object") == "response":
        lasting["id"] = None
    if isinstance(raw.get("response"), dict):  # of the last event of a stream
        lasting["response"] = _lasting(raw["response"])
    return lasting


def _plain_part(raw: Any) -> Any:
    """The provider's answer, or what is plain of a map that holds other things, such as tensors."""
    try:
        return plain_data(raw)
    except NotStorable:
        if not isinstance(raw, Mapping):
            return None
    plain = {}
    for name, item in raw.items():
        with contextlib.suppress(NotStorable):
            plain[str(name)] = plain_data(item)
    return plain


def _message(message: ChatMessage) -> dict[str, Any]:
    if type(message) is not ChatMessage or not {type(block) for block in message.blocks} <= _BLOCKS:
        raise NotStorable
    return {
        "role": message.role.value,
        "blocks": [plain_data(block) for block in message.blocks],
        "additional_kwargs": plain_data(message.additional_kwargs),
    }


def _more(response: Response) -> dict[str, Any]:
    base = ChatResponse if isinstance(response, ChatResponse) else CompletionResponse
    extra = {name: getattr(response, name) for name in type(response).model_fields.keys() - base.model_fields}
    more = {**extra, **response.additional_kwargs}
    more.pop("thinking_delta", None)  # of one chunk
    mark = more.pop("askonce", None)
    if is_routed(response):
        more["askonce"] = {name: mark[name] for name in ("model", "why", "calls", "id") if name in mark}
    return more


def plain_data(value: Any) -> Any:
    """Plain data for MessagePack: maps with text keys, lists, texts, numbers, bytes.

    Raises:
        NotStorable: there is something else in it.
    """
    if value is None or isinstance(value, (bool, float, bytes)):
        return value
    if isinstance(value, enum.Enum):
        return plain_data(value.value)
    if isinstance(value, int):
        if not -(2**63) <= value < 2**64:
            raise NotStorable
        return int(value)
    if isinstance(value, (str, AnyUrl, PurePath)):
        return str(value)
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise NotStorable
        return {str(key): plain_data(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_data(item) for item in value]
    if isinstance(value, BaseModel):
        return plain_data(value.model_dump(warnings=False))
    if isinstance(value, (datetime.datetime, datetime.date)):
        return value.isoformat()
    raise NotStorable


def _answer_text(response: Response) -> str | None:
    """The text of an answer, if it is text alone."""
    if isinstance(response, CompletionResponse):
        return response.text
    message = response.message
    if legacy_calls(message) or not all(isinstance(block, (TextBlock, ThinkingBlock)) for block in message.blocks):
        return None
    return message.content or ""


# -- streams ---------------------------------------------------------------------------------------------------


def _final(chunks: Sequence[Response]) -> Response | None:
    """The whole answer of a stream: its last chunk, if that agrees with what was streamed.

    A last chunk may lag behind the deltas (LlamaIndex's ``MockLLM`` does); then the deltas count. If the two
    contradict each other, it is not known what the answer was.
    """
    last, streamed = chunks[-1], "".join(chunk.delta or "" for chunk in chunks)
    if isinstance(last, CompletionResponse):
        reported = last.text
    else:
        reported = "".join(block.text for block in last.message.blocks if isinstance(block, TextBlock))
    if reported == streamed or not streamed:
        return last
    if not streamed.startswith(reported):
        return None
    if isinstance(last, CompletionResponse):
        return last.model_copy(update={"text": streamed})
    others = [block for block in last.message.blocks if not isinstance(block, TextBlock)]
    if len(others) < len(last.message.blocks) - 1:
        return None
    message = last.message.model_copy(update={"blocks": [TextBlock(text=streamed), *others]})
    return last.model_copy(update={"message": message})


def chunks_of(response: Response) -> Iterator[Response]:
    """An answer as the stream that it might have come in: word by word, the whole in the last chunk."""
    mark = response.additional_kwargs.get("askonce")
    if isinstance(response, CompletionResponse):
        answer_text = ""
        for word in _words(response.text):
            answer_text += word
            yield CompletionResponse(text=answer_text, delta=word, additional_kwargs={"askonce": mark})
    else:
        yield from _chat_chunks(response, mark)
    yield response.model_copy(update={"delta": ""})


def _chat_chunks(response: ChatResponse, mark: Any) -> Iterator[ChatResponse]:
    done: list[Any] = []
    for block in response.message.blocks:
        if isinstance(block, ToolCallBlock):
            continue  # whole in the last chunk
        if isinstance(block, TextBlock):
            answer_text = ""
            for word in _words(block.text):
                answer_text += word
                yield _chunk(response, [*done, TextBlock(text=answer_text)], word, {"askonce": mark})
        elif isinstance(block, ThinkingBlock) and block.content:
            thought = {"askonce": mark, "thinking_delta": block.content}
            yield _chunk(response, [*done, block], "", thought)
        done.append(block)


def _chunk(response: ChatResponse, blocks: list[Any], delta: str, more: dict[str, Any]) -> ChatResponse:
    message = ChatMessage(role=response.message.role, blocks=blocks)
    return ChatResponse(message=message, delta=delta, additional_kwargs=more)


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


# -- back from bytes -------------------------------------------------------------------------------------------


def unpack(payload: bytes, *, of_chat: bool, delivery: int = STREAM, streamed: bool = False) -> Response:
    """The response that was stored, new each time.

    Args:
        payload: from `pack`.
        delivery: how the caller gets answers, as in `pack`.
        streamed: the caller streams.
        of_chat: it is to be the answer to a chat.

    Raises:
        Incomplete: a fresh answer would give this caller the usage.
        ValueError: the bytes cannot be read, or are another kind of answer.
    """
    stored = _decoder.decode(payload)
    if (stored.message is not None) != of_chat:
        raise ValueError("another kind of answer")
    if delivery > stored.delivery:
        raise Incomplete
    message = None if stored.message is None else dict(stored.message)
    if message is not None:
        renew_items(message, stored.raw)
    kwargs = {} if message is None else message.get("additional_kwargs", {})
    words = {} if message is None else {"role": message["role"], "content": _text_in(message), **kwargs}
    classes = stored.classes
    raw, path = as_requested(stored.raw, streamed=streamed, message=words, ended=stored.ended)
    if path is not None:
        unset = "".join(classes.get("/raw", "").partition("-")[1:])
        classes = {"/raw": path + unset, **{at: one for at, one in classes.items() if at.startswith("/raw/usage")}}
    fields: dict[str, Any] = {
        "raw": records(raw, classes, "/raw"),
        "delta": stored.delta,
        "logprobs": stored.logprobs,
        "additional_kwargs": records(stored.more, stored.classes, "/more"),
    }
    if message is None:
        return CompletionResponse.model_validate({"text": stored.text, **fields})
    message["additional_kwargs"] = records(kwargs, stored.classes, "/message")
    return ChatResponse.model_validate({"message": message, **fields})


def _text_in(message: dict[str, Any]) -> str | None:
    texts = [block["text"] for block in message["blocks"] if block.get("block_type") == "text"]
    return "\n".join(texts) if texts else None


def marked(hit: Hit) -> Response:
    """The response of a hit, marked as one."""
    response: Response = hit.value
    mark = response.additional_kwargs.get("askonce", {})
    response.additional_kwargs = {**response.additional_kwargs, "askonce": {**mark, **hit.mark()}}
    return response
