"""The proxy under requests made of its own OpenAPI document, right ones and wrong ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")

from hypothesis import HealthCheck, Phase, given, settings  # noqa: E402
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.specs.openapi import checks  # noqa: E402

from tests.httpx.upstream import Received, Scripted, Upstream, completion  # noqa: E402
from tests.support import proxies  # noqa: E402


def replied(received: Received) -> Scripted:
    """A provider that does not take what is no object, and no other path than those that are described."""
    try:
        is_request = isinstance(received.json, dict)
    except ValueError:
        is_request = False
    if is_request and received.path.startswith("/v1/"):
        return Scripted([json.dumps(completion()).encode()])
    return Scripted([b'{"error": {"message": "no"}}'], 400)


@pytest.fixture(scope="module")
def openapi(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with Upstream(replied) as upstream:
        proxy = proxies.start(upstream.url, folder=tmp_path_factory.mktemp("proxy"))
        yield schemathesis.openapi.from_url(f"{proxy.url}/askonce/openapi.json")
        assert proxy.stop() == 0 and "Traceback" not in proxy.log.read_text(), proxy.log.read_text()


OPERATIONS: list[tuple[str, str]] = [
    *(("POST", f"/v1/{path}") for path in ("chat/completions", "responses", "messages", "embeddings")),
    *(("GET", path) for path in ("/health", "/ready", "/askonce/stats", "/askonce/openapi.json")),
]
RIGHT = [(GenerationMode.POSITIVE, *one) for one in OPERATIONS]
WRONG = [(GenerationMode.NEGATIVE, *one) for one in OPERATIONS if one[0] == "POST"]  # the others take nothing


@pytest.mark.parametrize(("mode", "method", "path"), [*RIGHT, *WRONG], ids=str)
def test_each_response_is_one_that_the_document_has(mode: Any, method: str, path: str, openapi: Any) -> None:
    operation = openapi[path][method]
    documented = {int(status) for status in operation.definition.raw["responses"] if status != "default"}

    @settings(max_examples=60, deadline=None, suppress_health_check=[*HealthCheck], phases=[Phase.generate])
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        response = case.call(headers={"Authorization": "Bearer sk-1"}, timeout=30)
        assert response.status_code in documented - {500, 502}, response.content
        case.validate_response(
            response,
            checks=[
                checks.content_type_conformance,
                checks.response_headers_conformance,
                checks.response_schema_conformance,
            ],
        )

    check()


def test_all_of_the_document_is_tried(openapi: Any) -> None:
    described = {(method.upper(), path) for path, item in openapi.raw_schema["paths"].items() for method in item}
    assert described == set(OPERATIONS)
