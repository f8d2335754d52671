"""What semantic hits have to do and do not do yet."""

from __future__ import annotations

import pytest

from askonce.semantic import Comparison, EmbeddingJudge
from askonce.semantic.decision.deltas import RuleSnapshot
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.embedding import Embedder
from askonce.semantic.types import IndexedQuery, Neighbour
from examples.minilm import MiniLM
from tests.semantic.questions import key

# -- the judge -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judge() -> EmbeddingJudge:
    model = MiniLM()
    return EmbeddingJudge(Embedder(lambda text: model.embed([text])[0], model="MiniLM"))


PIN = "Open Security in the app, then pick Change: there your PIN is handled. It usually takes 4 working days."
SAME = {
    "a sentence with not, beside the matter": (PIN, f"{PIN} You do not need to do anything else."),
    "a courtesy with not": (
        "The refund takes 3 days to reach your account.",
        "Don't worry, the refund takes 3 days to reach your account.",
    ),
    "a negation in another word": (
        "You can't cancel an order once it has been shipped.",
        "Cancelling an order is impossible once it has been shipped.",
    ),
    "numbers in digits and in words": (
        "A transfer abroad takes 5 to 7 business days to arrive.",
        "A transfer abroad takes five to seven business days to arrive.",
    ),
    "the name of a button in quotes and bare": (
        'To stop it at once, choose "Freeze card" in the menu of the card.',
        "Choose Freeze card in the menu of the card to stop it at once.",
    ),
    "another name of one thing": (
        "You can get cash at every cash machine in the country for free.",
        "You can get cash at every ATM in the country for free.",
    ),
}
OTHER = {
    "people change places": (
        "Alice has to send the money to Bob by Friday.",
        "Bob has to send the money to Alice by Friday.",
    ),
    "cities change places": (
        "The train goes from Berlin to Paris every morning.",
        "The train goes from Paris to Berlin every morning.",
    ),
    "enable and disable": (
        "Open the settings of your phone, choose mobile network, then enable roaming. It works at once.",
        "Open the settings of your phone, choose mobile network, then disable roaming. It works at once.",
    ),
    "freeze and unfreeze": (
        "Open the app, choose the card that you mean, and freeze it there. It works at once, in all shops.",
        "Open the app, choose the card that you mean, and unfreeze it there. It works at once, in all shops.",
    ),
    "morning and evening": (
        "The shop opens every morning at the main station.",
        "The shop opens every evening at the main station.",
    ),
    "incoming and outgoing": (
        "There is a fee for incoming transfers from abroad, which the bank takes off the amount.",
        "There is a fee for outgoing transfers abroad, which the bank takes off the amount.",
    ),
}


def verdict(judge: EmbeddingJudge, fresh: str, known: str) -> bool | None:
    return judge(Comparison("What is asked?", "What was asked?", fresh, known))


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the default judge calls the same facts in other words different, so that hardly anything becomes a hit",
)
@pytest.mark.parametrize(("fresh", "known"), SAME.values(), ids=SAME)
def test_the_default_judge_accepts_the_same_facts_in_other_words(
    fresh: str, known: str, judge: EmbeddingJudge
) -> None:
    assert verdict(judge, fresh, known) is True


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the default judge calls other facts in nearly the same words the same: word order and opposites",
)
@pytest.mark.parametrize(("fresh", "known"), OTHER.values(), ids=OTHER)
def test_the_default_judge_sees_other_facts_in_nearly_the_same_words(
    fresh: str, known: str, judge: EmbeddingJudge
) -> None:
    assert verdict(judge, fresh, known) is False


# -- the rule ------------------------------------------------------------------------------------------------------


def near(known: str, answer: int = 1) -> list[Neighbour]:
    """Ten questions of one wording and answer, near to whatever is asked."""
    return [Neighbour(IndexedQuery(key(n), key(answer), "", bytes(16), known), 0.98, 10) for n in range(10)]


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


def served(rule: DecisionRule, asked: str, known: str) -> bool:
    return rule.decide(asked, near(known), 0.999).action == "serve"


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


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="no guard knows direction words, prefixes, or words that change places: the opposite's answer is served",
)
@pytest.mark.parametrize(("known", "asked"), ENGLISH.values(), ids=ENGLISH)
def test_a_question_of_the_opposite_is_never_served(known: str, asked: str, trusting: DecisionRule) -> None:
    assert (served(trusting, known, known), served(trusting, asked, known)) == (True, False)


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="the guards know English alone: negations, numbers, days and opposites of other languages are served",
)
@pytest.mark.parametrize(("known", "asked"), OTHER_LANGUAGES.values(), ids=OTHER_LANGUAGES)
def test_guards_know_other_languages(known: str, asked: str, trusting: DecisionRule) -> None:
    assert (served(trusting, known, known), served(trusting, asked, known)) == (True, False)
