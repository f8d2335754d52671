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


SMALL_WORDS = {
    "a sign": ("set the heating to -5", "set the heating to 5"),
    "a sign in a word": ("mets le chauffage à moins 5", "mets le chauffage à 5"),
    "Roman numerals": ("who was Louis XIV", "who was Louis XVI"),
    "a letter": ("what does vitamin c do", "what does vitamin d do"),
    "the first letter": ("what is in plan a", "what is in plan b"),
    "units without a number": ("how much is a tablespoon of oil", "how much is a teaspoon of oil"),
    "codes in small letters": ("what does it cost in usd", "what does it cost in aud"),
    "all but": ("show all but the ads", "show all and the ads"),
    "to stop": ("how do I get these emails", "how do I stop getting these emails"),
    "to stop, in Spanish": ("quiero seguir a un usuario", "quiero dejar de seguir a un usuario"),
    "no more, in French": ("je veux suivre un ami", "je veux ne plus suivre un ami"),
    "two negations that deny once": ("quero convidar alguém", "quero não convidar ninguém"),
    "into and out of": ("how do I get into the house", "how do I get out of the house"),
    "under and behind": ("is it under the table", "is it behind the table"),
    "up to and over": ("can I use up to 3 devices", "can I use over 3 devices"),
    "for free and for a fee": ("can I park here for free", "can I park here for a fee"),
    "every and one": ("how do I print every page", "how do I print one page"),
    "all and some, in Italian": ("come cancello tutti i messaggi", "come cancello alcuni messaggi"),
    "a particle of a verb": ("wie schalte ich das Gerät ein?", "wie schalte ich das Gerät aus?"),
    "to lend and to borrow, in Chinese": ("怎么借钱给别人", "怎么向别人借钱"),
    "to thaw, in Japanese": ("口座を凍結したい", "口座の凍結を解きたい"),
    "tomorrow and the day after": ("明日出発できますか", "明後日出発できますか"),
    "on and off, in Korean": ("불을 켜고 싶어요", "불을 끄고 싶어요"),
    "what is converted": ("hoe kan ik voet in meter omrekenen", "hoe kan ik meter in voet omrekenen"),
    "what is replaced": ("jak zastąpić masło olejem", "jak zastąpić olej masłem"),
    "another language": (
        "Explícame cómo puedo cancelar mi pedido de ayer",
        "Explain how I can cancel my order of yesterday",
    ),
}


@pytest.mark.parametrize("pair", SMALL_WORDS.values(), ids=SMALL_WORDS)
def test_small_words_that_turn_a_question_are_seen(trusting: DecisionRule, pair: tuple[str, str]) -> None:
    for question, cached in (pair, pair[::-1]):
        assert not served(trusting, question, cached)


@pytest.mark.parametrize(
    "pair",
    [
        ("where is the invoice under Billing", "where is the invoice in Billing"),
        ("can I use my card abroad on 5 May", "on May 5 can I use my card abroad"),
        ("não quero ninguém aqui", "não quero aqui ninguém"),
    ],
)
def test_small_words_that_turn_nothing_are_no_guards(pair: tuple[str, str]) -> None:
    one, other = pair
    assert not attacks.is_guarded(attacks.Attack("", "", one, (other,)))
