"""What a run gives to a retriever beside the question: configuration, metadata, tags, and LangGraph's context."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.runnables import ensure_config
from pydantic import BaseModel

from askonce.keys.normal_form import Uncacheable, is_credential
from askonce.langchain.retrieval.readers import RunReaders

RunManager = CallbackManagerForRetrieverRun | AsyncCallbackManagerForRetrieverRun

_RUNTIME = "__pregel_runtime"
# Which run it is, and where in it; what the frameworks themselves record for tracing.
_OF_THE_RUN = re.compile(
    r"__.*|ls_.*|lc_.*|((parent|root|langgraph|langsmith)_)?(run|thread|trace|span|checkpoint|request)_?id"
    r"|x-(request|correlation|trace|amzn-trace|client-trace)-?id|x-cloud-trace-context|x-b3-.*|x-datadog-.*"
    r"|x-forwarded-(for|host|port|proto|protocol|scheme|server|prefix|path|uri|method|by|ssl)|traceparent|tracestate|baggage"
    r"|(langgraph_)?checkpoint_(ns|map|id)|langgraph_(step|node|triggers|path|version|host|plan|api_.*)|revision_id"
    r"|run_attempt|user-agent|recursion_limit",
    re.IGNORECASE,
)
_OWN_TAGS = re.compile(r"(seq:step|map:key|graph:step|langsmith|langgraph):.*")


def given_by_run(
    run: RunManager,
    depends_on: Collection[str] | None,
    readers: RunReaders,
) -> dict[str, Any]:
    """What a retriever finds in the run that it is called in.

    Args:
        run: of the call.
        depends_on: the names that count; ``None``: all but the ids of runs, threads and checkpoints.
        readers: the parts of the retriever that may read it: such an id counts if they name it, and so do
            the context variables that they use.

    Raises:
        Uncacheable: a credential is among it.
    """
    configurable = ensure_config().get("configurable") or {}
    context = getattr(configurable.get(_RUNTIME), "context", None)
    named = {
        "configurable": configurable,
        "metadata": run.inheritable_metadata or {},
        "context": _members(context),
        "variables": _held(readers.variables),
    }
    given: dict[str, Any] = {part: _counting(values, depends_on, readers) for part, values in named.items()}
    if depends_on is None:
        given["tags"] = sorted({tag for tag in run.inheritable_tags or () if not _OWN_TAGS.fullmatch(tag)})
    return {part: values for part, values in given.items() if values}


def _held(variables: Iterable[ContextVar[Any]]) -> dict[str, list[Any]]:
    """What context variables hold, by their names, which several may share."""
    held: dict[str, list[Any]] = {}
    for one in variables:
        held.setdefault(one.name, []).append(one.get(None))
    return held


def _counting(values: Mapping[str, Any], depends_on: Collection[str] | None, readers: RunReaders) -> dict[str, Any]:
    if depends_on is not None:
        return {name: value for name, value in values.items() if name in depends_on}
    counting = {
        name: value for name, value in values.items() if not _OF_THE_RUN.fullmatch(name) or readers.names(name)
    }
    for name in counting:
        if is_credential(name):
            raise Uncacheable(
                f"the run gives it a credential, {name!r}; name what results depend on instead:"
                " CachedRetriever(…, depends_on=['user_id'])"
            )
    return counting


def _members(context: Any) -> Mapping[str, Any]:
    """The members of a context: a mapping, a dataclass, a model, any object."""
    if context is None or isinstance(context, Mapping):
        return context or {}
    if isinstance(context, BaseModel):
        return {**context.__dict__, **(context.__pydantic_extra__ or {})}
    if dataclasses.is_dataclass(context):
        return {one.name: getattr(context, one.name) for one in dataclasses.fields(context)}
    members: Mapping[str, Any] = getattr(context, "__dict__", {"value": context})
    return members
