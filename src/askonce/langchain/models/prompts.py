"""Where the user's question stands in a prompt: read from the prompt's template, in whatever chain it runs.

LangChain calls callbacks for a template's run, with the values of its variables, and for a model's run. Both belong
to the run of one chain, or the model's to the run of a chain inside it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config

from askonce.provenance.prompt_parts import PromptParts, prompt_parts_in, record_prompt_parts

_MOST_RUNS = 10_000
"""With more runs than this at one time, some ended without an event."""


@dataclass(slots=True)
class _Run:
    parent: UUID | None
    has_prompt: bool = False
    parts: PromptParts | None = None


class PromptVariables(BaseCallbackHandler):
    """Hands the parts of a prompt from its template to the model's call in the same run."""

    run_inline = True  # in the context of the run, also when it is asynchronous
    ignore_agent = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self) -> None:
        self._runs: OrderedDict[UUID, _Run] = OrderedDict()

    def parts_in_run(self, name: UUID | None) -> PromptParts | None:
        """The parts of the prompt of the last template in a run, else in the nearest run around it that has one."""
        while name is not None and (run := self._runs.get(name)) is not None:
            if run.has_prompt:
                return run.parts
            name = run.parent
        return None

    def on_chain_start(
        self,
        serialized: Any,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        run_type: str | None = None,
        **_: Any,
    ) -> None:
        if run_type != "prompt":
            self._runs[run_id] = _Run(parent_run_id)
            if len(self._runs) > _MOST_RUNS:
                self._runs.popitem(last=False)
        elif parent_run_id is not None and (run := self._runs.get(parent_run_id)) is not None:
            variables = _variables(serialized, inputs)
            run.has_prompt, run.parts = True, None if variables is None else prompt_parts_in(variables)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._runs.pop(run_id, None)

    on_chain_error = on_chain_end

    def on_llm_start(self, *_: Any, parent_run_id: UUID | None = None, **__: Any) -> None:
        record_prompt_parts(self.parts_in_run(parent_run_id))

    on_chat_model_start = on_llm_start


def _variables(serialized: Any, inputs: Any) -> Mapping[str, Any] | None:
    if isinstance(inputs, Mapping):
        return inputs
    names: list[str] = ((serialized or {}).get("kwargs") or {}).get("input_variables") or []
    return {names[0]: inputs} if len(names) == 1 else None  # the template's only variable needs no name


_following: ContextVar[PromptVariables | None] = ContextVar("askonce_prompt_variables", default=PromptVariables())  # noqa: B039
_follows = False


def follow_prompts() -> None:
    """Read the templates of prompts from now on, in the whole process."""
    global _follows
    if not _follows:
        from langchain_core.tracers.context import register_configure_hook  # here: langsmith takes half a second

        _follows = True
        register_configure_hook(_following, inheritable=True)


def record_prompt_parts_of_completion() -> None:
    """Record the parts of a completion model's prompt: its callbacks come too late, or in another context."""
    if not _follows:
        return
    variables, config = _following.get(), var_child_runnable_config.get()
    callbacks = (config or {}).get("callbacks")
    if variables is not None:
        record_prompt_parts(variables.parts_in_run(getattr(callbacks, "parent_run_id", None)))
