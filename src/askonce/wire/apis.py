"""Which requests are known, and what of them cannot change the answer."""

from __future__ import annotations

import re
from typing import Literal
from urllib.parse import unquote

Api = Literal["chat", "messages", "responses", "embeddings"]
"""OpenAI's chat completions, Anthropic's messages, OpenAI's responses, and OpenAI's embeddings."""

_ENDINGS: tuple[tuple[str, Api], ...] = (
    ("/chat/completions", "chat"),
    ("/v1/messages", "messages"),
    ("/responses", "responses"),
    ("/embeddings", "embeddings"),
)

NEUTRAL = frozenset(
    "stream stream_options metadata safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options"
    " cache_control".split()
)
"""Members of a body that are no part of the key: how the answer is sent, labels for the provider's reports and
abuse detection, and its prompt cache. Reviewed: whatever is not here counts, known or not."""

STATE = frozenset("store previous_response_id conversation background".split())
"""Members of a body, if set, by which the provider stores or reads what is no part of the request."""

ECHOED = tuple("metadata safety_identifier prompt_cache_key prompt_cache_retention prompt_cache_options".split())
"""Members that are no part of the key, and that OpenAI's responses repeat."""

OF_ONE_TEXT = NEUTRAL | frozenset(
    "model input encoding_format dimensions output_dimension output_dimensionality output_dtype embedding_type"
    " embedding_types user task task_type input_type instruction prompt prompt_name normalized normalize"
    " normalize_embeddings truncate truncation truncation_side truncation_direction truncate_prompt_tokens"
    " max_tokens add_special_tokens priority service_tier provider timeout keep_alive cache_salt request_id".split()
)
"""Members of a request for embeddings with which the vector of a text does not depend on the texts beside it."""

_DEPLOYMENT = re.compile(r"/deployments/([^/]+)/")


def model_in(path: str) -> str | None:
    """The model that a path names, as Azure's do: what the body names does not count there."""
    found = _DEPLOYMENT.search(path)
    return None if found is None else unquote(found[1])


def api_of(method: str, path: str) -> Api | None:
    """The API that a request calls; ``None`` if it is none whose answers are cached.

    Args:
        method: of HTTP.
        path: of the URL, without the query. Before the ending there may be anything: ``/v1``, ``/openai/v1``,
            Azure's ``/openai/deployments/…``, the prefix of a gateway.
    """
    if method.upper() != "POST":
        return None
    path = path.rstrip("/")
    return next((api for ending, api in _ENDINGS if path.endswith(ending)), None)
