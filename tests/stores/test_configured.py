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


def test_the_table_takes_all_that_is_plain_data(folder: Path) -> None:
    write(folder, "[tool.askonce]\nstore = 'memory://'\ntotals = false\nignore = ['[0-9]+ o.clock', 'please']\n")
    with Cache() as cache:
        assert cache.engine.settings.totals is False
        assert [one.pattern for one in cache.engine.settings.ignored if hasattr(one, "pattern")] == [
            "[0-9]+ o.clock",
            "please",
        ]


def test_keys_of_the_environment_hold_for_all_that_store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside an encrypted proxy over the same store nothing is written in the open."""
    from langchain_core.language_models import FakeListChatModel

    from askonce.httpx import CachedTransport
    from askonce.langchain import AskOnceCache, Multiplexer, PrefixTracker
    from askonce.llama_index import AskOnceKVStore, install
    from askonce.routing import Learned

    url, old, new = f"sqlite:///{folder / 'variable.db'}", bytes(16), b"n" * 16
    plain = shared_cache(url, {})
    assert plain.engine.settings.encryption_keys == ()
    monkeypatch.setenv("ASKONCE_ENCRYPTION_KEYS", f"{new.hex()},{old.hex()}")
    models = [FakeListChatModel(responses=["a"]), FakeListChatModel(responses=["b"])]
    routed = Multiplexer(models, strategy=Learned(feedback=True), store=url)
    with install(url) as installation, Cache(url) as own, Cache(url, encryption_keys=()) as open_one:
        caches = [AskOnceCache(url).cache, Corpus(url).cache, installation.cache, CachedTransport(url).cache, own]
        caches += [AskOnceKVStore(url).cache, routed._router._cache]
        for cache in caches:
            assert cache.engine.settings.encryption_keys == [new, old]
        assert open_one.engine.settings.encryption_keys == ()
        tracker = PrefixTracker(url)
        assert tracker.core._codec.seals
        caches[0].close()
    plain.close()


def test_a_tracker_of_prefixes_has_the_namespace_of_the_table(folder: Path) -> None:
    from askonce.prefix import PrefixTracker

    write(folder, "[tool.askonce]\nnamespace = 'shop'\n")
    with PrefixTracker(f"sqlite:///{folder / 'own.db'}") as tracker:
        assert tracker.namespace == "shop"
    with PrefixTracker(f"sqlite:///{folder / 'own.db'}", namespace="other") as tracker:
        assert tracker.namespace == "other"


def test_a_table_that_is_wrong_says_where_it_stands(folder: Path) -> None:
    for text, message in (
        ("[tool.askonce]\nnamspace = 'x'\n", "no such option: namspace"),
        ("[tool.askonce]\nstore = 5\n", "store in [tool.askonce]"),
        ("[tool.askonce]\nencryption_keys = ['x']\n", "encryption_keys: only in code; it takes store, access_log"),
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
