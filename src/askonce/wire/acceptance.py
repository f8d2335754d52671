"""Whether an answer is worth storing."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from askonce.entries.entry import NO_USAGE, Usage
from askonce.entries.requested import Requested

Json = dict[str, Any]

_THOUGHT = re.compile(r"<(think|thinking|reasoning)>.*?(</\1>|\Z)", re.DOTALL)


class Acceptance(msgspec.Struct):
    """What is known of an answer.

    Attributes:
        broken: why it is not whole; empty if it is.
        invalid: in what it is not what was requested; empty if nothing is known.
        has_content: it holds a text, or calls a tool.
        texts: its parts; ``None`` if it is more than a text.
        usage: the tokens that it took.
    """

    broken: str = ""
    invalid: str = ""
    has_content: bool = False
    texts: list[str] | None = []
    usage: Usage = NO_USAGE

    @property
    def text(self) -> str | None:
        """All of the text; ``None`` if it is more than a text."""
        return None if self.texts is None else "".join(self.texts)

    def add_text(self, text: str) -> None:
        """Add a part of the text."""
        if visible(text):
            self.has_content = True
        if self.texts is not None:
            self.texts.append(text)

    def add_call(self, name: Any, arguments: Any, requested: Requested) -> None:
        """Add a call of a tool; arguments are a text of JSON, or read."""
        self.has_content, self.texts = True, None
        if isinstance(arguments, str):
            try:
                arguments = json.loads(arguments or "{}", strict=False)
            except (ValueError, RecursionError):
                self.invalid = self.invalid or "the arguments of a tool call cannot be read"
                return
        if not isinstance(arguments, dict):
            self.invalid = self.invalid or "the arguments of a tool call are no object"
        else:
            self.invalid = self.invalid or requested.misfit_of_call(str(name), arguments) or ""

    def check_text(self, requested: Requested) -> None:
        """Compare the text with what was requested, when all of it has arrived."""
        if (text := self.text) is not None and not self.invalid:
            self.invalid = requested.misfit_of_text(visible(text)) or ""


def visible(text: str) -> str:
    """A text without the thoughts that some servers write before it."""
    return (_THOUGHT.sub("", text) if text.lstrip().startswith("<") else text).strip()


def number(value: Any) -> int:
    """A count of tokens; 0 if it is none."""
    return value if isinstance(value, int) and value > 0 else 0


def mapping(value: Any) -> Json:
    """The value, if it is an object; else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Json]:
    """The objects in a list; none if it is no list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
