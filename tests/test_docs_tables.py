"""What the tables of the documentation list, is what the code has."""

from __future__ import annotations

import inspect
import re
import time
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from askonce import Semantic, cache_options
from askonce.engine.settings import CheckedSettings, Settings
from askonce.prefix import PrefixOptimizer, PrefixTracker
from askonce.routing import Learned

ROOT = Path(__file__).parents[1]
DOCS, SOURCE = ROOT / "docs", ROOT / "src" / "askonce"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
EXTRAS: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
    "optional-dependencies"
]
# What a page's Python needs beside the packages of its framework.
NEEDED = {"redis://": "redis", "mongodb://": "mongodb", "Semantic(": "semantic", "encryption_keys=": "crypto"}


def rows(page: str, heading: str | None = None) -> list[list[str]]:
    """The cells of the first table of a page, or of the first one below a heading; without its head."""
    text = (DOCS / page).read_text()
    if heading is not None:
        text = text.partition(f"\n## {heading}\n")[2]
        assert text, heading
    table = re.search(r"(?:^\|.*\|\n)+", text, re.MULTILINE)
    assert table is not None
    lines = table[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def shown(default: Any) -> str:
    if default in (inspect.Parameter.empty, MISSING, UNSET):
        return "–"
    if default is time.time:
        return "`time.time`"
    return "`" + repr(default).replace("'", '"') + "`"


def parameters(function: Callable[..., Any]) -> dict[str, str]:
    return {name: shown(one.default) for name, one in inspect.signature(function).parameters.items()}


def settings() -> dict[str, str]:
    defaults = {field.name: field.default for field in fields(CheckedSettings)}
    return {name: shown(defaults[name]) for name in Settings.__annotations__}


@pytest.mark.parametrize(
    ("heading", "options"),
    [
        ("Settings of a cache", settings),
        ("Per-request options", lambda: parameters(cache_options)),
        ("Semantic caching", lambda: parameters(Semantic)),
        ("Prompt prefix tracker", lambda: parameters(PrefixTracker)),
        ("Prompt prefix optimizer", lambda: parameters(PrefixOptimizer)),
        ("Model routing", lambda: parameters(Learned)),
    ],
)
def test_the_table_of_options_has_each_option_with_its_default(
    heading: str, options: Callable[[], dict[str, str]]
) -> None:
    listed = {name.strip("`"): default for _, name, default, _ in rows("reference/options.md", heading)}
    assert listed == options()


def test_the_table_of_extras_has_each_extra_and_what_it_installs() -> None:
    listed = {name.strip("`"): packages.replace("`", "") for name, _, packages in rows("reference/extras.md")}
    bare = {extra: [re.split("[<>=!~;]", one)[0] for one in packages] for extra, packages in EXTRAS.items()}
    assert listed == {extra: ", ".join(packages) for extra, packages in bare.items()}


def levels() -> dict[str, int]:
    """The folders in the table of the architecture, with the number of their row."""
    table = rows("architecture.md")
    return {name: row for row, cells in enumerate(table) for name in re.findall(r"`(\w+)`", cells[0])}


def test_the_table_of_folders_has_each_folder() -> None:
    assert levels().keys() == {path.parent.name for path in SOURCE.glob("*/__init__.py")}


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")))
def test_a_folder_imports_only_from_those_further_down_in_the_table(folder: str) -> None:
    level = levels()
    text = "".join(path.read_text() for path in (SOURCE / folder).rglob("*.py"))
    used = set(re.findall(r"^ *(?:from|import) askonce\.(\w+)", text, re.MULTILINE)) & level.keys() - {folder}
    assert {other for other in used if level[other] <= level[folder]} == set()


def test_the_reference_shows_public_names_only() -> None:
    text = (DOCS / "reference" / "api.md").read_text()
    sections = re.findall(
        r"^::: ([\w.]+)\n    options:\n      members:\n((?:        - \w+\n)+)", text, re.MULTILINE
    )
    assert len(sections) == text.count(":::")
    for module, names in sections:
        public, listed = set(import_module(module).__all__), set(re.findall(r"- (\w+)", names))
        assert listed <= public, module
        if module in ("askonce", "askonce.langchain", "askonce.llama_index"):
            assert listed == public, module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_extras_that_a_page_names_exist(page: Path) -> None:
    for names in re.findall(r"askonce\[([\w,-]+)\]", page.read_text()):
        assert set(names.split(",")) <= EXTRAS.keys()


@pytest.mark.parametrize("name", ["README.md", "docs/tutorials/langchain.md", "docs/tutorials/llama_index.md"])
def test_a_page_for_newcomers_names_the_extras_that_its_programs_need(name: str) -> None:
    text = (ROOT / name).read_text()
    named = {extra for names in re.findall(r"askonce\[([\w,-]+)\]", text) for extra in names.split(",")}
    python = "".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    python = re.sub(r"#.*", "", python)
    assert {extra for sign, extra in NEEDED.items() if sign in python} <= named


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_picture_has_a_caption_that_says_how_it_was_made(page: Path) -> None:
    text = page.read_text()
    for picture in re.finditer(r"^!\[.*?\]\(.*?\)$", text, re.MULTILINE):
        caption = text[picture.end() :].lstrip().partition("\n\n")[0]
        assert re.match(r"\*[^*]+\*$", caption), picture[0]
        assert re.search(r"(?:Made|drawn) by\s+`[^`]+`|Drawn by hand", caption), caption
