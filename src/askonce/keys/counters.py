"""What an object changes of itself while it answers is a counter or a log, and no setting.

An object of the application's own class often holds both: how many texts it has embedded, and the length of its
vectors. Numbers, lists and maps count as they are, so that a setting that the application changes later is seen.
One that was seen to change during a call, and that the object's code changes itself, counts as it was before, or
the object would have a new key after each call. So does what was nothing before the call and is an object after it,
such as a client that is made when it is first needed. A flag that the code sets counts as it was while a call is
under way. That is so as long as it is what the last call left; what
the application sets between two calls counts. What the code counts up, or adds to, is a counter whatever it holds.
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace, TracebackType
from typing import Any

import msgspec

from askonce.keys.model_identity import (
    answering,
    changes_of,
    forget_what_was,
    observed_of,
    record_changes,
)
from askonce.keys.normal_form import encode
from askonce.keys.own.bytecode import ANY
from askonce.keys.own.changes import is_computed_by_own_code
from askonce.keys.own.modules import is_installed_class
from askonce.keys.own.state import MOST_PARTS, Observations, collected, observed_in, reference_to
from askonce.keys.snapshots import Items, Object, WrittenNumber, differ_in_numbers_alone, snapshot

_ABSENT: Any = object()
_Held = tuple[type, dict[Any, Any] | None]
"""The class of what a field held, and the items of a list or map."""
_MAPS = (dict, Counter, defaultdict, OrderedDict)
_LOGS = (list, dict, set, deque, SimpleNamespace)
_MOST_OBJECTS = 100
"""Of more objects in one field, those that calls have made are compared by their identity alone,"""
_MOST_TIMES = 10
"""and so are those that calls have replaced more often: the next call replaces them, too."""


@dataclass(slots=True)
class _Own:
    """What a field was that calls have changed.

    Attributes:
        first: its form before.
        left: a snapshot of what the last call left.
        counts: the object's code counts it up or adds to it: it is a counter or a log, whatever it is.
        held: what the objects in it hold, as the last call left them; ``None``: their identity has to do.
        is_filled: a later call left it as it was: the first has filled it in for good.
        times: how often calls have put another thing there.
    """

    first: Any
    left: Any
    counts: bool
    held: Observations | None = None
    is_filled: bool = False
    times: int = 0


@dataclass(slots=True)
class _Seen:
    """What was seen of one object.

    Attributes:
        owner: the object.
        private: what has a public name is a counter or a log only if its code counts it up or adds to it, and only
            while it is as the code left it.
        read: what its fields were when they were read last.
        shown: the forms that they had then.
        own: the fields that its calls have changed.
        items: the numbers in its maps and lists that its code counts up, and what they were before.
        parts: objects in it that were read with it.
    """

    owner: weakref.ref[Any]
    private: bool = False
    read: dict[str, Any] = field(default_factory=dict)
    shown: dict[str, Any] = field(default_factory=dict)
    own: dict[str, _Own] = field(default_factory=dict)
    items: dict[str, dict[Any, Any]] = field(default_factory=dict)
    parts: list[weakref.ref[Any]] = field(default_factory=list)


_seen: dict[int, _Seen] = {}
_under_way: dict[int, list[CallUnderWay]] = {}  # by the model's id


def counters_as_at_first(
    owner: Any, fields: dict[str, Any], *, private: bool, parts: Iterable[Any] = ()
) -> dict[str, Any]:
    """Fields, with the counters and logs among them as they were before the calls that changed them.

    Args:
        owner: an object of the application's own class.
        fields: its fields in plain data.
        private: what is no number or log that its code counts up or adds to, and has a public name, is a setting.
        parts: objects in it that may have counters, too.
    """
    seen = _seen_of(owner)
    if seen is None:
        return fields
    _record_so_far(owner)
    read = {
        name: snapshot(without_counted_items(owner, name, value))
        for name, value in _members(owner).items()
        if not private
        or name.startswith("_")
        or is_computed_by_own_code(type(owner), name)
        or _may_be_counted(owner, name)
    }
    own = {name: one for name, one in list(seen.own.items()) if _is_own(one, read.get(name, _ABSENT))}
    _compare_from_now_on(own.values())
    masked = {name: one.first for name, one in own.items()}
    shown = {name: value for name, value in {**fields, **masked}.items() if value is not _ABSENT}
    with contextlib.suppress(TypeError):
        seen.parts = [weakref.ref(one) for one in parts]
    seen.private, seen.read, seen.shown = private, read, shown
    return shown


def _may_be_counted(owner: Any, name: str) -> bool:
    changes = changes_of(owner)
    return not changes or any(name in one.names() for one in changes)


def _compare_from_now_on(own: Iterable[_Own]) -> None:
    observed = collected()
    for one in own:
        if observed is not None and one.held is not None:
            observed.seen += one.held.seen
            observed.changes.add_all(one.held.changes)


def changed_by_calls(owner: Any) -> frozenset[str]:
    """The names of what an object has changed of itself during calls, and that is as they left it."""
    _record_so_far(owner)
    seen = _known(owner)
    if seen is None:
        return frozenset()
    members = _members(owner)
    return frozenset(name for name, one in list(seen.own.items()) if _is_own(one, _read(owner, name, members)))


def without_counted_items(owner: Any, name: str, value: Any) -> Any:
    """A field's value, with the numbers in it that the object's code counts up as they were before."""
    seen = _known(owner)
    counted = seen.items.get(name) if seen is not None else None
    if not counted:
        return value
    shown = copy.copy(value)
    items = vars(shown) if isinstance(shown, SimpleNamespace) else shown
    for key, before in counted.items():
        with contextlib.suppress(LookupError):  # the application has put another map or list there
            if before is _ABSENT:
                del items[key]
            elif isinstance(items, list) or key in items:
                items[key] = before
    return shown


class CallUnderWay:
    """A call of a model's own code that is under way: what it changes of the model is no setting.

    Args:
        model: the model.
        since_read: it began when the model was read last.
    """

    def __init__(self, model: Any, *, since_read: bool = False) -> None:
        if not since_read and id(model) not in _under_way:
            forget_what_was(model)
        self._model, self._changes = reference_to(model), changes_of(model)
        seen = _known(model)
        parts = [] if seen is None else [one() for one in seen.parts]
        self._before: list[tuple[_Seen, dict[str, Any], dict[str, _Held]]] = []
        for one in (model, *_members(model).values(), *parts):
            if (seen := _known(one)) is not None and all(seen is not other for other, *_ in self._before):
                members = {} if since_read else _members(one)
                held = {name: (type(value), _items(value)) for name, value in members.items()}
                states = seen.read if since_read else {name: _read(one, name, members) for name in members}
                self._before.append((seen, states, held))

    def __enter__(self) -> None:
        """While it lasts, keys that are made of the model leave out what it has changed so far."""
        _under_way.setdefault(id(self._model()), []).append(self)
        answering.add(id(self._model()))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(failed=kind is not None)

    def record(self) -> None:
        """Record what the model's code has changed of it so far."""
        for seen, before, items in self._before:
            owner = seen.owner()
            if owner is not None:
                self._record(seen, owner, before, items)

    def end(self, *, failed: bool = False) -> None:
        """Record what the call has changed."""
        model = self._model()
        self._changes = record_changes(model) or self._changes
        self.record()
        calls = _under_way.get(id(model), [])
        if self in calls:
            calls.remove(self)
        if not calls:
            _under_way.pop(id(model), None)
            answering.discard(id(model))
            for seen, *_ in self._before:
                for name in [name for name, one in list(seen.own.items()) if _is_flag(one.left)]:
                    seen.own.pop(name, None)
        for seen, before, _ in [] if failed else self._before:
            for name, one in seen.own.items():
                if isinstance(one.left, Object) and before.get(name) == one.left:
                    one.is_filled = True

    def has_left(self, before: Any, now: Any) -> bool:
        """Whether normal forms from before and after the call differ by what the model's own code changed alone."""
        if encode(before) == encode(now):
            return True
        parts, others = _parts(before), _parts(now)
        return {name for name in {**parts, **others} if parts.get(name) != others.get(name)} <= self._own_changes()

    def _own_changes(self) -> set[str]:
        """The fields that the code has changed, as far as it is the application's own and known."""
        found: set[str] = set()
        by_part: dict[int, bool] = {}
        model = self._model()
        for seen, before, held in self._before:
            owner = seen.owner()
            now = _members(owner)
            names = {**before, **now}
            changed = {name for name in names if _read(owner, name, now) != before.get(name, _ABSENT)}
            own = {name for name in changed if self._is_changed(owner, name, held.get(name))}
            if owner is model:
                found |= own
            else:
                by_part[id(owner)] = bool(changed) and own == changed
        for name, value in _members(model).items():
            if by_part.get(id(value)):
                found.add(name)
        return found

    def _is_changed(self, owner: Any, name: str, held: _Held | None) -> bool:
        """Whether the code changes a field, or all those items of a map in it that are otherwise now."""
        path = ("", f".{name}")
        if any(one.is_changed(type(owner), path, filled=held is None) for one in self._changes):
            return True
        value = _members(owner).get(name)
        was, now = _both(held, value)
        if isinstance(value, list):
            return False
        keys = [key for key in {**was, **now} if was.get(key, _ABSENT) is not now.get(key, _ABSENT)]
        parts = [_part(value, key) for key in keys]
        return bool(keys) and all(
            any(one.is_changed(type(owner), (*path, part)) for one in self._changes) for part in parts
        )

    def _record(self, seen: _Seen, owner: Any, before: Mapping[str, Any], items: Mapping[str, _Held]) -> None:
        members = _members(owner)
        computed = {
            name for name in members.keys() - seen.read.keys() if is_computed_by_own_code(type(owner), name)
        }
        for name in (seen.read.keys() & members.keys()) | computed:
            self._add_items(seen, owner, name, items.get(name), members[name])
            if self._is_of_the_code(owner, name, items.get(name)):
                self._add(seen, owner, name, before.get(name, _ABSENT), _read(owner, name, members))

    def _add(self, seen: _Seen, owner: Any, name: str, before: Any, now: Any) -> None:
        computed = is_computed_by_own_code(type(owner), name)
        if before == now or (before is _ABSENT and not computed):
            return
        known = seen.own.get(name)
        if known is not None and _is_flag(known.left):
            return
        if known is not None and not known.counts and known.left == now:  # another call has put it there
            if known.held is not None:
                known.held.record()
            return
        if known is not None and (before == known.left or _is_counted(known, before)):
            if not (known.is_filled and isinstance(before, Object)):  # else the application has put it there
                known.left, known.times = now, known.times + 1
                known.held = self._held_in(owner, name, known)
            return
        is_read = seen.read.get(name, _ABSENT) == before and (before is not None or name in seen.shown)
        # A flag is the code's as long as a call is under way that may have set it.
        is_flag = _is_flag(before) and _is_flag(now) and self in _under_way.get(id(self._model()), ())
        is_flag = is_flag and self._is_changed(owner, name, None)
        if is_read and (is_flag or computed or _may_be_own(before, now)):
            counts = any(one.is_counter(type(owner), ("", f".{name}")) for one in self._changes) and not _is_map(
                before
            )
            is_public = seen.private and not name.startswith("_") and not computed
            if counts or not is_public:
                own = _Own(seen.shown.get(name, _ABSENT), now, counts and not is_public)
                own.held = self._held_in(owner, name, own)
                seen.own[name] = own

    def _held_in(self, owner: Any, name: str, own: _Own) -> Observations | None:
        """What is in the objects that a call has made: what the application changes of them is a setting."""
        if own.counts or own.times > _MOST_TIMES or not 0 < _objects_in(own.left) <= _MOST_OBJECTS:
            return None
        value = _members(owner).get(name)
        found = observed_in(value, type(owner), ("", f".{name}"), observed_of(self._model()))
        return found if found is None or len(found.seen) <= MOST_PARTS else None

    def _add_items(self, seen: _Seen, owner: Any, name: str, before: _Held | None, now: Any) -> None:
        """Record the numbers in a map or a list that the code counts up."""
        was, held = _both(before, now)
        if type(now) is list and len(was) != len(held):
            return
        for key, number in held.items():
            old = was.get(key, _ABSENT)
            if type(number) in (int, float) and (old is _ABSENT or type(old) in (int, float)) and number != old:
                path = ("", f".{name}", _part(now, key))
                if any(one.is_counter(type(owner), path) for one in self._changes):
                    seen.items.setdefault(name, {}).setdefault(key, old)

    def _is_of_the_code(self, owner: Any, name: str, held: _Held | None) -> bool:
        """Whether the code changes it, and not the application; of installed classes that is not known."""
        cls: type = type(owner)
        if not self._changes or all(is_installed_class(base) for base in cls.__mro__):
            return True
        return self._is_changed(owner, name, held)


def record_counters(owner: Any) -> None:
    """Record, after a call, what an object has changed of itself, the objects in it and what its code uses."""
    CallUnderWay(owner, since_read=True).end()


def _record_so_far(model: Any) -> None:
    for call in list(_under_way.get(id(model), ())):
        call.record()


def _known(owner: Any) -> _Seen | None:
    """What was seen of an object before."""
    seen = _seen.get(id(owner))
    return seen if seen is not None and seen.owner() is owner else None


def _seen_of(owner: Any) -> _Seen | None:
    """As `_known`; ``None`` if it has slots, so that it cannot be remembered."""
    at = id(owner)
    if _known(owner) is None:
        try:
            _seen[at] = _Seen(weakref.ref(owner, lambda _: _seen.pop(at, None)))
        except TypeError:
            return None
    return _seen[at]


def _parts(form: Any) -> dict[str, bytes]:
    """The fields in a model's normal form, and what else is in it."""
    whole: dict[str, Any] = msgspec.json.decode(encode(form))
    fields: dict[str, Any] = {}
    for part in ("constructor", "fields", "own_fields"):
        if isinstance(whole.get(part), dict):
            fields |= whole.pop(part)
    return {name: encode(value) for name, value in {**whole, **fields}.items()}


def _is_own(one: _Own, now: Any) -> bool:
    """Whether what is there now is what the last call left."""
    if _is_counted(one, now):
        return True
    return bool(now == one.left) and (one.held is None or one.held.is_current())


def _is_counted(one: _Own, now: Any) -> bool:
    return one.counts and isinstance(now, (WrittenNumber, Items))


def _objects_in(state: Any) -> int:
    """How many objects are in something that fingerprints do not look into, namespaces among them."""
    if isinstance(state, Items):
        return sum(map(_objects_in, state.values)) + issubclass(state.kind, (SimpleNamespace, deque))
    return isinstance(state, Object)


def _may_be_own(before: Any, now: Any) -> bool:
    """Whether a change may be that of a counter, a log, or something made at the first call."""
    if before is None:  # a text or a number in place of nothing may be a setting
        return isinstance(now, (Object, Items))
    if isinstance(before, Items) and issubclass(before.kind, _LOGS):
        is_alike = isinstance(now, Items) and len(before.values) == len(now.values)
        return not is_alike or differ_in_numbers_alone(before, now)
    return isinstance(before, WrittenNumber)


def _is_flag(state: Any) -> bool:
    return isinstance(state, tuple) and len(state) == 2 and state[0] is bool


def _is_map(state: Any) -> bool:
    return isinstance(state, Items) and issubclass(state.kind, (dict, SimpleNamespace))


def _members(owner: Any) -> dict[str, Any]:
    private = getattr(owner, "__pydantic_private__", None)
    return {**getattr(owner, "__dict__", {}), **(private or {})}


def _read(owner: Any, name: str, members: Mapping[str, Any]) -> Any:
    if name not in members:
        return _ABSENT
    return snapshot(without_counted_items(owner, name, members[name]))


def _part(container: Any, key: Any) -> str:
    """An item in a path of `OwnChanges`."""
    if isinstance(container, SimpleNamespace):
        return f".{key}"
    return key if isinstance(key, str) else ANY


def _both(held: _Held | None, now: Any) -> tuple[dict[Any, Any], dict[Any, Any]]:
    """The items before and now; none if it is something else now, or holds none."""
    was, items = held[1] if held is not None and held[0] is type(now) else None, _items(now)
    return ({}, {}) if was is None or items is None else (was, items)


def _items(value: Any) -> dict[Any, Any] | None:
    """The items of a list, a map or a namespace of Python's own."""
    if type(value) is list:
        return dict(enumerate(value))
    if type(value) in _MAPS:
        return dict(value)
    return dict(vars(value)) if type(value) is SimpleNamespace else None
