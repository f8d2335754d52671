"""What semantic caching compares: the question of a request, and the partition of everything else.

The question is the last message, if the user sent it and it is text alone; or the part that the application, or
the prompt's template, declares to be the question. The rest of the request (system prompt, earlier messages, tools,
model and parameters, namespace) must be equal for another answer to be used, and is digested into the partition.
There is no semantic lookup where more than the text of the question matters:

* the last message is not the user's (a tool's result, the assistant's own words), or holds tool results, images or
  files, or several texts;
* several answers are requested at once (``n``);
* the question is empty, or longer than `LONGEST`, of which embeddings see only the beginning;
* no question is declared, and a line that begins with ``Question:``, ``Context:`` and the like shows that the text
  is a filled-in template;
* there are earlier messages, and the question cannot be understood without them; see `is_elliptical`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, Literal

from askonce.keys.normal_form import encode, text
from askonce.provenance.prompt_parts import PromptParts
from askonce.semantic.types import Question

LONGEST = 2000
"""Characters of a question."""
_LONGEST_UNDECLARED = 1000
"""Characters of a message that is not declared a question: a longer one is likely a task with its material."""

NotCompared = Literal[
    "no messages", "several answers", "not a text of the user", "no question found", "follow-up"
]  # fmt: skip
"""Why a request is answered by equal requests alone."""

_SEVERAL = frozenset(
    "n candidate_count num_generations num_return_sequences number_of_results num_completions".split()
)
_PARAMETERS = frozenset("constructor call model_kwargs additional_kwargs generation_config extra_body".split())
_TEMPLATE_LINE = re.compile(
    r"^\W*(?:(?:user(?:'s)?|follow[- ]up|standalone|chat|retrieved) )?(?:question|query|input|context|documents?"
    r"|sources?|history|human|user|assistant|ai|answer)\W{0,3}(?: ?\d+)?(?::|>)|^context information is below",
    re.IGNORECASE | re.MULTILINE,
)

# -- the question ----------------------------------------------------------------------------------------------


def question_of(
    body: Mapping[str, Any],
    namespace: str,
    *,
    question: str | None = None,
    context: str | None = None,
    prompt_parts: PromptParts | None = None,
    scope: bytes | None = None,
    ignore: re.Pattern[str] | None = None,
) -> Question | NotCompared:
    """The question of a request, or why there is to be no semantic lookup.

    Args:
        body: a request's `askonce.keys.normal_form.NormalForm.body`, of kind ``chat`` or ``completion``.
        namespace: where its answer is stored.
        question: the question that the application declares; there is none if the last message does not contain it.
        context: the retrieved text that the application declares.
        prompt_parts: both as the prompt's template declares them; used for what the application does not declare,
            where the prompt contains it.
        scope: identifies the retrieval that found the context's documents, if all of them are known, so that a
            change of them invalidates the answer. Then the context need not be equal, but the scope must.
        ignore: what matches it in the other messages need not be equal.

    Raises:
        Uncacheable: the form is not plain data.
    """
    messages = messages_of(body)
    if not messages:
        return "no messages"
    if _requests_several(body):
        return "several answers"
    *earlier, last = messages
    content = last.get("content")
    if last.get("role") != "user" or last.get("tool_calls") or last.get("answers") or not _is_text(content):
        return "not a text of the user"
    background = _normal(context) or _normal(prompt_parts.context if prompt_parts else None)
    around_it = [part.split(background) if background else [part] for part in _texts(content)]
    declared = _declared(question, prompt_parts, around_it)
    found = _whole(around_it) if declared is None else declared
    if not found or len(found) > LONGEST:
        return "no question found"
    if _has_begun(earlier) and is_elliptical(found):
        return "follow-up"
    hidden = background if scope is not None else None
    rest = [[[""] * 2]]  # spaces around a whole message do not matter
    if declared is not None:
        parts = around_it if hidden else [[part] for part in _texts(content)]
        rest = [[piece.split(declared) for piece in pieces] for pieces in parts]
    known = [_without(message, hidden) for message in earlier]
    if ignore is not None:
        known = [{name: _cut(value, ignore) for name, value in message.items()} for message in known]
    conversation = [*known, {**last, "content": {"around": rest}}]
    outside = {**body, "prompt": None, "messages": conversation, "namespace": namespace}
    if hidden is not None and scope is not None:
        outside["scope"] = scope.hex()
    return Question(found, hashlib.sha256(encode(outside)).digest()[:16])


def _cut(content: Any, ignore: re.Pattern[str]) -> Any:
    """A content without what matches."""
    if isinstance(content, str):
        return ignore.sub("", content)
    if isinstance(content, list):
        return [_cut(part, ignore) for part in content]
    return (
        {name: _cut(value, ignore) for name, value in content.items()} if isinstance(content, Mapping) else content
    )


def _declared(question: str | None, prompt_parts: PromptParts | None, parts: list[list[str]]) -> str | None:
    """The declared question; empty if the application declares one that is not there."""
    if question is not None:
        declared = _normal(question)
        return declared if declared and _contain(parts, declared) else ""
    declared = _normal(prompt_parts.question if prompt_parts else None)
    return declared if declared and _contain(parts, declared) else None


def messages_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The messages of a request; of a completion its prompt."""
    if body.get("kind") == "completion" and isinstance(body.get("prompt"), str):
        return [{"role": "user", "content": body["prompt"]}]
    messages = body.get("messages") if body.get("kind") == "chat" else None
    return list(messages) if isinstance(messages, list) else []


def _requests_several(parameters: Mapping[str, Any]) -> bool:
    for name, value in parameters.items():
        if name in _SEVERAL and value not in (None, 0, 1):
            return True
        if isinstance(value, Mapping) and (name in _PARAMETERS or name == "model") and _requests_several(value):
            return True
    return False


def _normal(given: str | None) -> str | None:
    return (text(given).strip() or None) if given else None


def _is_text(content: Any) -> bool:
    if isinstance(content, str):
        return True
    return isinstance(content, list) and all(
        isinstance(part, Mapping) and part.keys() == {"type", "text"} and part["type"] == "text" for part in content
    )


def _texts(content: Any) -> list[str]:
    return [content] if isinstance(content, str) else [part["text"] for part in content]


def _contain(parts: list[list[str]], question: str) -> bool:
    return any(question in piece for part in parts for piece in part)


def _whole(parts: list[list[str]]) -> str | None:
    """The text of a message that is nothing but the question."""
    if len(parts) != 1 or len(parts[0]) != 1:
        return None
    whole = parts[0][0].strip()
    return None if len(whole) > _LONGEST_UNDECLARED or _TEMPLATE_LINE.search(whole) else whole


def _without(value: Any, hidden: str | None) -> Any:
    """An earlier message without the hidden text."""
    if hidden is None:
        return value
    if isinstance(value, str):
        pieces = value.split(hidden)
        return value if len(pieces) == 1 else {"around": pieces}
    if isinstance(value, Mapping):
        return {name: _without(item, hidden) for name, item in value.items()}
    return [_without(item, hidden) for item in value] if isinstance(value, list) else value


# -- follow-ups ------------------------------------------------------------------------------------------------

_FEWEST_WORDS = 4
_BEGINNINGS = re.compile(
    r"(?:and|but|or|so|also|then|plus|why|ok|okay|yes|yeah|yep|no|nope|sure|thanks|thank you|continue|go on|more"
    r"|again|instead|same|now|next|else|what about|what of|what else|what if|how about|how come|how so|which one"
    r"|which ones|tell me more|in that case|if so|if not)\b",
    re.IGNORECASE,
)
_REFERENCES = re.compile(
    r"\b(?:it|its|it's|itself|this|that|that's|these|those|they|they're|them|their|theirs|he|him|his|she|her|hers"
    r"|there|here|one|ones|both|former|latter|above|below|previous|previously|earlier|aforementioned|same|such|other"
    r"|others|another|again|else|instead|too|either|neither|your answer|you said|you mentioned|you wrote)\b",
    re.IGNORECASE,
)
# Words that look like references and are none.
_NO_REFERENCES = re.compile(
    r"\b(?:is|are|was|were|will|would) there\b|\bthere (?:is|are|was|were|will)\b"
    r"|\bis it (?:possible|necessary|allowed|safe|legal|true) (?:to|for|that)\b"
    r"|\b(?:does|did|will|would) it (?:take|cost) (?:me |you )?(?:to|for)\b|\bone of (?:the|my|your)\b",
    re.IGNORECASE,
)


def is_elliptical(question: str) -> bool:
    """Whether a question may need the conversation before it to be understood. In doubt, yes.

    So are texts of less than four words; those that begin as only an answer or an addition does ('and', 'but',
    'why', 'what about', 'ok', …); and those with a word that refers to something (pronouns, 'there', 'the other',
    'above', 'again', …), save in phrases where it refers to nothing ('is there', 'is it possible to', 'does it take
    to'). The lists are English; of a text in another language only the length counts.
    """
    words = question.split()
    if len(words) < _FEWEST_WORDS or _BEGINNINGS.match(question.lstrip(" \"'([{-–—.…¿¡")):
        return True
    return _REFERENCES.search(_NO_REFERENCES.sub(" ", question)) is not None


def _has_begun(earlier: list[Mapping[str, Any]]) -> bool:
    return any(message.get("role") not in ("system", "developer") for message in earlier)
