"""What the results of a retriever depend on, besides the question and the documents: in normal form.

A retriever is walked with all that it is made of: retrievers, compressors, models and prompts by their classes and
fields; embeddings as `CachedEmbeddings` names them; vector stores by their classes, settings and embeddings, and by
where their documents are (``askonce.retrieval.places``) or, for documents in memory, by what they are.
"""

from __future__ import annotations

import enum
import functools
import re
import secrets
import sqlite3
import sys
from collections import deque
from collections.abc import Callable, Container, Mapping
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, SimpleNamespace
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from langchain_core.runnables.configurable import DynamicRunnable
from langchain_core.stores import BaseStore
from langchain_core.vectorstores import VectorStore
from pydantic import BaseModel

from askonce.errors import AskOnceError
from askonce.keys.counters import counters_as_at_first
from askonce.keys.databases import credential_form, is_client, split_credentials
from askonce.keys.normal_form import NEUTRAL, Uncacheable, encode, model_form, plain
from askonce.keys.own.objects import NOTHING
from askonce.langchain.embeddings import form_of_embeddings
from askonce.langchain.retrieval.derived import DerivedReader
from askonce.langchain.retrieval.held_documents import HeldDocuments, holds_documents
from askonce.langchain.retrieval.indexes import (
    counts_all_it_holds,
    digest,
    has_memory,
    is_own,
    is_store,
    memory_version,
)
from askonce.langchain.retrieval.readers import RunReaders, is_foreign, is_of_langchain
from askonce.retrieval.clients import place_of, sent_by
from askonce.retrieval.corpus import Corpus
from askonce.retrieval.functions import functions_of
from askonce.retrieval.held import attributes_of, found_within
from askonce.retrieval.parts import (
    code_of,
    data_in,
    kind_of,
    names_credential,
    own_bases,
    own_class,
    own_names,
    state_of,
    unreadable,
)
from askonce.retrieval.places import Reading, is_on_this_machine, read
from askonce.retrieval.settings import SettingReader, settings_in
from askonce.retrieval.states import shows_state
from askonce.retrieval.versions import is_content

_UNTELLING = frozenset("tags metadata callbacks verbose timeout max_retries".split())
_CLIENTS = frozenset({"client", "async_client"})
# In a class of the application's own any field may count.
_UNTELLING_IN_OWN = frozenset({"callbacks"})
_INERT = frozenset("_thread threading logging asyncio _asyncio concurrent queue".split())
_SETTINGS = re.compile(r"(params|kwargs|config|filter|fn)$")
# What is computed of a retriever's documents, or of other texts in their place: read whole, by digests.
_DERIVED = {
    "BM25Retriever": frozenset({"vectorizer"}),
    "TFIDFRetriever": frozenset({"vectorizer", "tfidf_array"}),
    "KNNRetriever": frozenset({"index"}),
    "SVMRetriever": frozenset({"index"}),
}
_OF_TIME = frozenset({"TimeWeightedVectorStoreRetriever"})
_STORES = (VectorStore, BaseStore)
_MOST_PARTS = 1000
_DEEPEST = 50  # at the interpreter's limit, finalizers of other objects would fail
_NOT_CONTENT: Any = object()
_SCALARS = (str, int, float, bytes, enum.Enum)


class Identity:
    """Reads one retriever.

    Args:
        known: what was read before, by its `id`: who reads a run within embeddings, and long lists of documents.
        corpus: of the retriever, which is that of all cached ones in it.
        made: what was made in a search, of which the class counts if it cannot be read.

    Attributes:
        corpus: what was given.
        nameless: stores that do not show where their documents are: only the corpus distinguishes them from others.
        stores: the vector stores, and clients that show what is in theirs.
        embeddings: all that were read; some count their calls in what they show of themselves.
        is_local: a store is on this machine.
        readers: the parts that may read what the run gives.
    """

    def __init__(self, known: dict[int, Any], corpus: Corpus | None = None, made: Container[Any] = ()) -> None:
        self.nameless: list[str] = []
        self.stores: list[Any] = []
        self.embeddings: list[Any] = []
        self.is_local = False
        self.readers = RunReaders()
        self.corpus = corpus
        self._known, self._made = known, made
        self._is_named = self._is_given = False
        self._is_own = self._in_store = self._counted_elsewhere = False
        self._settings = SettingReader(self.of)
        self._within: list[int] = []
        self._parts = 0

    def of(self, part: Any) -> Any:
        """A part of a retriever in normal form.

        Raises:
            Uncacheable: it holds something without a stable representation.
        """
        try:
            if part is None or isinstance(part, _SCALARS):
                return self._scalar(part)
            self._parts += 1
            if self._parts > _MOST_PARTS:
                raise Uncacheable(f"it has more than {_MOST_PARTS} parts, which to read takes longer than it may")
            if id(part) in self._within:
                if self._in_store:  # what it holds knows it
                    return {"within": self._within.index(id(part))}
                raise Uncacheable(f"a {_name(type(part))} that holds itself")
            if len(self._within) >= _DEEPEST:
                raise Uncacheable(f"its parts are nested more than {_DEEPEST} deep")
            self._within.append(id(part))
            try:
                self.readers.add(part)
                return self._composed(part)
            finally:
                self._within.pop()
        except AskOnceError:
            raise
        except Exception as error:  # Uncacheable, or whatever an object in it raises
            if part in self._made:
                return {"made": _name(type(part))}
            if isinstance(error, Uncacheable):
                raise
            raise unreadable(part, error) from error

    def _scalar(self, part: Any) -> Any:
        if isinstance(part, enum.Enum):
            return {"of": _name(type(part)), "value": self.of(part.value)}
        if isinstance(part, str):
            self.readers.add_text(part)
            return self._text(part) if "://" in part else plain(part)
        if (self._is_own or self._is_given) and isinstance(
            part, float
        ):  # to code of the application's own 1.0 may not be 1
            return {"float": repr(part)}
        return plain(part)

    def _text(self, part: str) -> Any:
        """A text with a URL in it; a token there says whose it is."""
        shown, has_token = split_credentials(part)
        if has_token and self._is_own and not self._in_store:
            raise Uncacheable("a credential in a URL, whose owner may find other documents")
        return {"url": shown, "credential": credential_form(part)} if has_token else shown

    def given(self, values: dict[str, Any], retriever: Any) -> Any:
        """What a call or its run gives, to the letter where code of the application's own may read it.

        Args:
            values: by name.
            retriever: to which; it was read before.

        Raises:
            Uncacheable: there is something without a stable representation.
        """
        self._is_given = any(own_bases(own_class(type(one))) for one in (retriever, *self.stores))
        try:
            return [[name, self.of(one)] for name, one in sorted(values.items())]
        finally:
            self._is_given = False

    def stores_in(self, part: Any) -> list[Any]:
        """The stores and documents in a retriever, wherever they are: a name says nothing of these."""
        before, self._is_named = self._is_named, True
        forms: list[Any] = []

        def is_found(one: Any) -> bool:
            form = self._content(one)
            if form is not None and form is not _NOT_CONTENT:
                forms.append(form)
            return form is not _NOT_CONTENT

        try:
            for _ in found_within(part, is_found):
                pass
            return forms
        finally:
            self._is_named = before

    def _content(self, part: Any) -> Any:
        """The form of a store or of documents; ``None`` if it has none, `_NOT_CONTENT` of anything else."""
        if isinstance(part, (Embeddings, BaseLanguageModel)):  # the name stands for it
            return None
        try:
            if isinstance(part, (*_STORES, Document)):
                return self.of(part)
            documents = self._documents(part)
            if documents is not None:
                return documents
            if depends_on_time(part):  # its list of documents changes with each search
                return [self.of(part.vectorstore), len(part.memory_stream)]
            if is_client(type(part)):
                return self._client(part)
            return {"version": memory_version(part)} if has_memory(part) else _NOT_CONTENT
        except AskOnceError:
            raise
        except Exception:
            return None

    def _composed(self, part: Any) -> Any:
        if isinstance(part, (Mapping, list, tuple, deque, set, frozenset)):
            return None if self._counted_elsewhere else self._items(part)
        if self._in_store and isinstance(part, functools.partial):
            return self._whole(self._setting_of, part)
        if isinstance(part, FunctionType) and part.__closure__ and is_of_langchain(part.__module__):
            cells = [self.of(cell.cell_contents) for cell in part.__closure__]  # of SelfQueryRetriever's parser
            return {"function": f"{part.__module__}.{part.__qualname__}", "with": cells}
        if isinstance(part, (type, FunctionType)):
            return self._whole(self._setting_of, part) if self._in_store else _by_name(part)
        if isinstance(part, MethodType):
            inner, code = self._whole(self.of, part.__self__), code_of(kind_of(part)).digest
            return {"method": part.__func__.__qualname__, "code": code, "of": inner}
        if isinstance(part, BuiltinFunctionType) and isinstance(part.__self__, ModuleType):
            return f"{part.__module__}.{part.__qualname__}"
        if isinstance(part, PurePath):
            return str(part)
        if isinstance(part, Embeddings):
            return self._embeddings(part)
        if is_store(part):
            return self._store(part)
        if isinstance(part, DynamicRunnable):
            raise Uncacheable("a configurable part; configure it before it is cached")
        if isinstance(part, Document):
            return self._document(part)
        if isinstance(part, BaseModel):
            known = getattr(part, "_identity", None)  # a cached retriever's
            return self._model(part) if known is None else {"cached": known(self)}
        return self._object(part)

    def _items(self, part: Any) -> Any:
        documents = self._documents(part)
        if documents is not None:
            return documents
        is_exact = self._is_own or self._is_given
        if isinstance(part, (set, frozenset)):
            form = sorted((self.of(item) for item in part), key=encode)
        elif not isinstance(part, Mapping):
            form = [self.of(item) for item in part]
        else:
            pairs = part.items() if is_exact else sorted(part.items(), key=lambda pair: str(pair[0]))
            form = [[self.of(name), self.of(item)] for name, item in pairs]
        is_usual = not is_exact or type(part) in (list, dict)
        return form if is_usual else {"of": _name(type(part)), "items": form}

    def _object(self, part: Any) -> Any:
        if type(part).__module__ in ("typing", "types") and type(part) is not SimpleNamespace:
            return repr(part)
        client = self._client(part)
        if client is not None:
            return client
        if (type(part).__module__, type(part).__name__) == ("lark.lark", "Lark"):  # of SelfQueryRetriever
            return {"grammar": part.source_grammar, "transformer": self.of(part.options.transformer)}
        data = data_in(part)
        if data is not NOTHING:
            is_counted = self._counted_elsewhere and is_content(part)
            return None if is_counted else [_name(type(part)), self._whole(self._settings.data, data)]
        if self._in_store and not own_bases(type(part)):
            is_counted = self._counted_elsewhere and is_content(part)
            return None if is_counted else self._whole(self._setting_of, part)
        is_own, self._is_own = self._is_own, self._is_own or bool(own_bases(type(part)))
        try:
            held = sorted(state_of(part).items())
            return {**_class(type(part)), "has": {str(name): self._attribute(name, one) for name, one in held}}
        finally:
            self._is_own = is_own

    def _setting_of(self, part: Any) -> Any:
        return self._settings.of(part, strict=self._is_own)

    def _whole(self, read_form: Callable[[Any], Any], part: Any) -> Any:
        """The form of a part in which the version of a store counts nothing."""
        counted, self._counted_elsewhere = self._counted_elsewhere, False
        try:
            return read_form(part)
        finally:
            self._counted_elsewhere = counted

    def _attribute(self, name: str, value: Any) -> Any:
        is_secret = names_credential(str(name)) and isinstance(value, (str, bytes))
        return credential_form(value) if is_secret else self.of(value)

    def _client(self, part: Any) -> Any:
        """A client by its place, one of HTTP by what it sends; ``None`` if it shows neither."""
        known = self._known.get(id(part))
        place = place_of(part) if known is None else known[1]
        if isinstance(part, sqlite3.Connection):  # which shows it in its own thread alone
            if place is None and self._is_named:
                place = {"connection": secrets.token_hex(8)}
            self._known[id(part)] = part, place
        sent = sent_by(part) if place is None else None
        if place is None and sent is None:
            return None
        if shows_state(part):
            self.stores.append(part)
        where = place or {name: one for name, one in (sent or {}).items() if name in ("url", "socket")}
        self.is_local = self.is_local or is_on_this_machine(where)
        form = {**_class(type(part)), "place": model_form(place, []) if place else self._settings.data(sent)}
        held = attributes_of(part) if own_bases(type(part)) else {}
        more = {name: self._attribute(name, held[name]) for name in sorted(own_names(part, held))}
        more |= self._functions(part)
        return {**form, "has": more} if more else form

    def _functions(self, client: Any) -> dict[str, Any]:
        """The functions that decide what is found at a client's place."""
        outer, self._in_store = self._in_store, True
        try:
            read_form = partial(self._whole, self.of)
            return {name: self._setting(read_form, one) for name, one in functions_of(client).items()}
        finally:
            self._in_store = outer

    def _documents(self, part: Any) -> Any:
        """A list, map or data frame of documents by a digest, made once while it holds the same; else ``None``."""
        known = self._known.get(id(part))
        if isinstance(known, HeldDocuments) and known.is_same():
            return known.form
        if not holds_documents(part, is_named=self._is_named):
            return None
        try:
            held = HeldDocuments(part)
        except Uncacheable:  # each by itself
            return None
        if len(self._known) > _MOST_PARTS:  # those of arguments of calls
            self._known.clear()
        self._known[id(part)] = held
        return held.form

    def _document(self, part: Document) -> Any:
        try:
            return {"document": digest([part])}
        except Uncacheable:  # of a class of its own, or with objects in its metadata
            return self._model(part)

    def _model(self, part: BaseModel) -> dict[str, Any]:
        outer, self._is_own = self._is_own, is_foreign(part)
        try:
            return self._fields(part, is_own=self._is_own)
        finally:
            self._is_own = outer

    def _fields(self, part: BaseModel, *, is_own: bool) -> dict[str, Any]:
        # Elsewhere than in what runs, such as in a document, tags and metadata are content.
        untelling = _UNTELLING if isinstance(part, Runnable) and not is_own else _UNTELLING_IN_OWN
        untelling = NEUTRAL if isinstance(part, BaseLanguageModel) else untelling
        fields = {**part.__dict__, **(part.__pydantic_extra__ or {})}
        form: dict[str, Any] = _class(type(part))
        kinds = _langchain_names(type(part))
        if depends_on_time(part):
            raise Uncacheable(
                "what it finds depends on the time, and on what was found before: with a name, use a ttl"
            )
        for derived in frozenset().union(*(_DERIVED[kind] for kind in kinds & _DERIVED.keys())):
            form[derived] = self._derived(fields.pop(derived, None))
        for name, value in sorted(fields.items()):
            if value is None or name in untelling or _is_computed(type(part), name):
                continue
            if name in _CLIENTS and not is_own:
                place = place_of(value)
                if place is not None:
                    form[name] = [model_form(place, []), self._functions(value)]
            elif is_own or not names_credential(name):
                form[name] = self._field(name, value)
        for name, value in (part.__pydantic_private__ or {}).items():
            if is_own and type(value).__module__.partition(".")[0] not in _INERT:
                form[name] = self._field(name, value)
                continue
            try:
                form[name] = self.of(value)
            except Uncacheable:
                continue  # private state of a class of LangChain's: connections, locks
        return form

    def _derived(self, part: Any) -> Any:
        outer, readers = (self._in_store, self._is_own), self.readers
        self._in_store, self._is_own, self.readers = True, bool(own_bases(type(part))), RunReaders()
        try:
            self.readers.add(part)
            return {**_class(type(part)), "has": DerivedReader(self._known, self.of).of(part)}
        finally:
            (self._in_store, self._is_own), inner, self.readers = outer, self.readers, readers
            if inner.has_own:  # what packages compute reads nothing of a run
                readers.add_all(inner)

    def _field(self, name: str, value: Any) -> Any:
        if value is not None and names_credential(name) and not isinstance(value, (int, list, dict)):
            if self._in_store:
                return credential_form(value)
            raise Uncacheable(f"{name}: a credential, whose owner may find other documents")
        try:
            return self.of(value)
        except Uncacheable as error:
            raise Uncacheable(f"{name}: {error}") from error

    def _embeddings(self, part: Embeddings) -> Any:
        form, known = self._shown(part), self._known.get(id(part))
        if known is None or known[1] != form:
            readers = RunReaders()
            try:
                readers.add_within(part)
            except Uncacheable:  # of one with a name; what it may read is not known
                readers.any = True
            self._known[id(part)] = known = part, form, readers
        self.embeddings.append(part)
        self.readers.add_all(known[2])
        return form

    def _shown(self, part: Embeddings) -> Any:
        try:
            return form_of_embeddings(part)
        except Uncacheable as error:
            if isinstance(part, BaseModel):
                return counters_as_at_first(part, self._model(part), private=False)
            raise Uncacheable(
                f"a {_name(type(part))} does not show which model it is; name that alone: "
                "cached(embeddings, model='…')"
            ) from error

    def _setting(self, read_form: Callable[[Any], Any], value: Any) -> Any:
        """The form of a store's setting; with a name, which stands for those that cannot be read, their class."""
        try:
            return read_form(value)
        except Uncacheable:
            if not self._is_named:
                raise
            return _name(type(value))

    def _store(self, part: Any) -> dict[str, Any]:
        if isinstance(part, VectorStore):
            self.stores.append(part)
        outer, self._in_store, self._is_own = (self._in_store, self._is_own), True, False
        try:
            return self._of_store(part)
        finally:
            self._in_store, self._is_own = outer

    def _of_store(self, part: Any) -> dict[str, Any]:
        form: dict[str, Any] = _class(type(part))
        attributes: dict[str, Any] = {}
        version = memory_version(part)
        if version is not None:
            form["version"] = version
        placed = version is not None and not is_own(part)  # whose lists may hold anything
        is_known = version is not None and not counts_all_it_holds(part)
        own = frozenset() if self._is_named else own_names(part, vars(part), is_known=is_known)
        for name, value in vars(part).items():
            bare = name.strip("_").lower()
            if isinstance(value, Embeddings):
                form[bare] = self._setting(self._embeddings, value)
            elif is_store(value):  # which says itself if it has no place
                form[bare], placed = self._setting(self.of, value), True
            elif _SETTINGS.search(bare) and not isinstance(value, (str, bool, int, float)):
                form[bare] = self._setting(self.of, value)
            else:
                attributes[name] = value
        reading = read(attributes, own)
        self.is_local = self.is_local or reading.is_local
        if not (placed or reading.is_placed):
            self.nameless.append(type(part).__name__)
        is_counted = version is not None and not is_known
        return {**form, **reading.form, **self._rest(reading, is_known=is_known, is_counted=is_counted)}

    def _rest(self, reading: Reading, *, is_known: bool, is_counted: bool) -> dict[str, Any]:
        """The settings of a store that are no plain ones; its documents in memory are in its version."""
        form: dict[str, Any] = {}
        for name, value, is_added in settings_in(reading, known=is_known, counted=is_counted):
            self._is_own, self._counted_elsewhere = is_added, is_counted and not reading.is_placed
            try:
                form[f"has {name}"] = self._setting(partial(self._field, name), value)
            finally:
                self._is_own = self._counted_elsewhere = False
        return form


def _is_computed(cls: type[Any], name: str) -> bool:
    """Whether it is computed from the others once it is needed, as LangChain does in the first call."""
    return isinstance(getattr(cls, name, None), functools.cached_property)


def depends_on_time(part: Any) -> bool:
    """Whether what a retriever finds depends on the time, and on what was found before."""
    cls: Any = type(part)
    return not _OF_TIME.isdisjoint(_langchain_names(cls))


def _class(cls: type[Any]) -> dict[str, Any]:
    """Which class; of the application's own with its code, which may be edited between two runs of a program."""
    code = code_of(kind_of(cls)).digest
    return {"class": _name(cls)} if code is None else {"class": _name(cls), "code": code}


def _name(cls: type[Any]) -> str:
    own = own_class(cls)
    return f"{own.__module__}.{own.__qualname__}"


@functools.lru_cache(maxsize=256)
def _langchain_names(cls: type[Any]) -> frozenset[str]:
    """The names of LangChain's classes that a class is of."""
    return frozenset(one.__name__ for one in cls.__mro__ if is_of_langchain(one.__module__))


def _by_name(part: type[Any] | FunctionType) -> Any:
    """Classes and functions that every process finds under the same name."""
    found: Any = sys.modules.get(part.__module__)
    for step in part.__qualname__.split("."):
        found = getattr(found, step, None)
    if found is not part:
        raise Uncacheable(f"{part.__qualname__} can be found under no name")
    name, code = f"{part.__module__}.{part.__qualname__}", code_of(part).digest
    return name if code is None else {"named": name, "code": code}
