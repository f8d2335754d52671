"""OpenAI's responses, whole and as events."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from askonce.entries.requested import Requested
from askonce.wire.acceptance import Acceptance, Json, mapping, objects
from askonce.wire.chat import usage_in
from askonce.wire.events import ServerEvent, written

_ENDS = frozenset(
    "response.completed response.failed response.incomplete response.cancelled response.error".split()
)
_SIGNS_OF_LIFE = frozenset(("keepalive", "ping"))
_LISTS = ("content", "summary")
_WRITTEN = ("arguments", "input", "code")
_PIECES = {
    "response.output_text": "content",
    "response.refusal": "content",
    "response.reasoning_text": "content",
    "response.reasoning_summary_text": "summary",
    "response.function_call_arguments": "arguments",
    "response.mcp_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
    "response.code_interpreter_call_code": "code",
}
"""Events that bring an item in pieces, and where of it."""


def judged(body: Json, requested: Requested) -> Acceptance:
    """What is known of a response."""
    found = Acceptance(usage=usage_in(mapping(body.get("usage"))))
    if body.get("object") != "response" or body.get("error") or body.get("status") != "completed":
        found.broken = f"it ended with status {body.get('status')!r}"
    if body.get("incomplete_details"):
        found.broken = "it is incomplete"
    for item in objects(body.get("output")):
        kind = item.get("type")
        if kind == "message":
            _judge_message(item, found)
        elif kind == "function_call":
            found.add_call(item.get("name"), item.get("arguments"), requested)
        elif kind != "reasoning":
            found.has_content, found.texts = True, None
    found.check_text(requested)
    return found


def _judge_message(item: Json, found: Acceptance) -> None:
    if item.get("status") not in (None, "completed"):
        found.broken = f"a message ended with status {item['status']!r}"
    for part in objects(item.get("content")):
        if part.get("type") == "refusal":
            found.broken = "the model refused"
        elif part.get("type") == "output_text":
            found.add_text(str(part.get("text") or ""))
        else:
            found.has_content, found.texts = True, None


def assembled(events: Iterable[ServerEvent]) -> tuple[Json | None, bool]:
    """The response with which a stream ended; ``None`` if it did not end well, or said something else before."""
    last: Json | None = None
    pieces: dict[tuple[Any, ...], list[str]] = {}
    done: dict[Any, Json] = {}
    for event in events:
        if event.data is None:
            continue
        if last is not None:
            if not _is_of_a_whole_stream(last):
                return None, False
            _add(last, pieces, done)
        last = mapping(event.data)
    if last is None or last.get("type") != "response.completed":
        return None, False
    whole, texts = mapping(last.get("response")), {name: "".join(parts) for name, parts in pieces.items()}
    return (whole, True) if _adds_up(texts, done, whole) else (None, False)


def _is_of_a_whole_stream(data: Json) -> bool:
    kind = data.get("type")
    if not isinstance(kind, str) or "error" in data or kind in _ENDS or mapping(data.get("response")).get("error"):
        return False
    return kind.startswith("response.") or kind in _SIGNS_OF_LIFE


def _add(data: Json, pieces: dict[tuple[Any, ...], list[str]], done: dict[Any, Json]) -> None:
    """Add what an event says: a piece of an item, or the item."""
    kind, index = data["type"], data.get("output_index", 0)
    if kind == "response.output_item.done":
        done[index] = mapping(data.get("item"))
    elif kind.endswith(".delta") and (place := _PIECES.get(kind[: -len(".delta")])) is not None:
        name = (index, place, data.get(f"{place}_index", 0) if place in _LISTS else 0)
        pieces.setdefault(name, []).append(str(data.get("delta") or ""))


def _adds_up(pieces: dict[tuple[Any, ...], str], done: dict[Any, Json], whole: Json) -> bool:
    """Whether the texts and items of a stream's events are those of its response."""
    expected: dict[tuple[Any, ...], str] = {}
    items = objects(whole.get("output"))
    if len(done) != len(items):
        return False
    for index, item in enumerate(items):
        texts = _texts_of(item)
        if index not in done or done[index].get("type") != item.get("type") or _texts_of(done[index]) != texts:
            return False
        needed = item.get("type") in ("message", "function_call")
        expected |= {
            (index, *at): text for at, text in texts.items() if text and (needed or (index, *at) in pieces)
        }
    return {name: text for name, text in pieces.items() if text} == expected


def _texts_of(item: Json) -> dict[tuple[str, int], str]:
    """What of an item comes in pieces, by its place."""
    texts = {
        (place, at): str(part.get("text") or part.get("refusal") or "")
        for place in _LISTS
        for at, part in enumerate(objects(item.get(place)))
    }
    return texts | {(name, 0): item[name] for name in _WRITTEN if isinstance(item.get(name), str)}


def as_stream(body: Json) -> bytes:
    """A response as few events that add up to it."""
    events = [{"type": data.pop("type"), "sequence_number": at, **data} for at, data in enumerate(_events_of(body))]
    return written(events, named=True)


def _events_of(body: Json) -> Iterator[Json]:
    started = {**body, "status": "in_progress", "output": [], "usage": None}
    started |= {"completed_at": None} if "completed_at" in body else {}
    yield {"type": "response.created", "response": started}
    yield {"type": "response.in_progress", "response": started}
    for index, item in enumerate(objects(body.get("output"))):
        place: Json = {"output_index": index, "item_id": item.get("id")}
        begun = {**item, "status": "in_progress"} if "status" in item else dict(item)
        match item.get("type"):
            case "message":
                yield _item("added", index, {**begun, "content": []})
                for at, part in enumerate(objects(item.get("content"))):
                    yield from _events_of_part(part, {**place, "content_index": at})
            case "function_call":
                yield _item("added", index, {**begun, "arguments": ""})
                arguments = {"arguments": item.get("arguments", "")}
                yield _of("function_call_arguments.delta", place, delta=arguments["arguments"])
                yield _of("function_call_arguments.done", place, name=item.get("name"), **arguments)
            case "reasoning":
                yield _item("added", index, {**begun, "summary": []})
                for at, part in enumerate(objects(item.get("summary"))):
                    yield from _events_of_summary(part, {**place, "summary_index": at})
            case _:
                yield _item("added", index, begun)
        yield _item("done", index, item)
    yield {"type": "response.completed", "response": body}


def _events_of_part(part: Json, place: Json) -> Iterator[Json]:
    if part.get("type") != "output_text":
        yield _of("content_part.added", place, part=part)
    else:
        text, logprobs = part.get("text", ""), part.get("logprobs") or []
        yield _of("content_part.added", place, part={**part, "text": "", "annotations": [], "logprobs": []})
        yield _of("output_text.delta", place, delta=text, logprobs=logprobs)
        for at, annotation in enumerate(part.get("annotations") or ()):
            yield _of("output_text.annotation.added", place, annotation_index=at, annotation=annotation)
        yield _of("output_text.done", place, text=text, logprobs=logprobs)
    yield _of("content_part.done", place, part=part)


def _events_of_summary(part: Json, place: Json) -> Iterator[Json]:
    text = part.get("text", "")
    yield _of("reasoning_summary_part.added", place, part={**part, "text": ""})
    yield _of("reasoning_summary_text.delta", place, delta=text)
    yield _of("reasoning_summary_text.done", place, text=text)
    yield _of("reasoning_summary_part.done", place, part=part)


def _of(event: str, place: Json, **more: Any) -> Json:
    return {"type": f"response.{event}", **place, **more}


def _item(what: str, index: int, item: Json) -> Json:
    return {"type": f"response.output_item.{what}", "output_index": index, "item": item}
