"""The parts of a retriever that are not LangChain's own: these may read what a run gives."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence, Set
from contextvars import ContextVar
from itertools import islice
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from askonce.keys.own.modules import is_installed, module_of
from askonce.langchain.embeddings import CachedEmbeddings
from askonce.retrieval.held import attributes_of, found_within, is_opened
from askonce.retrieval.parts import code_of, kind_of, own_bases, own_class

_WITHOUT_RUNS = frozenset(("askonce", "lark", "numpy", "pydantic", *sys.stdlib_module_names))
_MOST_TEXTS = 1000
_THREAD = ("thread", "thread_")


class RunReaders:
    """The classes, functions and objects that are not LangChain's, and what they show of what they read.

    Attributes:
        any: there are some.
        variables: the context variables that they use.
    """

    def __init__(self) -> None:
        self.any = False
        self.variables: list[ContextVar[Any]] = []
        self._code: dict[str, None] = {}
        self._texts: set[str] = set()

    @property
    def has_own(self) -> bool:
        """Whether code of the application's own is among them."""
        return any(self._code)

    def add(self, part: Any) -> None:
        """Add a part, if it is none of LangChain's."""
        if is_foreign(part):
            self.any = True
            _, code, variables = code_of(kind_of(part))
            self._code[code] = None
            self._use(variables)

    def add_text(self, text: str) -> None:
        """Add a text that a part holds, which may name something that a run gives."""
        self._texts.add(text)

    def add_all(self, others: RunReaders) -> None:
        """Add those that were found elsewhere."""
        self.any = self.any or others.any
        self._code |= others._code
        self._texts |= others._texts
        self._use(others.variables)

    def add_within(self, root: Any) -> None:
        """Add all that an object holds, as far as `found_within` looks."""
        for _ in found_within(root, self._is_done):
            pass

    def names(self, given: str) -> bool:
        """Whether they name, in their code or a text that they hold, what a run gives; of a thread in parts too."""
        spelled = (given, *_THREAD) if "thread" in given else (given,)
        return any(one in self._texts or any(repr(one) in code for code in self._code) for one in spelled)

    def _use(self, variables: Iterable[ContextVar[Any]]) -> None:
        self.variables += [one for one in variables if all(one is not known for known in self.variables)]

    def _is_done(self, part: Any) -> bool:
        """Add a part; whether nothing else is in it."""
        try:
            self.add(part)
        except Exception:
            self.any = True  # what cannot be read may
            raise
        if isinstance(part, ContextVar):
            self._use([part])
        if isinstance(part, CachedEmbeddings):
            self.add_within(part.embeddings)
        self._texts.update(one for one in islice(_held(part), _MOST_TEXTS) if isinstance(one, str))
        if isinstance(part, (list, tuple)):
            return all(isinstance(one, Document) for one in part)
        return isinstance(part, Document) or (isinstance(part, Embeddings) and not is_foreign(part))


def _held(part: Any) -> Iterable[Any]:
    if isinstance(part, Mapping):
        return [one for pair in islice(part.items(), _MOST_TEXTS) for one in pair]
    if isinstance(part, (Sequence, Set)):
        return part
    return () if isinstance(part, type) or not is_opened(type(part)) else attributes_of(part).values()


def is_foreign(part: Any) -> bool:
    """Whether a class or function, or the class of an object, is neither LangChain's nor Python's.

    Embeddings of packages read nothing of a run.
    """
    if isinstance(part, Embeddings):
        return bool(own_bases(own_class(type(part))))
    kind = kind_of(part)
    module = module_of(kind) if isinstance(kind, type) else str(getattr(kind, "__module__", ""))
    return not is_of_langchain(module) and not (module.partition(".")[0] in _WITHOUT_RUNS and is_installed(module))


def is_of_langchain(module: str) -> bool:
    """Whether a module is of LangChain's packages; an application's may be called like one."""
    return module.startswith("langchain") and is_installed(module)
