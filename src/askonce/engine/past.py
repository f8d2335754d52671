"""Past questions and answers, stored and learned from before anything is served."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

from askonce.concurrency.drivers import SyncDriver, run
from askonce.engine.engine import CacheEngine
from askonce.engine.request import Leader
from askonce.entries.entry import Answer, Miss
from askonce.errors import ConfigError
from askonce.keys.normal_form import NormalForm
from askonce.semantic.types import LearnReport

if TYPE_CHECKING:
    from askonce.semantic.semantic_cache import SemanticCache

RequestT = TypeVar("RequestT")
_COMPARE_SECONDS = 600.0


def learn(
    engine: CacheEngine,
    pairs: Iterable[tuple[RequestT, str]],
    form: Callable[[RequestT], NormalForm],
    pack: Callable[[RequestT, str], Answer | None],
    compared: int,
) -> LearnReport:
    """Store the answers to past requests, and have the judge compare those to questions that are near.

    Args:
        engine: with semantic caching.
        pairs: requests and the texts of their answers, oldest first.
        form: makes the normal form of a request.
        pack: turns the answer to a request into what is stored.
        compared: so many of the latest are compared.

    Raises:
        ConfigError: semantic caching is off, or an argument is wrong.
        StoreUnavailable: the store failed.
        Exception: what the embeddings raise, and what ``form`` raises.
    """
    semantic = engine.flow.semantic
    if semantic is None:
        raise ConfigError("learn teaches semantic caching: make the cache with semantic=Semantic(…)")
    if isinstance(compared, bool) or not isinstance(compared, int) or compared < 0:
        raise ConfigError(f"compared is a whole number from 0 on, got {compared!r}")
    all_ = _checked(pairs)
    (calls, usd), stored, with_judge = semantic.spent(), 0, 0
    before = copy(semantic.verdicts)
    driver = SyncDriver(engine.breaker)
    for number, (question, answer) in enumerate(all_):
        compare = number >= len(all_) - compared
        done = run(_store(driver, engine, semantic, form(question), pack(question, answer), compare))
        stored, with_judge = stored + done, with_judge + (done and compare)
        semantic.finish_learning(_COMPARE_SECONDS)
    engine.flush(_COMPARE_SECONDS)
    now = semantic.spent()
    after = semantic.verdicts
    return LearnReport(
        stored,
        with_judge,
        now[0] - calls,
        now[1] - usd,
        undecided=after.undecided - before.undecided,
        judge_failures=after.failed - before.failed,
    )


def _checked(pairs: Iterable[Any]) -> Sequence[tuple[Any, str]]:
    all_ = list(pairs)
    for pair in all_:
        is_pair = isinstance(pair, (tuple, list)) and len(pair) == 2
        if is_pair and isinstance(pair[0], Mapping):
            raise ConfigError("a past request is a prompt or a list of messages, not one message: put it in a list")
        if not (is_pair and pair[0] is not None and isinstance(pair[1], str) and pair[1].strip()):
            raise ConfigError("learn takes pairs of a request and the text of its answer")
    return all_


async def _store(
    driver: SyncDriver,
    engine: CacheEngine,
    semantic: SemanticCache,
    form: NormalForm,
    answer: Answer | None,
    compare: bool,
) -> bool:
    """Store an answer and index its question; returns whether it did: not if the request has an answer."""
    request = engine.request("answer", lambda: form, from_sources=False, semantic=True)
    if request is None or answer is None:
        return False
    data = engine.store.get(*request.place)
    if data is not None and engine.flow.lookup.usable(request.place, data) is not None:
        return False
    attempt = await semantic.past(driver, request.place.namespace, request.form, compare=compare)
    await engine.flow.complete(driver, request, Leader(Miss("absent"), attempt=attempt), lambda: answer)
    return True
