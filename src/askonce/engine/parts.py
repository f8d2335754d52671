"""What an engine is put together from, as its settings say."""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from askonce.engine.counters import Counters
from askonce.engine.events import CacheEvent, EventQueue
from askonce.engine.history import RequestHistory
from askonce.engine.settings import CheckedSettings
from askonce.entries.codec import Codec
from askonce.entries.entry import Place
from askonce.eviction.policy import Budget
from askonce.storage.chunks import places_of
from askonce.storage.entries import cost_of
from askonce.storage.hit_buffer import HitBuffer
from askonce.stores import Client, Store, open_default_store, open_store

if TYPE_CHECKING:
    from askonce.eviction.frequency import FrequencySketch

_in_memory: weakref.WeakKeyDictionary[Store, int] = weakref.WeakKeyDictionary()
_numbers = itertools.count()


def store_for(store: str | Store | Client | None, settings: CheckedSettings) -> tuple[Store, Store | None, str]:
    """The store to use, the one to close if it was opened here, and the name of the place."""
    used = store if isinstance(store, Store) else _opened(store, settings.timeout_seconds)
    opened = None if used is store else used
    # Stores of equal URLs are one store; those in memory are each their own.
    name = used.url if used.url != "memory://" else _name_in_memory(used)
    if not settings.encryption_keys:
        return used, opened, name
    from askonce.storage.sealed_store import SealedStore

    # Nothing is there without the keys.
    return SealedStore(used, settings.encryption_keys), opened, f"{name} sealed"


def _opened(store: str | Client | None, timeout_seconds: float) -> Store:
    if store is None:
        return open_default_store(timeout_seconds)
    return open_store(store, timeout_seconds=timeout_seconds)


def _name_in_memory(store: Store) -> str:
    return f"memory {_in_memory.setdefault(store, next(_numbers))}"


def frequency_sketch(budget: Budget) -> FrequencySketch | None:
    """Counts requests, where the admission of new entries depends on them."""
    if not budget.selects:
        return None
    from askonce.eviction.frequency import FrequencySketch

    return FrequencySketch()


def event_queue(
    settings: CheckedSettings, counters: Counters, history: RequestHistory, hits: HitBuffer, codec: Codec
) -> EventQueue:
    """Who takes in events: counters, history, the hits on their way to the store, the access log."""
    is_limited = settings.budget.is_limited

    def touch(events: Sequence[CacheEvent]) -> None:
        for event in events:
            if event.type == "hit" and event.place is not None and event.entry is not None:
                if is_limited:  # otherwise nothing is ever evicted
                    hits.add(places_of(event.place.namespace, event.entry))
                hits.add([event.place])
                if event.entry.semantic is not None and event.entry.semantic.answer:
                    hits.add([Place(event.place.namespace, event.entry.semantic.answer)])

    consumers, flushes = [counters.count, history.take, touch], [counters.flush, hits.flush]
    if settings.access_log is not None:
        from askonce.storage.access_log import Access, AccessLog

        log = AccessLog(settings.access_log, codec)

        def record(events: Sequence[CacheEvent]) -> None:
            for event in events:
                answered = event.type == "hit" or event.size_bytes is not None
                if answered and event.place is not None and event.entry is not None:
                    cost = cost_of(event.entry)
                    log.add(Access(event.at, event.place, event.entry, cost, event.size_bytes))

        consumers.append(record)
        flushes.append(log.flush)
    return EventQueue(consumers, flushes, settings.on_event)
