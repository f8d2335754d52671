"""Parameters that name what a provider's server holds and each call changes: a conversation, a container.

The same request means something else after each call, so that no key can name it. An id of one answer, such as
``previous_response_id``, is no such parameter: what it names stays as it is, and it counts like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from askonce.keys.normal_form import Uncacheable

_CHANGING = frozenset("conversation conversation_id conversationId thread_id container container_id".split())
# What an SDK or a framework sends beside the other parameters, or hands on as such.
_HOLDERS = frozenset("model_kwargs additional_kwargs extra_body kwargs bound tool_options".split())


def refuse_server_state(parameters: Mapping[str, Any]) -> None:
    """See that the parameters of a model or of a call name nothing that each call changes.

    Raises:
        Uncacheable: they do.
    """
    for name, value in parameters.items():
        if name in _CHANGING and _names_one(value):
            raise Uncacheable(f"{name} names what the provider's server holds, which each call changes")
        if name in _HOLDERS and isinstance(value, Mapping):
            refuse_server_state(value)
        elif name == "tools" and isinstance(value, Sequence):
            for tool in value:
                if isinstance(tool, Mapping) and _names_one(tool.get("container")):
                    raise Uncacheable("a tool's container holds what each call changes")


def _names_one(value: Any) -> bool:
    """Whether a value is an id, or holds one; other settings of a new conversation or container do not."""
    if isinstance(value, Mapping):
        return bool(value.get("id"))
    return isinstance(value, str) and bool(value) and value != "auto"
