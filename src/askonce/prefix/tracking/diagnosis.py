"""Why a request read no more from its provider's cache: one cause, and what it is worth.

A request *could have read* (``readable_tokens``) what it has in common with one that was sent lately. What it did
read is the provider's figure. The difference is lost, and has one cause, that which explains most of it:

* what stands before the first difference was sent lately, but is not read: *too short*, *not marked*, *out of
  look-back*, *expired*, *overflowed*, *model or parameter changed*;
* what stands behind the first difference was sent lately too: *broken by* the segment that differs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from askonce.entries.entry import NO_USAGE, Usage
from askonce.prefix.requests.chain import Chain
from askonce.prefix.requests.rules import ProviderRule
from askonce.prefix.tracking.difference import Difference, difference
from askonce.prefix.tracking.history import History
from askonce.prefix.tracking.losses import Cause as Cause
from askonce.prefix.tracking.losses import Loss, loss_of, tolerance
from askonce.prefix.tracking.prediction import Prediction, predict

_REMEDIES = {
    Cause.UNKNOWN: "let the provider report usage: streams do so only on request",
    Cause.TOO_SHORT: "nothing below {minimum} tokens is cached: bring what stays the same to the front",
    Cause.EXPIRED: "set a longer lifetime, or keep the prefix warm",
    Cause.NOT_MARKED: "put a breakpoint behind the last part that stays the same",
    Cause.OUT_OF_LOOK_BACK: "put one more breakpoint at most {lookback} blocks behind the last one",
    Cause.TOO_MANY_MARKS: "use no more than {marks} breakpoints",
    Cause.OVERFLOWED: "spread the requests over several prompt_cache_keys, at most {rate} a minute for each",
    Cause.SENT_TOGETHER: "wait for the first answer before further requests with the same prefix are sent",
    Cause.CHANGED: "keep {what} the same for requests that share a prefix",
    Cause.BROKEN: "keep {what} the same to the byte, or move it behind what stays the same",
    Cause.UNEXPLAINED: "nothing to change: another machine answered, or the provider evicted the prefix",
}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What became of one request; all numbers are tokens.

    Attributes:
        cause: why it read no more.
        readable_tokens: what it could have read without that cause.
        predicted_read_tokens: what it should have read by the rule, as it was sent.
        predicted_written_tokens: what it should have written, by lifetime.
        read_tokens: what it read, as the provider reported.
        written_tokens: what it wrote, as the provider reported.
        input_tokens: its length, as the provider reported, or else as estimated.
        segment: which segment broke the prefix; the label of `askonce.prefix.requests.chain.Segment`, or ``""``.
        level: where that stands, or ``""``.
        changed: what changed, for ``model or parameter changed``: ``model``, ``cache key`` or a parameter's name.
        difference: the smallest difference in the segment, with ``keep_text``.
        looks_like: what the difference looks like, also ``reordered tools`` and ``a changed image``, which show
            without a text.
        reported: the provider reported its usage; if not, nothing was read or lost as far as is known.
    """

    cause: Cause
    readable_tokens: int = 0
    predicted_read_tokens: int = 0
    predicted_written_tokens: Mapping[str, int] = field(default_factory=dict)
    read_tokens: int = 0
    written_tokens: int = 0
    input_tokens: int = 0
    segment: str = ""
    level: str = ""
    changed: str = ""
    difference: Difference | None = None
    looks_like: str = ""
    reported: bool = True

    @property
    def lost_tokens(self) -> int:
        """What could have been read and was not; of what is too short nothing could."""
        return 0 if self.cause is Cause.TOO_SHORT else max(0, self.readable_tokens - self.read_tokens)

    def agrees(self, chain: Chain, rule: ProviderRule) -> bool:
        """Whether the provider read what was predicted, within what an estimate of tokens may be off."""
        off = abs(self.read_tokens - self.predicted_read_tokens)
        return off <= tolerance(chain, rule, self.predicted_read_tokens)

    def remedy(self, rule: ProviderRule) -> str:
        """What to do about it; empty where there is nothing to do."""
        return _REMEDIES.get(self.cause, "").format(
            minimum=rule.minimum_tokens,
            lookback=rule.lookback_blocks,
            marks=rule.most_marks,
            rate=rule.requests_per_minute,
            what=self.changed or self.segment,
        )

    def __str__(self) -> str:
        where = {Cause.BROKEN: f"broken by {self.segment}", Cause.CHANGED: f"{self.changed} changed"}
        looks = f" ({self.difference or self.looks_like})" if self.difference or self.looks_like else ""
        return (
            f"{where.get(self.cause, self.cause.value)}{looks}: "
            f"read {self.read_tokens:,} of {self.readable_tokens:,} readable tokens"
        )


def diagnose(
    chain: Chain,
    history: History,
    rule: ProviderRule,
    usage: Usage | None,
    now: float,
    *,
    machine: int = 0,
    prediction: Prediction | None = None,
) -> Diagnosis:
    """Say what became of a request, before it is itself recorded in the history.

    Args:
        chain: the request.
        history: what was sent before.
        rule: its provider's rule.
        usage: what the provider reported; ``None`` if it reported nothing.
        now: when it was sent.
        machine: how many machines requests of the minute before filled, see `History.route`.
        prediction: what `predict` returned when it was sent.
    """
    with history.lock:
        here = predict(chain, rule, history.known(chain, machine), now)
        if prediction is None or here.read_tokens > prediction.read_tokens:
            prediction = here
        reported = usage is not None and usage.input_tokens > 0
        counted = usage if usage is not None and reported else NO_USAGE
        if not reported:
            return Diagnosis(
                Cause.UNKNOWN,
                predicted_read_tokens=prediction.read_tokens,
                predicted_written_tokens=prediction.written_tokens,
                input_tokens=chain.tokens,
                reported=False,
            )
        read = counted.cache_read_tokens
        loss = loss_of(chain, history, rule, prediction, read, machine, now)
    shown = _shown_difference(loss)
    return Diagnosis(
        cause=loss.cause,
        readable_tokens=max(loss.readable, read),
        predicted_read_tokens=prediction.read_tokens,
        predicted_written_tokens=prediction.written_tokens,
        read_tokens=read,
        written_tokens=counted.cache_write_tokens,
        input_tokens=counted.input_tokens,
        segment=loss.segment.label if loss.segment else "",
        level=loss.segment.level if loss.segment else "",
        changed=loss.changed,
        difference=shown,
        looks_like=loss.looks_like or (shown.looks_like if shown else ""),
    )


def _shown_difference(loss: Loss) -> Difference | None:
    old, new = loss.before, loss.segment
    if old is None or new is None or old.text is None or new.text is None:
        return None
    found = difference(old.text, new.text)
    return replace(found, looks_like=loss.looks_like) if loss.looks_like else found
