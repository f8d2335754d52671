"""The normal form of a conversation, one for both frameworks.

A conversation is a list of messages::

    {"role": "system" | "developer" | "user" | "assistant" | "tool" | …,
     "content": text | [part, …],
     "name": …, "tool_calls": [{"id", "name", "args"}], "answers": id, "status": …, "extra": {…}}

and a part is one of ::

    {"type": "text", "text": …}
    {"type": "image" | "audio" | "video" | "file", "sha256" | "url" | "file_id": …, "mime": …, …}
    {"type": "tool_call", "id", "name", "args"}     {"type": "tool_result", "answers", "content"}
    any other block (reasoning and the like) as it stands

What is empty is left out. A list of one bare text is that text. Images and files count by the SHA-256 of their
bytes, however they are wrapped, a file given as text by that text, and one given by its URL by that without a
signature. Ids of tool calls link a call to its result
and mean nothing else: they are renamed in the order of their appearance. Left out, for they cannot change the next
answer: ids of messages, of text blocks and of reasoning, what a provider reported about an earlier answer
(``response_metadata``, usage), marks for its prompt cache, and the stream positions of an answer's blocks.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from askonce.keys.normal_form import Uncacheable, media_url, plain, text

_MARKS = frozenset({"cache_control", "cachePoint", "cache_point", "prompt_cache_breakpoint"})
_MEDIA = {
    "image": "image", "image_url": "image", "input_image": "image",
    "audio": "audio", "input_audio": "audio",
    "video": "video", "video_url": "video", "input_video": "video",
    "file": "file", "input_file": "file", "document": "file", "media": "file", "text-plain": "file",
}  # fmt: skip
CLIENT_TOOL_CALLS = frozenset("tool_use tool_call function_call custom_tool_call".split())
"""The types of blocks that call a tool of the client's."""
_TOOL_CALLS = CLIENT_TOOL_CALLS | {"server_tool_use", "server_tool_call"}
_OF_CALLS = ("caller",)
"""What else a call's block says, which clients send."""
_TOOL_RESULTS = frozenset({"tool_result"})
# Where the content of a medium may stand, and what it is.
_BYTES = ("base64", "data", "file_data", "b64_json")
_URLS = ("url", "image_url", "file_url", "file_uri", "video_url", "uri")
_FILE_IDS = ("file_id", "id")


class Conversation:
    """Builds the normal form message by message.

    Attributes:
        messages: the form so far.
        left_out: the paths of what was left out.
        continues: the provider's ids of the answer that the next request may stand on; see `record_answer`.
    """

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.continues: dict[str, Any] = {}
        self.left_out: list[str] = []
        self._tool_ids: dict[str, str] = {}

    def add(
        self,
        role: str,
        content: Any,
        *,
        name: str | None = None,
        tool_calls: Iterable[Mapping[str, Any]] = (),
        answers: str | None = None,
        status: str | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """Add a message.

        Args:
            role: who speaks.
            content: a text, or a list of texts and blocks of any known provider's or framework's form.
            name: the speaker's name.
            tool_calls: ``{"id", "name", "args"}`` for each call that the message makes.
            answers: the id of the tool call whose result the message is.
            status: of a tool's result; ``success`` is the default and left out.
            extra: whatever else the provider is sent of the message.

        Raises:
            Uncacheable: the message holds something whose meaning cannot be determined.
        """
        calls = list(tool_calls)
        form: dict[str, Any] = {"role": role, "content": self._content(content, calls, role == "assistant")}
        if name:
            form["name"] = text(name)
        if calls:  # those that are not among the content's blocks
            form["tool_calls"] = [self._tool_call(call) for call in calls]
        if answers is not None:
            form["answers"] = self._tool_id(answers)
        if status and status != "success":
            form["status"] = status
        if extra and (nonempty := {key: value for key, value in extra.items() if value not in (None, "", [], {})}):
            form["extra"] = plain(nonempty)
        self.messages.append(form)

    def record_answer(self, response: Mapping[str, Any]) -> None:
        """Record what a provider reported about an answer: a request that names it may mean all that was before."""
        ids = {name: response[name] for name in ("id", "container") if response.get(name)}
        if ids:
            self.continues |= plain(ids)

    def leave_out(self, what: str) -> None:
        """Record that ``what`` of the message about to be added is left out."""
        self.left_out.append(f"messages[{len(self.messages)}].{what}")

    def _tool_id(self, given: str) -> str:
        return self._tool_ids.setdefault(given, f"call-{len(self._tool_ids)}")

    def _tool_call(self, call: Mapping[str, Any]) -> dict[str, Any]:
        given = call.get("id") or call.get("call_id") or call.get("tool_call_id")
        form = {"name": plain(call.get("name") or call.get("tool_name")), "args": _arguments(call)}
        return {"id": self._tool_id(str(given)), **form} if given else form

    def _call_in(self, block: Mapping[str, Any], call: Mapping[str, Any] | None) -> dict[str, Any]:
        """A block that is a call of a tool, and the message's own call of its id, if it has one.

        Clients differ in which of the two they send, so where their arguments differ, both count.
        """
        form = self._tool_call(block if call is None else call)
        form |= {name: plain(block[name]) for name in _OF_CALLS if block.get(name)}
        args = _arguments(block) if "partial_json" not in block else None
        if call is not None and args and args != form["args"] and not _is_wrapped(args, form["args"]):
            form["args of the block"] = args
        return form

    def _content(self, content: Any, calls: list[Mapping[str, Any]], is_answer: bool = False) -> Any:
        if isinstance(content, str):
            return text(content)
        if content is None:
            return ""
        parts = [part for block in content if (part := self._part(block, calls, is_answer)) is not None]
        if len(parts) == 1 and parts[0].keys() == {"type", "text"} and parts[0]["type"] == "text":
            return parts[0]["text"]
        return parts or ""

    def _part(self, block: Any, calls: list[Mapping[str, Any]], is_answer: bool) -> dict[str, Any] | None:
        if isinstance(block, str):
            return {"type": "text", "text": text(block)}
        if not isinstance(block, Mapping):
            raise Uncacheable(f"a content block of type {type(block).__name__}")
        if is_answer and "index" in block:  # its place in a stream
            block = {key: value for key, value in block.items() if key != "index"}
        marks = _MARKS & block.keys()
        if marks:
            for mark in sorted(marks):
                self.leave_out(f"content.{mark}")
            block = {key: value for key, value in block.items() if key not in marks}
        kind = block.get("type")
        if not block or kind == "cache":
            return None
        if kind in ("text", "input_text", "output_text") or (kind is None and block.keys() == {"text"}):
            return _text_part(block)
        if kind in _TOOL_CALLS:
            return {"type": "tool_call", **self._call_in(block, _taken(block, calls))}
        if kind in _TOOL_RESULTS:
            return {
                "type": "tool_result",
                "answers": self._tool_id(str(block.get("tool_use_id") or block.get("tool_call_id"))),
                "content": self._content(block.get("content"), []),
                **({"is_error": True} if block.get("is_error") else {}),
            }
        if kind in _MEDIA:
            return _media_part(_MEDIA[kind], block)
        form: dict[str, Any] = plain(block)
        if kind == "reasoning":
            form.pop("id", None)
        return form


def _arguments(call: Mapping[str, Any]) -> Any:
    args = call.get("args", call.get("input", call.get("arguments", call.get("tool_kwargs"))))
    if isinstance(args, str) and call.get("type") != "custom_tool_call":  # which takes any text
        with contextlib.suppress(ValueError):  # not JSON: the text itself is what was called with
            args = json.loads(args)
    return plain(args)


def _is_wrapped(text: Any, args: Any) -> bool:
    """Whether arguments are LangChain's of a tool that takes one text."""
    return isinstance(args, Mapping) and list(args.values()) == [text]


def _taken(block: Mapping[str, Any], calls: list[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The message's call that the block is about, taken from them: the first of that id, which several may have."""
    given = block.get("call_id") or block.get("tool_call_id") or block.get("id")
    for at, call in enumerate(calls):
        if given and str(call.get("id")) == str(given):
            return calls.pop(at)
    return None


def _text_part(block: Mapping[str, Any]) -> dict[str, Any]:
    form: dict[str, Any] = {"type": "text", "text": text(block.get("text") or "")}
    for key, value in block.items():
        if key not in ("type", "text", "id") and value not in (None, "", [], {}):
            form[key] = plain(value)
    return form


def _media_part(kind: str, block: Mapping[str, Any]) -> dict[str, Any]:
    """An image, a sound, a video or a file, from whichever vocabulary."""
    fields = {key: value for key, value in block.items() if key not in ("type", "source_type")}
    for wrapper in ("image_url", "video_url", "input_audio", "source", "file", "image"):
        if isinstance(fields.get(wrapper), Mapping):
            fields |= fields.pop(wrapper)
    source = fields.get("type", block.get("source_type"))
    if source in ("base64", "url", "file", "text"):
        fields.pop("type", None)  # of Anthropic's source
    if source == "text" and isinstance(fields.get("data"), str):
        fields["text"] = fields.pop("data")
    mime = next((fields.pop(key) for key in ("mime_type", "media_type", "format") if fields.get(key)), None)
    form: dict[str, Any] = {"type": kind}
    for key in (*_BYTES, *_URLS, *_FILE_IDS):
        value = fields.pop(key, None)
        if value is None or value == "" or form.keys() & {"sha256", "url", "file_id"}:
            continue
        if isinstance(value, (bytes, bytearray)):
            form["sha256"] = hashlib.sha256(value).hexdigest()
        elif isinstance(value, str) and value.startswith("data:"):
            header, _, encoded = value.partition(",")
            mime = mime or header[5:].partition(";")[0] or None
            form["sha256"] = _sha256_of_base64(encoded) if ";base64" in header else _sha256(encoded)
        elif key in _BYTES:
            form["sha256"] = _sha256_of_base64(str(value))
        else:
            form["file_id" if key in _FILE_IDS else "url"] = (
                media_url(value) if isinstance(value, str) else plain(value)
            )
    if mime:
        form["mime"] = str(mime).lower()
    form |= {key: plain(value) for key, value in fields.items() if value not in (None, "", [], {})}
    return form


def _sha256(value: str) -> str:
    return hashlib.sha256(value.encode(errors="surrogatepass")).hexdigest()


def _sha256_of_base64(encoded: str) -> str:
    try:
        return hashlib.sha256(base64.b64decode(encoded, validate=True)).hexdigest()
    except (binascii.Error, ValueError):
        return _sha256(encoded)
