"""Options of one request, or of all requests in a block of code."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from urllib.parse import quote

import msgspec
from msgspec import UNSET, UnsetType

from askonce.errors import ConfigError
from askonce.keys.ignore import Ignored, checked
from askonce.keys.normal_form import actor_is_named

logger = logging.getLogger("askonce")


class CacheOptions(msgspec.Struct, frozen=True):
    """The options in effect; see `cache_options`."""

    ttl_seconds: float | None = None
    refresh: bool = False
    bypass: bool = False
    tags: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    question: str | None = None
    context: str | None = None
    semantic: bool = True
    ignore: tuple[Ignored, ...] = ()

    def namespace(self, base: str) -> str:
        """The namespace of a request to a cache whose own namespace is ``base``."""
        return "/".join(quote(part, safe="") for part in (base, *self.tenants))


_DEFAULTS = CacheOptions()
options_in_effect: ContextVar[CacheOptions] = ContextVar("askonce_options", default=_DEFAULTS)
"""The options in effect in the running context."""


def positive_seconds(name: str, value: object, *, or_zero: bool = False) -> float:
    """Check a number of seconds of the application.

    Raises:
        ConfigError: it is not a number, or not positive; ``or_zero``: nor zero.
    """
    if or_zero and not isinstance(value, bool) and value == 0:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"{name} is {'zero or ' if or_zero else ''}a positive number of seconds, got {value!r}")
    return float(value)


def check_switch(name: str, value: object) -> None:
    """Check a setting of the application that is on or off: ``"false"`` would be on.

    Raises:
        ConfigError: it is neither ``True`` nor ``False``.
    """
    if not isinstance(value, bool):
        raise ConfigError(f"{name} is True or False (in a file true or false, without quotes), got {value!r}")


def check_name(what: str, value: object) -> None:
    """Check a name of the application.

    Raises:
        ConfigError: it is not a text, empty, or not printable.
    """
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{what} is a text that is not empty, got {value!r}")
    if not value.isprintable():
        check_unicode(what, value)
        wrong = next(one for one in value if not one.isprintable())
        raise ConfigError(f"{what} has a character that cannot be printed, {wrong!r}: {value!r}")


def check_unicode(what: str, value: str) -> None:
    """Check that a text can be stored: an argument of a command that is not UTF-8 cannot.

    Raises:
        ConfigError: it has half of a surrogate pair.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ConfigError(f"{what} is not valid Unicode (not UTF-8?): {value!r}") from error


def current_options() -> CacheOptions:
    """The options in effect in the running context."""
    return options_in_effect.get()


class cache_options:
    """Set options for all requests in a block, sync and async, in either framework.

        with cache_options(ttl=60, tags=["prices"], namespace="tenant-7"):
            model.invoke("What does the red one cost?")

    Blocks nest: what an inner block does not set stays as the outer one set it; tags add up, and so do namespaces
    (an inner one is within the outer one). A block must not contain a ``yield``: its options would also apply to
    the reader of the generator.

    Args:
        ttl: seconds for which answers made here may be used, and the greatest age of one that is used here.
        refresh: call the model even if an answer is cached, and store the new one.
        bypass: neither look up nor store.
        tags: names by which answers made here can be invalidated.
        namespace: separates these requests from all others, for example a tenant's. ``None`` is refused: a tenant
            that is not known must not share.
        question: the part of the last message that is the user's question, as written there: answers to questions
            of the same meaning may be used if all else is equal. A request that does not contain it is answered by
            equal requests alone.
        context: the part of the prompt that was retrieved for the question, as written there. It need not be equal
            if its documents are those that a cached retriever found.
        semantic: ``False``: these requests are answered by equal requests alone.
        ignore: what is no part of the key, beside what the cache ignores: see ``ignore`` of `Cache`. Adds up.

    Raises:
        ConfigError: ``ttl`` is not a positive number, ``tags`` not a list of texts, ``namespace``, ``question`` or
            ``context`` not a text, ``refresh``, ``bypass`` or ``semantic`` not a truth value, or ``ignore``
            nothing that can be ignored.
    """

    def __init__(
        self,
        *,
        ttl: float | None = None,
        refresh: bool | None = None,
        bypass: bool | None = None,
        tags: Sequence[str] = (),
        namespace: str | UnsetType = UNSET,
        question: str | None = None,
        context: str | None = None,
        semantic: bool | None = None,
        ignore: Ignored | Sequence[Ignored] = (),
    ) -> None:
        if isinstance(tags, str):
            raise ConfigError(f"tags is a list of names: tags=[{tags!r}]")
        for tag in tags:
            check_name("a tag", tag)
        if namespace is None:
            raise ConfigError(
                "namespace=None: the name of a tenant is missing; leave namespace out for requests of no tenant"
            )
        if namespace is not UNSET:
            check_name("namespace", namespace)
        for what, given in (("question", question), ("context", context)):
            if given is not None and not (isinstance(given, str) and given.strip()):
                raise ConfigError(f"{what} is the text of a part of the prompt, got {given!r}")
        for what, switch in (("refresh", refresh), ("bypass", bypass), ("semantic", semantic)):
            if switch is not None:
                check_switch(what, switch)
        self._ttl = None if ttl is None else positive_seconds("ttl", ttl)
        self._refresh, self._bypass = refresh, bypass
        self._tags, self._namespace = tuple(tags), namespace
        self._question, self._context, self._semantic = question, context, semantic
        self._ignore = checked(ignore)
        self._tokens: list[tuple[Token[CacheOptions], Token[bool]]] = []

    def __enter__(self) -> CacheOptions:
        outer = options_in_effect.get()
        options = CacheOptions(
            ttl_seconds=outer.ttl_seconds if self._ttl is None else self._ttl,
            refresh=outer.refresh if self._refresh is None else self._refresh,
            bypass=outer.bypass if self._bypass is None else self._bypass,
            tags=tuple(dict.fromkeys((*outer.tags, *self._tags))),
            tenants=outer.tenants if self._namespace is UNSET else (*outer.tenants, self._namespace),
            question=outer.question if self._question is None else self._question,
            context=outer.context if self._context is None else self._context,
            semantic=outer.semantic if self._semantic is None else self._semantic,
            ignore=(*outer.ignore, *self._ignore),
        )
        self._tokens.append((options_in_effect.set(options), actor_is_named.set(bool(options.tenants))))
        return options

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        options, named = self._tokens.pop()
        try:
            options_in_effect.reset(options)
            actor_is_named.reset(named)
        except ValueError:  # a generator that is closed in another context than it ran in
            logger.warning(
                "askonce: a `with cache_options(…)` block was left in another context than it was entered in"
            )
