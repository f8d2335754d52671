"""What the benchmark needs and askonce does not: wrk, and an environment for LiteLLM and starlette.

Both are put into ``.benchmarks``, which git ignores. Neither takes root, and nothing else is changed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".benchmarks" / "proxy"
LITELLM = "1.108.7"
_PACKAGES = (
    f"litellm[proxy]=={LITELLM}",
    "starlette==1.10.0",
    "uvicorn[standard]==0.54.0",
    "httpx",
    "redis",
    "diskcache",
)


class NotToBeHad(Exception):
    """A program cannot be installed here."""


def environment() -> Path:
    """The Python of an environment with LiteLLM and starlette, on the same interpreter as ours.

    Raises:
        NotToBeHad: it cannot be made.
    """
    python, mark = CACHE / "rivals" / "bin" / "python", CACHE / "rivals" / ".made-of"
    if mark.exists() and mark.read_text() == str(_PACKAGES):
        return python
    uv = shutil.which("uv") or str(ROOT / ".tools" / "bin" / "uv")
    base = [uv, "venv", "--quiet", "--clear", "--no-python-downloads", "--python", sys.executable]
    _run(base, str(CACHE / "rivals"))
    _run([uv, "pip", "install", "--quiet", "--python", str(python)], *_PACKAGES)
    mark.write_text(str(_PACKAGES))
    return python


def wrk() -> tuple[Path, dict[str, str]]:
    """The load generator, and the environment variables that it needs.

    Raises:
        NotToBeHad: it is neither installed nor in Debian's archive.
    """
    if found := shutil.which("wrk"):
        return Path(found), {}
    folder = CACHE / "wrk"
    program = folder / "usr" / "bin" / "wrk"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["apt-get", "download", "--quiet"], "wrk", "libluajit-5.1-2", cwd=folder)
        for package in folder.glob("*.deb"):
            _run(["dpkg", "--extract"], str(package), str(folder))
    library = next(folder.glob("usr/lib/*/libluajit*"), folder)
    return program, {"LD_LIBRARY_PATH": str(library.parent)}


def _run(command: list[str], *arguments: str, cwd: Path | None = None) -> None:
    try:
        subprocess.run([*command, *arguments], check=True, capture_output=True, text=True, cwd=cwd)
    except FileNotFoundError as error:
        raise NotToBeHad(f"there is no {command[0]}") from error
    except subprocess.CalledProcessError as error:
        raise NotToBeHad(f"{' '.join(command[:3])}: {error.stderr.strip()[-300:]}") from error
