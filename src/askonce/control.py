"""What one request, or all requests of a block of code, may ask of the cache."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import quote

from askonce.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Control:
    """The wishes in force; see `control`."""

    ttl_seconds: float | None = None
    refresh: bool = False
    bypass: bool = False
    tags: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()

    def namespace(self, base: str) -> str:
        """The namespace of a request to a cache whose own namespace is ``base``."""
        return "/".join(quote(part, safe="") for part in (base, *self.tenants))


_NO_WISHES = Control()
_current: ContextVar[Control] = ContextVar("askonce_control", default=_NO_WISHES)


def current_control() -> Control:
    """The wishes in force in the running context."""
    return _current.get()


@contextmanager
def control(
    *,
    ttl: float | None = None,
    refresh: bool | None = None,
    bypass: bool | None = None,
    tags: Sequence[str] = (),
    namespace: str | None = None,
) -> Iterator[Control]:
    """Ask something of the cache for all requests in a block, sync and async, in either framework.

        with control(ttl=60, tags=["prices"], namespace="tenant-7"):
            model.invoke("What does the red one cost?")

    Blocks nest: what an inner block does not name stays as the outer one set it; tags add up, and so do
    namespaces (an inner one lies within the outer one).

    Args:
        ttl: seconds for which answers made here may be used, and how old one that is used here may be.
        refresh: ask the model even if an answer is kept, and keep the new one.
        bypass: neither look up nor keep.
        tags: names by which answers made here can be invalidated.
        namespace: keep these requests apart from all others, for example a tenant's.

    Raises:
        ConfigError: ``ttl`` is not positive, ``tags`` is a string, or ``namespace`` is empty.
    """
    if ttl is not None and ttl <= 0:
        raise ConfigError(f"ttl is a positive number of seconds, got {ttl}; to keep nothing use bypass=True")
    if isinstance(tags, str):
        raise ConfigError(f"tags is a list of names: tags=[{tags!r}]")
    if namespace is not None and not namespace:
        raise ConfigError("namespace must not be empty")
    outer = _current.get()
    wishes = Control(
        ttl_seconds=outer.ttl_seconds if ttl is None else float(ttl),
        refresh=outer.refresh if refresh is None else refresh,
        bypass=outer.bypass if bypass is None else bypass,
        tags=(*outer.tags, *(tag for tag in tags if tag not in outer.tags)),
        tenants=outer.tenants if namespace is None else (*outer.tenants, namespace),
    )
    token = _current.set(wishes)
    try:
        yield wishes
    finally:
        with suppress(ValueError):  # a generator that was resumed in another context: nothing was set there
            _current.reset(token)
