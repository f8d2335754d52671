"""A plan written into the body of a request: breakpoints, cache key, retention; and tools in one order.

The body that comes in is not changed. Breakpoints that it has stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from askonce.prefix.optimize.plan import BreakpointPlan
from askonce.prefix.optimize.replay import added_marks, key_of
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule

Body = dict[str, Any]
Setter = Callable[[str], None]
_MARKS = ("cache_control", "prompt_cache_breakpoint")
_UNMARKABLE = ("thinking", "redacted_thinking")


def with_plan(body: Mapping[str, Any], chain: Chain, plan: BreakpointPlan) -> Body:
    """The body with the plan's breakpoints beside its own, and with the plan's key and retention where it has none.

    Args:
        body: of a request, its tools in the plan's order.
        chain: what `askonce.prefix.requests.chain.chain_of` made of it.
        plan: for requests of its kind.
    """
    rule = plan.rule
    added = added_marks(chain, plan.marks, rule) if rule.marking != "automatic" else {}
    added = dict(list(added.items())[: max(0, (rule.most_marks or 0) - _marks_in(body))])
    changed = _copied(body) if added else dict(body)
    if added:
        _write(changed, chain, added, rule)
    if rule.provider == "openai":
        if plan.keys > 1 and not chain.cache_key:
            changed["prompt_cache_key"] = key_of(chain, plan.keys)
        if plan.retention is not None and chain.retention is None:
            changed["prompt_cache_retention"] = plan.retention
    return changed


def _write(body: Body, chain: Chain, added: Mapping[int, str], rule: ProviderRule) -> None:
    bedrock = "modelId" in body
    setters = _openai(body) if rule.marking == "both" else _bedrock(body) if bedrock else _anthropic(body)
    last = -1
    for at, lifetime in added.items():
        places = range(min(at, len(setters) - 1), last, -1)
        place = next((one for one in places if setters[one] is not None), None)
        if place is None or chain.segments[place].level != chain.segments[at].level:
            continue
        last = place
        setter = setters[place]
        if setter is not None and chain.segments[place].mark is None:
            setter(lifetime)


def _marks_in(value: Any) -> int:
    """How many breakpoints a body has, wherever they stand."""
    if isinstance(value, Mapping):
        return sum(name in _MARKS or name == "cachePoint" or _marks_in(item) for name, item in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return sum(map(_marks_in, value))
    return 0


def _copied(body: Mapping[str, Any]) -> Body:
    """A copy, as deep as breakpoints stand."""
    copy = dict(body)
    for name in ("tools", "system", "messages", "input"):
        if isinstance(copy.get(name), Sequence) and not isinstance(copy[name], str):
            copy[name] = _copied_items(copy[name])
    if isinstance(copy.get("toolConfig"), Mapping):
        copy["toolConfig"] = {**copy["toolConfig"], "tools": _copied_items(copy["toolConfig"].get("tools") or ())}
    return copy


def _copied_items(items: Sequence[Any]) -> list[Any]:
    found: list[Any] = []
    for one in items:
        item = dict(one) if isinstance(one, Mapping) else one
        content = item.get("content") if isinstance(item, dict) and "role" in item else None
        if isinstance(content, Sequence) and not isinstance(content, str):
            item["content"] = _copied_items(content)
        found.append(item)
    return found


# -- one setter for each segment, in the order of `askonce.prefix.requests.wire`
# ----------------------------------------


def _anthropic(body: Body) -> list[Setter | None]:
    setters = [_control(tool) for tool in body.get("tools") or ()]
    system = body.get("system")
    if isinstance(system, str):
        body["system"] = system = [{"type": "text", "text": system}] if system else system
    setters += [_control(part) for part in system] if isinstance(system, list) else [None] * (system is not None)
    for message in body.get("messages") or ():
        if isinstance(message["content"], str):
            message["content"] = [{"type": "text", "text": message["content"]}] if message["content"] else ""
        setters += [_control(part) for part in message["content"]] or [None]
    return setters


def _control(part: Any) -> Setter | None:
    if not isinstance(part, dict) or part.get("type") in _UNMARKABLE or part.get("text") == "":
        return None
    if part.get("defer_loading"):  # answered with 400; such a tool is no part of the prefix
        return None

    def write(lifetime: str) -> None:
        part["cache_control"] = {"type": "ephemeral"} | ({} if lifetime == "5m" else {"ttl": lifetime})

    return write


def _openai(body: Body) -> list[Setter | None]:
    """Only parts of messages can be marked; texts become such."""
    setters: list[Setter | None] = [None for _ in body.get("tools") or body.get("functions") or ()]
    kind = "text" if "messages" in body else "input_text"
    setters += [None] * bool(body.get("instructions"))
    items = body.get("messages") or body.get("input") or ()
    for item in items if isinstance(items, list) else ():
        if "role" not in item:
            setters.append(None)
            continue
        if isinstance(item.get("content"), str) and item["role"] != "assistant":
            item["content"] = [{"type": kind, "text": item["content"]}]
        parts = item["content"] if isinstance(item.get("content"), list) else []
        calls = item.get("tool_calls") or ()
        texts = [None] if isinstance(item.get("content"), str) else [_breakpoint(part) for part in parts]
        setters += [*texts, *(None for _ in calls)] or [None]
    return setters


def _breakpoint(part: Any) -> Setter | None:
    if not isinstance(part, dict):
        return None

    def write(lifetime: str) -> None:
        part["prompt_cache_breakpoint"] = {"mode": "explicit"}

    return write


def _bedrock(body: Body) -> list[Setter | None]:
    setters: list[Setter | None] = []
    lists = [(body.get("toolConfig") or {}).get("tools") or [], body.get("system") or []]
    for items in (*lists, *(message["content"] for message in body.get("messages") or ())):
        parts = [one for one in items if "cachePoint" not in one]
        setters += [_cache_point(items, part) for part in parts]
    return setters


def _cache_point(items: list[Any], part: Any) -> Setter | None:
    if "reasoningContent" in part:
        return None

    def write(lifetime: str) -> None:
        point = {"type": "default"} | ({} if lifetime == "5m" else {"ttl": lifetime})
        at = next(number for number, one in enumerate(items) if one is part)
        items.insert(at + 1, {"cachePoint": point})

    return write


# -- tools ---------------------------------------------------------------------------------------------------


_VALUES = ("default", "const", "enum", "examples", "input_examples")
"""What holds values of arguments, not schemas: order is theirs."""


class ToolOrder:
    """Tools sorted by name, their schemas with their keys in one order.

    The order of a schema's properties is that in which models write arguments: it stays as it was first seen.
    """

    def __init__(self) -> None:
        self._properties: dict[tuple[str, frozenset[str]], list[str]] = {}

    def applied(self, body: Mapping[str, Any]) -> Body:
        """The body with its tools in order."""
        changed = dict(body)
        for name in ("tools", "functions"):
            if isinstance(changed.get(name), Sequence):
                changed[name] = self._sorted(changed[name])
        if isinstance(changed.get("toolConfig"), Mapping):
            tools = changed["toolConfig"].get("tools") or ()
            changed["toolConfig"] = {**changed["toolConfig"], "tools": self._sorted(tools)}
        return changed

    def _sorted(self, tools: Sequence[Any]) -> list[Any]:
        """Sorted between marks that are there, so that the same tools stand before each."""
        found: list[Any] = []
        group: list[Any] = []
        for one in tools:
            if not _is_point(one):
                group.append(one)
            if _is_point(one) or (isinstance(one, Mapping) and "cache_control" in one):
                found += self._in_order(group)
                group = []
                if _is_point(one):
                    found.append(one)
                else:
                    found[-1] = {**found[-1], "cache_control": one["cache_control"]}
        return found + self._in_order(group)

    def _in_order(self, group: Sequence[Any]) -> list[Any]:
        """By name; first those that are deferred, on which no mark may stand."""
        return sorted(
            (self._canonical(_bare(one), name_of(one)) for one in group),
            key=lambda one: (not (isinstance(one, Mapping) and one.get("defer_loading")), name_of(one)),
        )

    def _canonical(self, value: Any, tool: str) -> Any:
        if isinstance(value, Mapping):
            canonical: dict[str, Any] = {}
            for name in sorted(value):
                item = value[name]
                if name == "properties" and isinstance(item, Mapping):
                    canonical[name] = {
                        one: self._canonical(item[one], tool) for one in self._first_seen(tool, item)
                    }
                elif name in _VALUES:
                    canonical[name] = item
                elif name == "required" and isinstance(item, list):
                    canonical[name] = sorted(item, key=str)
                else:
                    canonical[name] = self._canonical(item, tool)
            return canonical
        return [self._canonical(one, tool) for one in value] if isinstance(value, list) else value

    def _first_seen(self, tool: str, properties: Mapping[str, Any]) -> list[str]:
        if len(self._properties) > 10_000:
            self._properties.clear()
        return self._properties.setdefault((tool, frozenset(properties)), list(properties))


def _is_point(tool: Any) -> bool:
    return isinstance(tool, Mapping) and "cachePoint" in tool


def _bare(tool: Any) -> Any:
    return (
        {name: value for name, value in tool.items() if name not in _MARKS} if isinstance(tool, Mapping) else tool
    )


def name_of(tool: Any) -> str:
    """The name of a tool in any provider's form."""
    if not isinstance(tool, Mapping):
        return ""
    inner = tool.get("function") or tool.get("toolSpec") or tool
    return str(inner.get("name") or tool.get("type", ""))
