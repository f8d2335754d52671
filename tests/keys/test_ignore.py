"""What an application declares volatile is no part of the key, and all else is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import FakeListChatModel, FakeListLLM
from langchain_core.load import dumps
from langchain_core.messages import HumanMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.embeddings.mock_embed_model import MockEmbedding
from llama_index.core.llms.mock import MockLLM
from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode
from llama_index.llms.openai import OpenAI

from askonce import Cache, ConfigError, FormField, cache_options
from askonce.keys.ignore import checked, without
from askonce.keys.normal_form import NormalForm
from askonce.langchain import AskOnceCache
from askonce.langchain import cached as cached_langchain
from askonce.llama_index import CachedRetriever, cached
from askonce.llama_index.keys.requests import completion_form
from askonce.stores.memory import MemoryStore

TIME = r"It is \d\d:\d\d\."


def chat(text: str, **fields: Any) -> NormalForm:
    messages = [{"role": "system", "content": text}, {"role": "user", "content": [{"type": "text", "text": text}]}]
    return NormalForm({"model": {"name": "m", **fields}, "messages": messages}, ("model.key",), "m")


def same(ignore: Any, one: NormalForm, other: NormalForm) -> bool:
    rules = checked(ignore)
    return without(one, rules).digest() == without(other, rules).digest()


def test_what_a_pattern_matches_counts_as_one() -> None:
    one, other = chat("It is 09:30. Be brief."), chat("It is 09:31. Be brief.")
    assert same(TIME, one, other)
    assert same(re.compile(TIME.lower(), re.IGNORECASE), one, other)
    assert not same(TIME, one, chat("It is 09:31. Be long."))
    assert not same(TIME, one, chat("Be brief."))
    assert not same("It was", one, other)


def test_what_was_ignored_is_shown() -> None:
    form = without(chat("It is 09:30.", trace="1"), checked([TIME, FormField("model.trace")]))
    assert form.left_out == (
        "model.key",
        f"messages[0].content (what matches {TIME!r})",
        f"messages[1].content[0].text (what matches {TIME!r})",
        "model.trace (ignored)",
    )
    assert form.model == "m"


def test_a_form_of_which_nothing_is_ignored_keeps_its_key() -> None:
    form = chat("Be brief.")
    assert without(form, checked([TIME, FormField("model.trace"), lambda form: form])).digest() == form.digest()


def test_a_pattern_applies_only_to_contents_of_messages() -> None:
    form = NormalForm(
        {"kind": "chat", "model": {"name": "user 1"}, "key": "user 1", "messages": [{"role": "user 1"}]}
    )
    assert without(form, checked(r"user|chat|\d")).digest() == form.digest()
    image = NormalForm({"messages": [{"content": [{"type": "image", "sha256": "0" * 64, "name": "0"}]}]})
    assert without(image, checked("0+")).digest() == image.digest()


def test_no_text_looks_like_one_that_was_ignored() -> None:
    ignored = without(chat("It is 09:30."), checked(TIME))
    text = ignored.body["messages"][0]["content"]
    assert without(chat(text), checked(TIME)).digest() != ignored.digest()


@pytest.mark.parametrize(
    ("path", "is_same"),
    [
        ("model.headers.x-trace", True),
        ("model.*.x-trace", True),
        ("model.headers", True),
        ("model.headers.x-other", False),
        ("model.lists[0].id", False),
        ("headers.x-trace", False),
    ],
)
def test_a_field_is_named_by_its_path(path: str, is_same: bool) -> None:
    one, other = (chat("hi", headers={"x-trace": trace}, lists=[{"id": 1}]) for trace in "ab")
    assert same(FormField(path), one, other) == is_same


@pytest.mark.parametrize(("path", "is_same"), [("model.lists[1].id", True), ("model.lists[*].id", True),
                                               ("model.lists[0]", False), ("model.lists[1]", True)])  # fmt: skip
def test_a_field_may_be_in_a_list(path: str, is_same: bool) -> None:
    one, other = (chat("hi", lists=[{"id": 1}, {"id": number}]) for number in (2, 3))
    assert same(FormField(path), one, other) == is_same


@pytest.mark.parametrize("path", ["", "a..b", ".a", "a.", "a[b]", "a[", 3, None])
def test_a_path_that_is_none_is_refused(path: Any) -> None:
    with pytest.raises(ConfigError, match="path"):
        FormField(path)


def test_a_function_gives_another_form() -> None:
    def nameless(form: NormalForm) -> NormalForm:
        return msgspec.structs.replace(form, body={**form.body, "model": {**form.body["model"], "user": None}})

    assert same(nameless, chat("hi", user="a"), chat("hi", user="b"))
    assert not same(nameless, chat("hi", user="a"), chat("ho", user="b"))
    assert without(chat("hi", user="a"), (nameless,)).left_out[-1].endswith("nameless)")


def test_parts_that_are_written_already_are_read() -> None:
    one, other = (
        NormalForm({"model": msgspec.Raw(msgspec.json.encode({"trace": trace})), "prompt": "hi"}) for trace in "ab"
    )
    assert same(FormField("model.trace"), one, other)


# -- in the adapters -----------------------------------------------------------------------------------------------


def through_the_global_cache(cache: Cache) -> Callable[[str], Any]:
    set_llm_cache(AskOnceCache(cache))
    return FakeListChatModel(responses=[str(number) for number in range(9)]).invoke


def through_a_chat_model(cache: Cache) -> Callable[[str], Any]:
    return cached_langchain(FakeListChatModel(responses=[str(number) for number in range(9)]), cache).invoke


def through_a_completion_model(cache: Cache) -> Callable[[str], Any]:
    return cached_langchain(FakeListLLM(responses=[str(number) for number in range(9)]), cache).invoke


def through_an_llm(cache: Cache) -> Callable[[str], Any]:
    return cached(MockLLM(), cache).complete


def through_a_chat_llm(cache: Cache) -> Callable[[str], Any]:
    llm = cached(MockLLM(), cache)
    return lambda text: llm.chat([ChatMessage(role="system", content=text), ChatMessage("hi")])


def through_embeddings(cache: Cache) -> Callable[[str], Any]:
    return cached(MockEmbedding(4), cache).get_text_embedding


class Finds(BaseRetriever):
    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        return [NodeWithScore(node=TextNode(text=query_bundle.query_str))]


def through_a_retriever(cache: Cache) -> Callable[[str], Any]:
    return CachedRetriever(Finds(), cache, name="finds", ignore_punctuation=False, ignore_case=False).retrieve


WAYS = [through_the_global_cache, through_a_chat_model, through_a_completion_model, through_an_llm,
        through_a_chat_llm, through_embeddings, through_a_retriever]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("by", ["setting", "block"])
def test_every_adapter_leaves_it_out(way: Callable[[Cache], Callable[[str], Any]], by: str) -> None:
    cache = Cache(MemoryStore(), ignore=TIME if by == "setting" else ())
    send = way(cache)
    try:
        with cache_options(ignore=[] if by == "setting" else [re.compile(TIME)]):
            for text in ("It is 09:30. Why?", "It is 09:31. Why?", "It is 09:31. How?"):
                send(text)
    finally:
        set_llm_cache(None)
    stats = cache.stats()
    assert (stats.hits, stats.misses) == (1, 2)


def test_outside_of_a_block_the_time_counts_again() -> None:
    cache = Cache(MemoryStore())
    send = through_a_chat_model(cache)
    with cache_options(ignore=TIME), cache_options(ignore=r"\bplease\b"):
        send("It is 09:30. Why, please?")
        send("It is 09:31. Why, please?")
    send("It is 09:30. Why, please?")
    assert cache.stats().hits == 1


def test_explain_shows_what_is_ignored() -> None:
    cache = AskOnceCache(MemoryStore(), ignore=TIME)
    form = cache.form(dumps([HumanMessage("It is 09:30.")]), "[('model', 'm')]")
    assert form.left_out == (f"messages[0].content (what matches {TIME!r})",)


def test_a_function_that_fails_leaves_the_request_uncached(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(MemoryStore(), ignore=lambda form: form.body["nothing"])
    send = through_a_chat_model(cache)
    assert send("hi").content != send("hi").content
    assert cache.stats().bypassed == 2
    assert "KeyError" in caplog.text


@pytest.mark.parametrize("wrong", [3, "(", "", "x*", b"x", [None], re.compile(b"x"), {"a": 1}], ids=repr)
def test_what_cannot_be_ignored_is_refused(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="ignore"):
        Cache(MemoryStore(), ignore=wrong)


def test_a_header_is_ignored_where_a_client_sends_it() -> None:
    def model(session: str) -> Any:
        return OpenAI(model="gpt-4o", api_key="sk", default_headers={"x-session": session, "x-tenant": "a"})

    def form(session: str) -> NormalForm:
        return completion_form(model(session), "hi", True, {})

    path = FormField("model.endpoint.headers.x-session")
    assert same(path, form("1"), form("2"))
    assert not same(FormField("model.default_headers.x-session"), form("1"), form("2"))


def test_a_path_at_which_nothing_stands_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    rules = checked([FormField("model.misspelt"), FormField("model.trace_of_this_test")])
    for number in range(30):
        without(chat("hi", **({"trace_of_this_test": "1"} if number == 5 else {})), rules)
    assert ["model.misspelt" in one for one in caplog.messages] == [True]
