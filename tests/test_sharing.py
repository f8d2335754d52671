"""One cache for equal settings."""

import pytest

from askonce import ConfigError
from askonce.cache import shared_cache


def test_equal_urls_and_options_share_one_cache() -> None:
    one = shared_cache("memory://", {"ttl": 5})
    assert shared_cache("memory://", {"ttl": 5}) is one
    assert shared_cache("memory://", {"ttl": 6}) is not one
    assert shared_cache(one, {}) is one
    with pytest.raises(ConfigError, match="ttl"):
        shared_cache(one, {"ttl": 5})
    one.close()
    assert shared_cache("memory://", {"ttl": 5}) is not one
