import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from askonce.semantic.decision.features import FEATURES, GUARDS, SIZE, candidate
from askonce.semantic.decision.rule import DecisionRule
from askonce.semantic.decision.state import RuleState
from askonce.semantic.decision.words import opposed, read
from askonce.semantic.language.reading import reading
from askonce.semantic.types import IndexedQuery, Neighbour
from tests.semantic.questions import key

# The indexed question and the new one: no embedding can be trusted to see the difference.
DIFFERENT = [
    ("are there flights on 3 May?", "are there flights on 4 May?"),
    ("send 100.50 to my sister", "send 1000.50 to my sister"),
    ("can I pay with 2 cards", "can I pay with two cards and 3 vouchers"),
    ("what happens on Monday", "what happens on Tuesday"),
    ("can I return a used item", "can I not return a used item"),
    ("I was charged a fee", "I wasn't charged a fee"),
    ("how do I enable the alarm", "how do I disable the alarm"),
    ("what should I eat before the run", "what should I eat after the run"),
    ("how can I buy shares", "how can I sell shares"),
    ("should I install it in 2024", "should I install it in 2025"),
]
ALIKE = [
    ("are there flights on 3 May?", "is there a flight on 3 May, please?"),
    ("can I return a used item", "can I return used items"),
    ("how do I enable the alarm", "how to enable my alarm"),
    ("I don't have a card", "I do not have a card"),
]


def near(*texts: str, answer: int = 1, similarity: float = 0.97) -> list[Neighbour]:
    return [
        Neighbour(IndexedQuery(key(number), key(answer), "", bytes(16), text), similarity, 10)
        for number, text in enumerate(texts)
    ]


unknown = RuleState()


@pytest.fixture(scope="module")
def trusting() -> DecisionRule:
    """A rule that has only seen candidates that are right, of all kinds of wording."""
    rule = DecisionRule(0.05)
    for number in range(1500):
        text = f"how do I see thing{number % 40}"
        rule.learn(rule.decide(text, near(*[text] * 10, answer=number % 40), 0.0), True)
    return rule


@pytest.mark.parametrize(("indexed", "new"), DIFFERENT)
def test_a_difference_that_embeddings_miss_is_never_served(indexed: str, new: str, trusting: DecisionRule) -> None:
    assert candidate(new, near(*[indexed] * 10), unknown).guarded
    decision = trusting.decide(new, near(*[indexed] * 10, answer=1), 0.999)
    assert (decision.action, decision.reason) == ("miss", "guard")


@pytest.mark.parametrize(("indexed", "new"), ALIKE)
def test_another_wording_is_not_guarded(indexed: str, new: str, trusting: DecisionRule) -> None:
    assert not candidate(new, near(*[indexed] * 10), unknown).guarded
    assert trusting.decide(indexed, near(*[indexed] * 10, answer=1), 0.999).action == "serve"


def test_numbers_that_differ_among_the_phrasings_of_an_answer_seem_not_to_matter() -> None:
    phrasings = near("charged 3 times", "charged 5 times", "charged twice")
    assert not candidate("charged 4 times", phrasings, unknown).guarded
    assert not candidate("charged 5 times", phrasings, unknown).guarded


def test_names_are_words_with_a_capital_inside_quotes_and_code() -> None:
    assert read('Is Paris in "the south" of `my_map`').names == {"paris", "the south", "my_map"}
    assert not read("Why am I here").names


def test_opposites_count_only_if_the_other_word_is_missing() -> None:
    assert opposed(reading("turn it on"), [reading("turn it off")])
    assert not opposed(reading("turn it on and off"), [reading("turn it off and on")])


def test_the_candidate_is_the_answer_of_most_neighbours() -> None:
    lonely, common = (
        near("a thing", answer=1, similarity=0.9),
        near("one", "two", "three", answer=2, similarity=0.89),
    )
    assert candidate("a thing", lonely + common, unknown).query.answer == key(2)
    assert candidate("a thing", lonely + common, unknown).second == lonely[0].query


@given(
    st.text(max_size=60), st.lists(st.tuples(st.text(max_size=60), st.floats(-1, 1), st.integers(0, 3)), min_size=1)
)
def test_any_text_has_finite_features(new: str, indexed: list[tuple[str, float, int]]) -> None:
    neighbours = [
        Neighbour(IndexedQuery(key(number), key(answer), "", bytes(16), text), similarity, 1)
        for number, (text, similarity, answer) in enumerate(sorted(indexed, key=lambda one: -one[1]))
    ]
    features = candidate(new, neighbours, unknown).features
    assert len(features) == SIZE == len(FEATURES)
    assert abs(features).max() < 100
    assert set(GUARDS) < set(range(SIZE))


def test_questions_whose_answers_were_found_the_same_count_as_one_candidate() -> None:
    texts = ("see my bill", "look at my bill", "where is my bill")
    apart = [near(text, answer=number, similarity=0.9)[0] for number, text in enumerate(texts, 1)]
    apart = [replace(one, query=replace(one.query, key=one.query.answer), aliases=1) for one in apart]
    other = near("see my card", answer=9, similarity=0.91)
    state = RuleState()
    before = candidate("see the bill", other + apart, state)
    state.join(key(2), apart[0].query)
    state.join(key(3), apart[1].query)  # which was found to be the same as the first one
    after = candidate("see the bill", other + apart, state)
    share, equals = FEATURES.index("share"), FEATURES.index("equals")
    assert (before.query, after.query) == (other[0].query, apart[0].query)  # each question has its own answer
    assert after.features[share] > before.features[share] and after.features[equals] == 0.5 * math.log(3)
    state.renew(key(2))  # it was answered anew, in whatever way
    assert candidate("see the bill", other + apart, state).features[equals] == 0.5 * math.log(2)
