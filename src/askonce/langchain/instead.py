"""What to write where something cannot be cached: the way that the error shows."""

from __future__ import annotations

import inspect
from typing import Any


def instead_of(x: Any) -> str:
    """What to write where neither `cached` nor `CachedRetriever` can be used."""
    from langchain_core.runnables import Runnable, RunnableBinding, RunnableLambda
    from langchain_core.tools import BaseTool
    from langchain_core.vectorstores import VectorStore

    if isinstance(x, type):
        return f"make one first: cached({x.__name__}(…))"
    if isinstance(x, str) and "://" not in x:
        return "make a model of the name first: cached(init_chat_model('gpt-5-mini', model_provider='openai'))"
    if x is None or isinstance(x, str) or inspect.isroutine(x):
        return "it is no decorator: wrap the model that the function calls, model = cached(ChatOpenAI(…))"
    if isinstance(x, VectorStore):
        return "wrap its retriever, cached(store.as_retriever(), corpus=…), and its embeddings, cached(embeddings)"
    if isinstance(x, BaseTool):
        return "tools are not cached; wrap the model that calls it, cached(model)"
    wrapped = _around_a_retriever(x)
    if wrapped is not None:
        return wrapped
    if isinstance(x, RunnableLambda):
        return (
            "wrap what the function calls, cached(model) or cached(retriever, corpus=…); or make it a retriever,"
            " class Search(BaseRetriever), with the function as its _get_relevant_documents"
        )
    if isinstance(x, RunnableBinding):
        return "wrap the model before its options are bound: cached(model).bind(…)"
    if any(cls.__module__.partition(".")[0] == "langgraph" for cls in type(x).__mro__):
        return "wrap the model in it: create_agent(cached(model), tools)"
    if isinstance(x, Runnable):
        return "wrap the model in it: prompt | cached(model)"
    return "wrap the model, the embeddings or the retriever that it uses"


def _around_a_retriever(x: Any) -> str | None:
    """What to write instead of something made from a retriever; ``None`` if it is not."""
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables.configurable import DynamicRunnable

    inner = x
    while inner is not None and not isinstance(inner, BaseRetriever):
        steps = getattr(inner, "steps", None)
        held = [getattr(inner, name, None) for name in ("bound", "runnable", "default")]
        inner = steps[0] if steps else next((one for one in held if one is not None), None)
    if inner is None:
        return None
    if isinstance(x, DynamicRunnable):
        return (
            "cache a retriever for each configuration, cached(retriever, corpus=…), or pass what differs as"
            " arguments of the call, which are part of the key"
        )
    return "cache the retriever first, and wrap what that returns: cached(retriever, corpus=…).with_retry()"
