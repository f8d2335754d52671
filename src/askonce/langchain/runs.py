"""What is retrieved in a run of LangChain reaches the answers made in that run.

LangChain tells callbacks of every run: a chain's or an agent's when it begins, in the context that its threads and
tasks then copy; a retriever's or a model's, with the run that it belongs to. So a chain begins a trail of retrieved
documents, and all runs in it go on with that trail, wherever they run.
"""

from __future__ import annotations

from collections import OrderedDict
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from askonce.sources import Trail, begin_trail, end_trail, enter_trail

_MOST_RUNS = 10_000
"""More runs than this at one time are runs whose end was never told."""


class RunTrails(BaseCallbackHandler):
    """Gives each run the trail of the outermost run that it belongs to."""

    run_inline = True  # in the context of the run, also when it is asynchronous

    def __init__(self) -> None:
        self._trails: OrderedDict[UUID, Trail] = OrderedDict()
        self._begun: dict[UUID, Trail] = {}

    def _start(self, run: UUID, parent: UUID | None) -> Trail | None:
        trail = None if parent is None else self._trails.get(parent)
        if trail is not None:
            enter_trail(trail)
            self._follow(run, trail)
        return trail

    def _follow(self, run: UUID, trail: Trail) -> None:
        self._trails[run] = trail
        if len(self._trails) > _MOST_RUNS:
            self._begun.pop(self._trails.popitem(last=False)[0], None)

    def _end(self, run: UUID) -> None:
        self._trails.pop(run, None)

    def on_chain_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        if self._start(run_id, parent_run_id) is None and (trail := begin_trail()) is not None:
            self._begun[run_id] = trail
            self._follow(run_id, trail)

    def on_chain_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._end(run_id)
        if (trail := self._begun.pop(run_id, None)) is not None:
            end_trail(trail)

    on_chain_error = on_chain_end

    def on_retriever_start(self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any) -> None:
        self._start(run_id, parent_run_id)

    on_tool_start = on_llm_start = on_chat_model_start = on_retriever_start

    def on_retriever_end(self, *_: Any, run_id: UUID, **__: Any) -> None:
        self._end(run_id)

    on_retriever_error = on_tool_end = on_tool_error = on_llm_end = on_llm_error = on_retriever_end


_run_trails: ContextVar[RunTrails | None] = ContextVar("askonce_run_trails", default=RunTrails())  # noqa: B039
register_configure_hook(_run_trails, inheritable=True)
