"""What is retrieved in a run of LangChain reaches the answers made in that run.

LangChain calls its callbacks for every run: a chain's or an agent's when it begins, in the context that its threads
and tasks then copy; a retriever's or a model's, with the run that it belongs to. So a chain begins a retrieval
context, and all runs in it use that context, wherever they run.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from askonce.provenance.retrieval_context import (
    RetrievalContext,
    begin_retrieval_context,
    end_retrieval_context,
    enter_retrieval_context,
)

_MOST_RUNS = 10_000
"""With more runs than this at one time, some ended without an event."""


class RunContexts(BaseCallbackHandler):
    """Gives each run the retrieval context of the outermost run that it belongs to."""

    run_inline = True  # in the context of the run, also when it is asynchronous

    def __init__(self) -> None:
        self._contexts: OrderedDict[UUID, RetrievalContext] = OrderedDict()
        self._begun: dict[UUID, RetrievalContext] = {}

    def _start(self, run: UUID, parent: UUID | None) -> RetrievalContext | None:
        retrieval_context = None if parent is None else self._contexts.get(parent)
        if retrieval_context is not None:
            enter_retrieval_context(retrieval_context)
            self._follow(run, retrieval_context)
        return retrieval_context

    def _follow(self, run: UUID, retrieval_context: RetrievalContext) -> None:
        self._contexts[run] = retrieval_context
        if len(self._contexts) > _MOST_RUNS:
            self._begun.pop(self._contexts.popitem(last=False)[0], None)

    def _end(self, run: UUID) -> None:
        self._contexts.pop(run, None)

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        if (
            self._start(run_id, parent_run_id) is None
            and (retrieval_context := begin_retrieval_context()) is not None
        ):
            self._begun[run_id] = retrieval_context
            self._follow(run_id, retrieval_context)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._end(run_id)
        if (retrieval_context := self._begun.pop(run_id, None)) is not None:
            end_retrieval_context(retrieval_context)

    on_chain_error = on_chain_end

    def on_retriever_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._start(run_id, parent_run_id)

    on_tool_start = on_llm_start = on_chat_model_start = on_retriever_start

    def on_retriever_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._end(run_id)

    on_retriever_error = on_tool_end = on_tool_error = on_llm_end = on_llm_error = on_retriever_end


_run_contexts: ContextVar[RunContexts | None] = ContextVar("askonce_run_contexts", default=RunContexts())  # noqa: B039
register_configure_hook(_run_contexts, inheritable=True)
