"""The one provider of all tests: OpenAI and Anthropic over HTTP with their prompt caches, for real clients.

    with Provider(clock) as provider:
        client = openai.OpenAI(base_url=provider.openai_url, api_key="none")
        ...
        row = provider.ledger[-1]

It is written from the providers' own pages and shares no code with what it tests.
"""

from .answers import Answer, Call, Usage
from .models import MODELS, Model
from .prompt import compact, count
from .server import Provider, Row
from .talk import USAGE, Talk

__all__ = ["MODELS", "USAGE", "Answer", "Call", "Model", "Provider", "Row", "Talk", "Usage", "compact", "count"]
