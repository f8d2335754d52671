"""Requests that are given as files, and their normal forms."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import typer

from askonce.cache import Cache
from askonce.cli.opened import stored_entry
from askonce.entries.entry import place_of
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, model_form, plain, request_form

PROMPT_FIELDS = ("messages", "prompt", "input")
"""The parts of a request body that hold the text of a request."""
BODY_ALONE = (
    "is the body of a request, and no entry has its key: name the application's model with --model. An entry of "
    "the proxy or the transport is named by its key: a hit has it in Cache-Status (key=…), `askonce ls` lists it"
)
STORED_BY_HAND = (
    "is a request that nobody has stored by AskOnceCache.update(prompt, llm_string) alone. What a model's call "
    "stored has another key, since the text tells less than the model: name that with --model"
)
_KEY_LENGTHS = (64, 32)
_PART_OF_KEY = re.compile("[0-9a-f…]{4,}")
Plain = str | Sequence[Mapping[str, Any]]
"""A prompt, or messages."""


def read_json(path: str) -> Any:
    """What a file of JSON holds; ``-`` is the standard input.

    Raises:
        ConfigError: it cannot be read.
    """
    text = text_of(path, hint="; a key has 64 hexadecimal digits" if _PART_OF_KEY.fullmatch(path) else "")
    return _parsed(text, _named(path))


def text_of(path: str, hint: str = "") -> str:
    """The text in a file, without the mark that editors of Windows put before it; ``-`` is the standard input.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return text.removeprefix("\ufeff")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {_named(path)}: {why}{hint}") from error


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(f"{where} is no JSON: {error}") from error


def _named(path: str) -> str:
    return "standard input" if path == "-" else path


def read_requests(path: str) -> Iterator[tuple[str, Plain]]:
    """The requests in a file, a JSON list or one JSON value a line, each with where it stands.

    Raises:
        ConfigError: it cannot be read, or one of them is no request.
    """
    text = text_of(path)
    name = _named(path)
    if text.lstrip().startswith("["):
        for number, value in enumerate(_parsed(text, name), 1):
            where = f"{name}, request {number}"
            yield where, plain_request(value, where)
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{name}, line {number}"
            yield where, plain_request(_parsed(line, where), where)


def plain_request(value: Any, where: str) -> Plain:
    """The prompt or the messages of a request that is sent to a model of the application.

    Args:
        value: the request, which may also have what cannot change its answer.
        where: it stands.

    Raises:
        ConfigError: it has none, or more than that: another request would be meant.
    """
    names = [name for name in PROMPT_FIELDS if name in value] if isinstance(value, dict) else []
    if isinstance(value, dict):
        others = {name: one for name, one in value.items() if name != (names or [""])[0]}
        counts = sorted(name for name, one in model_form(others, []).items() if one not in (None, [], {}))
        if names and counts:
            raise ConfigError(
                f"{where} has {', '.join(counts)}: with --model a request is {names[0]} alone, and all else is the "
                "model's. Leave it out, and set it on the model; or use cache.explain() in the application"
            )
    prompt = value[names[0]] if names else value
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(one, dict) and "role" in one for one in prompt):
        return prompt
    raise ConfigError(
        f'{where}: a request is a prompt, {{"prompt": …}}, or {{"messages": [{{"role": …, "content": …}}]}}'
    )


class Given(NamedTuple):
    """The normal form of a request that a user named.

    Attributes:
        form: it.
        if_absent: what to say where no entry has its key, since the request may be that of another one.
    """

    form: NormalForm
    if_absent: str = ""


def form_in(cache: Cache, given: str, model: str | None) -> Given:
    """The normal form of a request: of an entry that has it, by its key; or of one in a file of JSON.

    A file has a normal form, also as `key` and `show` print it, what LangChain gives its cache (``prompt``,
    ``llm_string``), or the body of a request. With the application's model the form is that of the model's request;
    without, that of the text or the body alone.

    Raises:
        ConfigError: it cannot be read, has no form, or the entry does not have its request.
    """
    if key := key_in(given):
        return Given(_form_of_entry(cache, key))
    value, where = read_json(given), _named(given)
    try:
        found = _given_in(value, model, where)
        form = cache.engine.without_ignored(found.form)
        form.digest()
    except Uncacheable as error:
        raise ConfigError(f"{where} is not cached: {error}") from error
    return Given(form, found.if_absent)


def _given_in(value: Any, model: str | None, where: str) -> Given:
    if (form := _printed_form(value, where)) is not None:
        return Given(form)
    if texts := _cache_texts(value, where):
        return _of_cache_texts(*texts, model, where)
    if model is None:
        return Given(_form_of_body(value), BODY_ALONE)
    return Given(_form_of_model(object_at(model), value, where))


def key_of(cache: Cache, given: str, model: str | None) -> bytes:
    """The key of the entry that a user named, by the key or by its request, in the namespace in effect.

    Raises:
        ConfigError: as `form_in`, or no entry is named.
    """
    if key := key_in(given):
        return key
    found = form_in(cache, given, model)
    place = place_of(cache.engine.namespace_in_effect(), found.form.digest())
    if found.if_absent and cache.store.get(*place) is None:
        raise ConfigError(f"{_named(given)} {found.if_absent}")
    return place.key


def _form_of_model(model: Any, value: Any, where: str) -> NormalForm:
    adapter = adapter_of(model)
    request = plain_request(value, where)
    try:
        form: NormalForm = adapter.form_of_request(model, adapter.request_of(model, request))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return form


def _printed_form(value: Any, where: str) -> NormalForm | None:
    """The form in what `askonce key --explain` or `askonce show` prints, alone or with all beside it."""
    if not isinstance(value, dict):
        return None
    if {"key", "namespace"} <= value.keys() and (held := {"form", "request"} & value.keys()):
        form = value[held.pop()]
        if not isinstance(form, dict):
            raise ConfigError(f"{where} does not have its request: Cache(store_requests=True) stores it")
        return NormalForm(form)
    return NormalForm(value) if {"version", "kind"} <= value.keys() else None


def _cache_texts(value: Any, where: str) -> tuple[str, str] | None:
    """Prompt and ``llm_string``, as LangChain gives them to its cache."""
    if not isinstance(value, dict):
        return None
    prompt, llm_string = value.get("prompt"), value.get("llm_string")
    if not (isinstance(prompt, str) and isinstance(llm_string, str)):
        return None
    if others := sorted(value.keys() - {"prompt", "llm_string"}):
        raise ConfigError(
            f"{where} has {', '.join(others)} beside prompt and llm_string, which are a whole request"
        )
    return prompt, llm_string


def _of_cache_texts(prompt: str, llm_string: str, path: str | None, where: str) -> Given:
    """What LangChain gives its cache: with the application's model of its call, else of what was stored by hand."""
    if path is None:
        from askonce.langchain.keys.llm_string import parameters_of
        from askonce.langchain.keys.requests import form_of

        return Given(form_of(prompt, parameters_of(llm_string)), STORED_BY_HAND)
    model = object_at(path)
    adapter = adapter_of(model)
    if not hasattr(adapter, "form_of_cached"):
        raise ConfigError(f"{where} has an llm_string, which is LangChain's, and --model {path} is LlamaIndex's")
    try:
        form: NormalForm = adapter.form_of_cached(model, prompt, llm_string)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    return Given(form)


def _form_of_body(value: Any) -> NormalForm:
    if not isinstance(value, dict):
        value = {"prompt": value}
    left_out: list[str] = []
    parameters = model_form({name: one for name, one in value.items() if name not in PROMPT_FIELDS}, left_out)
    prompt = {name: plain(value[name]) for name in PROMPT_FIELDS if name in value}
    return request_form("chat" if "messages" in prompt else "completion", parameters, left_out, **prompt)


def key_in(given: str) -> bytes:
    """The key that is written in hexadecimal, of an entry or of a document in `ls`; empty if it is none."""
    try:
        return bytes.fromhex(given) if len(given) in _KEY_LENGTHS else b""
    except ValueError:
        return b""


def _form_of_entry(cache: Cache, key: bytes) -> NormalForm:
    entry = stored_entry(cache, key)
    if entry is None:
        space = cache.engine.namespace_in_effect()
        raise ConfigError(f"there is no entry {key.hex()} in namespace {space!r}: `askonce ls` lists what is there")
    if not entry.form:
        raise ConfigError(
            f"the entry {key.hex()[:12]}… does not have its request: Cache(store_requests=True) stores it"
        )
    return NormalForm(json.loads(entry.form), model=entry.model)


def object_at(path: str) -> Any:
    """The application's object at ``module:name``; modules are found from the working directory, too.

    Raises:
        BadParameter: the path is of another form.
        ConfigError: there is none.
    """
    module, _, name = path.partition(":")
    if not module or not name:
        raise typer.BadParameter(f"--model is module:name, such as 'app.models:chat', got {path!r}")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"--model {path}: {error}") from error
    return found


def adapter_of(model: Any) -> ModuleType:
    """The module for requests to such a model."""
    packages = {kind.__module__.partition(".")[0] for kind in type(model).__mro__}
    return import_module(f"askonce.{'llama_index' if 'llama_index' in packages else 'langchain'}.warming")
