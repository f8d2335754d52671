"""Erases one entry, or all of a tenant, a source, a text or a tag: from entries, logs and learned state.

What is learned from many requests (regressions, sums) names none of them and stays; what it has of single answers,
by their keys, is deleted. Totals stay, under no name. A change log that names what is erased begins anew: its
readers take it for lost, and look up again whatever depended on it.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from askonce.changelog.journal import Journal, Snapshot
from askonce.entries.codec import Codec
from askonce.entries.entry import Entry, Place
from askonce.entries.spelled import is_spelled_in
from askonce.entries.texts import opened, texts_in
from askonce.errors import CodecError, ConfigError, StoreError
from askonce.keys.request_texts import (
    as_questions,
    digest_of_text,
    digests_in,
    digests_of_text,
    folded,
    spellings,
)
from askonce.options import check_name, check_unicode
from askonce.prefix.tracking.aggregates import days_namespace, log_namespace, without_examples
from askonce.semantic.index.file import saved_under
from askonce.semantic.types import vector_partition
from askonce.storage.access_log import erase_accesses
from askonce.storage.chunks import readable_payload
from askonce.storage.sealed_store import SealedStore, unknown_namespaces
from askonce.stores.base import Record, Store, VectorSearch, pages
from askonce.totals.buckets import name_digest, tenant_of
from askonce.totals.records import TotalsRecords, totals_namespace

_MULTIPLEXER = "multiplexer"
_ROUTING = f"{_MULTIPLEXER}/"
_KINDS = ("Delta", "Snapshot", "Change", "OpenAnswer", "DeletionEvent")
_NESTED = 8
_LEAST_WITHIN = 20
"""Characters of words in a document: an embedding of a text that contains them is one of the document."""


class Target(msgspec.Struct, frozen=True):
    """What is to be erased; exactly one of these.

    Attributes:
        tenant: as in `askonce.cache_options`, the outer namespace first; all within it goes too.
        source: the id of a document: what was found in it or made from it, and embeddings of its texts, as far as
            these were found.
        tag: what has it.
        text: what contains it, whatever its capitals, Unicode form and white space; also as a number, a date or
            another value that is spelled like it; or was made from a request of which one text or number equals it.
        entry: one entry, whether or not it can be read, and the questions that have its answer.

    Raises:
        ConfigError: none or several are given, or one is no name that can be stored.
    """

    tenant: tuple[str, ...] = ()
    source: str | None = None
    tag: str | None = None
    text: str | None = None
    entry: Place | None = None

    def __post_init__(self) -> None:
        for one in (self.source, self.tag, self.text):
            if one is not None and (not isinstance(one, str) or not one.strip()):
                raise ConfigError(f"a source, a tag or a text to erase is a text that is not blank, got {one!r}")
        if sum(bool(one) for one in (self.tenant, self.source, self.tag, self.text, self.entry)) != 1:
            raise ConfigError("name what is to be erased: a tenant, a source, a tag or a text, and one of them")
        for one in self.tenant:
            check_name("a tenant", one)
        for what, name in (("a source", self.source), ("a tag", self.tag), ("a text", self.text)):
            check_unicode(what, name or "")

    @property
    def what(self) -> str:
        """What it is, for a report: of a text only the digest."""
        if self.text:
            return f"text {digest_of_text(self.text).hex()}"
        if self.entry:
            return f"entry {self.entry.key.hex()}"
        if self.tenant:
            return f"tenant {'/'.join(self.tenant)}"
        return f"source {self.source}" if self.source else f"tag {self.tag}"


class ErasureReport(msgspec.Struct):
    """What an erasure deleted.

    Attributes:
        what: what was to be erased; of a text its digest, of an entry its key.
        entries: how many entries, by namespace.
        learned: how many records of learned state, by namespace.
        logs: change logs that begin anew, since they named it.
        accesses: how many records of the access log.
        files: the indexes of questions on this machine that were deleted, to be built anew without it.
        unreadable: records that could not be searched: damaged, or sealed with another key. They are still there.
        encrypted: namespaces of the store that could not be searched, since they are sealed with another key.
        elsewhere: namespaces of other caches in the store that have the name of the tenant, the source or the tag,
            in their own names or in totals. They were not searched otherwise, and it is still there.
    """

    what: str
    entries: dict[str, int] = {}
    learned: dict[str, int] = {}
    logs: list[str] = []
    accesses: int = 0
    files: list[str] = []
    unreadable: int = 0
    encrypted: int = 0
    elsewhere: list[str] = []

    @property
    def total(self) -> int:
        """How many entries were deleted."""
        return sum(self.entries.values())


def erase_from(
    store: Store,
    codec: Codec,
    base: str,
    target: Target,
    access_log: str | os.PathLike[str] | None,
    progress: Callable[[int], object] | None = None,
) -> ErasureReport:
    """Erase a target from the namespaces of one cache: also from those that an encrypted cache has in the open.

    Args:
        store: what the cache calls.
        codec: the cache's.
        base: the cache's own namespace; those of its tenants, corpora and learned state begin with it.
        target: what to erase.
        access_log: the file of the cache's access log, if it has one.
        progress: called with the number of records searched since it was called last.

    Raises:
        StoreError: the store failed; what was found so far may be deleted or not.
        OSError: the access log cannot be written.
    """
    report = Eraser(store, codec, base, target, progress).erase(access_log)
    if isinstance(store, SealedStore):  # trackers of prefixes and routers name their namespaces in the open
        store.store_names(report.logs)
        in_the_open = Eraser(store.unsealed, codec, base, target, progress)
        report = _together(report, in_the_open.erase(access_log))
    is_found = target.entry is not None and report.total > 0  # it is nowhere else
    report.encrypted = 0 if is_found else unknown_namespaces(store)
    return report


def _together(report: ErasureReport, other: ErasureReport) -> ErasureReport:
    """What two erasures of one target deleted, from different namespaces of one store."""
    return ErasureReport(
        report.what,
        entries=dict(Counter(report.entries) + Counter(other.entries)),
        learned=dict(Counter(report.learned) + Counter(other.learned)),
        logs=[*report.logs, *other.logs],
        accesses=report.accesses + other.accesses,
        files=[*report.files, *other.files],
        unreadable=report.unreadable + other.unreadable,
        elsewhere=sorted({*report.elsewhere, *other.elsewhere}),
    )


class Eraser:
    """`erase_from` for the namespaces whose names a store tells."""

    def __init__(
        self, store: Store, codec: Codec, base: str, target: Target, progress: Callable[[int], object] | None = None
    ) -> None:
        self._store, self._codec, self._base, self._target = store, codec, base, target
        self._open = Codec()
        self._progress = progress or (lambda count: None)
        self._gone = "/".join((base, *(quote(one, safe="") for one in target.tenant))) if target.tenant else ""
        self._spellings = spellings(target.text or target.source or "")
        self._digests = digests_of_text(target.text or "")
        self._in_requests = tuple({one for form in as_questions(target.text or "") for one in spellings(form)})
        self._places: dict[str, Sequence[bytes] | None] = {}
        self._back: dict[str, list[Record]] = {}
        self._keys = {target.entry.key} if target.entry else set[bytes]()
        self._of_source: set[bytes] = set()  # the digests of its texts
        self._within: set[str] = set()  # the spellings of its long ones
        self.report = ErasureReport(target.what)

    def erase(self, access_log: str | os.PathLike[str] | None) -> ErasureReport:
        """Erase it."""
        names = [one for one in self._store.namespaces() if self._is_in_scope(one)]
        if self._gone and self._gone not in names:
            names.append(self._gone)
        totals = totals_namespace(self._base)
        state = [one for one in names if self._is_state(one) and not self._covers(one) and one != totals]
        for name in names:
            if name == totals:
                self._search_totals(name)
            elif name not in state:
                self._search_entries(name)
        if self._of_source:
            for name in names:
                if name not in state and name != totals:
                    self._search_embeddings(name)
        self._erase_quotes(state)
        for name in state:
            self._search_state(name)
        self._store.erase(self._places)
        for name, records in self._back.items():
            if records:
                self._store.put(name, records)
        if self._erase_quotes(state):  # a tracker wrote meanwhile; from now on it sees that its log begins anew
            self._store.erase({})
        if access_log is not None:
            gone = [name for name, keys in self._places.items() if keys is None and name not in self._back]
            self.report.accesses = erase_accesses(access_log, gone, self._keys)
        for name in state:
            for path in saved_under(name, self._codec) if ":semantic:" in name else ():
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
                    self.report.files.append(str(path))
        others = [one for one in self._store.namespaces() if not self._is_in_scope(one)]
        self.report.elsewhere = sorted({base for one in others if (base := self._base_with_it(one))})
        return self.report

    def _base_with_it(self, name: str) -> str | None:
        """The namespace of another cache, if a namespace of its has the name that is erased."""
        base = re.split("[/:]", name, maxsplit=1)[0]
        if name == totals_namespace(base):
            names = erased_names(self._target)
            for record in self._records(name):
                with contextlib.suppress(CodecError):
                    if TotalsRecords(self._codec_of(record.value), base).without(record, names) is not record:
                        return unquote(base)
        tenant = base + self._gone[len(self._base) :]
        is_tenant = tenant != base and (name == tenant or name.startswith((f"{tenant}/", f"{tenant}:")))
        return unquote(base) if is_tenant else None

    def _is_in_scope(self, name: str) -> bool:
        return name == self._base or name.startswith((f"{self._base}/", f"{self._base}:", _ROUTING))

    def _is_state(self, name: str) -> bool:
        return is_state(self._store, name, self._base)

    def _covers(self, name: str) -> bool:
        """Whether all of a namespace goes."""
        return bool(self._gone) and (name == self._gone or name.startswith((f"{self._gone}/", f"{self._gone}:")))

    # -- entries -----------------------------------------------------------------------------------------------

    def _search_entries(self, name: str) -> None:
        covered, one = self._covers(name), self._target.entry
        if not covered and (self._target.tenant or (one is not None and name != one.namespace)):
            return
        found, aliases = dict[bytes, bytes](), dict[bytes, dict[bytes, bytes]]()  # keys, each with its `_partition`
        for record in self._records(name):
            place = Place(name, record.key)
            entry = self._entry(place, record, again=place == one)
            if entry is not None and entry.semantic is not None and entry.semantic.answer:
                aliases.setdefault(entry.semantic.answer, {})[record.key] = _partition(entry)
            if covered or place == one or (entry is not None and self._concerns(entry)):
                found[record.key] = _partition(entry)
                if entry is not None and self._target.source:
                    self._note_texts(self._target.source, entry)
        if not covered:
            # What points to an answer that goes was made from it: also to one that is not there any more.
            for key in [one.key] if one else list(found):
                found |= aliases.get(key, {})
            self._erase_vectors(name, found)
        self._keys.update(found)
        if found:
            self.report.entries[name] = len(found)
        if found or covered:
            self._places[name] = None if covered else list(found)

    def _note_texts(self, source: str, entry: Entry) -> None:
        for texts in _documents_in(source, entry):
            self._of_source.update(map(digest_of_text, texts))
            for text in texts:
                if len(text) >= _LEAST_WITHIN and len(text.split()) > 1:
                    self._within.update(spellings(text))

    def _search_embeddings(self, name: str) -> None:
        """Find the embeddings of the source's texts: no document is known where a text is embedded."""
        found = []
        for record in self._records(name):
            entry = self._entry(Place(name, record.key), record, again=True)
            if entry is not None and entry.kind in ("embedding", "node"):  # a key-value store holds some, too
                form = folded(entry.form)
                if not self._of_source.isdisjoint(digests_in(entry.texts)) or any(
                    one in form for one in self._within
                ):
                    found.append(record.key)
        if found:
            self._keys.update(found)
            self._places[name] = [*(self._places.get(name) or ()), *found]
            self.report.entries[name] = self.report.entries.get(name, 0) + len(found)

    def _entry(self, place: Place, record: Record, *, again: bool = False) -> Entry | None:
        try:
            return self._codec_of(record.value).decode(record.value, bound_to=place.bound_to)
        except CodecError:
            if not self._covers(place.namespace) and not again:
                self.report.unreadable += 1
            return None

    def _codec_of(self, data: bytes) -> Codec:
        """What opens stored data: what lies open in the store of an encrypted cache is searched as well."""
        return self._open if self._open.has_key_of(data) else self._codec

    def _concerns(self, entry: Entry) -> bool:
        target, sources = self._target, [one for source in entry.sources for one in source.ids]
        if target.entry:
            return False
        if target.tag:
            return target.tag in entry.tags
        if target.source:
            if target.source in sources or f"doc:{target.source}" in entry.tags:
                return True
            # What an ingestion made of documents depends on no change of them, so it has no sources.
            return entry.kind == "node" and target.source in texts_in(readable_payload(entry))
        if not set(self._digests).isdisjoint(digests_in(entry.texts)):
            return True
        if entry.form and any(one in folded(entry.form) for one in self._in_requests if one.strip()):
            return True
        semantic = entry.semantic
        texts = (*entry.tags, *sources, *((semantic.text, semantic.answer_text) if semantic is not None else ()))
        return any(
            map(self._contains, (entry.payload, entry.form, *(one.encode(errors="replace") for one in texts)))
        ) or self._says_it(entry)

    def _says_it(self, entry: Entry) -> bool:
        """Whether an entry holds the text otherwise than as it is: encoded, in parts, or as another value."""
        payload = readable_payload(entry)
        return is_spelled_in(self._target.text or "", payload) or any(
            self._contains("\0".join(texts_in(data)).encode("utf-8", "surrogatepass"))
            for data in (payload, entry.form)
            if data
        )

    def _contains(self, data: bytes) -> bool:
        small = folded(data)
        return any(one in small for one in self._spellings)

    def _erase_vectors(self, name: str, found: Mapping[bytes, bytes]) -> None:
        store, partitions = self._store, dict[bytes, list[bytes]]()
        for key, partition in found.items():
            if partition:
                partitions.setdefault(partition, []).append(key)
        if isinstance(store, VectorSearch):
            for partition, keys in partitions.items():
                with contextlib.suppress(StoreError):  # a server without vector search
                    store.vector_delete(name, partition, keys)

    def _records(self, name: str) -> Iterator[Record]:
        for records in pages(self._store, name):
            yield from records
            self._progress(len(records))

    # -- logs and learned state --------------------------------------------------------------------------------

    def _search_state(self, name: str) -> None:
        """Search learned state and its log; where the log begins anew, other records are put back."""
        found, others = list[bytes](), list[Record]()
        for record in self._records(name):
            pruned = self._pruned(name, record)
            is_gone = self._mentions_it(name, pruned.value)
            if is_gone or pruned is not record:
                found.append(record.key)
            if not is_gone:
                others.append(pruned)
        if found:
            self.report.learned[name] = len(found)
        # Questions, and the texts of prompts, are in the memory of processes too: they begin anew with the log.
        if self._log_mentions_it(name) or ":semantic:" in name or name.endswith(log_namespace("")):
            self._places[name], self._back[name] = None, others
            self.report.logs.append(name)
        elif found:
            self._places[name] = found
            self._back[name] = [one for one in others if one.key in set(found)]

    def _search_totals(self, name: str) -> None:
        """What was counted of it stays, without its name."""
        names = erased_names(self._target)

        def without(record: Record) -> Record:
            try:
                return TotalsRecords(self._codec_of(record.value), self._base).without(record, names)
            except CodecError:
                self.report.unreadable += 1
                return record

        if names:
            self._replace(name, without)

    def _erase_quotes(self, names: Sequence[str]) -> bool:
        """Erase what trackers quote of prompts, of whom is not known; returns whether there was anything."""
        return any([self._replace(one, _without_examples) for one in names if one.endswith(days_namespace(""))])

    def _replace(self, name: str, without: Callable[[Record], Record]) -> bool:
        """Write records anew without something, each at once: the process that it is of may write it, too."""
        replaced = 0
        for record in self._records(name):
            new = without(record)
            if new is not record:
                self._store.put(name, [new])
                replaced += 1
        if replaced:
            self.report.learned[name] = self.report.learned.get(name, 0) + replaced
        return replaced > 0

    def _log_mentions_it(self, name: str) -> bool:
        position = 0
        while True:
            page = self._store.log_read(name, position)
            if any(self._mentions_it(name, event) for _, event in page.events):
                return True
            if not page.events or page.events[-1][0] >= page.head:
                return False
            position = page.events[-1][0]

    def _mentions_it(self, name: str, data: bytes) -> bool:
        return any(self._is_it(leaf) for leaf in self._leaves(data, name, _NESTED))

    def _is_it(self, leaf: str | bytes) -> bool:
        data = leaf.encode("utf-8", "surrogatepass") if isinstance(leaf, str) else leaf
        if self._target.text:
            return self._contains(data)
        if self._target.entry:
            return data in (self._target.entry.key, self._target.entry.key[:16])
        if self._gone:
            gone = self._gone.encode()
            return data == gone or data.startswith((gone + b"/", gone + b":"))
        tag = f"doc:{self._target.source}" if self._target.tag is None else self._target.tag
        return data in ((self._target.source or tag).encode(), tag.encode())

    def _leaves(self, data: bytes, name: str, depth: int) -> Iterator[str | bytes]:
        """The texts and bytes in stored data, also in what is encoded within."""
        body = self._body(data, name)
        try:
            value = msgspec.msgpack.decode(data if body is None else body)
        except (msgspec.MsgspecError, ValueError):
            yield data if body is None else body
            return
        for leaf in _leaves_of(value):
            yield leaf
            if isinstance(leaf, bytes) and leaf and depth:
                yield from self._leaves(leaf, name, depth - 1)

    def _body(self, data: bytes, name: str) -> bytes | None:
        """What an encoded value contains; ``None`` if it is none."""
        log, codec = name.encode(), self._codec_of(data)
        for bound_to in (b"", *(kind.encode().ljust(16)[:16] + log + b" " for kind in _KINDS)):
            with contextlib.suppress(CodecError):
                return codec.decode(data, bound_to=bound_to).payload
        return None

    def _pruned(self, name: str, record: Record) -> Record:
        """A record without what it has of the answers that go, if it is a snapshot; otherwise as it is."""
        journal = Journal(self._codec_of(record.value), name)
        try:
            snapshot = journal.read(record.value, Snapshot)
        except CodecError:
            return record
        before = msgspec.msgpack.decode(snapshot.value)
        after = _without(before, {key[:16] for key in self._keys})
        if after == before:
            return record
        raw = msgspec.Raw(msgspec.msgpack.encode(after))
        return msgspec.structs.replace(record, value=journal.write(Snapshot(snapshot.position, snapshot.seen, raw)))


def _partition(entry: Entry | None) -> bytes:
    """Among which vectors of a server an entry's question is; empty if it has none."""
    semantic = None if entry is None else entry.semantic
    return b"" if semantic is None else vector_partition(semantic.embedder, semantic.partition)


def erased_names(target: Target) -> tuple[bytes, ...]:
    """The digests of names that are erased from totals."""
    tenant = tenant_of(target.tenant)
    tag = target.tag or (f"doc:{target.source}" if target.source else "")
    names = name_digest("tenant", tenant) if tenant else b"", name_digest("tag", tag) if tag else b""
    return tuple(filter(None, names))


def _without_examples(record: Record) -> Record:
    value = without_examples(record.value)
    return record if value is record.value else msgspec.structs.replace(record, value=value)


def is_state(store: Store, name: str, base: str) -> bool:
    """Whether a namespace of a store holds logs and learned state, and not entries of the cache ``base``."""
    if ":" in name or not name.startswith(_ROUTING):
        return ":" in name
    return base != _MULTIPLEXER or store.log_read(name, 0, 1).head > 0  # a tenant of a cache of that name has none


def _documents_in(source: str, entry: Entry) -> Iterator[list[str]]:
    """The texts of each document of a source that a result holds, or a part stored apart is."""
    try:
        value = msgspec.msgpack.decode(readable_payload(entry))
    except (msgspec.MsgspecError, ValueError):
        return
    if entry.kind == "chunk":
        documents = [value]
    elif entry.kind == "node":
        documents = list(_listed(opened(value)))
    else:
        documents = value if entry.kind == "retrieval" and isinstance(value, list) else []
    for document in documents:
        texts = [leaf for leaf in _leaves_of(document, names=False) if isinstance(leaf, str)]
        if entry.kind == "chunk" or source in texts:
            yield texts


def _listed(value: Any) -> Iterator[Any]:
    """What stands in the outermost lists of nothing but lists and maps: documents."""
    if isinstance(value, list) and value and all(isinstance(one, (list, dict)) for one in value):
        yield from value
    elif isinstance(value, (list, dict)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _listed(one)


def _leaves_of(value: Any, *, names: bool = True) -> Iterator[str | bytes]:
    """The texts and bytes in plain data, with the names in maps or without."""
    if isinstance(value, (str, bytes)):
        yield value
    elif isinstance(value, (dict, list, tuple)):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _leaves_of(one, names=names)
        if names and isinstance(value, dict):
            for name in value:
                yield from _leaves_of(name)


def _without(value: Any, gone: Collection[bytes]) -> Any:
    """Plain data without the members that are of these answers."""
    if isinstance(value, dict):
        return {name: _without(one, gone) for name, one in value.items() if name not in gone}
    if isinstance(value, list):
        return [_without(one, gone) for one in value if not (isinstance(one, list) and _names(one, gone))]
    return value


def _names(row: list[Any], gone: Collection[bytes]) -> bool:
    return any(isinstance(one, bytes) and one in gone for one in row)
