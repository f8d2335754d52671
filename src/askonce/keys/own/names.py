"""What a name means in a class of the application's own, where a "profile" may be part of an answer.

A framework's base class has fields of its own, such as ``verbose``, which say nothing of an answer, unless the
application's code uses them.
"""

from __future__ import annotations

import functools
import inspect
import sys
from dataclasses import dataclass
from types import FunctionType

from askonce.keys.normal_form import is_credential, is_neutral
from askonce.keys.own.bytecode import assigned_by
from askonce.keys.own.code import written_code
from askonce.keys.own.modules import is_installed_class

_FRAMEWORKS = frozenset("langchain_core langchain langchain_classic llama_index_instrumentation pydantic".split())
# With these, code reaches fields whose names do not stand in it.
_REACHING = frozenset("vars __dict__ getattr attrgetter model_dump model_dump_json dict model_fields".split())
# Of the running program, by the framework's own declaration.
_RUNNING = frozenset("callbacks callback_manager cache rate_limiter".split())


@dataclass(frozen=True, slots=True)
class OwnNames:
    """Which names of a class mean what its application likes.

    Attributes:
        is_pure: no base of it is a provider's.
        declared: what the application's classes declare.
        inherited: what the others declare.
        written: the code.
    """

    is_pure: bool
    declared: frozenset[str]
    inherited: frozenset[str]
    written: str

    def has(self, name: str, value: object) -> bool:
        """Whether a field is the class's own, or its code uses it: it counts, with all that it holds."""
        is_own = name in self.declared or (self.is_pure and name not in self.inherited)
        if is_own and not _is_timeout(name, value):
            return True
        return (is_own or name not in _RUNNING) and self._uses(name)

    def has_argument(self, name: str, value: object) -> bool:
        """Whether an argument of a call counts whatever it is called."""
        return (self.is_pure and not _is_timeout(name, value)) or self._uses(name)

    def _uses(self, name: str) -> bool:
        if self.is_pure:
            # Its declaration, with its type, stands there too.
            is_named = self.written.count(repr(name)) > (name in self.declared)
            return is_named or any(repr(one) in self.written for one in _REACHING)
        return is_neutral(name) and not is_credential(name) and repr(name) in self.written


def _is_timeout(name: str, value: object) -> bool:
    return "timeout" in name and is_neutral(name, value) and not isinstance(value, str)


def own_names(cls: type) -> OwnNames | None:
    """The names of a class of the application's own; ``None`` of an installed one.

    Raises:
        Uncacheable: its code uses an object that cannot be read.
    """
    written = written_code(cls)
    return None if written is None else OwnNames(*_declarations(cls), written)


@functools.lru_cache(maxsize=512)
def _declarations(cls: type) -> tuple[bool, frozenset[str], frozenset[str]]:
    declared: dict[bool, set[str]] = {False: set(), True: set()}
    is_pure, of_packages = True, set[str]()
    for base in reversed(cls.__mro__):
        installed = is_installed_class(base)
        private = {*vars(base).get("__private_attributes__", ())}  # those of its bases, too
        of_packages |= private if installed else set()
        declared[installed] |= {*inspect.get_annotations(base), *(private if installed else private - of_packages)}
        is_pure = is_pure and (not installed or _is_of_a_framework(base.__module__))
    own = (base for base in cls.__mro__ if not is_installed_class(base))
    functions = (one for base in own for one in vars(base).values() if isinstance(one, FunctionType))
    declared[False] |= assigned_by(functions) - declared[True]
    return is_pure, frozenset(declared[False]), frozenset(declared[True])


def _is_of_a_framework(module: str) -> bool:
    package = module.partition(".")[0]
    if package == "llama_index":
        return module.startswith("llama_index.core")
    return package in _FRAMEWORKS or package in sys.stdlib_module_names
