"""The rules that keep the house simple, as tests."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "askonce"
# From the ground up; a module imports only from lower floors, or from its own.
FLOORS = [
    {"errors"},
    {"eviction", "entry", "frequency", "keys"},
    {"codec", "messages", "control", "asked", "freshness", "flight", "pricing", "near", "hits", "sources"},
    {"stores", "telemetry", "access_log"},
    {"additions"},
    {"changes", "guard"},
    {"faces"},
    {"semantic"},
    {"request"},
    {"leases", "keeping"},
    {"way"},
    {"asking"},
    {"cache"},
    {"sharing"},
    {"routing"},
    {"corpus"},
    {"prefix"},
    {"testing"},
    {"langchain", "llama_index"},
    {"simulate"},
    {"cli"},
]
CLIENTS = {"langchain_core", "langchain", "llama_index", "redis", "pymongo", "bson", "cryptography", "genai_prices"}


def module_name(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path, *, only_at_import_time: bool = False) -> set[str]:
    tree = ast.parse(path.read_text())
    nodes = tree.body if only_at_import_time else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if name.startswith("askonce.")}


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_down_only(path: Path) -> None:
    name = module_name(path)
    if name == "__init__":
        return
    floor = next(level for level, names in enumerate(FLOORS) if name in names)
    allowed = {name}.union(*FLOORS[:floor])
    if floor > 0:
        allowed |= set() if name not in FLOORS[floor] else {other for other in FLOORS[floor] if floor <= 2}
    assert own(imported(path)) <= allowed


@pytest.mark.parametrize("path", sorted(SOURCE.glob("*.py")), ids=lambda path: path.name)
def test_the_core_imports_no_framework_and_no_client(path: Path) -> None:
    assert not {name.split(".")[0] for name in imported(path, only_at_import_time=True)} & CLIENTS


def test_importing_askonce_loads_nothing_heavy() -> None:
    code = "import sys, askonce; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & (CLIENTS | {"numpy", "pydantic", "platformdirs", "cachebox", "openai"})


def test_names_say_what_a_thing_is() -> None:
    vague = re.compile(r"manager|helper|utils|handler", re.IGNORECASE)
    for path in SOURCE.rglob("*.py"):
        tree = ast.parse(path.read_text())
        named = [node.name for node in ast.walk(tree) if isinstance(node, (ast.ClassDef, ast.FunctionDef))]
        assert not [name for name in (*named, path.stem) if vague.search(name)], path


def test_all_public_names_exist_and_are_sorted() -> None:
    import askonce

    assert askonce.__all__ == sorted(askonce.__all__)
    assert all(hasattr(askonce, name) for name in askonce.__all__)
