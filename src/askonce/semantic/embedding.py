"""Texts as vectors, by the application's embeddings."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from askonce.errors import AskOnceError, ConfigError, MissingExtraError
from askonce.keys.normal_form import NormalForm, Uncacheable, model_form

logger = logging.getLogger("askonce")

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The methods that embed a text: LangChain's `Embeddings`, and LlamaIndex's `BaseEmbedding`.
_METHODS = (("embed_query", "aembed_query"), ("get_query_embedding", "aget_query_embedding"))
_MODEL_NAMES = "model model_name model_id repo_id deployment azure_deployment engine model_path".split()
# Fields that change how texts are sent, not their vectors.
_NEUTRAL = frozenset(
    """
    chunk_size batch_size max_batch_size embed_batch_size skip_empty show_progress_bar check_embedding_ctx_length
    tiktoken_enabled max_concurrency cache_folder region_name n_jobs threads parallel num_thread keep_alive
    default_headers embeddings_cache
    """.split()
)


class Embedder:
    """Embeds questions and answers as unit vectors.

    Args:
        embeddings: LangChain's `Embeddings`, LlamaIndex's `BaseEmbedding`, or a function from a text to a sequence
            of floats, which may be asynchronous.
        model: a name for the model, where ``embeddings`` does not show which it is.

    Attributes:
        identity: the model and all that its vectors depend on, without credentials. Vectors of different
            identities must never be compared. Embeddings that show neither a model's name nor plain fields, such
            as a lambda, are identified by the name of their class or function alone.

    Raises:
        ConfigError: ``embeddings`` is none of these, or ``model`` is not a name.
        MissingExtraError: numpy is not installed.
    """

    def __init__(self, embeddings: Any, model: str | None = None) -> None:
        try:
            import numpy  # noqa: F401
        except ModuleNotFoundError:
            raise MissingExtraError("Semantic caching", "semantic") from None
        if model is not None and not (isinstance(model, str) and model):
            raise ConfigError(f"model is the name of an embedding model, got {model!r}")
        self._call, self._acall = _callables(embeddings)
        self.identity: str = f"named {model}" if model is not None else _identity(embeddings)
        self._dimensions: int | None = None

    def embed(self, text: str) -> NDArray[np.float32]:
        """The unit vector of a text: a float32 array of the shape (dimensions,).

        Raises:
            AskOnceError: the embeddings gave something else than a vector with a direction.
            Exception: whatever the embeddings raise.
        """
        if self._call is not None:
            return self._unit(self._call(text))
        assert self._acall is not None
        return self._unit(_run(self._acall, text))

    async def aembed(self, text: str) -> NDArray[np.float32]:
        """Asynchronous `embed`; a function that is only synchronous runs in a thread."""
        import asyncio

        if self._acall is not None:
            return self._unit(await self._acall(text))
        assert self._call is not None
        return self._unit(await asyncio.to_thread(self._call, text))

    def _unit(self, given: Any) -> NDArray[np.float32]:
        import numpy as np

        if inspect.isawaitable(given):
            if inspect.iscoroutine(given):
                given.close()
            raise AskOnceError("the embeddings are asynchronous and do not show it: give them as an `async def`")
        try:
            vector = np.asarray(given, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise AskOnceError(f"the embeddings gave a {type(given).__name__}, not a vector of numbers") from error
        if vector.ndim != 1 or not vector.size:
            raise AskOnceError(f"the embeddings gave an array of the shape {vector.shape} for one text")
        length = float(np.linalg.norm(vector))
        if not 0 < length < float("inf"):
            raise AskOnceError("the embeddings gave a vector without a direction: all zero, or not finite")
        if self._dimensions is None:
            self._dimensions = vector.size
        elif vector.size != self._dimensions:
            raise AskOnceError(f"the embeddings gave {vector.size} numbers, and {self._dimensions} before")
        unit: NDArray[np.float32] = (vector / length).astype(np.float32)
        return unit


_Call = Callable[[str], Any]
_AsyncCall = Callable[[str], Awaitable[Any]]


def _callables(embeddings: Any) -> tuple[_Call | None, _AsyncCall | None]:
    for name, asynchronous in _METHODS:
        if callable(getattr(embeddings, name, None)) and not isinstance(embeddings, type):
            return getattr(embeddings, name), getattr(embeddings, asynchronous, None)
    if not callable(embeddings) or isinstance(embeddings, type):
        raise ConfigError(
            f"embeddings are LangChain's, LlamaIndex's, or a function from a text to a vector; got {embeddings!r}"
        )
    called = embeddings if inspect.isroutine(embeddings) or isinstance(embeddings, partial) else embeddings.__call__
    return (None, embeddings) if inspect.iscoroutinefunction(called) else (embeddings, None)


def _run(call: _AsyncCall, text: str) -> Any:
    """The result of an asynchronous function, in a loop of its own."""
    import asyncio
    from concurrent.futures import ThreadPoolExecutor

    async def embed() -> Any:
        return await call(text)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(embed())
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, embed()).result()


# -- which model -----------------------------------------------------------------------------------------------


def _identity(embeddings: Any) -> str:
    inner = _within_cache(embeddings)
    shown = inner if isinstance(inner, Mapping) else _shown(inner)
    if shown is None:
        shown = {"name": _name_of(inner)}
        logger.info(
            "askonce: a %s does not show which embedding model it is, so this name is its identity", shown["name"]
        )
    return NormalForm({"embeddings": shown}).digest().hex()


def _within_cache(embeddings: Any) -> Any:
    """The embeddings inside a cache around them, or the form of the model that was given to it."""
    while True:
        given = getattr(embeddings, "_model", None)
        if isinstance(given, Mapping) and set(given) == {"name"}:
            return given
        inner = vars(embeddings).get("embeddings") if hasattr(embeddings, "__dict__") else None
        inner = getattr(embeddings, "underlying_embeddings", inner)
        if not callable(getattr(inner, "embed_query", None)):
            return embeddings
        embeddings = inner


def _shown(embeddings: Any) -> dict[str, Any] | None:
    """The fields that the vectors depend on; ``None`` if the embeddings do not show them."""
    if inspect.isroutine(embeddings) or isinstance(embeddings, partial):
        return {"function": _name_of(embeddings)}
    form: dict[str, Any] = {}
    opaque = False
    fields = {**getattr(embeddings, "__dict__", {}), **(getattr(embeddings, "__pydantic_extra__", None) or {})}
    for name, value in fields.items():
        if name in _NEUTRAL:
            continue
        try:
            form |= model_form({name: value}, [])
        except Uncacheable:
            opaque = True  # a client, or the model itself
    opaque = opaque or bool(getattr(embeddings, "__pydantic_private__", None))
    if opaque and not any(isinstance(form.get(name), str) and form[name] for name in _MODEL_NAMES):
        return None
    return {"class": _name_of(type(embeddings)), **form}


def _name_of(value: Any) -> str:
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"
