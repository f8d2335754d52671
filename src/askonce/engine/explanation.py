"""Why a request is answered from the cache, or not."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from askonce.concurrency.drivers import SyncDriver
from askonce.costs.figures import span, usd
from askonce.engine.history import PastOutcome, RequestHistory, StoredForm
from askonce.engine.lookup import Lookup
from askonce.engine.request import Request
from askonce.entries.codec import Codec
from askonce.entries.entry import Hit, Miss, Place, RequestKind, place_of
from askonce.errors import CodecError
from askonce.keys.normal_form import NormalForm
from askonce.stores.base import Clock
from askonce.stores.circuit_breaker import StoreDown

if TYPE_CHECKING:  # it loads numpy
    from askonce.semantic.decision.decision import Decision
    from askonce.semantic.semantic_cache import SemanticCache

_MOST_DIFFERENCES = 5

_WHY_MISSED = {
    "expired": "its time to live is over",
    "outdated": "documents that the answer was made from have changed",
    "corrupt": "the stored answer cannot be read",
    "incomplete": "the stored answer lacks what a fresh one would have, such as the usage",
    "other length": "the stored vector has another length than others of its batch",
    "refresh": "cache_options(refresh=True) is in effect",
    "store down": "the store does not answer",
}
_WHY_NOT_STORED = {
    "empty": "it was empty",
    "truncated": "it did not come to its proper end",
    "invalid": "it was not what the request requires",
    "not parsed": "its caller could not parse it",
    "cache_if": "cache_if refused it",
    "deleted": "entries like it were deleted while it was made",
    "not storable": "it held what is no plain data",
    "too large": "it was larger than the limit",
    "store down": "the store did not answer",
}
_CONTENT = ("messages", "prompt", "question", "query", "text")
_TOP = re.compile(r"[.\[]")
_WHY_ANOTHER = (
    "the same was requested of a model with other settings or tools",
    "the same was searched before the settings of the retriever, or the documents that it holds, were changed",
)
_WHY_NOT_SIMILAR = {
    "no candidate": "no question like it was answered with all else equal",
    "learning": "too few answers were compared so far to trust similarity",
    "guard": "the questions differ in a word, name or number that matters",
    "doubtful": "the answer to the nearest question is too likely to be wrong",
    "budget": "the bound on wrong answers leaves no room for it now",
}


class StoredEntry(msgspec.Struct, frozen=True):
    """What is stored under the key of a request.

    Attributes:
        age_seconds: how old it is.
        fresh_seconds: for how long it is still fresh by its own time to live, negative if that is over; ``None``:
            it has none.
        size_bytes: of the stored value.
        model: the name of the model that made it, if known.
        tags: names by which it can be invalidated.
        cost_seconds: how long making it took.
        cost_usd: what making it cost; ``None`` when no price is known.
    """

    age_seconds: float
    fresh_seconds: float | None
    size_bytes: int
    model: str | None
    tags: tuple[str, ...]
    cost_seconds: float
    cost_usd: float | None

    def __str__(self) -> str:
        parts = [f"{span(self.age_seconds)} ago", f"{self.size_bytes:,} bytes"]
        if self.fresh_seconds is not None:
            fresh = self.fresh_seconds
            parts.append(f"fresh for {span(fresh)} more" if fresh > 0 else f"not fresh for {span(-fresh)}")
        if self.tags:
            parts.append(f"tags {', '.join(self.tags)}")
        cost = "" if self.cost_usd is None else f" and {usd(self.cost_usd)}"
        return f"{', '.join(parts)}; making it took {span(self.cost_seconds)}{cost}"


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request is answered from the cache, or not. ``print`` shows it.

    Attributes:
        outcome: what would happen to it now: ``hit``, ``miss``, or ``bypassed``.
        reason: of a hit its kind, of a miss its reason; ``None`` of what is bypassed.
        why: sentences, the most important first.
        kind: what is requested, such as ``answer``.
        namespace: where its answer would be; empty if it is bypassed.
        key: of its answer there, in hexadecimal.
        model: the model that it calls, if known.
        form: its normal form, from which the key is made.
        left_out: the paths of what is no part of it.
        stored: what is stored under the key; ``None`` if nothing is.
        past: what became of it in this process before: the newest miss, and the newest answer that was stored and
            that was not, oldest first.
        nearest: the answered question that is most like it, where semantic caching compares it.
        similarity: the cosine of the two questions' embeddings.
        differs: where the form differs from that of the most similar answer that this process stored lately.
    """

    outcome: Literal["hit", "miss", "bypassed"]
    reason: str | None
    why: tuple[str, ...]
    kind: RequestKind
    namespace: str = ""
    key: str = ""
    model: str | None = None
    form: Mapping[str, Any] = msgspec.field(default_factory=dict)
    left_out: tuple[str, ...] = ()
    stored: StoredEntry | None = None
    past: tuple[PastOutcome, ...] = ()
    nearest: str | None = None
    similarity: float | None = None
    differs: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.outcome}{f' ({self.reason})' if self.reason else ''}: {self.why[0]}", *self.why[1:]]
        if self.stored is not None:
            lines.append(f"stored: {self.stored}")
        if self.differs:
            lines.append("differs from the most similar stored request in " + ", ".join(self.differs))
        if self.key:
            lines.append(f"key: {self.key} in namespace {self.namespace!r}, model {self.model}")
            lines.append("left out of the key: " + (", ".join(self.left_out) or "nothing"))
            lines.append("form: " + json.dumps(self.form, ensure_ascii=False, indent=2))
        return "\n".join(lines)


class Explained(BaseException):
    """Ends the call of an application that is explained, before the model is called.

    It is no `Exception`, so that nothing tries again or falls back to another model.

    Attributes:
        explanation: of the request that is no hit.
    """

    def __init__(self, explanation: Explanation) -> None:
        super().__init__(explanation.why[0])
        self.explanation = explanation


explaining: ContextVar[tuple[object, list[Explanation]] | None] = ContextVar("askonce_explaining", default=None)
"""The engine whose requests are explained in the running context, and their explanations until now."""


class Explainer:
    """Explains requests.

    Args:
        lookup: finds entries.
        codec: decodes them.
        history: what became of earlier requests.
        semantic: finds answers to questions of the same meaning; ``None`` if they are not used.
        clock: seconds since the epoch.
    """

    def __init__(
        self, lookup: Lookup, codec: Codec, history: RequestHistory, semantic: SemanticCache | None, clock: Clock
    ) -> None:
        self._lookup, self._codec, self._history = lookup, codec, history
        self._semantic, self._clock = semantic, clock

    async def explanation(self, driver: SyncDriver, request: Request) -> Explanation:
        """Why a request is a hit or a miss now. Nothing is counted."""
        found = await self._lookup.find(driver, request)
        data: bytes | None = None
        with contextlib.suppress(StoreDown):
            data = await driver.call("get", *request.place)
        form, past = request.form(), tuple(self._history.of(request.place))
        if isinstance(found, Miss) and found.reason == "absent" and await self._was_outdated(driver, past):
            found = Miss("outdated")  # who reports a change deletes what was made from the documents
        decision = None
        if isinstance(found, Miss) and self._semantic is not None and request.is_semantic:
            decision = await self._semantic.explain(driver, request.place.namespace, request.form, request.scope)
        is_new = isinstance(found, Miss) and found.reason == "absent" and all(one.type == "miss" for one in past)
        differs = self._differs(request, form) if is_new else ()
        return Explanation(
            outcome="hit" if isinstance(found, Hit) else "miss",
            reason=found.kind if isinstance(found, Hit) else found.reason,
            why=tuple(self._why(request, found, past, decision, differs, is_stored=data is not None)),
            kind=request.kind,
            namespace=request.place.namespace,
            key=request.place.key.hex(),
            model=request.model,
            form=form.plain_body(),
            left_out=form.left_out,
            stored=None if data is None else self._stored(request.place, data),
            past=past,
            nearest=None if decision is None or decision.query is None else decision.query.text,
            similarity=None if decision is None or decision.query is None else decision.similarity,
            differs=differs,
        )

    async def _was_outdated(self, driver: SyncDriver, past: tuple[PastOutcome, ...]) -> bool:
        """Whether documents that the last answer was made from have changed since."""
        outcomes = [one for one in past if one.type != "miss"]
        sources = outcomes[-1].sources if outcomes else ()
        return bool(sources) and await self._lookup.have_changed(driver, sources)

    def _stored(self, place: Place, data: bytes) -> StoredEntry | None:
        try:
            entry = self._codec.decode(data, bound_to=place.bound_to)
        except CodecError:
            return None
        now = self._clock()
        return StoredEntry(
            max(now - entry.created_at, 0.0),
            None if entry.fresh_until is None else entry.fresh_until - now,
            len(data),
            entry.model,
            entry.tags,
            entry.cost_seconds,
            entry.cost_usd,
        )

    def _why(
        self,
        request: Request,
        found: Hit | Miss,
        past: tuple[PastOutcome, ...],
        decision: Decision | None,
        differs: tuple[str, ...],
        *,
        is_stored: bool,
    ) -> Iterator[str]:
        if isinstance(found, Hit):
            yield f"the same request was answered {found.age_seconds:,.0f} s ago"
            return
        if found.reason == "absent":
            why = self._why_elsewhere(request)
            is_search = request.kind == "retrieval"
            if why is None and not past and differs and all(_is_setting(one, is_search) for one in differs):
                why = _WHY_ANOTHER[is_search]
            yield why or self._why_absent(request.place, past, is_stored=is_stored)
        else:
            yield _WHY_MISSED[found.reason]
        if found.stale is not None:
            yield "a stale answer may be served, by stale_while_revalidate or stale_if_error"
        if decision is not None:
            nearest = f" ({decision.query.text!r})" if decision.query is not None else ""
            if decision.action == "serve":
                yield f"the answer to a question of the same meaning would be served{nearest}"
            else:
                why = _WHY_NOT_SIMILAR.get(decision.reason, decision.reason)
                yield f"no answer to a similar question: {why}{nearest}"

    def _why_absent(self, place: Place, past: tuple[PastOutcome, ...], *, is_stored: bool) -> str:
        """Why nothing is under a key, or not all of it, as far as this process knows."""
        outcomes = [one for one in past if one.type != "miss"]
        in_part = "a document that its answer holds is gone: invalidated, deleted or evicted"
        if not outcomes:
            if is_stored:
                return in_part
            if past:
                return "it was made before, and no answer came: the call failed, or is in progress"
            return "this process has not made this request before, and no answer of others is stored"
        last, now = outcomes[-1], self._clock()
        if last.type == "not_stored":
            return f"its last answer was not stored: {_WHY_NOT_STORED.get(last.reason or '', last.reason)}"
        ago = f"its answer was stored {now - last.at:,.0f} s ago"
        if last.fresh_until is not None and last.fresh_until <= now:
            return f"{ago}, and has expired"
        deletion = self._history.deletion_of(place, last)
        if deletion is not None:
            how = f"was invalidated by the tag {deletion.tag!r}" if deletion.tag is not None else "was deleted"
            return f"{ago}, and {'was probably erased' if deletion.within else how} {now - deletion.at:,.0f} s ago"
        if is_stored:
            return f"{ago}, but {in_part}"
        if self._history.evicted_since(place.namespace, last.at):
            return f"{ago}, and probably evicted: the namespace was full since"
        return f"{ago}, and is gone: with a document that changed, by another process, or the store has lost it"

    def _why_elsewhere(self, request: Request) -> str | None:
        """Why the same request was stored under another key lately, if it was."""
        digest = request.form().digest()
        for stored in self._history.forms():
            made = stored.made()
            if made is None or made.digest() != digest:
                continue
            if stored.place.namespace != request.place.namespace:
                return f"it was answered in namespace {stored.place.namespace!r}, and namespaces share no entries"
            if stored.place != request.place and stored.place != place_of(stored.place.namespace, digest):
                return "its answer was stored before the object that it calls, or what that searches, was changed"
        return None

    def _differs(self, request: Request, form: NormalForm) -> tuple[str, ...]:
        """The paths in which the form differs from the most similar one of those that were stored lately.

        The same question is more similar than any other one, and of those the same messages to a model with other
        settings.
        """
        body = form.plain_body()
        own, question = dict(_leaves(body)), _question_in(body)
        found: list[tuple[tuple[bool, bool, int], list[str]]] = []
        for stored in self._history.forms():
            is_like = stored.place.namespace == request.place.namespace and stored.kind == request.kind
            theirs = _body_of(stored) if is_like else None
            paths = _differences(own, theirs) if theirs is not None else None
            if theirs is not None and paths:
                is_another = _question_in(theirs) != question
                found.append(((is_another, any(map(_is_content, paths)), len(paths)), paths))
        _, nearest = min(found, key=itemgetter(0), default=(None, []))
        return tuple(nearest[:_MOST_DIFFERENCES])


def _question_in(body: Mapping[str, Any]) -> Any:
    """What is asked last in a form: its last message of a user, or what it has in place of messages."""
    content = next((body[name] for name in _CONTENT if body.get(name)), None)
    if not isinstance(content, list | tuple):
        return content
    users = [one for one in content if isinstance(one, Mapping) and one.get("role") == "user"]
    return (users or content)[-1]


def _is_content(path: str) -> bool:
    """Whether it is in what is asked, and not in who is asked, or how."""
    return _TOP.split(path, maxsplit=1)[0] in _CONTENT


def _is_setting(path: str, is_search: bool) -> bool:
    return path.startswith("model.") if is_search else not _is_content(path)


def _body_of(stored: StoredForm) -> Mapping[str, Any] | None:
    """The form of a request as it was stored; ``None`` if what it is made from has changed since."""
    made = stored.made()
    if made is None or place_of(stored.place.namespace, made.digest()) != stored.place:
        return None
    return made.plain_body()


def _differences(own: Mapping[str, Any], body: Mapping[str, Any]) -> list[str]:
    theirs = dict(_leaves(body))
    return sorted(path for path in own.keys() | theirs.keys() if own.get(path) != theirs.get(path))


def _leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, one in value.items():
            yield from _leaves(one, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list | tuple):
        for at, one in enumerate(value):
            yield from _leaves(one, f"{path}[{at}]")
    else:
        yield path, value


def bypassed(kind: RequestKind, why: str) -> Explanation:
    """Of a request that is neither looked up nor stored."""
    return Explanation(outcome="bypassed", reason=None, why=(why,), kind=kind)
