"""Context variables that the application's own code in a retriever uses: they hold another user in each request."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

from llama_index.core.schema import BaseNode, NodeWithScore

from askonce.errors import ConfigError
from askonce.keys.normal_form import Uncacheable, is_credential, plain
from askonce.llama_index.retrieval.indexes import is_known, is_own, is_store
from askonce.retrieval.held import found_within
from askonce.retrieval.parts import code_of, kind_of


def variables_in(retriever: Any, *, is_lenient: bool = False) -> list[ContextVar[Any]]:
    """The context variables that own classes and functions in a retriever use, as far as `found_within` looks.

    Args:
        retriever: which.
        is_lenient: code that cannot be read uses none.

    Raises:
        ConfigError: there is such code.
    """
    found: dict[int, ContextVar[Any]] = {}

    def is_done(part: Any) -> bool:
        try:
            used = [part] if isinstance(part, ContextVar) else code_of(kind_of(part)).variables
        except Exception as error:
            if is_lenient:
                return False
            raise ConfigError(
                f"which context variables a {type(part).__module__}.{type(part).__qualname__} uses cannot be read"
                f" ({error}); name those that results depend on: CachedRetriever(…, depends_on=['user_id']), or []"
            ) from error
        found.update((id(one), one) for one in used)
        return _holds_nodes_only(part)

    for _ in found_within(retriever, is_done):
        pass
    return list(found.values())


def values_of(variables: Iterable[ContextVar[Any]], depends_on: Collection[str] | None) -> dict[str, Any]:
    """What context variables hold now, in normal form, by their names, which several may share.

    Args:
        variables: which.
        depends_on: the names of those that count; ``None``: all.

    Raises:
        Uncacheable: one holds a credential, or what has no stable representation.
    """
    values: dict[str, list[Any]] = {}
    for one in variables:
        if depends_on is None or one.name in depends_on:
            values.setdefault(one.name, []).append(
                _shown(one.name, one.get(None), is_wished=depends_on is not None)
            )
    return values


def _shown(name: str, value: Any, *, is_wished: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    names = [name, *value] if isinstance(value, Mapping) else [name]
    if not is_wished and any(isinstance(one, str) and is_credential(one) for one in names):
        raise Uncacheable(
            f"the context variable {name!r} holds a credential; name what results depend on instead:"
            " CachedRetriever(…, depends_on=['user_id'])"
        )
    return plain(value)


def _holds_nodes_only(part: Any) -> bool:
    """Whether no code is in a part: nodes, or a store of LlamaIndex's that holds them in memory."""
    if isinstance(part, (list, tuple)):
        return bool(part) and all(isinstance(one, (BaseNode, NodeWithScore)) for one in part)
    return isinstance(part, (BaseNode, NodeWithScore)) or (is_store(part) and is_known(part) and not is_own(part))
