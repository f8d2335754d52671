"""The providers' SDKs of JavaScript through a real proxy."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.clients import Proxied, check

SCRIPT = Path(__file__).parent / "javascript" / "client.js"
OWN = str(Path(sys.executable).parent)
NODE = shutil.which("node", path=f"{OWN}{os.pathsep}{os.environ['PATH']}")
WAYS = [
    *(f"openai {how}" for how in "plain,streamed,tool,responses,responses streamed,embeddings".split(",")),
    *(f"anthropic {how}" for how in ("plain", "streamed", "tool")),
]

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="node is not installed"),
    pytest.mark.skipif(
        not (SCRIPT.parent / "node_modules").is_dir(), reason="scripts/install-javascript-clients could not install"
    ),
]


@pytest.mark.parametrize("way", WAYS)
def test_a_question_is_answered_once_for_each_caller(way: str, proxy: Proxied) -> None:
    def send(url: str, key: str, question: str) -> str:
        command = [str(NODE), str(SCRIPT), way, url, key, question]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    check(proxy, f"javascript {way}", send)
