"""The law of keys, for plain data and model parameters: same meaning, same key; else another."""

import enum
import math
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, field_serializer

from askonce import cache_options
from askonce.entries.entry import place_of
from askonce.keys.normal_form import (
    NormalForm,
    Uncacheable,
    encode,
    is_credential,
    model_form,
    plain,
    question,
    request_form,
    text,
)

words = st.text(max_size=12)
data = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


def digest(value: object) -> bytes:
    return NormalForm({"value": plain(value)}).digest()


def shuffled(value: object) -> object:
    """The same value with its maps in another order, tuples for lists, and whole floats for integers."""
    if isinstance(value, dict):
        return {key: shuffled(item) for key, item in reversed(value.items())}
    if isinstance(value, list):
        return tuple(shuffled(item) for item in value)
    if type(value) is int and abs(value) < 2**53:
        return float(value)
    return value


def same(one: object, other: object) -> bool:
    """Equality of JSON values: like ``==``, but ``True`` is not ``1``, and texts are equal when in NFC."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) and isinstance(other, str):
        return normal(one) == normal(other)
    if isinstance(one, dict) and isinstance(other, dict):
        left = {normal(key): item for key, item in one.items()}
        right = {normal(key): item for key, item in other.items()}
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) in (int, float) and type(other) in (int, float) and one == other) or one is other is None


def normal(value: str) -> str:
    return unicodedata.normalize("NFC", value.replace("\r\n", "\n").replace("\r", "\n"))


@given(data)
def test_order_and_number_spelling_do_not_matter(value: object) -> None:
    assert digest(value) == digest(shuffled(value))


@given(data, data)
def test_two_values_have_one_digest_exactly_if_they_mean_the_same(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == same(one, other)


@given(st.text())
def test_text_is_in_nfc_with_plain_line_ends_and_otherwise_unchanged(value: str) -> None:
    assert text(value) == normal(value)
    assert text(text(value)) == text(value)


def test_case_and_spaces_of_a_text_matter() -> None:
    assert len({digest(value) for value in ("a b", "A b", "a  b", "a b ", "ab")}) == 5


def test_numbers_texts_and_booleans_are_never_confused() -> None:
    assert len({digest(value) for value in (1, "1", True, None, "null", [], {}, "", [1], 1.5)}) == 10


def test_numbers_that_are_no_json_still_have_a_digest() -> None:
    assert len({digest(value) for value in (math.nan, math.inf, -math.inf, 10**400, -(10**30))}) == 5


def test_bytes_count_by_their_content() -> None:
    assert digest(b"abc") == digest(bytearray(b"abc")) != digest(b"abd")


class Colour(enum.Enum):
    RED = "red"


class Answer(BaseModel):
    text: str


def test_schemas_models_and_enumerations_count_by_what_they_say() -> None:
    assert [name for name, _ in plain(Answer)["properties"]] == ["text"]  # in their order
    assert plain(Answer(text="x")) == {"text": "x"}
    assert plain([Colour.RED]) == ["red"]


def test_what_has_no_stable_representation_is_refused() -> None:
    with pytest.raises(Uncacheable, match="object"):
        plain({"callback": object()})
    with pytest.raises(Uncacheable):
        plain(lambda: None)
    with pytest.raises(Uncacheable):
        NormalForm({"value": "\ud800"}).digest()


def test_a_namespace_is_part_of_the_key() -> None:
    form = NormalForm({"x": 1}).digest()
    assert len({place_of("a", form), place_of("b", form), place_of("a", NormalForm({"x": 2}).digest())}) == 3


@pytest.mark.parametrize(
    "name",
    ["api_key", "openai_api_key", "API-Key", "x-api-key", "Authorization", "aws_secret_access_key", "password",
     "aws_session_token", "huggingfacehub_api_token", "azure_ad_token", "token", "client_secret", "credentials",
     "authorization_token"],
)  # fmt: skip
def test_credentials_are_recognized_by_their_names(name: str) -> None:
    assert is_credential(name)


@pytest.mark.parametrize("name", ["max_tokens", "eos_token", "top_k", "keyword", "secretary", "monkey"])
def test_other_parameters_are_not_taken_for_credentials(name: str) -> None:
    assert not is_credential(name)


def parameters(**more: object) -> dict[str, object]:
    return {"model": "gpt", "temperature": 0, "tools": [{"name": "b"}, {"name": "a"}], **more}


def test_what_cannot_change_the_answer_is_left_out_and_named() -> None:
    left_out: list[str] = []
    form = model_form(
        parameters(
            api_key="sk-secret", timeout=3, max_retries=2, streaming=True, n=None,
            default_headers={"Authorization": "Bearer secret", "traceparent": "00-1", "anthropic-beta": "x"},
            base_url="https://user:secret@host/v1?api-key=secret&version=2", prompt_cache_key="k",
        ),
        left_out,
    )  # fmt: skip
    assert form == model_form(
        parameters(default_headers={"anthropic-beta": "x"}, base_url="https://host/v1?version=2"), []
    )
    assert b"secret" not in encode(form)
    assert left_out == [
        "model.api_key", "model.timeout", "model.max_retries", "model.streaming",
        "model.default_headers.Authorization", "model.default_headers.traceparent",
        "model.base_url (credentials)", "model.prompt_cache_key",
    ]  # fmt: skip


def test_the_order_of_tools_does_not_matter_but_what_they_are_does() -> None:
    one = model_form({"tools": [{"name": "a"}, {"name": "b"}]}, [])
    assert one == model_form({"tools": [{"name": "b"}, {"name": "a"}]}, [])
    assert one != model_form({"tools": [{"name": "a"}]}, [])


def test_a_field_of_a_tool_is_part_of_the_key_even_if_it_is_called_password() -> None:
    with_password = {"tools": [{"name": "login", "parameters": {"password": {"type": "string"}}}]}
    assert model_form(with_password, []) != model_form({"tools": [{"name": "login", "parameters": {}}]}, [])


def form_of(**given: object) -> dict[str, object]:
    return model_form(given, [])


@pytest.mark.parametrize(
    "name",
    ["client", "tags", "metadata", "profile", "cache", "verbose", "token", "password", "secret", "cookie"],
)
@pytest.mark.parametrize(
    "within",
    [
        lambda **fields: form_of(chat_template_kwargs=fields),
        lambda **fields: form_of(extra_body={"prompt": {"id": "p", "variables": fields}}),
        lambda **fields: form_of(model_kwargs={"extra_body": {"items": [fields]}}),
        lambda **fields: form_of(additional_kwargs={"prompt": fields}),
    ],
)
def test_a_plain_word_within_a_value_is_part_of_the_key(within: Any, name: str) -> None:
    assert within(**{name: "a"}) != within(**{name: "b"}) != within()


@pytest.mark.parametrize("name", ["model_kwargs", "additional_kwargs"])
def test_parameters_that_are_sent_beside_the_others_are_parameters(name: str) -> None:
    noise = {"timeout": 3, "metadata": {"a": 1}, "token": "secret", "extra_headers": {"token": "secret"}}
    assert form_of(**{name: {"seed": 1, "top_k": None, **noise}}) == form_of(**{name: {"seed": 1}})


@pytest.mark.parametrize("name", ["headers", "default_headers", "extra_headers", "Custom-Headers", "default_query"])
def test_headers_lose_credentials_and_traces_wherever_they_stand(name: str) -> None:
    noise = {"token": "t", "Cookie": "c", "X-Api-Key": "k", "x-request-id": "r", "traceparent": "00-1"}
    for place in (lambda value: {name: value}, lambda value: {"extra_body": {"servers": [{name: value}]}}):
        assert form_of(**place({"client": "a", **noise})) == form_of(**place({"client": "a"}))
        assert form_of(**place({"client": "a"})) != form_of(**place({"client": "b"}))


@pytest.mark.parametrize(
    "name",
    ["api_key", "apiKey", "openai_api_key", "secret_key", "aws_secret_access_key", "private_key", "Authorization",
     "authorization_token", "access_token", "auth_token", "session_token", "bearer_token"],
)  # fmt: skip
def test_unmistakable_credentials_at_any_depth_count_by_a_digest_or_for_a_namespace_not_at_all(name: str) -> None:
    def form(secret: str, left_out: list[str]) -> dict[str, Any]:
        return model_form({"extra_body": {"servers": [{"url": "x", name: secret}]}}, left_out)

    left_out: list[str] = []
    anns, bobs = form("secret", left_out), form("other", left_out)
    assert anns != bobs
    assert b"secret" not in encode(anns).replace(name.encode(), b"")
    assert not left_out
    with cache_options(namespace="alice"):
        assert form("secret", left_out) == {"extra_body": {"servers": [{"url": "x"}]}}
    assert left_out == [f"model.extra_body.servers[0].{name}"]


@pytest.mark.parametrize("name", ["prior_authorization", "bos_token", "security_token", "api_keys", "monkey"])
def test_names_that_only_resemble_a_credential_are_part_of_the_key_in_depth(name: str) -> None:
    assert form_of(extra_body={name: "a"}) != form_of(extra_body={name: "b"})


def test_servers_of_tools_count_and_a_namespace_says_for_whom_they_act() -> None:
    def servers(user: str, secret: str, scope: str = "all") -> bytes:
        url = f"https://{user}host/?{secret and f'api_key={secret}&'}v=1"
        given = {"type": "mcp", "server_url": url, "headers": {"Authorization": secret, "X-Scope": scope}}
        options = {"mcp_servers": [{"url": url, "authorization_token": secret}]}
        form = form_of(tools=[given | {"authorization": secret}], extra_body=options | {"tools": [given]})
        return encode(form)

    for users in ((("u:SECRET@", ""), ("", "")), (("", "SECRET"), ("", "OTHER"))):
        assert len({servers(*user) for user in users}) == 2
    with cache_options(namespace="alice"):
        assert servers("u:SECRET@", "SECRET") == servers("", "")
        assert servers("", "") != servers("", "", scope="some")
    assert b"SECRET" not in servers("u:SECRET@", "SECRET")


@pytest.mark.parametrize("name", ["built_in_tools", "server_tools", "mcp_servers", "connectors", "data_sources"])
def test_what_a_provider_uses_for_a_user_is_apart_under_any_name(name: str) -> None:
    def given(user: str) -> list[bytes]:
        hosted = {"url": "https://host", "authorization": user, "parameters": {"access_token": user}}
        forms = ({name: [hosted]}, {name: hosted}, {"model_kwargs": {"extra_body": {name: [hosted]}}})
        return [encode(form_of(**form)) for form in forms]

    assert all(one != other for one, other in zip(given("ALICE"), given("BOB"), strict=True))
    assert given("ALICE") == given("ALICE")


@pytest.mark.parametrize(
    "schema",
    [
        lambda field: {"tools": [{"name": "f", "parameters": {"properties": field}}]},
        lambda field: {"tools": [{"name": "f", "input_schema": field}]},
        lambda field: {"tools": [{"type": "function", "function": {"name": "f", "parameters": field}}]},
        lambda field: {"functions": [{"name": "f", "parameters": {"headers": field}}]},
        lambda field: {"response_format": {"json_schema": {"schema": {"properties": field}}}},
        lambda field: {"extra_body": {"format": {"type": "object", "properties": field}}},
        lambda field: {"text": {"format": {"type": "json_schema", "schema": field}}},
    ],
)
@pytest.mark.parametrize("field", ["api_key", "authorization", "Authorization", "token", "client", "metadata"])
def test_a_schema_is_part_of_the_key_as_a_whole(schema: Any, field: str) -> None:
    forms = [
        form_of(**schema(fields)) for fields in ({}, {field: "a"}, {field: "https://u:p@x"}, {field: "https://x"})
    ]
    assert len({encode(form) for form in forms}) == 4


def test_an_object_under_a_neutral_name_is_left_out_at_any_depth() -> None:
    inner = {"model": "a", "callback_manager": object(), "token": object(), "profile": "kept"}
    assert form_of(llm=inner) == {"llm": {"model": "a", "profile": "kept"}}


def test_a_text_that_holds_a_url_is_not_taken_for_one() -> None:
    one, other = ({"system_prompt": f"See https://x/?token={word} and go on"} for word in ("a", "b"))
    assert model_form(one, []) != model_form(other, [])


@pytest.mark.parametrize(
    "change",
    [{"model": "gpt-2"}, {"temperature": 0.1}, {"tools": []}, {"stop": ["x"]},
     {"response_format": {"type": "json"}},
     {"seed": 1}, {"base_url": "https://other/v1"}, {"max_tokens": 5}, {"user": "u"}],
)  # fmt: skip
def test_what_can_change_the_answer_stays(change: dict[str, object]) -> None:
    assert request_form("chat", model_form(parameters(), [])).digest() != (
        request_form("chat", model_form(parameters(**change), [])).digest()
    )


def test_headers_that_hold_only_a_credential_are_no_headers() -> None:
    assert model_form({"default_headers": {"Authorization": "Bearer x"}}, []) == {}
    assert model_form({"model_kwargs": {}}, []) == {"model_kwargs": {}}


def test_an_object_whose_own_code_fails_has_no_key() -> None:
    class Holder(BaseModel):
        function: object

        @field_serializer("function")
        def refuse(self, value: object) -> object:
            raise ValueError(f"not {value}")

    with pytest.raises(Uncacheable, match=r"Holder cannot be written as plain data: PydanticSerializationError$"):
        plain(Holder(function="what the user wrote"))


@pytest.mark.parametrize(
    "other",
    ["WHAT IS RAG", "  what  is\trag ?", "What is \u201cRAG\u201d?!",
     "\u00ab What is 'RAG'? \u00bb", "What is RAG\u2026", "What is\u00a0RAG\uff1f", "what is \"rag\"."],
)  # fmt: skip
def test_a_question_counts_by_its_words(other: str) -> None:
    assert question(other) == question("What is RAG?")


def test_apostrophes_are_one_and_unicode_forms_too() -> None:
    assert question("Don\u2019t cafe\u0301s close?") == question("don't caf\u00e9s close")


@pytest.mark.parametrize(
    ("one", "other"),
    [("its", "it's"), ("C", "C++"), ("NET", ".NET"), ("5!", "5"), ('a 5" pipe', "a 5 pipe"), ("?", "!"),
     ("a b", "ab"), ("x\u00b2", "x2"), ("re-sign", "resign"), ("Ma\u00dfe", "Masse"), ("a, b", "a b")],
)  # fmt: skip
def test_questions_of_other_words_stay_apart(one: str, other: str) -> None:
    assert question(one) != question(other)


def test_case_and_punctuation_of_a_question_matter_if_wished() -> None:
    assert question("a?", ignore_punctuation=False) != question("a", ignore_punctuation=False)
    assert question("US", ignore_case=False) != question("us", ignore_case=False)
    assert question(" US  ?", ignore_case=False) == question("US", ignore_case=False)


@given(st.text())
def test_a_question_in_normal_form_stays_as_it_is(value: str) -> None:
    folded = question(value, ignore_punctuation=False)
    assert question(folded, ignore_punctuation=False) == folded


def test_a_text_of_a_framework_is_a_text() -> None:
    class Accessor(str):
        def __str__(self) -> str:
            return "a text accessor"

    assert type(text(Accessor("hi"))) is str
    assert encode({"text": text(Accessor("hi"))}) == encode({"text": "hi"})


def test_an_object_that_makes_more_of_itself_is_followed_a_few_steps() -> None:
    made: list[object] = []

    class More:
        def model_dump(self, mode: str) -> object:
            made.append(self)
            return {"more": More()}

    for form in (plain, lambda value: model_form({"additional_kwargs": {"x": value}}, [])):
        made.clear()
        with pytest.raises(Uncacheable):
            form(More())
        assert 0 < len(made) < 5


@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"x": inner}, lambda inner: {"tools": [inner]}]
)
def test_what_is_nested_deeply_is_refused_long_before_the_limit_of_the_interpreter(
    wrap: Callable[[object], object],
) -> None:
    def nested(levels: int) -> object:
        value: object = "end"
        for _ in range(levels):
            value = wrap(value)
        return value

    for form in (plain, lambda value: model_form({"model_kwargs": value}, [])):
        assert form(nested(40))
        with pytest.raises(Uncacheable):
            form(nested(110))
