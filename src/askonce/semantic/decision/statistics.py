"""What a semantic cache can say about itself."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SemanticStatistics:
    """Counts over all requests of all processes that share what they learn, as far as they are known here.

    Errors are shares of all requests.

    Attributes:
        requests: questions that were compared.
        hits: those answered with a known answer.
        audits: would-be hits that were sent to the model all the same.
        unjudged: audits without a judgement so far; they are counted as if they had been found wrong.
        labels: judged candidates.
        wrong_found: audits that were judged wrong.
        told_wrong: served answers that the application called wrong.
        estimated_error: wrong answers served, estimated without bias from the audits, and at least those told.
        error_low: lower end of an interval around it that holds at every moment with `confidence`.
        error_high: its upper end.
        certified_error: upper bound that holds at every moment with `confidence`, one-sided.
        confidence: as the rule was given it.
    """

    requests: int
    hits: int
    audits: int
    unjudged: int
    labels: int
    wrong_found: int
    told_wrong: int
    estimated_error: float
    error_low: float
    error_high: float
    certified_error: float
    confidence: float
