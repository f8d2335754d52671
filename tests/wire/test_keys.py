"""The laws of keys: what differs in meaning has another one, what differs in writing has not."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce import cache_options
from askonce.keys.normal_form import Uncacheable, is_credential_in_request
from askonce.wire.apis import NEUTRAL, STATE, api_of
from askonce.wire.counting import counts
from askonce.wire.requests import read_request

from .requests import CALLER, CHAT, OPENAI, key, wire

plain = st.recursive(
    st.none() | st.booleans() | st.integers(1 - 2**53, 2**53 - 1) | st.floats(-1e6, 1e6) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
names = st.from_regex(r"[a-z][a-z_]{2,12}", fullmatch=True).filter(
    lambda name: name not in NEUTRAL | STATE | {"model", "messages", "prompt", "tools", "functions", "n", "stop"}
)


def shuffled(value: Any, seed: int) -> Any:
    """An equal value: members in another order, whole numbers as floats; not within the properties of a schema."""
    if isinstance(value, dict):
        members = [(name, item if name == "properties" else shuffled(item, seed)) for name, item in value.items()]
        random.Random(seed).shuffle(members)
        return dict(members)
    if isinstance(value, list):
        return [shuffled(item, seed) for item in value]
    return float(value) if type(value) is int else value


@given(st.dictionaries(names, plain, max_size=4), st.integers())
def test_the_order_of_members_and_the_writing_of_numbers_do_not_count(more: dict[str, Any], seed: int) -> None:
    body = {**CHAT, **more}
    try:
        expected = key(body)
    except Uncacheable:
        return
    assert key(shuffled(body, seed)) == expected


@given(names, plain, plain)
def test_any_parameter_counts_known_or_not(name: str, one: Any, other: Any) -> None:
    if json.dumps(shuffled(one, 0), sort_keys=True) == json.dumps(shuffled(other, 0), sort_keys=True):
        return
    try:
        keys = key({**CHAT, name: one}), key({**CHAT, name: other}), key(CHAT)
    except Uncacheable:
        return
    assert len(set(keys)) == 3


@given(st.sampled_from(sorted(NEUTRAL - {"stream", "stream_options"})), plain)
def test_what_cannot_change_the_answer_does_not_count(name: str, value: Any) -> None:
    assert key({**CHAT, name: value}) == key(CHAT)


@pytest.mark.parametrize("streams", [True, False])
def test_a_stream_and_a_whole_answer_are_one_entry(streams: bool) -> None:
    assert key({**CHAT, "stream": streams, "stream_options": {"include_usage": True}}) == key(CHAT)


@pytest.mark.parametrize(
    "header",
    [
        ("openai-organization", "org-1"),
        ("OpenAI-Project", "proj-1"),
        ("openai-beta", "assistants=v2"),
        ("anthropic-version", "2023-06-01"),
        ("anthropic-beta", "context-1m"),
        ("x-portkey-provider", "azure"),
        ("x-org-id", "7"),
        ("x-team-id", "7"),
        ("x-ms-client-principal-id", "ann"),
        ("x-amzn-oidc-identity", "ann"),
        ("cf-access-jwt-assertion", "ey"),
        ("askonce-sample", "1"),
    ],
)
def test_headers_that_say_who_answers_count(header: tuple[str, str]) -> None:
    assert key(headers=[header]) != key()


@pytest.mark.parametrize(
    "name",
    "user-agent x-stainless-package-version x-stainless-runtime-version traceparent x-request-id accept"
    " idempotency-key content-length askonce-tags cache-control x-goog-api-client sec-ch-ua-model".split(),
)
def test_headers_of_an_attempt_or_a_client_do_not_count(name: str) -> None:
    assert not counts(name)
    if name != "askonce-tags":
        assert key(headers=[(name, "another")]) == key()


def test_the_order_of_the_properties_of_a_schema_counts() -> None:
    def key_with(properties: dict[str, Any]) -> bytes:
        schema = {"type": "object", "properties": properties}
        return key({**CHAT, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})

    one, other = {"reason": {"type": "string"}}, {"answer": {"type": "string"}}
    assert key_with({**one, **other}) != key_with({**other, **one})


def test_every_part_of_the_upstream_counts_but_its_credentials() -> None:
    azure = "https://one.openai.azure.com/openai/deployments/gpt/chat/completions"
    keys = [
        key(url=f"{azure}?api-version=2024-10-21"),
        key(url=f"{azure}?api-version=2025-01-01"),
        key(url=f"{azure.replace('one', 'two')}?api-version=2024-10-21"),
        key(url=f"{azure.replace('gpt', 'other')}?api-version=2024-10-21"),
    ]
    assert len(set(keys)) == 4
    assert key(url="https://API.openai.com/v1/chat/completions/") == key()


# -- for whom ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ([("authorization", "Bearer a")], [("authorization", "Bearer b")]),
        ([("x-api-key", "a")], [("x-api-key", "b")]),
        ([("api-key", "a")], [("x-api-key", "a")]),
        ([("authorization", "Bearer a"), ("x-portkey-api-key", "1")], [("authorization", "Bearer a")]),
    ],
)
def test_callers_share_only_where_it_is_declared(one: list[tuple[str, str]], other: list[tuple[str, str]]) -> None:
    body, url = json.dumps(CHAT).encode(), f"{OPENAI}/chat/completions"
    mine, theirs = (read_request("POST", url, headers, body) for headers in (one, other))
    assert mine is not None and theirs is not None and mine.scope != theirs.scope
    assert mine.form().digest() != theirs.form().digest()
    shared = [read_request("POST", url, headers, body, share=True) for headers in (one, other)]
    assert len({read.form().digest() for read in shared if read is not None}) == 1


@pytest.mark.parametrize("name", ["key", "api_key", "sig"])
def test_a_credential_in_the_url_is_a_scope_and_stands_nowhere(name: str) -> None:
    body = json.dumps(CHAT).encode()
    urls = [f"https://u:p{one}@host/v1/chat/completions?{name}=SECRET{one}" for one in (1, 2)]
    one, other = (read_request("POST", url, [], body) for url in urls)
    assert one is not None and other is not None and one.scope != other.scope
    assert "SECRET" not in repr(one.form()) and ":p1" not in repr(one.form())


def test_cookies_of_a_network_say_nothing() -> None:
    """A client sends back what Cloudflare set with the last reply: the next request would never be a hit."""
    assert key(headers=[("cookie", "__cf_bm=abc.1=; _cfuvid=x")]) == key(headers=[("cookie", "AWSALB=1;")]) == key()


@pytest.mark.parametrize(
    ("url", "same"),
    [
        ("https://api.openai.com:443/v1", True),
        ("https://api.openai.com:80/v1", False),
        ("https://api.openai.com:8443/v1", False),
    ],
)
def test_the_default_port_is_the_same_as_none(url: str, same: bool) -> None:
    assert (key(url=f"{url}/chat/completions") == key()) is same


def test_a_stop_that_is_null_is_none() -> None:
    assert key({**CHAT, "stop": None}) == key() != key({**CHAT, "stop": "."})


def test_a_user_is_a_scope_of_its_own() -> None:
    assert len({key(), key({**CHAT, "user": "a"}), key({**CHAT, "user": "b"})}) == 3


def test_no_credential_of_a_request_stands_in_its_form() -> None:
    tool = {
        "type": "mcp",
        "server_url": "https://m",
        "authorization": "SECRET1",
        "headers": {"x-api-key": "SECRET2"},
    }
    body = {**CHAT, "tools": [tool], "api_key": "SECRET3"}
    form = wire(body, headers=[("x-goog-api-key", "SECRET4"), ("x-provider-token", "SECRET5")]).form()
    assert "SECRET" not in repr(form) and "sk-caller" not in repr(form)
    assert key(body) != key({**body, "api_key": "SECRET6"})


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        ([], {}),
        ([("authorization", "Bearer ")], {}),
        ([*CALLER, ("cookie", "session=1")], {}),
        ([*CALLER, ("cookie", "__cf_bm=1; session=1")], {}),
        (CALLER, {"store": True}),
        (CALLER, {"background": True}),
        (CALLER, {"previous_response_id": "resp_1"}),
        (CALLER, {"conversation": "conv_1"}),
        (CALLER, {"container": "cntr_1"}),
        (CALLER, {"prompt": {"id": "pmpt_1"}}),
    ],
)
def test_what_has_no_key(headers: list[tuple[str, str]], more: dict[str, Any]) -> None:
    read = read_request("POST", f"{OPENAI}/responses", headers, json.dumps({"model": "m", **more}).encode())
    assert read is not None
    with pytest.raises(Uncacheable):
        read.form()


# -- which requests are known --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "api"),
    [
        ("POST", "/v1/chat/completions", "chat"),
        ("POST", "/openai/deployments/d/chat/completions", "chat"),
        ("POST", "/openai/v1/responses", "responses"),
        ("POST", "/v1/messages", "messages"),
        ("POST", "/openai/deployments/d/embeddings", "embeddings"),
        ("GET", "/v1/chat/completions", None),
        ("POST", "/v1/threads/t/messages", None),
        ("POST", "/v1/messages/count_tokens", None),
        ("POST", "/v1/responses/resp_1/cancel", None),
        ("POST", "/v1/audio/speech", None),
    ],
)
def test_which_api_a_path_is(method: str, path: str, api: str | None) -> None:
    assert api_of(method, path) == api


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_body_that_is_no_object_is_passed_on(body: bytes) -> None:
    assert read_request("POST", f"{OPENAI}/chat/completions", CALLER, body) is None


@pytest.mark.parametrize(
    "header",
    "x-tenant x-user-id x-forwarded-user x-portkey-virtual-key x-account accept-language x-client-tenant"
    " x-client-user x-userid x-username x-tenantid x-orgids x-groups x-account-ids x-amzn-oidc-data"
    " x-consumer-id x-consumer-custom-id x-consumer-username x-on-behalf-of x-locale x-portkey-custom-host"
    " x-portkey-metadata x-litellm-tags x-bf-vk x-forwarded-email x-forwarded-client-cert cf-access-jwt-assertion"
    " x-policy-id x-amzn-bedrock-guardrailidentifier x-amzn-bedrock-guardrailversion helicone-moderations-enabled"
    " helicone-llm-security-enabled x-snowflake-role x-anything x-session-id cf-aig-metadata x-kong-route".split(),
)
def test_headers_that_may_say_for_whom_or_by_which_rules_count(header: str) -> None:
    assert len({key(), key(headers=[(header, "one")]), key(headers=[(header, "two")])}) == 3


@given(st.from_regex(r"x-[a-z]{1,3}(-[a-z]{1,3}){0,2}", fullmatch=True))
def test_a_header_that_is_not_known_counts(name: str) -> None:
    if counts(name):
        assert key(headers=[(name, "one")]) != key(headers=[(name, "two")])
    else:
        assert name == "x-app" or name.startswith("x-fd-") or "id" in name or is_credential_in_request(name)


@pytest.mark.parametrize(
    "header",
    "user-agent x-forwarded-for x-forwarded-host x-stainless-lang accept traceparent x-client-version host"
    " x-user-agent x-openai-client-user-agent anthropic-client-version langsmith-project langsmith-trace"
    " x-csrf-token tracestate baggage b3 x-b3-traceid sentry-trace x-datadog-trace-id x-cloud-trace-context"
    " x-amzn-trace-id x-correlation-id x-client-request-id x-ms-client-request-id request-id uber-trace-id"
    " helicone-request-id helicone-session-id x-portkey-trace-id x-litellm-call-id langfuse_trace_id"
    " content-type accept-encoding accept-charset origin referer sec-fetch-site dnt priority te date if-none-match"
    " x-stainless-retry-count x-request-start x-server-timeout x-idempotency-key via forwarded amz-sdk-request"
    " x-real-ip true-client-ip x-envoy-attempt-count cf-ray cf-connecting-ip cf-connecting-ipv6 cf-ipcountry"
    " x-goog-api-client http-referer x-title x-ms-date x-timestamp x-claude-code-session-id".split(),
)
def test_headers_of_the_connection_and_of_telemetry_do_not_count(header: str) -> None:
    assert key() == key(headers=[(header, "one")])


def test_options_of_a_stream_that_are_not_known_count() -> None:
    known = key({**CHAT, "stream": True, "stream_options": {"include_usage": True}})
    assert known == key() != key({**CHAT, "stream_options": {"continuous_usage_stats": True}})


def test_marks_of_the_prompt_cache_do_not_count_in_blocks_of_any_depth() -> None:
    def key_with(mark: dict[str, Any], given: dict[str, Any]) -> bytes:
        text = {"type": "text", "text": "sunny", **mark}
        document = {"type": "document", "source": {"type": "content", "content": [text]}, **mark}
        content = [
            {"type": "tool_result", "tool_use_id": "t", "content": [text, document], **mark},
            {"type": "tool_use", "id": "t", "name": "f", "input": given},
        ]
        body = {"model": "m", "messages": [{"role": "user", "content": content}], "system": [text]}
        return key(body, "https://api.anthropic.com/v1/messages")

    mark = {"cache_control": {"type": "ephemeral"}}
    assert (
        key_with(mark, {}) == key_with({}, {}) != key_with({}, mark)
    )  # a tool's own parameter of that name counts


# -- queries and headers that come several times -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"), [("d=%ff", "d=%fe"), ("m=a&m=b", "m=b&m=a"), ("m=a&m=b", "m=b"), ("d=%ff", "d=%c3%bf")]
)
def test_queries_that_differ_are_two(one: str, other: str) -> None:
    url = f"{OPENAI}/chat/completions"
    assert key(url=f"{url}?{one}") != key(url=f"{url}?{other}")
    assert key(url=f"{url}?{one}&x=1") == key(url=f"{url}?x=1&{one}")


def test_credentials_in_a_query_that_differ_are_two() -> None:
    url = f"{OPENAI}/chat/completions?api_key="
    assert wire(url=f"{url}%ff").scope != wire(url=f"{url}%fe").scope


def test_all_values_of_a_header_count() -> None:
    name = "openai-organization"
    sent = [[(name, one) for one in values] for values in ("a", "b", "ab", "ba")]
    assert len({key(headers=one) for one in sent}) == 4


@pytest.mark.parametrize(
    ("value", "is_known"),
    [
        ("keep-alive", True),
        ("Upgrade, HTTP2-Settings", True),
        ("close, OpenAI-Organization", False),
        ("authorization", False),
    ],
)
def test_a_header_that_may_end_at_the_next_hop_has_no_key(value: str, is_known: bool) -> None:
    headers = [*CALLER, ("openai-organization", "a"), ("Connection", value)]
    read = read_request("POST", f"{OPENAI}/chat/completions", headers, json.dumps(CHAT).encode())
    assert (read is not None) == is_known


@pytest.mark.parametrize(
    ("url", "tools"),
    [
        (f"{OPENAI}/responses", {"tools": [{"type": "mcp", "server_label": "m", "authorization": "{}"}]}),
        (f"{OPENAI}/responses", {"tools": [{"type": "mcp", "headers": {"Authorization": "Bearer {}"}}]}),
        (f"{OPENAI}/responses", {"tools": [{"type": "mcp", "server_url": "https://m?token={}"}]}),
        ("https://api.anthropic.com/v1/messages", {"mcp_servers": [{"type": "url", "authorization_token": "{}"}]}),
        (f"{OPENAI}/chat/completions", {"connectors": [{"id": "mail", "authorization": "{}"}]}),
    ],
)
def test_for_whom_a_hosted_tool_acts_counts_in_a_namespace_too(url: str, tools: dict[str, Any]) -> None:
    def of(user: str) -> bytes:
        return key({**CHAT, "input": "Hi", **json.loads(json.dumps(tools).replace("{}", user))}, url)

    with cache_options(namespace="search"):
        inside = of("ann")
        assert inside != of("bob")
    assert of("ann") == inside


# -- what the provider holds ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "is_shared"), [({}, False), ({"store": None}, False), ({"store": False}, True)])
def test_a_response_that_the_provider_holds_is_its_callers_own(more: dict[str, Any], is_shared: bool) -> None:
    """Its id can be referred to with the credential alone for which it was made."""
    body, url = json.dumps({"model": "m", "input": "Hi", **more}).encode(), f"{OPENAI}/responses"

    def key_of(credential: str, *, one_owner: bool = False) -> bytes:
        headers = [("authorization", credential)] if credential else []
        read = read_request("POST", url, headers, body, share=True, one_owner=one_owner)
        assert read is not None
        return read.form().digest()

    assert (key_of("a") == key_of("b")) is is_shared
    assert key_of("a") == key_of("a") and key_of("") == key_of("")
    assert key_of("a", one_owner=True) == key_of("b", one_owner=True)


@pytest.mark.parametrize(
    "item", [{"type": "item_reference", "id": "rs_1"}, {"id": "rs_1"}, {"type": None, "id": "rs_1"}]
)
def test_a_response_to_items_that_the_provider_holds_is_not_stored(item: dict[str, Any]) -> None:
    question = {"role": "user", "content": "why?"}
    url = f"{OPENAI}/responses"
    for items in ([item], [question, item]):
        with pytest.raises(Uncacheable, match="item_reference"):
            key({"model": "gpt-4o", "input": items, "store": False}, url)
    whole = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "so"}],
    }
    assert key({"model": "gpt-4o", "input": [question, whole]}, url)
