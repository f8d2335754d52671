"""The names of requests, as LangChain hands them to a cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from askonce.keys.messages import Conversation
from askonce.keys.normal_form import VERSION, NormalForm, request_form, text
from askonce.langchain.keys.messages import conversation_of, conversation_of_messages
from askonce.langchain.keys.model import Parameters
from askonce.stores.fork import fork_lock

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

CHAT, COMPLETION = "chat", "completion"


def form_of(prompt: str, parameters: Parameters) -> NormalForm:
    """The normal form of a request.

    Raises:
        Uncacheable: it holds something without a stable representation.
    """
    conversation = conversation_of(prompt)
    if conversation is None:
        return request_form(COMPLETION, parameters.form, parameters.left_out, prompt=text(prompt))
    left_out = (*parameters.left_out, *conversation.left_out)
    return request_form(CHAT, parameters.form, left_out, **_parts(conversation, parameters))


def form_of_messages(messages: Iterable[BaseMessage], parameters: Parameters) -> NormalForm:
    """The form of a request to a chat model."""
    conversation = conversation_of_messages(messages)
    if parameters.continues:
        return _form(CHAT, parameters, conversation.left_out, **_parts(conversation, parameters))
    return _form(CHAT, parameters, conversation.left_out, messages=conversation.messages)


def form_of_prompt(prompt: str, parameters: Parameters) -> NormalForm:
    """The form of a request to a completion model."""
    return _form(COMPLETION, parameters, (), prompt=text(prompt))


def _parts(conversation: Conversation, parameters: Parameters) -> dict[str, object]:
    parts: dict[str, object] = {"messages": conversation.messages}
    if parameters.continues and conversation.continues:
        parts["continues"] = conversation.continues
    return parts


def _form(kind: str, parameters: Parameters, left_out: Sequence[str], **parts: object) -> NormalForm:
    # The parameters are written out already; the bytes are the same as those of the whole form.
    return NormalForm(
        {"version": VERSION, "kind": kind, "model": msgspec.Raw(parameters.encoded), **parts},
        (*parameters.left_out, *left_out),
        parameters.name,
    )


_ENTRY_CHARACTERS = 300
"""What a remembered digest takes beside the texts, in characters of theirs."""


class Digests:
    """Digests of the forms of prompts to models, those named lately remembered. Thread-safe.

    Args:
        characters: how long the remembered prompts and descriptions of models may be together. Prompts are many
            and models few, so that of these one object is held, and counted, for all prompts.
    """

    def __init__(self, characters: int = 4_000_000) -> None:
        self._room = characters
        self._lock = fork_lock()
        self._known: OrderedDict[tuple[str, bytes], bytes] = OrderedDict()
        self._models: dict[bytes, tuple[bytes, int]] = {}  # each model: the object, and for how many prompts

    def of(self, prompt: str, read_parameters: Callable[[], Parameters]) -> tuple[bytes, str | None]:
        """The digest of the form of a request, and the model's name if it is known.

        Raises:
            Uncacheable: it holds something without a stable representation.
        """
        parameters = read_parameters()
        model = parameters.encoded + b"continues" if parameters.continues else parameters.encoded
        digest = self._known.get((prompt, model))
        if digest is None:
            conversation = conversation_of(prompt)
            if conversation is None:
                digest = form_of_prompt(prompt, parameters).digest()
            else:
                digest = _form(CHAT, parameters, (), **_parts(conversation, parameters)).digest()
            self._remember(prompt, model, digest)
        return digest, parameters.name

    def _remember(self, prompt: str, encoded: bytes, digest: bytes) -> None:
        with self._lock:
            model, prompts = self._models.get(encoded, (encoded, 0))
            if (prompt, model) in self._known:
                return
            self._known[prompt, model] = digest
            self._models[model] = model, prompts + 1
            self._room -= len(prompt) + _ENTRY_CHARACTERS + (0 if prompts else len(model))
            while self._room < 0:
                self._forget_the_oldest()

    def _forget_the_oldest(self) -> None:
        (prompt, model), _ = self._known.popitem(last=False)
        prompts = self._models[model][1] - 1
        self._room += len(prompt) + _ENTRY_CHARACTERS
        if prompts:
            self._models[model] = model, prompts
        else:
            del self._models[model]
            self._room += len(model)
