"""Questions in other words are answered from the cache, with a bound on wrong answers.

A help desk is asked 1,000 questions on 12 matters, hardly one twice in the same words. At first each goes to the
model, and the cache learns which questions have the same answer; then it begins to serve.
"""

import random
from collections.abc import Iterator
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from offline_langchain import MiniLMEmbeddings

from askonce import Semantic
from askonce.langchain import AskOnceCache

MATTERS = {
    "password": ["reset my password", "get a new password", "recover my lost password"],
    "refund": ["get my money back", "be refunded for an order", "claim a refund"],
    "parcel": ["see where my parcel is", "track my package", "find out when my delivery comes"],
    "address": ["change my address", "tell you that I moved", "update where I live"],
    "invoice": ["download an invoice", "get a bill for my order", "have my receipt sent again"],
    "close": ["close my account", "delete my profile", "leave your shop for good"],
    "voucher": ["use a voucher", "redeem a gift card", "enter my discount code"],
    "return": ["send something back", "return an item", "give back what I ordered"],
    "card": ["pay by credit card", "add my card", "use another card to pay"],
    "warranty": ["have a broken device repaired", "use the warranty", "get a defect mended"],
    "newsletter": ["stop the newsletter", "unsubscribe from your e-mails", "get no more advertising"],
    "size": ["find my size", "know which size fits me", "choose the right size"],
}
OPENINGS = ["How do I", "How can I", "I want to", "Please help me to", "What must I do to", "Where can I"]
ENDINGS = ["?", " today?", " online?", " on my phone?", ", please?", " without calling you?", " from abroad?"]


def questions() -> Iterator[tuple[str, str]]:
    """Questions, each with its matter."""
    chance = random.Random(7)
    while True:
        matter = chance.choice(list(MATTERS))
        yield f"{chance.choice(OPENINGS)} {chance.choice(MATTERS[matter])}{chance.choice(ENDINGS)}", matter


class HelpDesk(BaseChatModel):
    """Stands in for a model that knows the answers."""

    @property
    def _llm_type(self) -> str:
        return "help-desk"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        text = messages[-1].text
        matter = next(name for name, ways in MATTERS.items() if any(way in text for way in ways))
        answer = AIMessage(f"See the page '{matter}'. {'It tells all about it. ' * 40}")
        return ChatResult(generations=[ChatGeneration(message=answer)])


cache = AskOnceCache("memory://", semantic=Semantic(MiniLMEmbeddings(), max_error=0.02))
model = HelpDesk(cache=cache)

hits = wrong = 0
shown = False
for number, (question, matter) in zip(range(1, 1001), questions(), strict=False):
    answer = model.invoke([("system", "You answer customers of a shop."), ("human", question)])
    mark = answer.response_metadata["askonce"]
    wrong += f"'{matter}'" not in answer.text
    hits += mark["hit"] != "none"
    if mark["hit"] == "semantic" and not shown:
        shown = True
        print(
            f"The first one served, after {number} requests:\n  request: {question}\n  matched: {mark['question']}"
        )
        print(f"  similarity {mark['similarity']}, right with probability {mark['probability']}")
    cache.flush()  # an application need not wait until each answer was judged
    if number % 200 == 0:
        print(f"{number:5} requests, {hits} answered from the cache, {wrong} wrongly")

learned = cache.stats().semantic
assert learned is not None
print(f"{learned.hits} semantic hits, {learned.audits} audits of which {learned.wrong_found} would have been wrong")
print(
    f"estimated share of wrong answers: {learned.estimated_error:.2%}"
    f" (between {learned.error_low:.2%} and {learned.error_high:.2%}); limit: {learned.max_error:.0%}"
)
print(f"{learned.questions} questions are indexed, {learned.saved_bytes:,} bytes of answers were not stored twice")
