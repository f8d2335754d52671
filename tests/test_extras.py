"""What works without optional packages, and what is reported of those that are missing."""

import subprocess
import sys

import pytest

BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])
sys.meta_path.insert(0, Missing())
"""
ALL = "redis pymongo bson langchain_core llama_index cryptography genai_prices numpy py3langid usearch".split()


def run(code: str, blocked: list[str]) -> str:
    """What the code prints, in an interpreter where the blocked packages are not installed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", BLOCK.format(blocked=set(blocked)) + code],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_without_any_extra_answers_are_cached_on_sqlite(tmp_path: object) -> None:
    code = f"""
from askonce import Cache
from askonce.entries.entry import Answer, Hit, Usage
from askonce.keys.normal_form import NormalForm
with Cache("sqlite:///{tmp_path}/cache.db") as cache:
    for _ in range(2):
        request = cache.engine.request("answer", lambda: NormalForm({{"q": 1}}))
        found = cache.engine.answer(request, lambda: b"a", lambda a: Answer(a, Usage(5, 5), "gpt-4o"))
    print(isinstance(found, Hit), found.mark()["saved_usd"])
"""
    assert run(code, ALL) == "True None"


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import askonce; askonce.open_store('redis://localhost')", "redis"),
        ("import askonce; askonce.open_store('mongodb://localhost')", "mongodb"),
        ("import askonce.langchain", "langchain"),
        ("import askonce.simulate", "cli"),
        ("import askonce.llama_index", "llama-index"),
        ("import askonce; askonce.Cache('memory://', encryption_keys=[bytes(32)])", "crypto"),
        (
            "from askonce.routing import Learned, router;"
            " router.Router('ab', Learned(feedback=True), state=str, store=str)",
            "multiplexer",
        ),
        ("import askonce; askonce.Semantic(lambda text: [1.0])", "semantic"),
    ],
)
def test_what_is_missing_is_named_with_the_command_that_installs_it(code: str, extra: str) -> None:
    body = f"""
try:
    {code}
except Exception as error:
    print(type(error).__name__, error)
"""
    printed = run(body, ALL)
    assert printed.startswith("MissingExtraError")
    assert f"pip install 'askonce[{extra}]'" in printed


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_the_command_names_the_extra_that_it_needs(missing: str) -> None:
    code = "from askonce.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(blocked={missing}) + code], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == (
        "askonce: The command askonce needs a package that is not installed: pip install 'askonce[cli]'\n"
    )


@pytest.mark.parametrize("missing", ["pytest", "hypothesis"])
def test_the_suite_for_stores_names_what_it_needs(missing: str) -> None:
    code = """
try:
    from askonce.testing import FakeClock, StoreConformance
except Exception as error:
    print(type(error).__name__, error)
"""
    needs = f"askonce.testing.StoreConformance needs {missing}: pip install {missing}"
    assert run(code, [missing]) == f"ConfigError {needs}"
