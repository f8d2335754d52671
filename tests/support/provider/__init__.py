"""An emulated provider: OpenAI and Anthropic with their prompt caches, for tests that drive real clients.

    with Provider(clock) as provider:
        client = openai.OpenAI(base_url=provider.openai_url, api_key="none")
        ...
        row = provider.ledger[-1]

It is written from the providers' own pages and shares no code with what it tests.
"""

from .answers import Answer, Call
from .models import MODELS, Model
from .prompt import compact, count
from .server import Provider, Row

__all__ = ["MODELS", "Answer", "Call", "Model", "Provider", "Row", "compact", "count"]
