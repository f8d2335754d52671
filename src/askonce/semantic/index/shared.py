"""Shares questions and what was learned among all processes that use a store.

Each process has its own index and its own rule. It publishes what it adds through a change log, about once a
second, and applies what the others published. A process that begins, or that was away for too long, starts from the
snapshot of the rule and from the entries themselves, or from the index that an earlier process saved to a file.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from askonce.changelog.follower import Follower
from askonce.entries.codec import Codec
from askonce.entries.decodable import decodable
from askonce.estimators.float16 import from_bytes
from askonce.semantic.decision.deltas import RuleDelta, RuleSnapshot
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.entries import QuestionEntries
from askonce.semantic.index import file as index_file
from askonce.semantic.index.index import Index
from askonce.semantic.types import IndexedQuery
from askonce.stores.circuit_breaker import CircuitBreaker, StoreDown

_SNAPSHOT_AFTER = 200
_CHECKED_EACH_TIME, _CHECKED_PER_NEW = 32, 2
"""Of the indexed questions: however quickly they come, about as many as are stored are in the index, not more."""
_SAVE_INDEX_FROM, _SAVE_INDEX_SECONDS = 2000, 600.0
"""A smaller index is quickly built from the entries."""
_TRY_AGAIN_SECONDS = 5.0


@decodable
class SemanticDelta(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one process did.

    Attributes:
        added: namespace and key of entries whose questions were added, or whose answer another entry holds now.
        removed: namespace and key of entries that were deleted.
        cleared: namespaces that are empty.
        learned: by the rule.
    """

    added: list[tuple[str, bytes]] = []
    removed: list[tuple[str, bytes]] = []
    cleared: list[str] = []
    learned: RuleDelta | None = None


class Loading:
    """The progress of loading the questions of one namespace into the index."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.done = False
        self.try_after = 0.0


class SharedQuestions:
    """Synchronizes an index and a rule with those of other processes. `step` is called by one thread at a time.

    Args:
        breaker: the store's.
        codec: seals what is published.
        log: the namespace of the change log.
        file: where a large index is saved, so that the next process need not build it anew; ``None`` for nowhere.
        index: this process's; ``None`` if it has none, since the server searches.
        rule: this process's.
        entries: of the questions.

    Attributes:
        delta_type: see `askonce.changelog.follower.SharedState`.
        snapshot_type: likewise.
    """

    delta_type, snapshot_type = SemanticDelta, RuleSnapshot

    def __init__(
        self,
        breaker: CircuitBreaker,
        codec: Codec,
        log: str,
        file: Path | None,
        index: Index | None,
        rule: DecisionRule,
        entries: QuestionEntries,
    ) -> None:
        self._codec, self._log, self._file = codec, log, file
        self._index, self._rule, self._entries = index, rule, entries
        self._follower = Follower(breaker, codec, log, self, snapshot_after=_SNAPSHOT_AFTER)
        self._lock = threading.RLock()
        self._new = SemanticDelta([], [], [])
        self._came = 0  # questions since the last check
        self._closed = False
        self._save_index_after = time.monotonic() + _SAVE_INDEX_SECONDS
        self._loading: dict[str, Loading] = {}

    # -- what this process does --------------------------------------------------------------------------------

    def announce(self, namespace: str, key: bytes) -> None:
        """Publish that an entry's question was added, or that the entry is an alias now."""
        with self._lock:
            self._new.added.append((namespace, key))
            self._came += 1

    def discard(self, namespace: str, keys: Sequence[bytes]) -> None:
        """Remove questions whose entries no longer exist, with all that these answered, and publish it."""
        if keys:
            self._drop(keys)
            with self._lock:
                self._new.removed.extend((namespace, key) for key in keys)

    def _drop(self, keys: Sequence[bytes]) -> None:
        if self._index is not None:
            self._index.remove(keys)
            for key in keys:
                self._index.remove_answer(key)
        self._rule.forget(keys)

    def clear(self, namespace: str) -> None:
        """Publish that a namespace was cleared."""
        with self._lock:
            self._new.cleared.append(namespace)

    def loading(self, namespace: str) -> Loading:
        """How far the questions of a namespace are loaded; the first call has the next `step` load them."""
        with self._lock:
            loading = self._loading.setdefault(namespace, Loading())
        if self._closed:
            loading.over.set()
        return loading

    # -- in step -----------------------------------------------------------------------------------------------

    def step(self) -> None:
        """Publish what is new, apply what others published, and load what was requested."""
        try:
            if self._follower.step():
                with contextlib.suppress(StoreDown):  # it was counted, and the next step tries again
                    self._load()
                    self._check()
                if time.monotonic() >= self._save_index_after:
                    self._save_index()
        finally:
            self._stop_waiting()

    def save(self) -> bool:
        """Publish what is new, and save a snapshot and the index; returns whether the store did not fail."""
        saved = self._follower.save()
        if saved and self._follower.position >= 0:
            self._save_index()
        return saved

    def close(self) -> bool:
        """`save`, and load no more."""
        self._closed = True
        self._stop_waiting()
        return self.save()

    def _stop_waiting(self) -> None:
        """Waiting requests go on without what is not loaded; a later step tries again."""
        for loading in list(self._loading.values()):
            loading.over.set()

    # -- shared state ------------------------------------------------------------------------------------------

    def take(self) -> SemanticDelta | None:
        """What is new in this process."""
        return self._with_learned(self._rule.take())

    def _with_learned(self, learned: RuleDelta | None) -> SemanticDelta | None:
        with self._lock:
            new, self._new = self._new, SemanticDelta([], [], [])
        delta = SemanticDelta(new.added, new.removed, new.cleared, learned)
        return None if delta == SemanticDelta() else delta

    def snapshot(self) -> tuple[SemanticDelta | None, RuleSnapshot]:
        """What is new in this process, and all that the rule learned: questions are in the entries."""
        learned, snapshot = self._rule.snapshot()
        return self._with_learned(learned), snapshot

    def merge(self, delta: SemanticDelta, *, is_new: bool) -> None:
        """Apply what another process did."""
        if is_new and delta.learned is not None:
            self._rule.merge(delta.learned)
        self._came += len(delta.added)
        if self._index is not None:
            for namespace in delta.cleared:
                self._index.remove_namespace(namespace)
        self._drop([key for _, key in delta.removed])
        for namespace, keys in _by_namespace(delta.added).items():
            if namespace in self._loading and self._loading[namespace].done:
                for key, data in self._entries.get_many(namespace, keys):
                    if data is not None:
                        self._add(namespace, key, data)

    def restart(self, snapshot: RuleSnapshot | None) -> int | None:
        """Begin, or begin again: from a snapshot of the rule, and from the entries or the file of the index."""
        if snapshot is not None:
            self._rule.restore(snapshot)
        with self._lock:
            for loading in self._loading.values():
                loading.done, loading.try_after = False, 0.0
        if self._index is not None:
            for namespace in self._index.namespaces():
                self._index.remove_namespace(namespace)  # some may have been erased, which nothing says
        return self._load_index()

    # -- the index ---------------------------------------------------------------------------------------------

    def _load(self) -> None:
        for namespace, loading in list(self._loading.items()):
            if not loading.done and time.monotonic() >= loading.try_after:
                loading.try_after = time.monotonic() + _TRY_AGAIN_SECONDS
                for key, data in self._entries.scan(namespace) if self._index is not None else ():
                    self._add(namespace, key, data)
                loading.done = True
                loading.over.set()

    def _add(self, namespace: str, key: bytes, data: bytes) -> None:
        entry = self._entries.usable(namespace, key, data)
        if self._index is not None and entry is not None and entry.semantic is not None:
            semantic = entry.semantic
            query = IndexedQuery(
                key, semantic.answer or key, namespace, semantic.partition, semantic.text, entry.fresh_until
            )
            self._index.add(query, from_bytes(semantic.vector))

    def _check(self) -> None:
        """Check whether some of the indexed questions, and their answers, are still stored; remove the others."""
        if self._index is None:
            return
        many, self._came = _CHECKED_EACH_TIME + _CHECKED_PER_NEW * self._came, 0
        checked = self._index.patrol(many)
        pairs = [(one.namespace, key) for one in checked for key in (one.key, one.answer)]
        for namespace, keys in _by_namespace(dict.fromkeys(pairs)).items():
            self.discard(namespace, [key for key, data in self._entries.get_many(namespace, keys) if data is None])

    # -- the file of the index ---------------------------------------------------------------------------------

    def _load_index(self) -> int | None:
        """Begin with the index that an earlier process saved; returns up to where in the log it is complete."""
        if self._file is None or self._index is None or len(self._index):
            return None
        complete = index_file.load(self._index, self._file, name=self._log, codec=self._codec)
        if complete is None:
            return None
        is_of_this_log = self._follower.has_all_after(complete)  # else of a store that was lost, or too long ago
        for namespace in self._index.namespaces():
            if is_of_this_log:
                self._loading.setdefault(namespace, Loading()).done = True
            else:
                self._index.remove_namespace(namespace)
        return complete if len(self._index) else None

    def _save_index(self) -> None:
        """Save the index to a file, if it is large and has all questions of its namespaces."""
        self._save_index_after = time.monotonic() + _SAVE_INDEX_SECONDS
        if self._file is None or self._index is None or len(self._index) < _SAVE_INDEX_FROM:
            return
        if all(loading.done for loading in list(self._loading.values())):
            position = self._follower.position
            index_file.save(self._index, self._file, name=self._log, position=position, codec=self._codec)


def _by_namespace(pairs: Iterable[tuple[str, bytes]]) -> dict[str, list[bytes]]:
    keys: dict[str, list[bytes]] = {}
    for namespace, key in pairs:
        keys.setdefault(namespace, []).append(key)
    return keys
