"""The corpus: what Python's standard library says about itself."""

import inspect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from textwrap import shorten
from types import ModuleType
from typing import Any

MODULES = """
    argparse asyncio base64 bisect builtins calendar collections concurrent.futures configparser contextlib copy
    csv dataclasses datetime email.message enum fnmatch fractions functools getpass glob gzip hashlib heapq html
    io itertools json logging math os pathlib pickle platform queue random re secrets shlex shutil signal socket
    sqlite3 statistics string struct subprocess sys tempfile textwrap threading time timeit urllib.parse
    urllib.request uuid warnings xml.etree.ElementTree zipfile zlib
""".split()
TITLE_CHARS, TEXT_CHARS = 100, 600


@dataclass(frozen=True, slots=True)
class Chunk:
    """The documentation of one thing.

    Attributes:
        title: its name and what it is for; by this it is found.
        text: the beginning of what is written about it; this is given to the model.
    """

    title: str
    text: str

    @property
    def name(self) -> str:
        """What the documents call it, and its id."""
        return self.title.partition(":")[0]


def stdlib_chunks(modules: Sequence[str] = MODULES) -> list[Chunk]:
    """The documentation of modules and of their public classes, methods and functions, without repetitions."""
    chunks: dict[str, Chunk] = {}
    for module in modules:
        for name, thing in _things(import_module(module)):
            if isinstance(thing.__doc__, str):
                paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(thing.__doc__))
                prose = " ".join(paragraph for paragraph in paragraphs if ">>>" not in paragraph)
                title, text = (f"{name}: {shorten(prose, chars)}" for chars in (TITLE_CHARS, TEXT_CHARS))
                chunks[title] = Chunk(title, text)
    return list(chunks.values())


def _things(module: ModuleType) -> Iterator[tuple[str, Any]]:
    yield module.__name__, module
    for name, thing in _public(module):
        full_name = f"{module.__name__}.{name}"
        if inspect.isclass(thing) or inspect.isroutine(thing):
            yield full_name, thing
        if inspect.isclass(thing):
            methods = [(name, method) for name, method in vars(thing).items() if inspect.isroutine(method)]
            yield from ((f"{full_name}.{name}", method) for name, method in methods if not name.startswith("_"))


def _public(module: ModuleType) -> Iterator[tuple[str, Any]]:
    listed = getattr(module, "__all__", None)
    for name in listed or dir(module):
        thing = getattr(module, name, None)
        own = listed or getattr(thing, "__module__", None) == module.__name__
        if own and not name.startswith("_") and not (inspect.isclass(thing) and issubclass(thing, BaseException)):
            yield name, thing
