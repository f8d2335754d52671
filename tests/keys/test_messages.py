"""The law of keys, for conversations."""

import base64
import hashlib
from typing import Any

import pytest

from askonce.keys.messages import Conversation
from askonce.keys.normal_form import Uncacheable

PIXEL = b"\x89PNG not really"
ENCODED = base64.b64encode(PIXEL).decode()


def conversation(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    built = Conversation()
    for message in messages:
        built.add(**message)
    return built.messages


def user(content: Any) -> list[dict[str, Any]]:
    return conversation({"role": "user", "content": content})


def test_a_list_of_one_bare_text_is_that_text() -> None:
    assert user("hi") == user(["hi"]) == user([{"type": "text", "text": "hi"}]) == user([{"text": "hi"}])


def test_two_texts_are_not_their_concatenation() -> None:
    assert user(["a", "b"]) != user("ab") != user("a\nb")


def test_marks_for_the_providers_prompt_cache_are_left_out_and_named() -> None:
    built = Conversation()
    built.add(
        "user",
        [
            {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}},
            {"cachePoint": {"type": "default"}},
        ],
    )
    assert built.messages == user("hi")
    assert built.left_out == ["messages[0].content.cache_control", "messages[0].content.cachePoint"]


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{ENCODED}"}},
        {"type": "image_url", "image_url": f"data:image/png;base64,{ENCODED}"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{ENCODED}"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": ENCODED}},
        {"type": "image", "source_type": "base64", "mime_type": "image/png", "data": ENCODED},
        {"type": "image", "base64": ENCODED, "mime_type": "image/png", "id": "lc_1"},
        {"type": "image", "data": PIXEL, "mime_type": "IMAGE/PNG"},
    ],
)
def test_an_image_counts_by_its_bytes_however_it_is_wrapped(block: dict[str, Any]) -> None:
    assert user([block])[0]["content"] == [
        {"type": "image", "sha256": hashlib.sha256(PIXEL).hexdigest(), "mime": "image/png"}
    ]


@pytest.mark.parametrize(
    ("block", "form"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
         {"type": "image", "url": "https://x/a.png", "detail": "low"}),
        ({"type": "image", "source": {"type": "url", "url": "https://x/a.png"}},
         {"type": "image", "url": "https://x/a.png"}),
        ({"type": "file", "file": {"file_id": "file-1"}}, {"type": "file", "file_id": "file-1"}),
        ({"type": "file", "id": "file-1"}, {"type": "file", "file_id": "file-1"}),
        ({"type": "input_audio", "input_audio": {"data": ENCODED, "format": "wav"}},
         {"type": "audio", "sha256": hashlib.sha256(PIXEL).hexdigest(), "mime": "wav"}),
        ({"type": "document", "title": "T", "source": {"type": "base64", "media_type": "application/pdf",
                                                       "data": ENCODED}},
         {"type": "file", "sha256": hashlib.sha256(PIXEL).hexdigest(), "mime": "application/pdf", "title": "T"}),
    ],
)  # fmt: skip
def test_other_media_have_one_form_too(block: dict[str, Any], form: dict[str, Any]) -> None:
    assert user([block])[0]["content"] == [form]


def test_two_images_differ() -> None:
    other = base64.b64encode(PIXEL + b"!").decode()
    assert user([{"type": "image", "base64": ENCODED}]) != user([{"type": "image", "base64": other}])


def test_a_document_given_as_text_counts_as_that_text() -> None:
    def document(kind: str, data: str) -> list[dict[str, Any]]:
        return user([{"type": "document", "source": {"type": kind, "media_type": "text/plain", "data": data}}])

    same = {"type": "text-plain", "mime_type": "text/plain", "text": "caf\u00e9"}
    assert document("text", "cafe\u0301") == user([same]) == user([same | {"type": "file", "source_type": "text"}])
    assert document("text", "aGVsbG8=") != document("base64", "aGVsbG8=")
    assert document("text", "a") != document("text", "data:,a")


def called(identifier: str, **more: Any) -> list[dict[str, Any]]:
    call = {"id": identifier, "name": "add", "args": {"a": 1, "b": 2.0}} | more
    return conversation(
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "3", "answers": identifier},
    )


def test_ids_of_tool_calls_mean_nothing_but_the_link() -> None:
    assert called("call_a1") == called("toolu_b2")
    crossed = [
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": i, "name": "f", "args": {"n": i}} for i in "xy"],
        },
        {"role": "tool", "content": "1", "answers": "x"},
    ]
    assert conversation(*crossed) != conversation(crossed[0], crossed[1] | {"answers": "y"})


def test_a_tool_calls_name_and_arguments_matter() -> None:
    assert called("i") != called("i", name="sub")
    assert called("i") != called("i", args={"a": 1, "b": 3})
    assert called("i") == called("i", args={"b": 2, "a": 1}) == called("i", args='{"b": 2, "a": 1}')


def test_a_tool_call_in_the_content_and_in_the_message_is_one() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "add", "input": {}, "partial_json": '{"a": 1}', "index": 1}
    listed = {"id": "t1", "name": "add", "args": {"a": 1}, "type": "tool_call"}
    streamed = conversation({"role": "assistant", "content": ["so:", block], "tool_calls": [listed]})
    whole = {"type": "tool_use", "id": "t9", "name": "add", "input": {"a": 1}}
    invoked = conversation({"role": "assistant", "content": ["so:", whole], "tool_calls": [listed | {"id": "t9"}]})
    assert streamed == invoked
    assert "tool_calls" not in streamed[0]


def test_a_blocks_place_in_a_stream_matters_to_a_user_alone() -> None:
    first, second = ({"type": "document", "title": "a", "index": index} for index in (0, 1))
    assert user([first]) != user([second])
    parts = ({"type": "text", "text": "hi", "index": index} for index in (0, 1))
    assert len({str(conversation({"role": "assistant", "content": [part]})) for part in parts}) == 1


def calling(*cities: str, blocks: bool = False, listed: bool = True) -> list[dict[str, Any]]:
    calls = [{"id": "w", "name": "weather", "args": {"city": city}} for city in cities]
    content = [{"type": "tool_use", "id": "w", "name": "weather", "input": {"city": city}} for city in cities]
    return conversation(
        {"role": "assistant", "content": content if blocks else "", "tool_calls": calls if listed else ()},
        {"role": "tool", "content": "sunny", "answers": "w"},
    )


@pytest.mark.parametrize("where", [{}, {"blocks": True}, {"blocks": True, "listed": False}])
def test_calls_that_share_an_id_stay_distinct(where: dict[str, bool]) -> None:
    histories = [("Paris", "Rome"), ("Rome", "Paris"), ("Rome",), ("Rome", "Rome")]
    assert len({str(calling(*cities, **where)) for cities in histories}) == 4


def test_blocks_and_calls_that_share_an_id_belong_together_in_their_order() -> None:
    [message, _] = calling("Paris", "Rome", blocks=True)
    assert [part["args"]["city"] for part in message["content"]] == ["Paris", "Rome"]
    assert "tool_calls" not in message


def test_role_name_status_and_extra_matter_and_their_defaults_do_not() -> None:
    plain = user("hi")
    variants = [
        conversation({"role": "system", "content": "hi"}),
        conversation({"role": "user", "content": "hi", "name": "Ann"}),
        conversation({"role": "user", "content": "hi", "status": "error"}),
        conversation({"role": "user", "content": "hi", "extra": {"refusal": "no"}}),
    ]
    assert len({str(form) for form in (plain, *variants)}) == 5
    assert plain == conversation(
        {"role": "user", "content": "hi", "name": "", "status": "success", "extra": {"refusal": None, "x": []}}
    )


def test_reasoning_and_unknown_blocks_stay_as_they_stand() -> None:
    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    assert user([block, "so"])[0]["content"][0] == block
    assert user([block, "so"]) != user([block | {"signature": "t"}, "so"])


def test_ids_of_text_blocks_are_left_out_and_their_citations_stay() -> None:
    assert user([{"type": "text", "text": "a", "id": "msg_1", "annotations": []}]) == user("a")
    assert user([{"type": "text", "text": "a", "annotations": [{"url": "x"}]}]) != user("a")


def test_a_tool_result_within_the_content_is_linked_too() -> None:
    def exchange(identifier: str) -> list[dict[str, Any]]:
        return conversation(
            {"role": "assistant", "content": [{"type": "tool_use", "id": identifier, "name": "f", "input": {}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": identifier, "content": "3"}]},
        )

    assert exchange("a") == exchange("b")


def test_a_block_without_a_stable_representation_is_refused() -> None:
    with pytest.raises(Uncacheable):
        user([object()])
