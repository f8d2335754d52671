"""LlamaIndex's runs, in which what was retrieved is remembered for the answers made from it.

A run is a query or chat engine's, a workflow's, an agent's. LlamaIndex's instrumentation shows its begin and end
in the very context in which it runs, before threads and tasks copy that.
"""

from __future__ import annotations

import inspect
from typing import Any

from llama_index.core.base.base_query_engine import BaseQueryEngine
from llama_index.core.base.response.schema import AsyncStreamingResponse, StreamingResponse
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.chat_engine.types import BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.tools import BaseTool
from llama_index.core.workflow import Workflow
from llama_index_instrumentation import get_dispatcher

from askonce.provenance.retrieval_context import (
    RetrievalContext,
    begin_retrieval_context,
    current_retrieval_context,
    leave_to_stream,
)

# They call the model for the last part of their answer only when they are read.
_STREAMS = (StreamingResponse, AsyncStreamingResponse, StreamingAgentChatResponse)
_RUNS = (BaseQueryEngine, BaseChatEngine, Workflow, BaseTool)


def follow_runs() -> None:
    """Follow LlamaIndex's runs from now on, in the whole process."""
    root = get_dispatcher()
    if not any(isinstance(one, Runs) for one in root.span_handlers):
        root.add_span_handler(Runs())


class Runs(BaseSpanHandler[BaseSpan]):
    """Begins and ends the retrieval contexts of runs; stores no spans."""

    _open: dict[str, RetrievalContext] = PrivateAttr(default_factory=dict)

    @classmethod
    def class_name(cls) -> str:
        return "AskOnceRuns"

    def new_span(
        self, id_: str, bound_args: inspect.BoundArguments, instance: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        if isinstance(instance, _RUNS):
            is_tool = isinstance(instance, BaseTool)
            self._open[id_] = begin_retrieval_context(current_retrieval_context(), is_tool=is_tool)

    def prepare_to_exit_span(self, id_: str, *args: Any, result: Any = None, **kwargs: Any) -> None:
        if (retrieval_context := self._open.pop(id_, None)) is not None:
            retrieval_context.end()
            current_retrieval_context()
            if isinstance(result, _STREAMS):
                leave_to_stream(retrieval_context)

    def prepare_to_drop_span(self, id_: str, *args: Any, **kwargs: Any) -> None:
        self.prepare_to_exit_span(id_)
