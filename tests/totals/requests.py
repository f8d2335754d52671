"""A request of one answer, in a process that loads little else."""

from __future__ import annotations

from askonce import Cache
from askonce.entries.entry import Answer, Hit, Usage
from askonce.keys.normal_form import NormalForm

ANSWER = Answer(b"because", Usage(1000, 300), "gpt-4o")
USD = 1000 * 2.5e-6 + 300 * 10e-6
"""What it costs."""


def send(cache: Cache, question: object, answer: Answer | None = ANSWER, *, model: str = "gpt-4o") -> str:
    request = cache.engine.request("answer", lambda: NormalForm({"question": str(question)}, model=model))
    if request is None:
        return "bypassed"
    found = cache.engine.answer(request, lambda: answer, lambda one: one)
    return found.kind if isinstance(found, Hit) else "fresh"
