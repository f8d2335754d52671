"""The rules of the source tree, as tests. They speak of folders, so that a new file needs no line here."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "askonce"
FILES = sorted(SOURCE.rglob("*.py"))
FOLDERS = sorted({path.parent for path in FILES})
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
ADAPTERS = ("langchain", "llama_index")
TOP = ("cli",)
"""What may import an adapter."""

HOMES = {
    "langchain": "langchain",
    "langchain_community": "langchain",
    "langchain_core": "langchain",
    "llama_index": "llama_index",
    "llama_index_instrumentation": "llama_index",
    "pydantic": "langchain",
    "redis": "stores/redis",
    "bson": "stores/mongodb",
    "gridfs": "stores/mongodb",
    "pymongo": "stores/mongodb",
    "cryptography": "entries",
    "zstandard": "entries",
    "genai_prices": "costs",
    "py3langid": "semantic",
    "tiktoken": "prefix",
    "matplotlib": "simulate",
    "rich": "cli",
    "typer": "cli",
    "httpx2": "httpx",
    "aiohttp": "proxy",
    "uvicorn": "proxy",
    "yarl": "proxy",
    "pytest": "testing",
    "hypothesis": "testing",
}
"""The one folder that may import a package, inside of a function too."""
EVERYWHERE = {"cachebox", "msgspec", "numpy", "platformdirs", "usearch"}

ONE_ADAPTER_ONLY = {
    "langchain/instead.py": "LangChain wraps models and retrievers in runnables of many kinds",
    "langchain/keys/caller.py": "LangChain tells its cache of a model by a text, which says less than the model",
    "langchain/keys/llm_string.py": "the cache hook is handed the text that LangChain writes of a model",
    "langchain/models/calls.py": "chat and completion models are two classes, whose calls have this in common",
    "langchain/models/chat.py": "chat and completion models are two classes",
    "langchain/models/completions.py": "chat and completion models are two classes",
    "langchain/models/streams.py": "chunks are added up; LlamaIndex's each hold the whole text so far",
    "langchain/prefix/middleware.py": "agents take their tools through a middleware",
    "langchain/retrieval/derived.py": "LlamaIndex's own retrievers compute nothing that its stores do not hold",
    "langchain/retrieval/held_documents.py": "LlamaIndex's retrievers hold indexes, not lists of documents",
    "langchain/retrieval/readers.py": "LlamaIndex's runs give a retriever nothing but the question",
    "langchain/retrieval/stored_documents.py": "LlamaIndex's document stores name the documents that they write",
    "langchain/retrieval/nearness.py": "LlamaIndex's results carry the scores that are computed here",
    "langchain/retrieval/run_config.py": "LlamaIndex's runs give a retriever nothing but the question",
    "llama_index/ingestion.py": "LlamaIndex has an interface of caches for ingestion pipelines",
    "llama_index/kvstore.py": "LlamaIndex has an interface of key-value stores",
    "llama_index/models/direct.py": "some LLMs have their SDK parse, past their own methods of chat",
    "llama_index/models/raw.py": "LlamaIndex's answers carry the SDK's object",
    "llama_index/models/twin.py": "an LLM has no field for a cache: a class of its own is derived for it",
    "llama_index/models/usage.py": "LangChain's messages carry their usage in one form",
    "llama_index/retrieval/variables.py": "LangChain's are read with what else a run gives",
}
"""Files of one adapter, each with the reason why the other has none of this name."""

OLD_NAMES = set(
    """
    Awaiting Down Form Guard Inline Known Lead NearTier Note Questions SameAnswer Shared Sharing Trial Way
    attach board course face faces follow_up give_up is_worth keep_empty keep_truncated know land led_by_me lose
    near_entries near_seconds verifying
    """.split()
)
"""The private vocabulary of old: names that stand for something else today, or for nothing in this field."""
OLD_WORDS = set(
    """
    ask asked asker asking asks conclude dear dearer judging keeping kept knowledge lesson meaning mend mended mends
    noted said seek settle settled sighting stir tally tell telling tells told trail unkeyable wish wishes
    """.split()
)
"""Those that may not even be a part of a name: calls, requests, reports, entries and options are called so."""


def named(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def room(path: Path) -> str:
    """The first folder of a path, or its file in the root."""
    return path.relative_to(SOURCE).parts[0]


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imported(path: Path) -> frozenset[str]:
    """All that a file imports, in functions and for type checkers too, each as ``module.name``."""
    names: set[str] = set()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return frozenset(names)


def own(path: Path) -> Iterator[Path]:
    """The files of ours that a file imports."""
    for name in imported(path):
        first, *parts = name.split(".")
        if first != "askonce":
            continue
        place = SOURCE
        for part in parts:
            if (place / f"{part}.py").is_file():
                yield place / f"{part}.py"
                break
            if not (place / part).is_dir():
                yield place / "__init__.py"
                break
            place /= part
        else:
            yield place / "__init__.py"


def member(folder: Path, path: Path) -> Path | None:
    """The file or folder in a folder that a path is, or lies in."""
    return folder / path.relative_to(folder).parts[0] if path.is_relative_to(folder) else None


def circles(graph: dict[Path, set[Path]]) -> set[Path]:
    """Those of which a walk comes back to where it began."""

    def reached(start: Path) -> set[Path]:
        seen: set[Path] = set()
        waiting = [*graph[start]]
        while waiting:
            if (one := waiting.pop()) not in seen:
                seen.add(one)
                waiting += graph.get(one, ())
        return seen

    return {start for start in list(graph) if start in reached(start)}


# -- folders -------------------------------------------------------------------------------------------------------


def test_the_root_holds_what_an_application_imports_and_nothing_else() -> None:
    assert len(list(SOURCE.glob("*.py"))) <= 6


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_the_members_of_a_folder_import_each_other_without_a_circle(folder: Path) -> None:
    graph: dict[Path, set[Path]] = defaultdict(set)
    for path in folder.rglob("*.py"):
        importer = member(folder, path)
        for other in own(path):
            target = member(folder, other)
            if importer and target and importer != target and "__init__.py" not in (importer.name, target.name):
                graph[importer].add(target)
    assert not circles(graph)


def test_a_package_of_others_is_imported_in_its_one_folder() -> None:
    foreign = {
        (package, named(path))
        for path in FILES
        for package in {name.split(".")[0] for name in imported(path)} - sys.stdlib_module_names - {"askonce"}
    }
    assert not {
        one for one in foreign if one[0] not in EVERYWHERE and not one[1].startswith(f"{HOMES.get(one[0])}/")
    }


def test_adapters_are_imported_by_nobody_but_themselves() -> None:
    across = {(room(path), room(other)) for path in FILES for other in own(path)}
    assert not {(one, other) for one, other in across if other in ADAPTERS and one not in {other, *TOP}}


def test_stores_do_not_depend_on_what_they_hold() -> None:
    below = {room(other) for path in FILES if room(path) == "stores" for other in own(path)}
    assert below <= {"errors.py", "eviction", "stores"}


def test_both_adapters_have_one_plan() -> None:
    folders, files = (
        [
            {path.relative_to(SOURCE / adapter) for path in all_of if path.is_relative_to(SOURCE / adapter)}
            for adapter in ADAPTERS
        ]
        for all_of in (FOLDERS, FILES)
    )
    assert folders[0] == folders[1]
    only = {f"{ADAPTERS[one]}/{path.as_posix()}" for one in (0, 1) for path in files[one] - files[1 - one]}
    assert only == set(ONE_ADAPTER_ONLY)


# -- names ---------------------------------------------------------------------------------------------------------


def test_a_class_name_stands_for_one_thing() -> None:
    """The adapters have one plan: what stands in the same file of both counts as one."""
    places: dict[str, set[str]] = defaultdict(set)
    for path in FILES:
        place = re.sub(f"^({'|'.join(ADAPTERS)})/", "", named(path))
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].add(place)
    assert not {name: sorted(where) for name, where in places.items() if len(where) > 1}


def defined() -> Iterator[tuple[str, Path]]:
    """Every name that our code gives: modules, classes, functions, arguments, variables and attributes."""
    for folder in ("src", "tests", "examples", "benchmarks"):
        for path in (ROOT / folder).rglob("*.py"):
            yield path.stem, path
            for node in ast.walk(parsed(path)):
                if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    yield node.name, path
                elif isinstance(node, ast.arg):
                    yield node.arg, path
                elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                    yield node.id, path
                elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield node.attr, path


def words(name: str) -> set[str]:
    """The words that a name is made of; the product's own is none."""
    return {word.lower() for word in re.findall("[A-Z]?[a-z0-9]+|[A-Z]+", re.sub("[Aa]sk[Oo]nce", "", name))}


def test_no_word_of_the_old_vocabulary_comes_back() -> None:
    assert not {(name, str(path)) for name, path in defined() if name in OLD_NAMES or words(name) & OLD_WORDS}


def test_names_say_what_a_thing_is() -> None:
    vague = re.compile(r"manager|helper|utils|handler", re.IGNORECASE)
    for path in FILES:
        names = [node.name for node in ast.walk(parsed(path)) if isinstance(node, (ast.ClassDef, *FUNCTIONS))]
        assert not [name for name in (*names, path.stem) if vague.search(name)], path


# -- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", FOLDERS, ids=named)
def test_no_function_has_more_than_sixty_lines(folder: Path) -> None:
    functions = [
        node for path in folder.glob("*.py") for node in ast.walk(parsed(path)) if isinstance(node, FUNCTIONS)
    ]
    assert not [one.name for one in functions if (one.end_lineno or 0) - one.lineno >= 60]


# -- locks ---------------------------------------------------------------------------------------------------------


def test_locks_are_reentrant() -> None:
    """The handler of a signal, or a finalizer, may call a cached model while its thread holds one."""
    plain = {str(path.relative_to(SOURCE)) for path in FILES if re.search(r"threading\.Lock\b", path.read_text())}
    assert plain == {
        "llama_index/keys/model.py",  # its type
        "stores/sqlite/connections.py",  # a transaction has none within; a thread waits for it with a time limit
    }


# -- the package ---------------------------------------------------------------------------------------------------


def test_importing_askonce_loads_nothing_heavy() -> None:
    code = "import sys, askonce; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    heavy = HOMES.keys() - {"zstandard"} | {"numpy", "platformdirs", "cachebox", "openai", "usearch"}
    assert not loaded & heavy


def test_all_public_names_exist_and_are_sorted() -> None:
    import askonce

    assert askonce.__all__ == sorted(askonce.__all__)
    assert all(hasattr(askonce, name) for name in askonce.__all__)
