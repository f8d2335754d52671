"""The three caching rules: steps (OpenAI before GPT-5.6), boundaries (from GPT-5.6 on), marks (Anthropic).

Each answers what a request reads and writes on the machine that it reached, and why it read no more.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from .models import Model
from .prompt import STEP, Segment, Walk

LOOK_BACK = 20
EXPLICIT_FIRST, EXPLICIT_LATEST, EARLIER_ENDINGS = 2, 50, 20
WRITES = 4


@dataclass(slots=True)
class Entry:
    """A prefix that a machine keeps: until when, how long each use renews it, and when it is gone all the same."""

    expires: float
    lifetime: float
    end: float


@dataclass
class Machine:
    """What one machine has cached, by the hash of the prefix; the dead stay, to say what has expired."""

    entries: dict[bytes, Entry] = field(default_factory=dict)

    def alive(self, digest: bytes, now: float) -> bool:
        entry = self.entries.get(digest)
        return entry is not None and now < entry.expires

    def use(self, digest: bytes, now: float) -> None:
        """Renew an entry that is alive."""
        if self.alive(digest, now):
            entry = self.entries[digest]
            entry.expires = min(now + entry.lifetime, entry.end)

    def add(self, digest: bytes, lifetime: float, now: float, longest: float = math.inf) -> None:
        """Write an entry; one that is alive already is renewed and keeps its own lifetime."""
        if self.alive(digest, now):
            self.use(digest, now)
        else:
            self.entries[digest] = Entry(now + lifetime, lifetime, now + longest)


@dataclass(frozen=True)
class Outcome:
    """What a request read and wrote, in tokens; ``why`` it read no more."""

    read: int = 0
    written: dict[str, int] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Visit:
    """A request at the machine that it reached, and the machines that it did not reach."""

    model: Model
    segments: list[Segment]
    walk: Walk
    machine: Machine
    others: list[Machine]
    now: float

    def alive(self, digest: bytes) -> bool:
        return self.machine.alive(digest, self.now)

    def add(self, digest: bytes, lifetime: str) -> None:
        longest = self.model.longest.get(lifetime, math.inf)
        self.machine.add(digest, self.model.lifetimes[lifetime], self.now, longest)

    def longest_read(self, found: Iterable[tuple[int, bytes]]) -> int:
        """The longest living prefix of those looked up, which is renewed."""
        read, digest = max((one for one in found if self.alive(one[1])), default=(0, b""))
        self.machine.use(digest, self.now)
        return read

    def why(self, read: int, ends: Iterable[tuple[int, bytes]]) -> str:
        """The nearest reason why no more was read, of what any machine ever cached of these prefixes."""
        longer = [digest for tokens, digest in ends if tokens > read]
        if any(self.alive(digest) for digest in longer):
            return "out of reach"
        if any(other.alive(digest, self.now) for other in self.others for digest in longer):
            return "another machine"
        if any(digest in self.machine.entries for digest in longer):
            return "expired"
        return "nothing longer known"


def steps(visit: Visit, retention: str) -> Outcome:
    """The longest known prefix in steps of 128 tokens, none of them missing; all steps of the prompt are cached."""
    if visit.walk.tokens < visit.model.minimum:
        return Outcome(why="too short")
    eligible = [(tokens, digest) for tokens, digest in visit.walk.steps if tokens >= visit.model.minimum]
    read = visit.longest_read(itertools.takewhile(lambda step: visit.alive(step[1]), eligible))
    why = visit.why(read, eligible)
    for _, digest in eligible:
        visit.add(digest, retention)
    return Outcome(read, {}, "" if visit.walk.tokens - read < STEP else why)


def boundaries(visit: Visit, mode: str) -> Outcome:
    """Breakpoints of the request's own and one of the provider's; what lies between them is never found."""
    ends = visit.walk.ends
    marked = [number for number, segment in enumerate(visit.segments) if segment.mark]
    lookups = {*marked[:EXPLICIT_FIRST], *marked[-EXPLICIT_LATEST:]}
    writes = marked[-WRITES:]
    if mode == "implicit":
        endings = [number for number, segment in enumerate(visit.segments) if segment.ending]
        lookups |= {*endings[:1], *endings[-EARLIER_ENDINGS - 1 :]}
        writes = [*marked[-WRITES + 1 :], *endings[-1:]]
    if not writes:
        return Outcome(why="not marked")
    if ends[max(writes)][0] < visit.model.minimum:
        return Outcome(why="too short")
    read = visit.longest_read(ends[number] for number in lookups)
    why = visit.why(read, ends)
    last = read
    for tokens, digest in (ends[number] for number in writes):
        if tokens >= visit.model.minimum:
            visit.add(digest, "30m")
            last = max(last, tokens)
    return Outcome(read, {"30m": last - read} if last > read else {}, "" if last == read else why)


def _walked_back(segments: list[Segment], mark: int) -> Iterable[int]:
    """The segments that a marked one looks back to, itself first; a run of calls or results is one position."""
    positions, previous = 0, ""
    for number in range(mark, -1, -1):
        kind = segments[number].kind
        if kind not in ("tool_use", "tool_result") or kind != previous:
            positions += 1
        if positions > LOOK_BACK:
            return
        yield number
        previous = kind


def marks(visit: Visit) -> Outcome:
    """Entries end at marked blocks alone; each mark looks back over 20 positions for one."""
    ends, segments = visit.walk.ends, visit.segments
    marked = [number for number, segment in enumerate(segments) if segment.mark]
    if not marked:
        return Outcome(why="not marked")
    if ends[marked[-1]][0] < visit.model.minimum:
        return Outcome(why="too short")
    read = visit.longest_read(ends[number] for mark in marked for number in _walked_back(segments, mark))
    why = visit.why(read, ends)
    written: dict[str, int] = {}
    last = read
    for number in marked:  # those of an hour come before those of five minutes
        (tokens, digest), lifetime = ends[number], segments[number].mark or "5m"
        if tokens >= visit.model.minimum:
            visit.add(digest, lifetime)
            if tokens > last:
                written[lifetime] = written.get(lifetime, 0) + tokens - last
                last = tokens
    return Outcome(read, written, "" if last == read else why)
