"""Which retriever it is: its class, and of its settings those that change what it finds, as plain data.

LlamaIndex's own retrievers are read by their attributes, and so are the objects of LlamaIndex in them: retrievers,
indexes, models, prompts, selectors; stores of vectors, documents and graphs by where they are or, in memory, by
what they hold. A class of somebody else may depend on anything.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Container, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.data_structs.data_structs import IndexStruct
from llama_index.core.indices.base import BaseIndex
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.retrievers import VectorIndexRetriever
from llama_index.core.schema import BaseComponent, BaseNode, NodeWithScore
from llama_index.core.vector_stores.types import BasePydanticVectorStore, VectorStoreQueryMode

from askonce.errors import AskOnceError, ConfigError
from askonce.keys.databases import credential_form, split_credentials
from askonce.keys.endpoints import importable_name
from askonce.keys.fields import members_of
from askonce.keys.normal_form import NormalForm, Uncacheable, encode, is_credential, plain
from askonce.llama_index.keys.model import component_form
from askonce.llama_index.retrieval.indexes import INDEX_PARTS, is_known, is_own, is_store, memory_version
from askonce.retrieval.held import found_within, is_plain
from askonce.retrieval.parts import code_of, kind_of, own_bases, own_class, own_names, unreadable
from askonce.retrieval.places import Reading, read
from askonce.retrieval.settings import SettingReader, settings_in
from askonce.retrieval.versions import is_content

# What observes; and where the structures of indexes are, which are read from the indexes.
_ASIDE = frozenset(
    """
    callback_manager _callback_manager verbose _verbose _show_progress show_progress use_async _use_async
    index_store
    """.split()
)
_DEEPEST = 20
_LONG, _LONG_LISTS = 32, 16


def finds_by_nearness(retriever: BaseRetriever) -> bool:
    """Whether a document that is not found plays no part, so that its deletion changes nothing."""
    return (
        type(retriever) is VectorIndexRetriever
        and retriever._vector_store_query_mode == VectorStoreQueryMode.DEFAULT
        and not retriever.object_map  # what else is searched if one of those is found
    )


LongLists = dict[int, tuple[Sequence[Any], list[Any], Any]]
"""Long lists by their ids, with what was in them then, and their forms."""


class Identity:
    """Reads one retriever, once.

    Args:
        name: stands for all parts without a stable representation, and for the random ids of indexes.
        corpus: the log of the documents' changes.
        known: long lists that were read before.
        made: what was made in a search, of which the class counts if it cannot be read.

    Attributes:
        nameless: stores that do not show where their documents are.
        stores: the vector stores.
        is_local: a store is on this machine.
        models: those that were read; some count their calls in what they show of themselves.
    """

    def __init__(self, name: str | None, corpus: str, known: LongLists, made: Container[Any] = ()) -> None:
        self.nameless: list[str] = []
        self.stores: list[BasePydanticVectorStore] = []
        self.is_local = False
        self.models: list[BaseComponent] = []
        self._name, self._corpus, self._long_lists, self._made = name, corpus, known, made
        self._stores: dict[int, dict[str, Any]] = {}
        self._in_store = self._is_own = self._counted_elsewhere = False
        self._within: list[int] = []
        self._settings = SettingReader(lambda part: self._part(part, len(self._within)))

    def of(self, retriever: BaseRetriever) -> Any:
        """The normal form of a retriever as it is set now.

        Raises:
            Uncacheable: it has no stable representation and there is no name.
            ConfigError: a cached retriever in it is of another corpus.
        """
        return plain({"name": self._name, "retriever": self._part(retriever, 0)})

    def of_question(self, question: Any, more: Mapping[str, Any]) -> Any:
        """What the application adds to a question: its own class, and attributes that its own retrievers may read.

        Raises:
            Uncacheable: it has no stable representation.
        """
        self._in_store = self._is_own = True
        held = {
            name: credential_form(one)
            if is_credential(name) and isinstance(one, (str, bytes))
            else self._part(one, 0)
            for name, one in more.items()
        }
        return {"class": _class_name(question), "code": code_of(type(question)).digest, "has": held}

    def _part(self, value: Any, depth: int) -> Any:
        """The form of a part; with a name, of one that has none just the class, and the documents in it."""
        try:
            return plain(self._form(value, depth + 1))
        except AskOnceError:
            raise
        except Exception as error:  # whatever an object in it raises; RecursionError
            if value in self._made:
                return {"made": _class_name(value)}
            if self._name is None and isinstance(error, Uncacheable):
                raise
            if self._name is None:
                raise unreadable(value, error) from error
            return [_class_name(value), *map(self._content, found_within(value, _is_content))]

    def _content(self, part: Any) -> Any:
        try:
            return plain(self._form(part, 0))
        except AskOnceError:
            raise
        except Exception:
            return _class_name(part)

    def _form(self, value: Any, depth: int) -> Any:
        if depth > _DEEPEST:
            raise Uncacheable(f"a {type(value).__qualname__} that holds itself")
        if self._counted_elsewhere and is_content(value):
            return None
        if isinstance(value, Mapping):
            return self._map(value, depth)
        if isinstance(value, (list, tuple)):
            return self._of_kind(value, list, self._list(value, depth))
        if isinstance(value, NodeWithScore):
            return [self._part(value.node, depth), value.score]
        if isinstance(value, BaseNode):
            return {"node": value.node_id, "hash": value.hash}
        if isinstance(value, BaseIndex):
            return self._index(value, depth)
        if isinstance(value, IndexStruct):
            return memory_version(value)
        if is_store(value):
            return self._store(value)
        if isinstance(value, BaseComponent):
            self.models.append(value)
        if isinstance(value, (BaseComponent, BasePromptTemplate)):
            return component_form(value, [])
        if self._in_store:
            return self._setting(value)
        if isinstance(value, BaseModel) or not hasattr(value, "__dict__"):
            return value
        if inspect.isroutine(value) or isinstance(value, type):
            name = importable_name(value)
            code = code_of(value).digest if inspect.isfunction(value) else None
            return name if code is None else {"name": name, "code": code}
        return self._object(value, depth)

    def _map(self, value: Mapping[Any, Any], depth: int) -> Any:
        if not (self._in_store and self._is_own):
            return {name: self._part(item, depth) for name, item in value.items()}
        items = [[self._part(name, depth), self._part(item, depth)] for name, item in value.items()]
        return self._of_kind(value, dict, items)

    def _of_kind(self, value: Any, usual: type, items: Any) -> Any:
        """The items of a list, a map or a set; with its class where own code may tell it from the usual one."""
        is_usual = type(value) is usual or not (self._in_store and self._is_own)
        return items if is_usual else {"of": _class_name(value), "items": items}

    def _list(self, value: Sequence[Any], depth: int) -> Any:
        """Long ones, such as the ids of all nodes that an index gives its retriever, by a digest made once."""
        known = self._long_lists.get(id(value))
        if known is not None and known[0] is value and known[1] == [*value]:  # the same objects are not compared
            return known[2]
        parts = [self._part(item, depth) for item in value]
        if len(parts) < _LONG:
            return parts
        digest = {"length": len(parts), "digest": NormalForm({"parts": parts}).digest().hex()}
        while len(self._long_lists) >= _LONG_LISTS:
            self._long_lists.pop(next(iter(self._long_lists)), None)
        self._long_lists[id(value)] = (value, [*value], digest)
        return digest

    def _setting(self, value: Any) -> Any:
        """A part of what a store holds beside its documents."""
        if isinstance(value, enum.Enum):
            return {"of": _class_name(value), "value": self._part(value.value, len(self._within))}
        if isinstance(value, str) and "://" in value:
            shown, has_token = split_credentials(value)
            return [shown, credential_form(value)] if has_token else shown
        if isinstance(value, (str, int, float, bytes, PurePath, type(None))):
            is_float = self._is_own and isinstance(value, float)  # to own code 1.0 may not be 1
            return str(value) if isinstance(value, PurePath) else {"float": repr(value)} if is_float else value
        if id(value) in self._within:
            return {"within": self._within.index(id(value))}
        self._within.append(id(value))
        try:
            return self._composed(value)
        finally:
            self._within.pop()

    def _composed(self, value: Any) -> Any:
        if isinstance(value, (set, frozenset)):
            items = sorted((self._part(one, len(self._within)) for one in value), key=encode)
            return self._of_kind(value, list, items)
        if isinstance(value, BaseModel):
            held = {name: self._part(one, len(self._within)) for name, one in members_of(value).items()}
            return {"class": _class_name(value), "code": code_of(own_class(type(value))).digest, "has": held}
        if inspect.ismethod(value):
            inner, code = self._part(value.__self__, len(self._within)), code_of(kind_of(value)).digest
            return {"method": value.__qualname__, "code": code, "of": inner}
        if inspect.isbuiltin(value):
            return importable_name(value)
        outer = self._is_own, self._counted_elsewhere
        self._is_own = self._is_own or bool(own_bases(type(value)))
        self._counted_elsewhere = self._counted_elsewhere and is_plain(type(value))
        try:
            return self._settings.of(value, strict=self._is_own)
        finally:
            self._is_own, self._counted_elsewhere = outer

    def _object(self, value: Any, depth: int) -> Any:
        inner = getattr(value, "_cached_retriever", None)
        if inner is not None:
            if value.corpus.log != self._corpus:
                raise ConfigError(
                    "a cached retriever holds another one of another corpus, whose changes it would not see;"
                    " cache those inside only"
                )
            return self._part(inner, depth)
        if isinstance(value, enum.Enum):
            return value
        if type(value).__module__.partition(".")[0] != "llama_index":
            raise Uncacheable(f"{_class_name(value)} does not show what it finds")
        shown = {
            name: self._part(item, depth)
            for name, item in vars(value).items()
            if name not in _ASIDE and not is_credential(name)
        }
        return {"class": _class_name(value), **shown}

    def _index(self, index: BaseIndex[Any], depth: int) -> dict[str, Any]:
        parts = {name: getattr(index, name, None) for name in INDEX_PARTS}
        form = {name: self._part(part, depth) for name, part in parts.items() if part is not None}
        store = parts["vector_store"]
        # An index over a vector store that holds the documents is made anew, with a new id, by each process.
        if self._name is None and (store is None or not store.stores_text):
            form["id"] = index.index_id
        return {"class": _class_name(index), **form}

    def _store(self, store: Any) -> dict[str, Any]:
        """The form of a store; a retriever and its index hold the same, which is read once."""
        known = self._stores.get(id(store))
        if known is not None:
            return known
        code = code_of(own_class(type(store))).digest
        form: dict[str, Any] = {"class": _class_name(store), "code": code, "version": memory_version(store)}
        members = members_of(store)
        unset: frozenset[str] = frozenset()
        if isinstance(store, BasePydanticVectorStore):
            self.stores.append(store)
            # Some keep the default of a field whatever they were given, so that it says no place.
            unset = frozenset(type(store).model_fields.keys() - store.model_fields_set)
        own = own_names(store, members, is_known=is_known(store)) if self._name is None else frozenset()
        defaults = read({name: members[name] for name in unset & own if name in members}, own)
        members = {name: one for name, one in members.items() if name not in unset}
        placed = form["version"] is not None and not is_own(store)
        for name in [] if placed else [name for name, one in members.items() if is_store(one)]:
            form[name], placed = self._store(members.pop(name)), True  # which says itself if it has no place
        reading = read(members, own)
        form |= {f"default {name}": one for name, one in defaults.form.items()}
        reading = reading._replace(rest=[*reading.rest, *defaults.rest])
        if not (placed or reading.is_placed):
            self.nameless.append(type(store).__name__)
        self.is_local = self.is_local or reading.is_local
        self._stores[id(store)] = form = {**form, **reading.form, **self._rest(store, reading, form["version"])}
        return form

    def _rest(self, store: Any, reading: Reading, version: str | None) -> dict[str, Any]:
        """The settings of a store that are no plain ones; its documents in memory are in its version."""
        form: dict[str, Any] = {}
        is_counted = version is not None and is_own(store)
        outer = self._in_store, self._is_own, self._counted_elsewhere
        try:
            for name, value, is_added in settings_in(reading, known=is_known(store), counted=is_counted):
                self._in_store, self._is_own = True, is_added
                self._counted_elsewhere = is_counted and not reading.is_placed
                try:
                    form[f"has {name}"] = self._part(value, len(self._within))
                except Uncacheable as error:
                    raise Uncacheable(f"{_class_name(store)}.{name}: {error}") from error
        finally:
            self._in_store, self._is_own, self._counted_elsewhere = outer
        return form


def _is_content(part: Any) -> bool:
    if isinstance(part, (list, tuple)):
        return len(part) >= _LONG and all(isinstance(one, (BaseNode, NodeWithScore)) for one in part)
    return isinstance(part, (BaseIndex, BaseNode)) or is_store(part)


def _class_name(value: Any) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"
