"""What was sent lately, in memory: entries that the provider should have, and the chains that they came from.

All of it is bounded, the least recently used goes first. Times are seconds since the epoch.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.prediction import CachedPrefix, FindPrefix, Prediction, predict, renewed
from askonce.stores.fork import reset_after_fork

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")

MOST_ENTRIES = 20_000
RATE_SECONDS = 60.0
_MOST_TIMES = 512


class Recent(OrderedDict[Key, Value], Generic[Key, Value]):
    """A mapping that forgets what was put least recently."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self.most:
            self.popitem(last=False)


_LAST_OF_A_FAMILY = 4
"""Applications that call the same model with no tools are one family: one's last request may be another's."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that was sent."""

    chain: Chain
    at: float
    application: str = ""


class History:
    """The requests of the last while, as far as this process knows them. Thread-safe.

    Args:
        most: how many prefixes are remembered; entries of the provider's cache five times as many.
    """

    def __init__(self, most: int = MOST_ENTRIES) -> None:
        self.after_fork()
        reset_after_fork(self)
        self._most = most
        self.clear()

    def clear(self) -> None:
        """Forget all, texts too."""
        most = self._most
        self._entries: Recent[bytes, CachedPrefix] = Recent(5 * most)
        self._prefixes: Recent[bytes, tuple[Sent, int]] = Recent(most)  # scope + running
        self._contents: Recent[bytes, tuple[Sent, int]] = Recent(most)
        self._segments: Recent[bytes, Sent] = Recent(most)
        self._families: Recent[str, deque[Sent]] = Recent(most // 10 + 1)  # the last few of each, which may mix
        self._routes: Recent[bytes, deque[float]] = Recent(most // 5 + 1)

    def after_fork(self) -> None:
        self.lock = threading.RLock()

    # -- machines --------------------------------------------------------------------------------------------

    def route(self, chain: Chain, rule: ProviderRule, now: float) -> int:
        """Record that a request is sent, and say how many machines were filled by those of the minute before it."""
        if rule.requests_per_minute is None:
            return 0
        name = chain.scope + chain.route
        with self.lock:
            times = self._routes.get(name)
            if times is None:
                times = self._routes[name] = deque(maxlen=_MOST_TIMES)
            machine = sum(1 for at in times if now - RATE_SECONDS < at <= now) // rule.requests_per_minute
            times.append(now)
        return machine

    def unroute(self, chain: Chain, at: float) -> None:
        """A request that was recorded at that time was not sent after all."""
        with self.lock:
            times = self._routes.get(chain.scope + chain.route)
            if times is not None and at in times:
                times.remove(at)

    def known(self, chain: Chain, machine: int) -> FindPrefix:
        """The entries of one machine."""
        place = chain.scope + machine.to_bytes(2)
        return lambda digest: self._entries.get(place + digest)

    # -- sent requests ---------------------------------------------------------------------------------------

    def record(self, sent: Sent, rule: ProviderRule, machine: int, available_at: float) -> Prediction:
        """Take in a request that was sent.

        Args:
            sent: the request; ``sent.at`` is when it was.
            rule: its provider's rule.
            machine: see `route`.
            available_at: when its answer began: from then on others can read what it wrote.

        Returns:
            what it read and wrote by the rule.
        """
        chain, now = sent.chain, sent.at
        place = chain.scope + machine.to_bytes(2)
        with self.lock:
            known = self.known(chain, machine)
            prediction = predict(chain, rule, known, now)
            if prediction.read is not None and (entry := known(prediction.read)) is not None:
                entry.use(now)
            for digest, lifetime in prediction.cached:
                self._entries[place + digest] = renewed(known(digest), lifetime, now, available_at)
            for at, segment in enumerate(chain.segments):
                self._prefixes[chain.scope + segment.running] = sent, at
                self._contents[segment.content] = sent, at
                self._segments[segment.digest] = sent
            family = self._families.get(chain.family)
            if family is None:
                family = self._families[chain.family] = deque(maxlen=_LAST_OF_A_FAMILY)
            family.append(sent)
        return prediction

    def record_route(self, sent: Sent, rule: ProviderRule) -> None:
        """Take in only the time of a request that another process sent."""
        self.route(sent.chain, rule, sent.at)

    # -- what was like it ------------------------------------------------------------------------------------

    def longest_prefix(self, chain: Chain) -> tuple[Sent, int] | None:
        """The latest request of the same scope that shares the longest prefix, and the last shared segment."""
        for segment in reversed(chain.segments):
            found = self._prefixes.get(chain.scope + segment.running)
            if found is not None:
                return found
        return None

    def with_prefix(self, scope: bytes, running: bytes) -> Chain:
        """The latest request with that prefix; an empty one if there is none."""
        found = self._prefixes.get(scope + running)
        return found[0].chain if found is not None else _EMPTY

    def known_segments(self, chain: Chain) -> list[bool]:
        """Which segments were in an earlier request."""
        return [one.digest in self._segments for one in chain.segments]

    def longest_content(self, chain: Chain) -> tuple[Sent, int] | None:
        """The same for prefixes of equal segments, whatever the model, the key and the parameters."""
        for segment in reversed(chain.segments):
            found = self._contents.get(segment.content)
            if found is not None:
                return found
        return None

    def alike(self, chain: Chain) -> Iterator[Sent]:
        """Some requests that may share segments with this one, each once."""
        found: dict[int, Sent] = {}
        prefix = self.longest_content(chain)
        probes = [*chain.segments[-6:], *sorted(chain.segments, key=lambda one: -one.tokens)[:6]]
        for sent in (
            prefix[0] if prefix else None,
            *(self._segments.get(one.digest) for one in probes),
            *(self._families.get(chain.family) or ()),
        ):
            if sent is not None and sent.chain is not chain:
                found.setdefault(id(sent), sent)
        yield from found.values()

    def last_seen(self, chain: Chain) -> list[float | None]:
        """When the prefix up to the end of each segment was last sent."""
        places = (self._prefixes.get(chain.scope + one.running) for one in chain.segments)
        return [found[0].at if found else None for found in places]


_EMPTY = Chain("", "", "", None, True, {}, (), b"", (), (), True)
