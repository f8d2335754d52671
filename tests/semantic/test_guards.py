"""Guards: a question that differs in what embeddings hardly show is never served, in twelve languages."""

from __future__ import annotations

from itertools import islice

import pytest

from askonce.semantic.decision.deltas import RuleSnapshot
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.types import IndexedQuery, Neighbour
from benchmarks import attacks
from tests.semantic.questions import key


def near(cached: str, answer: int = 1) -> list[Neighbour]:
    """Ten questions of one wording and answer, near to any question."""
    return [Neighbour(IndexedQuery(key(n), key(answer), "", bytes(16), cached), 0.98, 10) for n in range(10)]


@pytest.fixture(scope="module")
def learned() -> RuleSnapshot:
    """What a rule has learned that has seen only candidates that are right."""
    rule = DecisionRule(0.05)
    for number in range(1500):
        text = f"how do I see thing{number % 40}"
        rule.learn(rule.decide(text, near(text, answer=number % 40), 0.0), True)
    return rule.snapshot()[1]


@pytest.fixture
def trusting(learned: RuleSnapshot) -> DecisionRule:
    rule = DecisionRule(0.05)
    rule.restore(learned)
    return rule


def served(rule: DecisionRule, question: str, cached: str) -> bool:
    return rule.decide(question, near(cached), 0.999).action == "serve"


ENGLISH = {
    "incoming and outgoing": (
        "does the bank take a fee for an incoming transfer in dollars",
        "does the bank take a fee for an outgoing transfer in dollars",
    ),
    "domestic and international": (
        "how long does a domestic transfer to my own account take",
        "how long does an international transfer to my own account take",
    ),
    "refundable and not": ("can I change a refundable ticket", "can I change a non-refundable ticket"),
    "freeze and unfreeze": (
        "where in the app can I freeze the card of my child",
        "where in the app can I unfreeze the card of my child",
    ),
    "cities change places": ("what is a train from Berlin to Paris", "what is a train from Paris to Berlin"),
    "currencies change places": ("how do I exchange dollars to euros", "how do I exchange euros to dollars"),
    "people change places": ("did Ann lend money to Bob", "did Bob lend money to Ann"),
    "this month and last month": (
        "how much money did I spend in shops this month",
        "how much money did I spend in shops last month",
    ),
}
OTHER_LANGUAGES = {
    "German, negation": ("kann ich meine neue Karte teilen", "kann ich meine neue Karte nicht teilen"),
    "German, opposites": (
        "wie kann ich in der App die Karte aktivieren",
        "wie kann ich in der App die Karte deaktivieren",
    ),
    "German, numbers": ("kann ich in der App zwei Karten haben", "kann ich in der App drei Karten haben"),
    "Spanish, negation": ("puedo compartir mi nueva tarjeta", "nunca puedo compartir mi nueva tarjeta"),
    "Spanish, opposites": ("puedo activar mi tarjeta en la app", "puedo desactivar mi tarjeta en la app"),
    "Spanish, numbers": ("puedo tener dos tarjetas en la app", "puedo tener tres tarjetas en la app"),
    "Spanish, days": ("la tienda abre el lunes por la tarde", "la tienda abre el martes por la tarde"),
    "Spanish, months": ("la tienda abre en marzo por la tarde", "la tienda abre en mayo por la tarde"),
    "French, negation": ("je peux partager ma nouvelle carte", "je ne peux pas partager ma nouvelle carte"),
    "French, opposites": ("je veux activer ma carte avec mon code", "je veux désactiver ma carte avec mon code"),
    "French, days": ("le magasin est ouvert le lundi matin", "le magasin est ouvert le mardi matin"),
}


@pytest.mark.parametrize(("cached", "question"), ENGLISH.values(), ids=ENGLISH)
def test_a_question_of_the_opposite_is_never_served(cached: str, question: str, trusting: DecisionRule) -> None:
    assert (served(trusting, cached, cached), served(trusting, question, cached)) == (True, False)


@pytest.mark.parametrize(("cached", "question"), OTHER_LANGUAGES.values(), ids=OTHER_LANGUAGES)
def test_guards_work_in_other_languages(cached: str, question: str, trusting: DecisionRule) -> None:
    assert (served(trusting, cached, cached), served(trusting, question, cached)) == (True, False)


def test_attacks_by_rule_are_guarded_and_other_wordings_are_not() -> None:
    """The neighbours are five wordings of the other question, and the guards alone stand between."""
    count, _, missed = attacks.passed(attacks.attacks(), lambda attack: not attacks.is_guarded(attack))
    assert (count > 1500, [attack for attack in missed if attack.kind != "roles"]) == (True, [])
    assert len(missed) <= 0.003 * count
    count, _, refused = attacks.passed(islice(attacks.wordings(), 0, None, 5), attacks.is_guarded)
    assert len(refused) <= 0.05 * count
