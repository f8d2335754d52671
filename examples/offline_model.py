"""A model that needs no key and no network: it answers with the sentences of its prompt that fit the question.

It stands in for a real model in the examples: it takes as long as one, reports the tokens of its prompt and
answer, and is priced as one. `offline_langchain` and `offline_llama_index` make it a model of each framework.
"""

import re
import time
from collections import Counter
from dataclasses import dataclass

PRICED_AS = "gpt-4.1"
"""The model whose price the stand-in pretends to have."""

_SMALL_WORDS = set("and are but can does for from has have how its not one should that the this use what "
                   "whats when where which why will with without you python".split())  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer and what it took."""

    text: str
    input_tokens: int
    output_tokens: int


def reply(context: str, question: str, delay: float = 1.0) -> Reply:
    """Answer a question.

    Args:
        context: the messages of others than the user.
        question: the last message of the user.
        delay: 1 to take as long as a real model (0.4 to 1.2 seconds), 0 to take no time.
    """
    text = _best_sentences(context, question) or "I was not told anything about that."
    answer = Reply(text, (len(context) + len(question)) // 4, len(text) // 4)
    time.sleep(delay * min(0.4 + 0.008 * answer.output_tokens, 1.2))
    return answer


def _best_sentences(context: str, question: str, count: int = 2) -> str:
    sentences = list(dict.fromkeys(re.split(r"(?<=[.!?]) +|\n+", context)))
    words = [_words(sentence) for sentence in sentences]
    frequency = Counter(word for each in words for word in each)
    wanted = _words(question)
    scores = [sum(1 / frequency[word] for word in each & wanted) for each in words]
    best = sorted(range(len(sentences)), key=lambda position: -scores[position])[:count]
    return " ".join(sentences[position] for position in sorted(best) if scores[position])


def _words(text: str) -> set[str]:
    """The words of a text without their endings, so that "copying" fits "copy"."""
    return {word[:4] for word in re.findall(r"[a-z0-9]{3,}", text.lower()) if word not in _SMALL_WORDS}
