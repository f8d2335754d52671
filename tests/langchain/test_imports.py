"""What the adapter imports."""

from __future__ import annotations

import subprocess
import sys


def test_the_adapter_imports_little() -> None:
    code = (
        "import sys, langchain_core.caches; before = set(sys.modules); import askonce.langchain;"
        "askonce.langchain.AskOnceCache; print(*sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(run.stdout.split()) & {
        "langchain",
        "langgraph",
        "openai",
        "numpy",
        "redis",
        "pymongo",
        "transformers",
    }


def test_without_langchain_the_extra_is_named() -> None:
    code = "import sys; sys.modules['langchain_core'] = None\nimport askonce.langchain"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtraError" in run.stderr
    assert "askonce[langchain]" in run.stderr
