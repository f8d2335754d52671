"""What is retrieved in a run of LangChain reaches the answers made in that run.

LangChain calls its callbacks for every run: a chain's, an agent's or a tool's when it begins, in the context that
its threads and tasks then copy; a retriever's or a model's, with the run that it belongs to. So each chain and tool
begins a retrieval context within that of its parent, and what belongs to a run uses its context, wherever it runs.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.runnables.config import var_child_runnable_config
from langchain_core.tracers.context import register_configure_hook

from askonce.provenance.retrieval_context import (
    RetrievalContext,
    begin_retrieval_context,
    current_retrieval_context,
    enter_retrieval_context,
)

_MOST_RUNS = 10_000
"""With more runs than this at one time, some ended without an event."""


class RunContexts(BaseCallbackHandler):
    """Gives each run its retrieval context."""

    run_inline = True  # in the context of the run, also when it is asynchronous

    def __init__(self) -> None:
        self._contexts: OrderedDict[UUID, RetrievalContext] = OrderedDict()

    def _around(self, parent: UUID | None) -> RetrievalContext | None:
        """The context of the code that starts a run."""
        known = None if parent is None else self._contexts.get(parent)
        if known is not None:
            return known
        one, caller = current_retrieval_context(), var_child_runnable_config.get()
        while one is not None and one.is_run and one.caller is caller:
            one = one.outer  # another run of the same caller: an input of the same batch, an abandoned stream
        return one

    def _follow(self, run: UUID, retrieval_context: RetrievalContext | None) -> None:
        if retrieval_context is not None:
            self._contexts[run] = retrieval_context
            if len(self._contexts) > _MOST_RUNS:
                self._contexts.popitem(last=False)

    def _begin(self, run: UUID, parent: UUID | None, *, is_tool: bool) -> None:
        caller = var_child_runnable_config.get()
        self._follow(run, begin_retrieval_context(self._around(parent), is_tool=is_tool, caller=caller))

    def _end(self, run: UUID) -> None:
        if (retrieval_context := self._contexts.pop(run, None)) is not None:
            retrieval_context.end()
            current_retrieval_context()

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._begin(run_id, parent_run_id, is_tool=False)

    def on_tool_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._begin(run_id, parent_run_id, is_tool=True)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._end(run_id)

    on_chain_error = on_tool_end = on_tool_error = on_chain_end

    def on_retriever_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        retrieval_context = self._around(parent_run_id)
        enter_retrieval_context(retrieval_context)
        self._follow(run_id, retrieval_context)

    on_llm_start = on_chat_model_start = on_retriever_start

    def on_retriever_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._contexts.pop(run_id, None)

    on_retriever_error = on_llm_end = on_llm_error = on_retriever_end


_run_contexts: ContextVar[RunContexts | None] = ContextVar("askonce_run_contexts", default=RunContexts())  # noqa: B039
register_configure_hook(_run_contexts, inheritable=True)
