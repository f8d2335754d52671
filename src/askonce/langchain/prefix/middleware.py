"""`PrefixMiddleware`: the requests of an agent's model, changed for the provider's prompt cache.

agent = create_agent(model, tools, middleware=[PrefixMiddleware()])
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from langchain_core.language_models.chat_models import BaseChatModel

from askonce.errors import ConfigError
from askonce.langchain.prefix.optimizer import optimize_prefix
from askonce.prefix.optimize.optimizer import PrefixOptimizer

try:
    from langchain.agents.middleware import AgentMiddleware
except ModuleNotFoundError as error:
    raise ConfigError("an agent's middleware needs langchain: pip install langchain") from error


class PrefixMiddleware(AgentMiddleware[Any, Any, Any]):
    """An agent's middleware that mends what its model sends. A model that cannot be mended is left as it is.

    Args:
        mend: by default one that learns its plans.

    Attributes:
        mend: what changes the requests.
    """

    def __init__(self, optimizer: PrefixOptimizer | None = None) -> None:
        super().__init__()
        self.optimizer = optimizer or PrefixOptimizer()
        self._mended: tuple[BaseChatModel, BaseChatModel] | None = None

    def wrap_model_call(self, request: Any, handler: Callable[[Any], Any]) -> Any:
        """Ask the model with a mended request."""
        return handler(self._request(request))

    async def awrap_model_call(self, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
        """Ask the model with a mended request."""
        return await handler(self._request(request))

    def _request(self, request: Any) -> Any:
        known = self._mended
        if known is None or known[0] is not request.model:
            try:
                known = self._mended = request.model, optimize_prefix(request.model, self.optimizer)
            except ConfigError:
                return request
        return request.override(model=known[1])
