"""Several models as one, in both frameworks: a cascade, and a choice that is learned under a floor of quality."""

import random
import re
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.llms import ChatMessage, CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata

from askonce.langchain import Multiplexer
from askonce.llama_index import Multiplexer as LlamaIndexMultiplexer
from askonce.routing import Cascade, Learned

COSTS = (0.0004, 0.008)  # dollars for a call; of real models it is read off their usage and price


def calculate(question: str, digits: int) -> str:
    """Add or multiply, as a model does that knows only so many digits."""
    first, sign, second = re.search(r"(\d+) (plus|times) (\d+)", question).groups()
    result = int(first) + int(second) if sign == "plus" else int(first) * int(second)
    return str(result) if len(str(result)) <= digits else "a lot"


class Calculator(BaseChatModel):
    """Stands in for a chat model of LangChain."""

    model: str
    digits: int

    @property
    def _llm_type(self) -> str:
        return "calculator"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        answer = AIMessage(calculate(messages[-1].text, self.digits))
        return ChatResult(generations=[ChatGeneration(message=answer)])


class CalculatorLLM(CustomLLM):
    """Stands in for an LLM of LlamaIndex."""

    model: str
    digits: int

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=calculate(prompt, self.digits))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield self.complete(prompt, formatted)


def is_a_number(answer: AIMessage) -> bool:
    """A verifier: looks at the framework's own answer."""
    return answer.text.isdigit()


def same(question: str, answer: str, reference: str) -> bool:
    """A judge: would the cheap answer have done in place of the expensive one? A chat model can be one too."""
    return answer == reference


small, large = Calculator(model="small", digits=3), Calculator(model="large", digits=99)

model = Multiplexer([small, large], strategy=Cascade(is_a_number), costs=COSTS)
for question in ("What is 2 plus 2?", "What is 812 times 977?"):
    answer = model.invoke(question)
    mark = answer.response_metadata["askonce"]
    print(f"{question} {answer.text}  ({mark['model']}: {mark['why']})")

chance = random.Random(1)
questions = [f"What is {chance.randrange(400)} {chance.choice(['plus', 'times'])} 271?" for _ in range(600)]

learned = Learned(judge=same, min_quality=0.9, seed=1)
model = Multiplexer([small, large], strategy=learned, costs=COSTS, store="memory://")
for question in questions:
    answer = model.invoke(question)
model.feedback(answer, wrong=False)  # what the application knows is learned from too
stats = model.stats()
print(f"LangChain: calls {stats.calls}, {stats.saved_usd / stats.always_last_usd:.0%} saved,")
print(f"  {stats.quality:.1%} of the answers pass by estimate, {stats.quality_at_least:.1%} for sure")

llms = [CalculatorLLM(model="small", digits=3), CalculatorLLM(model="large", digits=99)]
llm = LlamaIndexMultiplexer(llms, strategy=learned, costs=COSTS, store="memory://")
for question in questions:
    llm.chat([ChatMessage(question)])
stats = llm.stats()
print(f"LlamaIndex: calls {stats.calls}, {stats.saved_usd / stats.always_last_usd:.0%} saved")
