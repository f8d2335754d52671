"""Where the store and settings come from that an application does not give."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from askonce import Cache, ConfigError, Corpus
from askonce.cache import shared_cache
from askonce.stores import configured


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("ASKONCE_STORE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    inner = tmp_path / "project" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    configured._table.cache_clear()
    return tmp_path


def write(folder: Path, text: str) -> None:
    (folder / "project" / "pyproject.toml").write_text(text)
    configured._table.cache_clear()


def test_an_argument_goes_before_the_environment_and_that_before_the_table(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Cache() as cache:
        assert "home" in cache.store.url
    table = f"sqlite:///{folder / 'table.db'}"
    write(folder, f'[tool.askonce]\nstore = "{table}"\nnamespace = "shop"\nttl = 60\n[tool.other]\nx = 1\n')
    with Cache() as cache:
        assert (cache.store.url, cache.namespace, cache.engine.settings.ttl) == (table, "shop", 60)
    monkeypatch.setenv("ASKONCE_STORE", variable := f"sqlite:///{folder / 'variable.db'}")
    with Cache(ttl=5) as cache:
        assert (cache.store.url, cache.namespace, cache.engine.settings.ttl) == (variable, "shop", 5)
    given = f"sqlite:///{folder / 'given.db'}"
    with Cache(given, namespace="own") as cache:
        assert (cache.store.url, cache.namespace) == (given, "own")


def test_what_makes_a_cache_has_the_same_defaults(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from askonce.langchain import AskOnceCache
    from askonce.llama_index import install

    monkeypatch.setenv("ASKONCE_STORE", url := f"sqlite:///{folder / 'variable.db'}")
    with install() as installation:
        caches = [AskOnceCache().cache, Corpus().cache, installation.cache, shared_cache(url, {})]
        assert {cache.store.url for cache in caches} == {url}
        assert len({id(cache) for cache in caches}) == 1
        caches[0].close()


def test_a_table_that_is_wrong_says_where_it_stands(folder: Path) -> None:
    for text, message in (
        ("[tool.askonce]\nnamspace = 'x'\n", "no such option: namspace"),
        ("[tool.askonce]\nstore = 5\n", "store in [tool.askonce]"),
        ("[tool.askonce]\nencryption_keys = ['x']\n", "no such option: encryption_keys"),
        ("[tool.askonce\n", "cannot be read"),
        ("[tool]\naskonce = 3\n", "is a table"),
    ):
        write(folder, text)
        with pytest.raises(ConfigError, match=message.replace("[", r"\[").replace("]", r"\]")) as raised:
            Cache()
        assert "pyproject.toml" in str(raised.value)
    write(folder, "[tool.other]\nx = 1\n")
    Cache().close()


def test_a_pickled_cache_has_the_settings_of_where_it_was_made(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, f'[tool.askonce]\nstore = "sqlite:///{folder / "table.db"}"\nnamespace = "shop"\n')
    with Cache() as cache:
        pickled = pickle.dumps(cache)
    monkeypatch.chdir(folder)
    with pickle.loads(pickled) as again:
        assert (again.store.url, again.namespace) == (cache.store.url, "shop")
