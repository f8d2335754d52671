"""The settings of one cache: named and typed once, checked once."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from askonce.errors import ConfigError
from askonce.eviction.policy import AdmissionName, Budget, Policy, PolicyName, parse_bytes
from askonce.keys.ignore import Ignored, checked
from askonce.options import check_name, check_switch, positive_seconds
from askonce.storage.freshness import Freshness
from askonce.stores.base import DEFAULT_TIMEOUT_SECONDS, Clock

if TYPE_CHECKING:  # it loads numpy
    from askonce.engine.events import CacheEvent
    from askonce.semantic.config import Semantic


class Settings(TypedDict, total=False):
    """Keyword arguments of `askonce.Cache`, and of what makes one (``**settings: Unpack[Settings]``).

    Attributes:
        namespace: keeps these answers apart from all others in the store.
        ttl: time to live: seconds for which an answer may be used; ``None`` for ever.
        stale_while_revalidate: seconds past ``ttl`` for which an answer is served while a new one is made.
        stale_if_error: seconds past ``ttl`` for which an answer is served when the model fails.
        max_bytes: size limit of the namespace: a number of bytes, or a text such as ``"2GB"``.
        max_entries: limit of the number of its entries.
        eviction: which entries are evicted first when it is full: ``gdsf``, ``lec``, ``lru``, ``lfu`` or ``ttl``.
        admission: whether a new answer is stored ``always``, or only when its ``cost`` is higher than that of the
            entries that would be evicted for it. Requests are counted in this process, whether stored or not. By
            default ``cost`` with ``lec``, whose rule it is, else ``always``.
        access_log: a file to which requests are appended for ``askonce simulate``: digests, sizes, costs and times,
            no text.
        cache_empty: store empty answers, too.
        cache_truncated: store answers, too, that did not come to their proper end: cut off by a length limit or a
            content filter, refused, or ended for a reason that is not known.
        cache_if: called with each fresh answer that could be stored (a message, a response, a vector, a list of
            documents); it is stored if that returns true.
        store_requests: store the normal form of each request with its answer, for ``askonce show`` and
            ``askonce diff``; otherwise an entry has only digests of its request's texts.
        local_ttl: seconds for which entries found in the store are held in this process as well and served without
            reading the store; invalidations by other processes are seen that much later. 0 for never.
        local_max_entries: how many of them are held.
        lease_seconds: for how long others wait for a request in progress of which only the lookup was seen (through
            LangChain's `set_llm_cache`) and nothing since; 0 to not wait for other processes at all. Below 10 also
            how long the lease of a write to a corpus lasts.
        max_wait: seconds for which a request waits for an identical one in progress. Then one of those that wait
            calls the model too, for all of them; those that have waited twice as long call it for themselves.
        encryption_keys: AES keys of 16, 24 or 32 bytes; the first encrypts what is new, all of them decrypt. Names
            (namespaces, tenants, corpora, tags) are stored as keyed digests. Where it is not given, the variable
            ``ASKONCE_ENCRYPTION_KEYS`` has them, in hexadecimal; ``()`` for none.
        timeout_seconds: how long the store may take for one call before it is left out.
        clock: seconds since the epoch.
        semantic: answer questions, too, that mean the same as an answered one; see `Semantic`.
        on_event: called with each `CacheEvent` (hit, miss, stored, …) on a background thread, in order.
        totals: count in the store what all processes do, by hour, layer, model, tenant and tag: see `Cache.totals`.
            Written in the background, every two seconds while there are requests.
        ignore: what is no part of the key, since the application declares it volatile: a regular expression (its
            matches in the messages or the prompt), a `FormField`, a function of a `NormalForm` that returns another
            one, or a list of these.
    """

    namespace: str
    ttl: float | None
    stale_while_revalidate: float
    stale_if_error: float
    max_bytes: int | str | None
    max_entries: int | None
    eviction: PolicyName
    admission: AdmissionName | None
    access_log: str | os.PathLike[str] | None
    cache_empty: bool
    cache_truncated: bool
    cache_if: Callable[[Any], object] | None
    store_requests: bool
    local_ttl: float
    local_max_entries: int
    lease_seconds: float
    max_wait: float
    encryption_keys: Sequence[bytes]
    timeout_seconds: float
    clock: Clock
    semantic: Semantic | None
    on_event: Callable[[CacheEvent], object] | None
    totals: bool
    ignore: Ignored | Sequence[Ignored]


_NO_PLAIN_DATA = frozenset({"cache_if", "clock", "encryption_keys", "on_event", "semantic"})
"""Functions, objects, and secrets, which are no part of a project's files."""


@dataclass(frozen=True, slots=True)
class CheckedSettings:
    """`Settings` with their defaults, checked, and as the parts of the engine use them.

    Raises:
        ConfigError: a setting is wrong. The message says what to write.
    """

    namespace: str = "default"
    ttl: float | None = None
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    max_bytes: int | str | None = None
    max_entries: int | None = None
    eviction: PolicyName = "gdsf"
    admission: AdmissionName | None = None
    access_log: str | os.PathLike[str] | None = None
    cache_empty: bool = False
    cache_truncated: bool = False
    cache_if: Callable[[Any], object] | None = None
    store_requests: bool = False
    local_ttl: float = 0.0
    local_max_entries: int = 1000
    lease_seconds: float = 30.0
    max_wait: float = 60.0
    encryption_keys: Sequence[bytes] = ()
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    clock: Clock = time.time
    semantic: Semantic | None = None
    on_event: Callable[[CacheEvent], object] | None = None
    totals: bool = True
    ignore: Ignored | Sequence[Ignored] = ()

    plain: ClassVar[frozenset[str]] = frozenset(Settings.__annotations__) - _NO_PLAIN_DATA
    """What is plain data, so that a table of a file can have it."""

    def __post_init__(self) -> None:
        check_name("namespace", self.namespace)
        positive_seconds("timeout_seconds", self.timeout_seconds)
        positive_seconds("max_wait", self.max_wait)
        for name in ("local_ttl", "lease_seconds"):
            positive_seconds(name, getattr(self, name), or_zero=True)
        for name in ("cache_empty", "cache_truncated", "store_requests", "totals"):
            check_switch(name, getattr(self, name))
        if type(self.local_max_entries) is not int or self.local_max_entries < 1:
            raise ConfigError(f"local_max_entries is a whole number of at least 1, got {self.local_max_entries!r}")
        self._check_objects()
        _ = self.freshness, self.budget, self.ignored  # raise what is wrong with them

    def _check_objects(self) -> None:
        if self.access_log is not None and not isinstance(self.access_log, (str, os.PathLike)):
            raise ConfigError(f"access_log is the path of a file, got {self.access_log!r}")
        if not callable(self.clock):
            raise ConfigError(f"clock is a function that returns seconds since the epoch, got {self.clock!r}")
        if self.on_event is not None and not callable(self.on_event):
            raise ConfigError(f"on_event is a function that takes a CacheEvent, got {self.on_event!r}")
        if self.cache_if is not None and not callable(self.cache_if):
            raise ConfigError(f"cache_if is a function that takes an answer, got {self.cache_if!r}")
        if inspect.iscoroutinefunction(self.cache_if):
            raise ConfigError("cache_if is a plain function: what an asynchronous one returns is always true")
        if self.semantic is not None and not hasattr(self.semantic, "max_error"):
            kind = type(self.semantic).__name__
            raise ConfigError(f"semantic is a Semantic, such as Semantic(embeddings, max_error=0.01), not a {kind}")
        if self.encryption_keys and self.semantic is not None and self.semantic.search == "server":
            raise ConfigError(
                "Semantic(search='server') stores vectors that the server reads, so they cannot be sealed: use "
                "search='process', or leave out encryption_keys and the variable ASKONCE_ENCRYPTION_KEYS"
            )

    @classmethod
    def of(cls, settings: Settings) -> CheckedSettings:
        """Check the keyword arguments of an application.

        Raises:
            ConfigError: one has no such name, or a wrong value.
        """
        unknown: set[Any] = settings.keys() - Settings.__annotations__.keys()
        if unknown:
            known = ", ".join(sorted(Settings.__annotations__))
            raise ConfigError(f"no such option: {', '.join(sorted(unknown))}; the options are {known}")
        return cls(**settings)

    @property
    def freshness(self) -> Freshness:
        """How long entries live."""
        return Freshness(self.ttl, self.stale_while_revalidate, self.stale_if_error)

    @property
    def ignored(self) -> tuple[Ignored, ...]:
        """What is no part of the key."""
        return checked(self.ignore)

    @property
    def budget(self) -> Budget:
        """What the namespace may hold, and what is evicted."""
        try:
            policy = Policy(self.eviction)
        except ValueError:
            raise ConfigError(f"eviction is one of gdsf, lec, lru, lfu, ttl; got {self.eviction!r}") from None
        admission = self.admission
        if admission is None:
            admission = "cost" if policy is Policy.LEC else "always"
        return Budget(parse_bytes(self.max_bytes), self.max_entries, policy, admission)
