"""What holds where the application gives no store and no settings: the environment, then pyproject.toml.

The variable ``ASKONCE_STORE`` is a store's URL. The table ``[tool.askonce]`` of the nearest ``pyproject.toml``, in
the working directory or above it, has ``store`` and settings that are plain data, such as ``namespace``, ``ttl``.
Files that the table names are relative to its folder, those of the variable to the working directory.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from askonce.errors import ConfigError
from askonce.stores.blocking import in_thread, is_forbidden

VARIABLE, TABLE = "ASKONCE_STORE", "tool.askonce"
KEYS_VARIABLE = "ASKONCE_ENCRYPTION_KEYS"
_FILE = "pyproject.toml"


def default_store() -> tuple[str | None, str]:
    """The URL of the store where none is given, and where that stands; ``None`` for the user's own SQLite file.

    Raises:
        ConfigError: pyproject.toml cannot be read, or its store is no text.
    """
    if url := os.environ.get(VARIABLE):
        return url, f"the variable {VARIABLE}"
    file, table = _table_here()
    url = table.get("store")
    if url is not None:
        if not isinstance(url, str) or not url:
            raise ConfigError(f"store in [{TABLE}] of {file} is a URL such as 'sqlite:///cache.db', got {url!r}")
        return _of_table(url, file), f"[{TABLE}] of {file}"
    return None, "built in"


@contextmanager
def named(where: str) -> Iterator[None]:
    """Say in errors of a store's URL where it stands, if that is anywhere."""
    try:
        yield
    except ConfigError as error:
        if not where or type(error) is not ConfigError:  # a package that is missing, another program's data
            raise
        raise ConfigError(f"{where}: {error}") from error


def encryption_keys() -> list[bytes]:
    """The keys of an encrypted store where none are given: no option, and in no file, which others see.

    Raises:
        ConfigError: they are not written in hexadecimal, or of another length.
    """
    try:
        keys = [bytes.fromhex(one) for one in os.environ.get(KEYS_VARIABLE, "").replace(",", " ").split()]
    except ValueError:
        keys = [b""]
    if any(len(one) not in (16, 24, 32) for one in keys):
        raise ConfigError(
            f"{KEYS_VARIABLE} has keys of 32, 48 or 64 hexadecimal digits, with commas between them; "
            "`openssl rand -hex 32` makes one"
        )
    return keys


def default_settings() -> tuple[dict[str, Any], str]:
    """The settings where none are given, and where they stand."""
    file, table = _table_here()
    settings = {name: value for name, value in table.items() if name != "store"}
    if file is not None and isinstance(log := settings.get("access_log"), str):
        settings["access_log"] = str(file.parent / log)
    return settings, f"[{TABLE}] of {file}"


def default_namespace() -> str:
    """The namespace where none is given."""
    name: str = default_settings()[0].get("namespace", "default")
    return name


def _of_table(url: str, file: Path | None) -> str:
    """A URL in a table, of which a relative file is relative to the table's folder."""
    scheme, _, path = url.partition(":///")
    if file is None or scheme.lower() != "sqlite" or not path or path == ":memory:" or path.startswith(("/", "~")):
        return url
    return f"{scheme}:///{file.parent / path}"


def _table_here() -> tuple[Path | None, dict[str, Any]]:
    try:
        return _nearest_table()
    except Exception as error:
        if not is_forbidden(error):
            raise
        return in_thread(_nearest_table)


def _nearest_table() -> tuple[Path | None, dict[str, Any]]:
    try:
        return _table(os.getcwd())
    except FileNotFoundError:  # the working directory was deleted
        return None, {}


@lru_cache(64)
def _table(folder: str) -> tuple[Path | None, dict[str, Any]]:
    """The nearest pyproject.toml of a folder, and its table; read once by each process."""
    for place in (Path(folder), *Path(folder).parents):
        file = place / _FILE
        try:
            text = file.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, UnicodeDecodeError):  # another program's, which it does not let us read
            return file, {}
        return file, _read(file, text)
    return None, {}


def _read(file: Path, text: str) -> dict[str, Any]:
    if "askonce" not in text:
        return {}
    import tomllib  # here: few have the table

    try:
        table = tomllib.loads(text).get("tool", {}).get("askonce", {})
    except tomllib.TOMLDecodeError as error:
        if f"[{TABLE}" not in text:  # it is no business of ours
            return {}
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(table, dict):
        raise ConfigError(f"{TABLE} in {file} is a table, got {table!r}")
    return table
