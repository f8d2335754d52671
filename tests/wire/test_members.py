"""Bodies that servers read differently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.wire.members import further_models_in, is_ambiguous, models_in

TEXTS = st.text() | st.sampled_from(['"', ":", '\\"', '":', "\\", '{"a":1}'])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
    max_leaves=20,
)
SPELLED = st.sampled_from([{}, {"ensure_ascii": False}, {"indent": 1}, {"separators": (",", ":")}])


@given(st.dictionaries(TEXTS, VALUES), SPELLED, TEXTS, VALUES)
def test_a_member_that_comes_twice_is_seen_wherever_it_is(
    whole: dict[str, Any], spelled: dict[str, Any], name: str, value: Any
) -> None:
    body = json.dumps(whole, **spelled).encode("utf-8", "surrogatepass")
    assert not is_ambiguous(body, whole)
    member = f"{json.dumps(name)}: {json.dumps(value)}"
    twice = b'{"inner": [%b, {%b, %b}]}' % (body, member.encode(), member.encode())
    assert is_ambiguous(twice, json.loads(twice))


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"model": "a"}', ["a"]),
        (b'{"model": "a", "model": "b"}', ["b", "a"]),
        (b'{"model": "a", "mode\\u006c": "b"}', ["b", "a"]),
        (b'{"model": "a", "Model": "b"}', ["a", "b"]),
        (b'{"model": "a", "model": null, "x": {"model": "c"}}', ["a"]),
        (b'{"messages": [{"model": "c"}]}', []),
    ],
)
def test_all_models_are_named_that_a_server_may_read(body: bytes, models: list[str]) -> None:
    assert models_in(body, json.loads(body)) == models


@pytest.mark.parametrize(
    ("body", "models"),
    [
        (b'{"model": "a", "models": ["b", "c"], "route": "fallback"}', "abc"),  # OpenRouter
        (b'{"model": "a", "Fallbacks": ["b", {"model": "c"}]}', "abc"),  # LiteLLM
        (b'{"model": "a", "context_window_fallbacks": [{"a": ["b"]}]}', "ab"),
        (b'{"model": "a", "models": [], "models": ["b"], "plugins": [{"allowed_models": ["c"]}]}', "abc"),
        (b'{"model": "a", "extra_body": {"models": ["b"]}}', "ab"),
        (b'{"model": "a", "tools": [{"type": "advisor", "model": "b"}]}', "ab"),
        (b'{"model": "a", "messages": [{"model": "b"}], "metadata": {"model": "c"}}', "a"),
        (b'{"model": "a", "tools": [{"parameters": {"properties": {"model": {"enum": ["b"]}}}}]}', "a"),
    ],
)
def test_models_of_any_member_are_found(body: bytes, models: str) -> None:
    assert sorted(set(further_models_in(body, json.loads(body)))) == list(models)
