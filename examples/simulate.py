"""How large should the cache be, and what should it evict? A day of requests, logged, replayed against settings."""

import random
import tempfile
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from askonce import Cache
from askonce.langchain import cached
from askonce.simulate import draw, simulate

folder = Path(tempfile.mkdtemp())
log, dice = folder / "accesses.log", random.Random(1)


class Model(BaseChatModel):
    """A stand-in whose answers are as long, and cost as much, as those of the model that it names."""

    model: str

    @property
    def _llm_type(self) -> str:
        return "stand-in"

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        written = random.Random(messages[0].text).randrange(50, 800)
        usage = {"input_tokens": 1000, "output_tokens": written, "total_tokens": 1000 + written}
        text = random.Random(messages[0].text).randbytes(2 * written).hex()
        answer = AIMessage(text, usage_metadata=usage, response_metadata={"model_name": self.model})
        return ChatResult(generations=[ChatGeneration(message=answer)])


# An application like any other. It logs its requests: no text, only digests, sizes, costs and times.
with Cache("memory://", access_log=log) as cache:
    small, large = (cached(Model(model=name), cache) for name in ("gpt-4o-mini", "gpt-4o"))
    for _ in range(5000):
        number = min(int(dice.paretovariate(0.5)), 3000)  # some questions come often, many once
        (large if number % 5 == 0 else small).invoke(f"Question {number}?")

report = simulate(log, policies=["gdsf", "lru"])
print(f"{report.requests} requests would have cost ${report.cost_usd:.2f} without a cache")
for bound in report.bounds:
    row = {point.policy: f"{point.saved_share:.0%}" for point in report.points if point.size == bound.size}
    print(f"{bound.size / 1e6:6.2f} MB   saved: {row}   no cache can save more than {bound.saved_share:.0%}")
print(f"take max_bytes={report.best.size}, eviction={report.best.policy!r}")
draw(report, folder / "curves.svg")
