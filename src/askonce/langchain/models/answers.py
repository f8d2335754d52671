"""What LangChain's models answer, as bytes and back.

Only plain data is stored: the fields of messages, never classes. What is no plain data becomes so where the
application will not miss anything (pydantic objects, enumerations); an answer that holds anything else is not
stored.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import msgspec
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, Generation

from askonce.costs.pricing import cost_usd
from askonce.entries.decodable import decodable
from askonce.entries.entry import Answer, Hit, Incomplete, Usage
from askonce.entries.requested import Requested
from askonce.langchain.models.acceptance import breaks_off, is_empty, metadata_of, misfit_of
from askonce.langchain.models.items import is_of_items, renew_items

logger = logging.getLogger("askonce")

_MODEL_NAMES = ("model_name", "model", "model_id", "modelId")
_PROVIDER_NAMES = ("model_provider",)
_WORDS = frozenset({"text", "reasoning", "thinking", "redacted_thinking"})
# By these a client would go on with what the provider stores of the first call: a conversation, a container.
_STATE = frozenset("container conversation previous_response_id interaction_id previous_interaction_id".split())
_STATELESS_IDS = ("chatcmpl", "cmpl")
_PRIVATE_HEADERS = frozenset("set-cookie cookie authorization x-request-id openai-organization cf-ray".split())

STREAM, STREAM_WITH_USAGE, WHOLE = 0, 1, 2
"""How an answer is delivered; what a provider reports of the usage may grow in this order."""


class _Message(msgspec.Struct, omit_defaults=True):
    content: str | list[str | dict[str, Any]]
    additional_kwargs: dict[str, Any] = {}
    response_metadata: dict[str, Any] = {}
    tool_calls: list[dict[str, Any]] = []
    invalid_tool_calls: list[dict[str, Any]] = []
    usage_metadata: dict[str, Any] | None = None
    name: str | None = None
    extra: dict[str, Any] = {}


class _Generation(msgspec.Struct, omit_defaults=True):
    """A message or a text.

    Attributes:
        text: of a completion.
        message: of a chat.
        info: without what stands in the message's metadata too.
        info_in_metadata: the names of that.
        delivery: how it was requested: `STREAM`, `STREAM_WITH_USAGE` or `WHOLE`.
    """

    text: str | None = None
    message: _Message | None = None
    info: dict[str, Any] | None = None
    info_in_metadata: list[str] = []
    delivery: int = WHOLE


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return str(value)  # such as the text of a LangChain message
    dump = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__}")
    return dump(mode="json")


_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(list[_Generation]).decode


# -- in --------------------------------------------------------------------------------------------------------


def pack(
    generations: Sequence[Generation],
    model: str | None = None,
    llm_output: Mapping[str, Any] | None = None,
    *,
    delivery: int = WHOLE,
    requested: Requested | None = None,
    with_end_reason: bool = False,
) -> Answer | None:
    """What is stored of an answer, or ``None`` if it holds something that cannot be stored.

    Args:
        generations: the answer; of several where the request is for more than one.
        model: the model's name, where the answer does not give it.
        llm_output: what the provider reported of the whole call.
        delivery: `STREAM`, `STREAM_WITH_USAGE` or `WHOLE`.
        requested: the form that the request requires.
        with_end_reason: a whole answer of the model comes with one.
    """
    try:
        payload = _encode([_written(generation, delivery) for generation in generations])
    except (TypeError, ValueError, OverflowError, RecursionError, UnicodeError) as error:
        logger.info("askonce: an answer is not stored, since it holds what is no plain data: %s", error)
        return None
    metadata = [reported for generation in generations for reported in metadata_of(generation)]
    if llm_output:
        metadata.append(llm_output)
    broken = breaks_off(generations, metadata, with_end_reason)
    misfit = misfit_of(generations, requested or Requested())
    usage, name = _usage(generations, llm_output or {}), _first_of(metadata, _MODEL_NAMES) or model
    seller = _first_of(metadata, _PROVIDER_NAMES)
    priced = cost_usd(name, usage, seller) if seller else None
    routed = (reported["askonce"].get("cost_usd") for reported in metadata if _is_routed(reported))
    return Answer(
        payload,
        usage=usage,
        model=name,
        truncated=bool(broken),
        empty=all(map(is_empty, generations)),
        invalid=bool(misfit),
        detail=broken or misfit,
        answer_text=_answer_text(generations[0]) if len(generations) == 1 else None,
        cost_usd=next(routed, priced),
        values=tuple(one.message if isinstance(one, ChatGeneration) else one for one in generations),
    )


def _is_routed(metadata: Mapping[str, Any]) -> bool:
    """Whether a `Multiplexer` chose who answers: then it names the model, and the cost of all its calls."""
    mark = metadata.get("askonce")
    return isinstance(mark, Mapping) and "calls" in mark


def cost_of(message: AIMessage, model: str | None) -> float | None:
    """What an answer cost in dollars; nothing if it came from a cache, ``None`` if its price is not known.

    Args:
        message: the answer.
        model: the model's name, where the answer does not give it.
    """
    mark = message.response_metadata.get("askonce")
    if isinstance(mark, Mapping) and "hit" in mark:
        return 0.0
    if isinstance(mark, Mapping) and "calls" in mark:
        cost: float | None = mark.get("cost_usd")
        return cost
    name = _first_of([message.response_metadata], _MODEL_NAMES) or model
    seller = _first_of([message.response_metadata], _PROVIDER_NAMES)
    return cost_usd(name, _usage([ChatGeneration(message=message)], {}), seller)


def _written(generation: Generation, delivery: int) -> _Generation:
    info: dict[str, Any] | None = generation.generation_info
    if not isinstance(generation, ChatGeneration):
        return _Generation(text=generation.text, info=info)
    message = generation.message
    if not isinstance(message, AIMessage):
        raise TypeError(f"a {type(message).__name__} as an answer")
    metadata = _lasting(message.response_metadata)
    if _is_routed(message.response_metadata):
        mark = message.response_metadata["askonce"]
        metadata["askonce"] = {name: mark[name] for name in ("model", "why", "calls", "id") if name in mark}
    info = None if info is None else _lasting(info)
    repeated = [name for name, value in (info or {}).items() if name in metadata and metadata[name] == value]
    written = _Message(
        content=message.content,
        additional_kwargs=message.additional_kwargs,
        response_metadata=metadata,
        tool_calls=cast("list[dict[str, Any]]", message.tool_calls),
        invalid_tool_calls=cast("list[dict[str, Any]]", message.invalid_tool_calls),
        usage_metadata=cast("dict[str, Any] | None", message.usage_metadata),
        name=message.name,
        extra=message.__pydantic_extra__ or {},
    )
    rest = None if info is None else {name: value for name, value in info.items() if name not in repeated}
    return _Generation(message=written, info=rest, info_in_metadata=repeated, delivery=delivery)


def _lasting(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """What a provider reported, without what is true of the first call alone."""
    lasting = {name: value for name, value in metadata.items() if name not in _STATE and name != "askonce"}
    if not str(lasting.get("id", "chatcmpl")).startswith(_STATELESS_IDS):
        del lasting["id"]
    if isinstance(lasting.get("headers"), Mapping):
        lasting["headers"] = {
            name: value for name, value in lasting["headers"].items() if name.lower() not in _PRIVATE_HEADERS
        }
    return lasting


def _first_of(metadata: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str | None:
    for name in names:
        for reported in metadata:
            if isinstance(reported.get(name), str) and reported[name]:
                return str(reported[name])
    return None


def _answer_text(generation: Generation) -> str | None:
    """The text of an answer, if it is text alone."""
    if not isinstance(generation, ChatGeneration):
        return str(generation.text)  # LangChain has its own texts
    message = generation.message
    assert isinstance(message, AIMessage)
    if message.tool_calls or message.invalid_tool_calls or message.additional_kwargs.get("function_call"):
        return None
    if isinstance(message.content, list) and not all(
        isinstance(block, str) or block.get("type") in _WORDS for block in message.content
    ):
        return None
    return str(generation.text)  # LangChain has its own texts


def _usage(generations: Sequence[Generation], llm_output: Mapping[str, Any]) -> Usage:
    """Input tokens are those of one generation, output tokens those of all."""
    reported: list[dict[str, Any]] = [
        dict(generation.message.usage_metadata or {})
        for generation in generations
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage)
    ]
    reported = [usage for usage in reported if usage]
    if reported:
        details = reported[0].get("input_token_details") or {}
        return Usage(
            input_tokens=max(int(usage.get("input_tokens") or 0) for usage in reported),
            output_tokens=sum(int(usage.get("output_tokens") or 0) for usage in reported),
            cache_read_tokens=int(details.get("cache_read") or 0),
            cache_write_tokens=int(details.get("cache_creation") or 0),
        )
    usage = llm_output.get("token_usage") or llm_output.get("usage") or {}
    if not isinstance(usage, Mapping):
        return Usage()
    return Usage(
        input_tokens=int(usage.get("prompt_tokens") or usage.get("input_tokens") or 0),
        output_tokens=int(usage.get("completion_tokens") or usage.get("output_tokens") or 0),
    )


def mark(generations: Sequence[Generation], mark: dict[str, Any] | None) -> None:
    """Show on fresh answers, if a mark is given, under which key they are stored."""
    for generation in generations if mark is not None else ():
        if isinstance(generation, ChatGeneration):
            generation.message.response_metadata["askonce"] = mark


# -- out -------------------------------------------------------------------------------------------------------


def unpack(
    payload: bytes,
    *,
    name_runs: bool = False,
    delivery: int | Callable[[], int] = STREAM,
    headers: bool = False,
    check: Callable[[ChatGeneration], None] | None = None,
) -> list[Generation]:
    """A stored answer as new objects.

    Args:
        payload: from `pack`.
        name_runs: give messages a new id, which LangChain does itself where it calls the model.
        delivery: how the caller gets answers, as in `pack`, or a function that says it.
        headers: a fresh answer would have the headers of the provider's response.
        check: it is to be the answer of a chat model; raises if one that is more than a text cannot be used.

    Raises:
        Incomplete: a fresh answer would give this caller more.
        Exception: the payload is none of `pack`.
    """
    stored = _decode(payload)
    if not stored:
        raise ValueError("no answer")
    generations = []
    for written in stored:
        message = written.message
        if message is not None:
            metadata = message.response_metadata
            if headers and "headers" not in metadata:
                raise Incomplete
            without_usage = message.usage_metadata is None and written.delivery < WHOLE
            if without_usage and written.delivery < (delivery if isinstance(delivery, int) else delivery()):
                raise Incomplete
            if not headers and "headers" in metadata:
                del metadata["headers"]
                written.info_in_metadata = [name for name in written.info_in_metadata if name != "headers"]
        generation = _read(written, name_runs)
        if check is not None:
            if message is None or not isinstance(generation, ChatGeneration):
                raise ValueError("no answer of a chat model")
            provider = message.response_metadata.get("model_provider", "")
            is_text = isinstance(message.content, str) and "output_version" not in message.response_metadata
            if message.tool_calls or not is_text or not isinstance(provider, str):
                check(generation)
        generations.append(generation)
    return generations


def marked(hit: Hit, *, free: bool = False) -> list[Generation]:
    """The generations of a hit; chat messages show it in their metadata.

    Args:
        hit: what was found.
        free: chat messages show that they cost nothing, as LangChain has it for hits of its own caches.
    """
    generations: list[Generation] = hit.value
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            message: Any = generation.message
            metadata = message.response_metadata
            metadata["askonce"] = {**metadata.get("askonce", {}), **hit.mark()}
            if free and message.usage_metadata is not None:
                message.__dict__["usage_metadata"] = {**message.usage_metadata, "total_cost": 0}
    return generations


def _check(stored: _Message) -> None:
    """See that the parts of a message are what its replay takes them for.

    Raises:
        Exception: they are not.
    """
    if stored.tool_calls:
        msgspec.convert(stored.tool_calls, list[_ToolCall])
    if stored.invalid_tool_calls:
        msgspec.convert(stored.invalid_tool_calls, list[_InvalidToolCall])
    if stored.usage_metadata:
        msgspec.convert(stored.usage_metadata, _Tokens)
    if not isinstance(stored.response_metadata.get("askonce", {}), dict):
        raise TypeError("the mark of a hit is no dict")


@decodable
class _ToolCall(msgspec.Struct):
    name: str
    args: dict[str, Any]
    id: str | None


@decodable
class _InvalidToolCall(msgspec.Struct):
    name: str | None
    args: str | None
    id: str | None


@decodable
class _Tokens(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_token_details: dict[str, Any] = {}
    output_token_details: dict[str, Any] = {}


_BLANK_MESSAGE = AIMessage(content="")
_BLANK_GENERATION = ChatGeneration(message=_BLANK_MESSAGE)


def _read(written: _Generation, name_runs: bool) -> Generation:
    info = written.info
    stored = written.message
    if stored is None:
        return Generation(text=written.text or "", generation_info=info)
    metadata = stored.response_metadata
    if stored.tool_calls or stored.invalid_tool_calls or stored.usage_metadata or "askonce" in metadata:
        _check(stored)
    if (stored.tool_calls or not isinstance(stored.content, str)) and is_of_items(stored):
        renew_items(stored)
    if info is not None and written.info_in_metadata:
        info |= {name: metadata[name] for name in written.info_in_metadata}
    message = _answered(
        content=stored.content,
        additional_kwargs=stored.additional_kwargs,
        response_metadata=metadata,
        tool_calls=stored.tool_calls,
        invalid_tool_calls=stored.invalid_tool_calls,
        usage_metadata=stored.usage_metadata,
        name=stored.name,
        id=f"lc_run--{os.urandom(16).hex()}" if name_runs else None,
    )
    if stored.extra or not isinstance(stored.content, str):
        message = AIMessage(**{**message.__dict__, **stored.extra})
        return ChatGeneration(message=message, generation_info=info)
    return _BLANK_GENERATION.model_copy(
        update={"message": message, "text": stored.content, "generation_info": info}
    )


def _answered(**fields: Any) -> AIMessage:
    """A message with these fields, which LangChain validated when it was made.

    To do it again would take longer than all else here, and ``model_copy`` takes three times as long as this.
    """
    message = object.__new__(AIMessage)
    object.__setattr__(message, "__dict__", {**_BLANK_MESSAGE.__dict__, **fields})
    object.__setattr__(message, "__pydantic_fields_set__", set(fields))
    object.__setattr__(message, "__pydantic_extra__", {})
    object.__setattr__(message, "__pydantic_private__", None)
    return message
