"""The URL of a store."""

from pathlib import Path
from typing import Any

import pytest

from askonce import Cache, ConfigError
from askonce.stores import open_store


@pytest.mark.parametrize("url", ["", "cache.db", "mysql://host/db", "http://host", "redis:/host"])
def test_an_invalid_url_is_refused_with_valid_examples(url: str) -> None:
    from askonce import open_store

    with pytest.raises(ConfigError, match=r"sqlite:///cache\.db"):
        open_store(url)


@pytest.mark.parametrize(
    "url", ["mysql://me:hunter2@host/db?password=hunter2", "redsi://:a/hunter2@host", "x://u:hunter2?#@host/?a=b@c"]
)
def test_a_message_about_a_url_never_shows_a_password(url: str) -> None:
    from askonce import open_store

    with pytest.raises(ConfigError) as error:
        open_store(url)
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("wrong", "advice"), [(Path("a.db"), "sqlite:///path"), (7, "sqlite:///path"), ("memory://a", "takes no name")]
)
def test_an_argument_that_is_not_a_store_url_is_refused(wrong: Any, advice: str) -> None:
    with pytest.raises(ConfigError, match=advice):
        open_store(wrong)


@pytest.mark.parametrize("version", ["notices", "does not notice"])
def test_without_a_home_directory_the_default_store_is_refused_with_a_way_out(
    version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def folder(*_: object) -> str:
        if version == "notices":
            raise RuntimeError("Could not determine home directory.")
        return "~/.cache/askonce"

    monkeypatch.setattr("platformdirs.user_cache_dir", folder)
    with pytest.raises(ConfigError, match="sqlite:///"):
        Cache()
