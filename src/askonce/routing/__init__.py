"""Which model answers: strategies, what they learn, and the floor under quality. Independent of any framework.

    Always(0)                      one model for everything
    Cascade(verifier)              the cheapest first, the next if the verifier says no
    Learned(judge=…, min_quality=0.95)   the cheapest that is expected to do, learned while it runs

The models themselves are called by ``askonce.langchain.Multiplexer`` and ``askonce.llama_index.Multiplexer``, which
follow the steps of a `Router`.
"""

from askonce.routing.strategies import Always, Cascade, Learned, Strategy
from askonce.routing.verifiers import Confidence
from askonce.stats import RoutingStats

__all__ = ["Always", "Cascade", "Confidence", "Learned", "RoutingStats", "Strategy"]
