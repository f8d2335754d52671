"""Strategies: plain values that say how a model is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from askonce.errors import ConfigError
from askonce.options import check_name
from askonce.routing.verifiers import Confidence, check_verifier, verifier_form


@dataclass(frozen=True, slots=True)
class Always:
    """One model answers everything.

    Attributes:
        index: which; -1 is the last, the dearest.
    """

    index: int = -1


@dataclass(frozen=True, slots=True)
class Cascade:
    """The cheapest model is called first; if the verifier does not accept its answer, the next is called too.

    Attributes:
        verifier: a pydantic class (the answer, or the arguments of its tool call, must be as it says), a function
            that takes the answer, a chat model that judges it, or a `Confidence`.
    """

    verifier: Any

    def __post_init__(self) -> None:
        check_verifier(self.verifier)


@dataclass(frozen=True, slots=True)
class Learned:
    """The cheapest model that is expected to do, learned from outcomes.

    The last model's answers are what the others are measured by. At least one source of outcomes is needed:

    * ``verifier``: each cheap answer is checked, and rejected ones are paid for in vain; what is learned is where
      to begin.
    * ``judge``: now and then a cheap answer is audited: the last model is called too, and the judge compares.
    * ``feedback``: the application calls ``multiplexer.feedback(answer, wrong=…)`` for every answer; until then a
      cheap answer counts as wrong.

    Attributes:
        min_quality: the share of all requests whose answer passes. With a verifier alone, it is not used: what
            is served was accepted, or is the last model's.
        confidence: with a judge, the probability that the share never falls below ``min_quality``.
        verifier: as of `Cascade`.
        judge: takes the question, the cheap answer and the last model's, all as texts, and says whether the cheap
            one would do; or a chat model that decides it.
        feedback: the application reports the outcome of every answer.
        embed: a vector for a text, such as ``embeddings.embed_query``; by default words are hashed.
        name: of what is learned, in the store; by default it follows from the models.
        seed: of the coin that decides on audits; by default it is not to be foreseen.

    Raises:
        ConfigError: there is no source of outcomes, or a share is no share.
    """

    min_quality: float = 0.95
    confidence: float = 0.95
    verifier: Any = None
    judge: Any = None
    feedback: bool = False
    embed: Callable[[str], Sequence[float]] | None = None
    name: str | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.verifier is None and self.judge is None and not self.feedback:
            raise ConfigError(
                "Learned needs to learn the outcome of answers: give a verifier, a judge, or feedback=True"
            )
        if self.verifier is not None:
            check_verifier(self.verifier)
        if isinstance(self.judge, (str, int, float, list, tuple, dict)):
            raise ConfigError(f"a judge is a function or a chat model, got {self.judge!r}")
        for name, share in (("min_quality", self.min_quality), ("confidence", self.confidence)):
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 < share < 1:
                raise ConfigError(f"{name} is a share between 0 and 1, got {share!r}")
        if self.name is not None:
            check_name("name", self.name)

    @property
    def measure(self) -> str:
        """What finds that served answers fail; what one counted says nothing about the floor of another."""
        return "judge" if self.judge is not None else "feedback" if self.feedback else "verifier"


Strategy = Always | Cascade | Learned


def check_strategy(strategy: Any, models: int) -> None:
    """See that a strategy suits so many models.

    Raises:
        ConfigError: it does not.
    """
    if not isinstance(strategy, Strategy):
        raise ConfigError(f"strategy is Always(…), Cascade(…) or Learned(…) of askonce.routing; got {strategy!r}")
    if models < 2:
        raise ConfigError(f"a Multiplexer takes two or more models, the cheapest first; got {models}")
    for given in (getattr(strategy, "verifier", None), getattr(strategy, "judge", None)):
        if not (given is None or callable(given) or isinstance(given, Confidence)):
            raise ConfigError(f"a {type(given).__name__} is no verifier and no judge of this framework's models")
    if isinstance(strategy, Always) and not -models <= strategy.index < models:
        raise ConfigError(f"Always({strategy.index}): there are {models} models")


def replaced(strategy: Strategy, wrap: Callable[[Any, str], Any]) -> Strategy:
    """The strategy with its verifier and judge as ``wrap`` makes them; it is given each and its role."""
    if isinstance(strategy, Always):
        return strategy
    verifier = None if strategy.verifier is None else wrap(strategy.verifier, "verifier")
    if isinstance(strategy, Cascade):
        return Cascade(verifier)
    judge = None if strategy.judge is None else wrap(strategy.judge, "judge")
    return replace(strategy, verifier=verifier, judge=judge)


def strategy_form(strategy: Strategy) -> dict[str, Any]:
    """A strategy in normal form, as far as it has a say in which answer is given.

    Raises:
        Uncacheable: the verifier cannot be named.
    """
    if isinstance(strategy, Always):
        return {"strategy": "always", "index": strategy.index}
    form = {"strategy": type(strategy).__name__.lower(), "verifier": verifier_form(strategy.verifier)}
    if isinstance(strategy, Learned):
        form["min_quality"] = strategy.min_quality
    return form
