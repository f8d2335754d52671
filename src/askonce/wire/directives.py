"""What the headers of a request demand of the cache: `Cache-Control` of RFC 9111 and 5861, and our own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec import UNSET

from askonce.engine.settings import CheckedSettings
from askonce.errors import ConfigError
from askonce.options import cache_options, check_name, options_in_effect
from askonce.storage.freshness import Freshness
from askonce.wire.scope import Headers

T = TypeVar("T")

TTL, NAMESPACE, TAGS, SAMPLE = "askonce-ttl", "askonce-namespace", "askonce-tags", "askonce-sample"
OWN = frozenset({TTL, NAMESPACE, TAGS, SAMPLE})
"""Headers that are for the cache alone, and not for the provider."""


class Directives(msgspec.Struct, frozen=True):
    """What a client demands of the cache; times are in seconds.

    Attributes:
        refresh: ``no-cache`` or ``max-age=0``: call the model and store the answer.
        bypass: ``no-store``: neither look up nor store.
        only_if_cached: rather nothing (504) than a call of the model.
        max_age: the greatest age of a stored answer.
        min_fresh: for so long it must stay fresh.
        max_stale: for so long it may be past its time to live.
        stale_if_error: for so long too, if the model fails.
        ttl: of an answer made for this request.
        namespace: apart from all other requests of the caller.
        tags: by which the answer can be invalidated.
        sample: which of several answers to one request: 0 is the first.
    """

    refresh: bool = False
    bypass: bool = False
    only_if_cached: bool = False
    max_age: float | None = None
    min_fresh: float = 0.0
    max_stale: float = 0.0
    stale_if_error: float | None = None
    ttl: float | None = None
    namespace: str | None = None
    tags: tuple[str, ...] = ()
    sample: int = 0

    def applied(
        self, settings: CheckedSettings, make: Callable[[Freshness | None], T], longest: float | None = None
    ) -> T:
        """What is made with these directives in effect.

        Args:
            settings: of the cache.
            make: is given the rules of freshness, ``None`` if they are those of the cache.
            longest: seconds after which an answer is of no use to anybody, whatever is set.
        """
        if self is _NONE and longest is None:
            return make(None)
        ttl = self.ttl
        if longest is not None:
            wanted = options_in_effect.get().ttl_seconds if ttl is None else ttl
            wanted = settings.freshness.ttl_seconds if wanted is None else wanted
            ttl = longest if wanted is None else min(wanted, longest)
        with cache_options(
            ttl=ttl,
            refresh=self.refresh or None,
            bypass=self.bypass or None,
            tags=self.tags,
            namespace=UNSET if self.namespace is None else self.namespace,
        ) as options:
            rules = self.freshness(settings.freshness, options.ttl_seconds)
            if longest is not None:
                rules = rules or msgspec.structs.replace(settings.freshness, ttl_seconds=ttl)
                rules = rules.within(longest)
            return make(rules)

    def freshness(self, rules: Freshness, ttl: float | None) -> Freshness | None:
        """The rules for this request; ``None`` if they are those of the cache.

        Args:
            rules: of the cache.
            ttl: the time to live in effect for the request, if it has one of its own.
        """
        wants_fresh = self.max_age is not None or self.min_fresh > 0
        if not (wants_fresh or self.max_stale or self.stale_if_error is not None):
            return None
        on_error = rules.stale_if_error_seconds if self.stale_if_error is None else self.stale_if_error
        limits = [one for one in (self.max_age, rules.ttl_seconds if ttl is None else ttl) if one is not None]
        return msgspec.structs.replace(
            rules,
            ttl_seconds=min(limits, default=None),
            stale_while_revalidate_seconds=0.0 if wants_fresh else rules.stale_while_revalidate_seconds,
            stale_if_error_seconds=on_error,
            min_fresh_seconds=self.min_fresh,
            max_stale_seconds=self.max_stale,
        )


def read_directives(headers: Headers) -> Directives:
    """The directives in the headers of a request.

    A number that cannot be read counts as 0 where that is the strict reading (``max-age``), else for nothing.

    Raises:
        ConfigError: one of our own headers has a wrong value.
    """
    control: dict[str, str] = {}
    own: dict[str, str] = {}
    for name, value in headers:
        name = name.lower()
        if name == "cache-control":
            for directive in value.split(","):
                word, _, argument = directive.partition("=")
                control.setdefault(word.strip().lower(), argument.strip().strip('"'))
        elif name == "pragma" and "no-cache" in [one.strip() for one in value.lower().split(",")]:
            own[name] = value
        elif name in OWN:  # lines of one name are one list, as HTTP says
            own[name] = f"{own[name]}, {value.strip()}" if name in own else value.strip()
    if not control and not own:
        return _NONE
    max_age = _seconds(control["max-age"], 0.0) if "max-age" in control else None
    refresh = "no-cache" in control or max_age == 0.0 or ("pragma" in own and not control)
    return Directives(
        refresh,
        "no-store" in control,
        "only-if-cached" in control,
        max_age or None,
        _seconds(control.get("min-fresh", "0"), math.inf),
        _max_stale(control.get("max-stale")),
        _seconds(control["stale-if-error"], 0.0) if "stale-if-error" in control else None,
        None if TTL not in own else _own_number(TTL, own[TTL]),
        _own_name(NAMESPACE, own[NAMESPACE]) if NAMESPACE in own else None,
        tuple(_own_name(TAGS, tag) for one in own.get(TAGS, "").split(",") if (tag := one.strip())),
        int(_own_number(SAMPLE, own.get(SAMPLE, "0"), least=0.0)),
    )


_NONE = Directives()


def _seconds(argument: str, otherwise: float) -> float:
    try:
        seconds = float(argument)
    except ValueError:
        return otherwise
    return seconds if 0 <= seconds < math.inf else otherwise


def _max_stale(argument: str | None) -> float:
    """Without a number: however late."""
    return math.inf if argument == "" else _seconds(argument or "0", 0.0)


def _own_number(name: str, value: str, least: float = 1e-3) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (number >= least and math.isfinite(number)) or (name == SAMPLE and number != int(number)):
        what = "a whole number from 0 on" if name == SAMPLE else "a positive number of seconds"
        raise ConfigError(f"{name} is {what}, got {value!r}")
    return number


def _own_name(header: str, value: str) -> str:
    check_name(header, value)
    return value
