"""Other processes at the same file, and what makes a file sound."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path


@contextmanager
def other_process(code: str, *args: object) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``code`` and has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


def assert_sound(path: Path) -> None:
    """What the file holds agrees with its accounts, and no tag is left over."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        content = connection.execute("SELECT count(*), total(length(value)), total(tagged) FROM entry").fetchone()
        assert connection.execute("SELECT total(entries), total(size_bytes) FROM space").fetchone() == content[:2]
        assert connection.execute("SELECT count(*) FROM tag").fetchone() == content[2:]
        assert connection.execute("SELECT count(*) FROM tag JOIN entry ON entry = id").fetchone() == content[2:]
