"""Where the user's question stands in a prompt: read from the template that an LLM is given.

Query engines, and chat engines with a context, hand their LLM a template and its variables; LlamaIndex's
instrumentation shows that call in the very context in which the LLM is then called.
"""

from __future__ import annotations

import inspect
from typing import Any

from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.llms import LLM
from llama_index.core.prompts import BasePromptTemplate
from llama_index_instrumentation import get_dispatcher

from askonce.provenance.prompt_parts import PromptParts, current_prompt_parts, prompt_parts_in, record_prompt_parts


def follow_prompts() -> None:
    """Read the templates of prompts from now on, in the whole process."""
    root = get_dispatcher()
    if not any(isinstance(one, PromptVariables) for one in root.span_handlers):
        root.add_span_handler(PromptVariables())


class PromptVariables(BaseSpanHandler[BaseSpan]):
    """Records the parts of a prompt while an LLM answers its template; stores no spans."""

    _before: dict[str, PromptParts | None] = PrivateAttr(default_factory=dict)

    @classmethod
    def class_name(cls) -> str:
        return "AskOncePromptVariables"

    def new_span(
        self, id_: str, bound_args: inspect.BoundArguments, instance: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        template = bound_args.arguments.get("prompt") if isinstance(instance, LLM) else None
        if isinstance(template, BasePromptTemplate):
            self._before[id_] = current_prompt_parts()
            record_prompt_parts(prompt_parts_in({**template.kwargs, **bound_args.arguments.get("prompt_args", {})}))

    def prepare_to_exit_span(self, id_: str, *args: Any, **kwargs: Any) -> None:
        if id_ in self._before:
            record_prompt_parts(self._before.pop(id_))

    def prepare_to_drop_span(self, id_: str, *args: Any, **kwargs: Any) -> None:
        self.prepare_to_exit_span(id_)
