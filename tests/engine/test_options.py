"""What the options in effect do to a request."""

from collections.abc import Callable

import pytest

from askonce import Cache, cache_options
from askonce.keys.normal_form import NormalForm, Uncacheable
from askonce.stores.memory import MemoryStore
from tests.support.application import Application, Both


def test_bypass_neither_looks_up_nor_stores(store: MemoryStore) -> None:
    cache = Cache(store)
    with cache_options(bypass=True):
        assert cache.engine.request("answer", lambda: pytest.fail("keyed although bypassed")) is None
    assert cache.stats().bypassed == 1


def test_a_request_without_a_key_is_not_cached(store: MemoryStore) -> None:
    def form() -> NormalForm:
        raise Uncacheable("no stable representation")

    assert Cache(store).engine.request("answer", form) is None


def test_refresh_calls_the_model_and_stores_the_new_answer(both: Callable[..., Both]) -> None:
    app = both()
    app.answer()
    with cache_options(refresh=True):
        assert app.answer() == "why?!"
    assert app.answer() == "exact: why?!"
    assert app.application.calls == 2


def test_invalidating_a_tag_deletes_its_answers(both: Callable[..., Both]) -> None:
    app = both()
    with cache_options(tags=["prices"]), cache_options(tags=["shop", "prices"]):
        app.answer("how much?")
    app.answer("why?")
    assert app.application.cache.invalidate("prices") == 1
    assert app.answer("how much?") == "how much?!"
    assert app.answer("why?") == "exact: why?!"


def test_tenants_share_nothing(both: Callable[..., Both]) -> None:
    app = both(namespace="shop")
    app.answer()
    with cache_options(namespace="tenant-7"):
        assert app.answer() == "why?!"
        assert app.answer() == "exact: why?!"
        with cache_options(namespace="inner"):
            assert app.answer() == "why?!"
        app.application.cache.clear()
        assert app.answer() == "why?!"
    assert app.answer() == "exact: why?!"


def test_namespaces_with_similar_names_are_separate(store: MemoryStore) -> None:
    def answer_in(namespace: str, *tenants: str) -> str:
        application = Application(Cache(store, namespace=namespace))
        if not tenants:
            return application.answer("q")
        with cache_options(namespace=tenants[0]):
            return application.answer("q")

    assert [answer_in("a"), answer_in("a/b"), answer_in("a", "b"), answer_in("a%2Fb")] == ["q!"] * 4


def test_options_end_with_their_block_even_if_it_fails() -> None:
    cache = Cache("memory://")
    with pytest.raises(KeyError), cache_options(bypass=True):
        raise KeyError
    assert cache.engine.request("answer", lambda: NormalForm({})) is not None
