"""How an adapter follows the steps of a request: over functions that call models, synchronous or asynchronous."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any

from askonce.errors import ConfigError
from askonce.routing.router import Steps
from askonce.routing.types import Decide, ModelCall, ModelResponse, Step

Mark = dict[str, Any]


def decide(step: Decide) -> Any:
    """Call the function of a step.

    Raises:
        ConfigError: it is asynchronous.
    """
    result = step.function(*step.arguments)
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise ConfigError("an asynchronous verifier or judge, of a model that is called synchronously")
    return result


async def adecide(step: Decide) -> Any:
    """Asynchronous `decide`."""
    call = getattr(step.function, "acall", None) or step.function
    result = call(*step.arguments)
    return await result if inspect.isawaitable(result) else result


class Following:
    """The steps of a request, under way.

    Args:
        steps: the steps.

    Attributes:
        step: what is to be done next; ``None`` at the end.
        mark: of the answer, at the end.
    """

    def __init__(self, steps: Steps) -> None:
        self._steps = steps
        self.mark: Mark | None = None
        self.step: Step | None = None
        self._go(lambda: next(steps))

    def came(self, result: Any) -> None:
        """Go on with what came of the step."""
        self._go(lambda: self._steps.send(result))

    def failed(self, error: Exception) -> None:
        """Go on with what the step raised.

        Raises:
            Exception: that, if there is nothing else to do.
        """
        self._go(lambda: self._steps.throw(error))

    def close(self) -> None:
        """Leave the steps where they are."""
        self._steps.close()

    def _go(self, advance: Callable[[], Step]) -> None:
        try:
            self.step = advance()
        except StopIteration as end:
            self.step, self.mark = None, end.value


def follow(following: Following, call: Callable[[int], ModelResponse], *, until_final: bool = False) -> None:
    """Do the steps, to their end or until the model whose answer is to be streamed.

    Raises:
        Exception: what the last model that could be called raised.
    """
    try:
        while (step := following.step) is not None:
            if until_final and isinstance(step, ModelCall) and step.final:
                return
            try:
                result = call(step.index) if isinstance(step, ModelCall) else decide(step)
            except Exception as error:
                following.failed(error)
            else:
                following.came(result)
    except BaseException:
        following.close()
        raise


async def afollow(
    following: Following, call: Callable[[int], Awaitable[ModelResponse]], *, until_final: bool = False
) -> None:
    """Asynchronous `follow`."""
    try:
        while (step := following.step) is not None:
            if until_final and isinstance(step, ModelCall) and step.final:
                return
            try:
                result = await call(step.index) if isinstance(step, ModelCall) else await adecide(step)
            except Exception as error:
                following.failed(error)
            else:
                following.came(result)
    except BaseException:
        following.close()
        raise
