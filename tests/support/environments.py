"""Which tests run where: LlamaIndex's clients need openai < 3, LangChain's are tested with the newest.

``make test`` runs pytest in both environments, with the same arguments; each passes over what the other runs.
``make test-lowest`` has one environment, which runs all.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from pathlib import Path

NEWEST_OPENAI = int(version("openai").partition(".")[0]) >= 3

TESTS = Path(__file__).parents[1]
_LANGCHAIN = TESTS / "langchain"
_CLIENTS = [
    TESTS / "prefix" / f"test_{name}.py" for name in ("against_providers", "optimized_requests", "provider")
]
_CLIENTS += [TESTS / "httpx", TESTS / "proxy" / "test_clients.py"]
"""Of the providers' own clients: of either version."""


def runs_here(path: Path) -> bool:
    """Whether the tests of a file, or some tests of a folder, are to be run in this environment."""
    has_own = path.is_relative_to(TESTS / "providers") or path.is_relative_to(TESTS / "clients")
    if has_own or os.environ.get("ASKONCE_TEST_EVERYTHING"):
        return True  # in environments that `make test-providers` and `make test-clients` make
    if not NEWEST_OPENAI:
        return not path.is_relative_to(_LANGCHAIN)
    return any(path.is_relative_to(one) or one.is_relative_to(path) for one in (_LANGCHAIN, *_CLIENTS))
