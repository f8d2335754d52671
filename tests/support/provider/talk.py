"""A model that talks about its prompt, and calls the first tool or fills in the schema that it is given."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Literal

from .answers import Answer, Call, Usage

USAGE = Usage(input=1000, read=600, output=20)


@dataclass
class Talk:
    """Answers in the words of a test; pass it to a provider as its ``answer``.

    Attributes:
        says: the text; in it ``{prompt}`` stands for the last message, ``{number}`` for the number of the answer.
        integer: what stands in tools and schemas for a number; ``None`` for the number of the answer.
        finish: why answers end.
        breaks: how streams break off.
    """

    says: str = "You said: {prompt}"
    integer: int | None = 3
    finish: str = ""
    breaks: Literal["", "ends", "tears", "fails"] = ""
    number: int = 0

    def __call__(self, request: dict[str, Any]) -> Answer:
        self.number += 1
        messages = request["messages"] if "messages" in request else request["input"]
        last = messages[-1] if isinstance(messages, list) else {"role": "user", "content": messages}
        content = last.get("content", last.get("output"))
        prompt = content if isinstance(content, str) else json.dumps(content)
        schema = (request.get("response_format") or {}).get("json_schema")
        if schema is not None:
            return self._answer(json.dumps(self._filled(schema["schema"], prompt)))
        if request.get("tools") and last.get("role") == "user" and '"tool_result"' not in prompt:
            tool = request["tools"][0]
            tool = tool.get("function", tool)
            schema = tool["parameters"] if "parameters" in tool else tool["input_schema"]
            return self._answer("", Call(tool["name"], self._filled(schema, prompt)))
        return self._answer(self.says.replace("{prompt}", prompt).replace("{number}", str(self.number)))

    def _answer(self, text: str, *calls: Call) -> Answer:
        return Answer(text, calls, self.finish, self.breaks, USAGE)

    def _filled(self, schema: dict[str, Any], prompt: str) -> dict[str, Any]:
        """An object of the schema; texts are the last word of the prompt."""
        number = self.number if self.integer is None else self.integer
        word = re.findall(r"\w+", prompt)[-1]
        properties = schema.get("properties", {})
        return {name: word if inner.get("type") == "string" else number for name, inner in properties.items()}
