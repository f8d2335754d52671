r"""The name of a request: two requests that must get the same answer have the same key, others never do.

A request is first brought to a *normal form*, plain data from which all that cannot change the answer is left
out and in which the same meaning is written in one way. Its key is the SHA-256 of that form and the namespace.
The rules, for both frameworks:

* Text: Unicode NFC, line ends as ``\n``. Nothing else of a text is changed: case and spaces matter.
* Numbers: ``1`` for ``1.0``. Bytes: by their SHA-256. Maps: sorted, but for the properties of a schema, in whose
  order models write: they are a list of names and values.
* Of a model's parameters: `NEUTRAL` ones are left out (timeouts, retries, callbacks, streaming, tracing, marks
  for the provider's prompt cache), credentials, and those that are ``None``. Within a parameter's value only
  credentials are left out; a schema and the variables of a prompt are part of it as a whole.
* Tools: sorted by name. The credential by which a hosted tool acts is left out where a namespace says for whom
  (`askonce.cache_options`); elsewhere it counts, by a digest.
* Messages: see ``askonce.keys.messages``.

What would share a form and differ must not be cached: `Uncacheable` is raised for values without a stable
representation, such as an object that shows nothing but its address.
"""

from __future__ import annotations

import enum
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

actor_is_named: ContextVar[bool] = ContextVar("askonce_actor_is_named", default=False)
"""A namespace of the running context says for whom requests are made: see `askonce.cache_options`."""

VERSION = 2
"""Of the normal form; part of every key, so that a change of the rules starts afresh."""

NEUTRAL = frozenset(
    (
        "timeout request_timeout default_request_timeout max_retries retries retry_min_seconds retry_max_seconds "
        "stream_chunk_timeout "
        "callbacks callback_manager verbose tags metadata rate_limiter cache client async_client root_client "
        "root_async_client http_client http_async_client http_socket_options custom_get_token_ids num_workers "
        "reuse_client show_progress profile ls_structured_output_format ls_provider ls_model_name "
        "streaming stream stream_usage stream_options disable_streaming include_response_headers "
        "prompt_cache_key prompt_cache_retention prompt_cache_options cache_control service_tier safety_identifier"
    ).split()
)
"""Parameters of a model or a call that cannot change its answer."""

_CREDENTIAL = re.compile(
    r"(^|_)(api_?key|subscription_?key|secret(_?key)?|access_?key(_?id)?|private_?key|password|passwd"
    r"|credentials?(_path)?|authorization|bearer|cookie|(api|access|auth|authorization|session|security|refresh|hf|hub"
    r"|bearer|id|ad)_?token(_provider)?)$|^token$"
)
# Names that mean a credential even among the data of an application, where a "token" or a "cookie" may be a word.
_CREDENTIAL_IN_DATA = re.compile(
    r"(^|_)(api_?key|subscription_?key|secret_?key|access_?key(_?id)?|private_?key"
    r"|(api|access|auth|authorization|session|refresh|hf|bearer|azure_?ad)_?token(_provider)?)$"
    r"|^((proxy|x)_)?authorization$"
)
_A_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_TIMEOUT = re.compile(r"(^|_)timeouts?(_|$)")
_TRACE_HEADERS = re.compile(
    r"traceparent|tracestate|baggage|b3|idempotency_key|sentry_trace|x_amzn_trace_id|x_cloud_trace_context"
    r"|(x_)?(client_)?(request|correlation|trace)_id|x_(b3|datadog|stainless)_.*|helicone_request_id|date"
    r"|accept(_encoding)?|connection|content_(length|type)"
)
"""Of one attempt, or of the transport."""
# Credentials by their usual places in headers and queries: Google's key, the signatures of S3, Azure and others.
_CREDENTIAL_IN_REQUEST = re.compile(
    r"(^|_)(auth|signature|sig|hmac|jwt|credential|nonce|secret|password|pwd|pass|token|authorization|functions_key"
    r"|litellm_key|auth_key|client_secret)$|^key$|^x_(amz|goog)_(date|expires|signed_?headers|algorithm|content_sha256)$"
    r"|^cf_access_client_id$"
)
_SIGNATURES = frozenset({"sig", "signature", "x_amz_signature", "x_goog_signature"})
_OF_A_SIGNATURE = re.compile(
    r"s[evprst]|sip|spr|ss|srt|ske?|skoid|sktid|skt|sks|skv|expires|policy|key_pair_id|googleaccessid|awsaccesskeyid"
    r"|ossaccesskeyid|x_amz_.*|x_goog_.*"
)
"""What a query holds beside a signature: until when and for what it is good."""
_DOUBLE_QUOTES, _SINGLE_QUOTES = (
    "\u201c\u201d\u201e\u201f\u00ab\u00bb\uff02",
    "\u2018\u2019\u201a\u201b\u2039\u203a\u02bc\uff07",
)
_QUOTES = str.maketrans(dict.fromkeys(_DOUBLE_QUOTES, '"') | dict.fromkeys(_SINGLE_QUOTES, "'"))
_QUOTED = (re.compile(r'(?<!\w)"([^"]*)"(?!\w)'), re.compile(r"(?<!\w)'([^']*)'(?!\w)"))  # no 5" pipe, no don't
_CLOSING = re.compile(r"(?:[\s.?\u2026\u3002\uff1f\uff61\u061f]|(?<!\d)[!\uff01])+$")  # no factorial: 5!
_PARAMETERS = frozenset({"model_kwargs", "additional_kwargs"})  # hold further parameters, sent beside the others
_QUERIES = frozenset({"default_query", "extra_query"})
_TOOLS = frozenset({"tools", "functions", "mcp_servers", "connectors"})
_HOSTED = re.compile(r"(\w+_)?(tools|connectors)|(mcp|tool)_servers|data_sources")
"""Names of fields that hold what a provider uses in its user's name; each class has its own: ``built_in_tools``."""
# What the application wrote itself: a field called "api_key" in a schema is meaning, not a credential.
_WRITTEN = _TOOLS | frozenset(
    "tool_choice response_format text_format stop variables schema json_schema input_schema output_schema "
    "response_schema response_json_schema guided_json properties $defs definitions parameters function "
    "own_fields".split()  # of an application's own class: no credential stands there as it is
)
_PROPERTIES = "properties"
_DEEPEST, _OBJECT_LEVELS = 100, 25
"""How deeply a value may be nested: at the interpreter's limit, finalizers of other objects would fail. An object
counts as several levels: what one makes of itself is seldom another one, and a mock makes ever more."""
_encoder = msgspec.json.Encoder(order="sorted")


class Uncacheable(Exception):
    """The request holds something whose meaning cannot be determined; it is not cached."""


class NormalForm(msgspec.Struct, frozen=True):
    """A request in normal form.

    Attributes:
        body: plain data.
        left_out: the paths of what was left out because it cannot change the answer.
        model: the name of the model, if known.
    """

    body: Mapping[str, Any]
    left_out: tuple[str, ...] = ()
    model: str | None = None

    def digest(self) -> bytes:
        """32 bytes that name the form, in any namespace."""
        return hashlib.sha256(encode(self.body)).digest()

    def plain_body(self) -> dict[str, Any]:
        """The body to be read: parts that are written out already (`msgspec.Raw`) are data again."""
        body: dict[str, Any] = msgspec.json.decode(encode(self.body))
        return body


def encode(body: Any) -> bytes:
    """The bytes of plain data in normal form (JSON with sorted keys)."""
    try:
        return _encoder.encode(body)
    except UnicodeError as error:
        raise Uncacheable("a text is not valid Unicode (not UTF-8?)") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise Uncacheable(f"not plain data: {type(error).__name__}") from error


def request_form(kind: str, model: Mapping[str, Any], left_out: Sequence[str] = (), **parts: Any) -> NormalForm:
    """A request's normal form.

    Args:
        kind: of the request, such as ``chat`` or ``completion``.
        model: which model with which parameters, from `model_form`.
        left_out: what was left out of the parts.
        parts: the rest, in normal form.
    """
    own = model.get("own_fields") or {}
    name = model.get("model") or model.get("model_name") or own.get("model") or own.get("model_name")
    body = {"version": VERSION, "kind": kind, "model": model, **parts}
    return NormalForm(body, tuple(left_out), name if isinstance(name, str) else None)


# -- plain data ------------------------------------------------------------------------------------------------


def text(value: str) -> str:
    """A text in normal form."""
    if type(value) is not str:  # frameworks have their own texts
        value = str.__str__(value)
    if "\r" in value:
        value = value.replace("\r\n", "\n").replace("\r", "\n")
    if value.isascii() or unicodedata.is_normalized("NFC", value):
        return value
    return unicodedata.normalize("NFC", value)


def question(value: str, *, ignore_case: bool = True, ignore_punctuation: bool = True) -> str:
    """A question to a retriever in normal form: as `text`, and all spaces are one.

    Args:
        value: the question.
        ignore_case: capitals do not matter.
        ignore_punctuation: neither the kind nor the presence of quotes around words matters, nor closing
            punctuation.
    """
    result = text(value)
    if ignore_punctuation:
        result = result.translate(_QUOTES)
        for quoted in _QUOTED:
            result = quoted.sub(r"\1", result)
        result = _CLOSING.sub("", result) or result
    if ignore_case:
        result = text(result.lower())  # not casefold: Maße are no Masse
    return " ".join(result.split())


def plain(value: Any, depth: int = 0) -> Any:
    """A value in normal form: text, numbers, booleans, ``None``, lists and maps with text keys.

    Args:
        value: any value.
        depth: how deeply it is nested in another one.

    Raises:
        Uncacheable: it holds something else, or is nested too deeply.
    """
    if isinstance(value, str):
        return text(str(value.value if isinstance(value, enum.Enum) else value))  # frameworks have their own texts
    if value is None or isinstance(value, (bool, int)):
        return value if not isinstance(value, enum.Enum) else value.value
    if isinstance(value, float):
        return _number(value)
    depth += 1
    if depth > _DEEPEST:
        raise _nested_too_deeply()
    if isinstance(value, Mapping):
        return {
            _name(key): _properties(item, depth) if key == _PROPERTIES else plain(item, depth)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [plain(item, depth) for item in value]
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"sha256": hashlib.sha256(value).hexdigest()}
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item, depth) for item in value), key=encode)
    return _object(value, depth + _OBJECT_LEVELS)


def _nested_too_deeply() -> Uncacheable:
    return Uncacheable(f"it is nested more than {_DEEPEST} deep")


def _properties(value: Any, depth: int) -> Any:
    """The properties of a schema, in their order."""
    if not isinstance(value, Mapping):
        return plain(value, depth)
    if depth + 1 > _DEEPEST:
        raise _nested_too_deeply()
    return [[_name(key), plain(item, depth + 1)] for key, item in value.items()]


def _number(value: float) -> int | float | str:
    if value != value or value in (float("inf"), float("-inf")):
        return repr(value)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _name(key: Any) -> str:
    return text(key) if isinstance(key, str) else encode(plain(key)).decode()


def _object(value: Any, depth: int) -> Any:
    """Objects with a meaning of their own: enumerations, schemas, models, and named functions."""
    if depth > _DEEPEST:
        raise _nested_too_deeply()
    if isinstance(value, enum.Enum):
        return plain(value.value, depth)
    schema = getattr(value, "model_json_schema", None)
    dump = getattr(value, "model_dump", None)
    try:
        if isinstance(value, type) and callable(schema):
            return plain(schema(), depth)
        if callable(dump) and not isinstance(value, type):
            return plain(dump(mode="json"), depth)
    except Uncacheable:
        raise
    except Exception as error:  # whatever its own code raises: the application is to go on
        # Not what the error says, which may quote the request: the reason is logged.
        reason = f"a {type(value).__qualname__} cannot be written as plain data: {type(error).__name__}"
        raise Uncacheable(reason) from error
    raise Uncacheable(f"a {type(value).__module__}.{type(value).__qualname__} has no stable representation")


# -- models and tools ------------------------------------------------------------------------------------------


def is_credential(name: str) -> bool:
    """Whether a parameter or header of that name holds a credential."""
    return _CREDENTIAL.search(_folded(name)) is not None


def model_form(parameters: Mapping[str, Any], left_out: list[str], path: str = "model") -> dict[str, Any]:
    """A model's parameters, or those of one call, in normal form.

    Args:
        parameters: name and value, as the framework holds them.
        left_out: the paths of what is left out are appended to it.
        path: where the parameters stand.

    Raises:
        Uncacheable: a value has no stable representation.
    """
    return _members(parameters, left_out, path, _of_parameters)


_Rule = Callable[[str, Any], bool]
"""Whether a member of a map, of that name and value, is left out: what a name means depends on where it stands."""


def is_neutral(name: str, value: Any = None) -> bool:
    """Whether a parameter of that name, and with that value, cannot change the answer."""
    return name in NEUTRAL or (_TIMEOUT.search(name) is not None and not isinstance(value, str))


def _of_parameters(name: str, value: Any) -> bool:
    return is_neutral(name, value) or is_credential(name)


def _of_headers(name: str, value: Any) -> bool:
    return is_credential_in_request(name) or _TRACE_HEADERS.fullmatch(_folded(name)) is not None


def is_credential_in_request(name: str) -> bool:
    """Whether a header or a member of a query of that name holds a credential."""
    return is_credential(name) or _CREDENTIAL_IN_REQUEST.search(_folded(name)) is not None


def _of_data(name: str, value: Any) -> bool:
    if isinstance(value, (Mapping, list, tuple, int, float)):
        return False
    if is_credential_in_data(name):
        return True
    return (is_neutral(name) or is_credential(name)) and _is_no_data(value)  # a client, callbacks, a hidden secret


def _of_tool(name: str, value: Any) -> bool:
    return _folded(name).startswith("authorization") or _of_data(name, value)


def _of_tool_headers(name: str, value: Any) -> bool:
    return _of_headers(name, value)


def is_credential_in_data(name: str) -> bool:
    """Whether a text of that name is a credential wherever it stands, among an application's own data, too."""
    return _CREDENTIAL_IN_DATA.search(_folded(name)) is not None


def _is_no_data(value: Any) -> bool:
    try:
        plain(value)
    except Uncacheable:
        return True
    return False


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")


def _members(
    values: Mapping[Any, Any], left_out: list[str], path: str, rule: _Rule, depth: int = 0
) -> dict[str, Any]:
    if depth > _DEEPEST:
        raise _nested_too_deeply()
    form: dict[str, Any] = {}
    for given, value in values.items():
        name = _name(given)
        where = f"{path}.{name}"
        if rule is _of_parameters and (value is None or (name in _TOOLS and value in ([], ()))):
            continue
        if rule(name, value):
            if _acts(name, rule) and (actor := _actor(name, value)):
                form[name] = actor
            else:
                left_out.append(where)
            continue
        member = _member(name, value, left_out, where, rule, depth + 1)
        if member or not (
            isinstance(value, Mapping) and value
        ):  # headers that held only a credential are no headers
            form[name] = member
    return form


def _acts(name: str, rule: _Rule) -> bool:
    """Whether what is left out under a name may say for whom the provider acts: it is not the caller's own."""
    return rule in (_of_tool, _of_tool_headers) or (rule is _of_data and is_credential_in_data(name))


def _actor(name: str, value: Any) -> dict[str, str] | None:
    """For whom the provider acts, by a digest of the credential; ``None`` if that stands elsewhere, or nobody."""
    if actor_is_named.get() or not value or _TRACE_HEADERS.fullmatch(_folded(name)):
        return None
    try:
        return {"credential": hashlib.sha256(b"askonce actor " + encode(plain(value))).hexdigest()}
    except Uncacheable as error:
        raise Uncacheable(f"the credential of a hosted tool has no stable form: {error}") from error


def _member(name: str, value: Any, left_out: list[str], path: str, rule: _Rule, depth: int) -> Any:
    if depth > _DEEPEST:
        raise _nested_too_deeply()
    if name == _PROPERTIES:
        return _properties(value, depth)
    if isinstance(value, str):
        if name in _WRITTEN or not _A_URL.fullmatch(value):
            return plain(value)
        url = _url(text(value), path, left_out, in_data=rule is _of_data)
        actor = _actor_in_url(value) if rule is _of_tool else None
        return {"url": url, **actor} if actor else url
    if isinstance(value, Mapping):
        if name in _QUERIES:
            secret = _secrets([(str(one), "") for one in value], in_data=False)
            left_out.extend(f"{path}.{one}" for one in sorted(secret))
            value = {one: item for one, item in value.items() if str(one) not in secret}
        if name in _QUERIES or f"_{_folded(name)}".endswith("_headers"):
            return _members(value, left_out, path, _of_tool_headers if rule is _of_tool else _of_headers, depth)
        if name in _WRITTEN:
            return plain(value, depth)
        if rule is _of_tool or _HOSTED.fullmatch(_folded(name)):
            return _members(value, left_out, path, _of_tool, depth)
        further = rule is _of_parameters and name in _PARAMETERS
        return _members(value, left_out, path, _of_parameters if further else _of_data, depth)
    if isinstance(value, (list, tuple)):
        if name in _TOOLS or _HOSTED.fullmatch(_folded(name)):
            return _tools(value, left_out, path, depth)
        if name not in _WRITTEN and rule is not _of_tool:
            return [
                _member("", item, left_out, f"{path}[{at}]", _of_data, depth + 1) for at, item in enumerate(value)
            ]
    return plain(value, depth)


def _tools(tools: Sequence[Any], left_out: list[str], path: str, depth: int) -> list[Any]:
    """Definitions of tools by name, without the credentials for a server of tools, with whole schemas."""
    forms = [
        _members(tool, left_out, f"{path}[{at}]", _of_tool, depth + 1)
        if isinstance(tool, Mapping)
        else plain(tool, depth + 1)
        for at, tool in enumerate(tools)
    ]
    return sorted(forms, key=_tool_order) if all(isinstance(form, dict) for form in forms) else forms


def _tool_order(tool: Any) -> tuple[str, bytes]:
    function = tool.get("function", tool) if isinstance(tool, dict) else {}
    name = function.get("name", "") if isinstance(function, dict) else ""
    return str(name), encode(tool)


def media_url(value: str) -> str:
    """The URL of a picture or file in normal form: without a signature, which may be another in each request."""
    return _url(text(value), "", [], in_data=True) if _A_URL.fullmatch(value) else text(value)


def _url(value: str, path: str, left_out: list[str], *, in_data: bool) -> str:
    """A URL without the credentials in it."""
    split = _split(value, in_data=in_data)
    if split is None:
        return value
    parts, query, secret = split
    host = parts.netloc.rpartition("@")[2]
    if host == parts.netloc and not secret:
        return value
    left_out.append(f"{path} (credentials)")
    cleaned = urlencode([(name, item) for name, item in query if name not in secret])
    return urlunsplit((parts.scheme, host, parts.path, cleaned, parts.fragment))


def _split(value: str, *, in_data: bool) -> tuple[SplitResult, list[tuple[str, str]], set[str]] | None:
    """A URL, its query, and the names in that of credentials; ``None`` if it is none."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    query = parse_qsl(parts.query, keep_blank_values=True)
    return parts, query, _secrets(query, in_data=in_data)


def _secrets(query: Sequence[tuple[str, str]], *, in_data: bool) -> set[str]:
    """The names in a query that hold a credential, or belong to a signature; in data, a "key" may be a word."""
    is_secret = is_credential_in_data if in_data else is_credential_in_request
    signed = any(_folded(name) in _SIGNATURES for name, _ in query)
    return {
        name
        for name, _ in query
        if is_secret(name)
        or (signed and (_folded(name) in _SIGNATURES or _OF_A_SIGNATURE.fullmatch(_folded(name))))
    }


def _actor_in_url(value: str) -> dict[str, str] | None:
    split = _split(value, in_data=False)
    if split is None:
        return None
    parts, query, secret = split
    credentials = [parts.netloc.rpartition("@")[0], *(item for name, item in query if name in secret)]
    return _actor("", credentials) if any(credentials) else None
