"""Requests that are given as files, and their normal forms."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import typer

from askonce.cache import Cache
from askonce.cli.opened import stored_entry
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm, Uncacheable, model_form, plain, request_form

PROMPT_FIELDS = ("messages", "prompt", "input")
"""The parts of a request body that hold the text of a request."""
Plain = str | Sequence[Mapping[str, Any]]
"""A prompt, or messages."""


def read_json(path: str) -> Any:
    """What a file of JSON holds; ``-`` is the standard input.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
        return json.loads(text)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is no JSON: {error}") from error


def read_requests(path: str) -> list[Plain]:
    """The requests in a file: a JSON list, or one JSON value a line.

    Raises:
        ConfigError: it cannot be read, or one of them is no request.
    """
    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from error
    found: list[Plain] = []
    if text.lstrip().startswith("["):
        rows = [(1, text)]
    else:
        rows = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    for number, line in rows:
        try:
            value = json.loads(line)
        except ValueError as error:
            raise ConfigError(f"{path}, line {number}: no JSON: {error}") from error
        found += [plain_request(one) for one in value] if line is text else [plain_request(value)]
    return found


def plain_request(value: Any) -> Plain:
    """The prompt or the messages of a request.

    Raises:
        ConfigError: it has none.
    """
    prompt = (
        next((value[name] for name in PROMPT_FIELDS if name in value), None) if isinstance(value, dict) else value
    )
    if isinstance(prompt, str) and prompt:
        return prompt
    if isinstance(prompt, list) and prompt and all(isinstance(one, dict) and "role" in one for one in prompt):
        return [{"role": one["role"], "content": one.get("content") or ""} for one in prompt]
    raise ConfigError('a request is a prompt, {"prompt": …}, or {"messages": [{"role": …, "content": …}]}')


def form_in(cache: Cache, given: str, model: str | None) -> NormalForm:
    """The normal form of a request: of an entry that has it, by its key; or of one in a file of JSON.

    A file has a normal form, what LangChain gives its cache (``prompt``, ``llm_string``), or the body of a request.
    With the application's model it is the form of that model's request; without, of the body alone.

    Raises:
        ConfigError: it cannot be read, has no form, or the entry does not have its request.
    """
    if key := key_in(given):
        return _form_of_entry(cache, key)
    value = read_json(given)
    try:
        if model is not None:
            found = object_at(model)
            return cache.engine.without_ignored(adapter_of(found).form_of_plain(found, plain_request(value)))
        return cache.engine.without_ignored(_form_of(value))
    except Uncacheable as error:
        raise ConfigError(f"not cached: {error}") from error


def _form_of(value: Any) -> NormalForm:
    if not isinstance(value, dict):
        value = {"prompt": value}
    if {"version", "kind"} <= value.keys():
        return NormalForm(value)
    if isinstance(value.get("llm_string"), str) and isinstance(value.get("prompt"), str):
        from askonce.langchain.keys.llm_string import parameters_of
        from askonce.langchain.keys.requests import form_of

        return form_of(value["prompt"], parameters_of(value["llm_string"]))
    left_out: list[str] = []
    parameters = model_form({name: one for name, one in value.items() if name not in PROMPT_FIELDS}, left_out)
    prompt = {name: plain(value[name]) for name in PROMPT_FIELDS if name in value}
    return request_form("chat" if "messages" in prompt else "completion", parameters, left_out, **prompt)


def key_in(given: str) -> bytes:
    """The key that is written in hexadecimal; empty if it is none."""
    try:
        return bytes.fromhex(given) if len(given) == 64 else b""
    except ValueError:
        return b""


def _form_of_entry(cache: Cache, key: bytes) -> NormalForm:
    entry = stored_entry(cache, key)
    if entry is None:
        raise ConfigError(f"there is no entry {key.hex()} in this namespace")
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
