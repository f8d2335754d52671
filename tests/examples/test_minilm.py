"""The numpy embedding model of the examples ranks texts by similarity as the original does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from examples.minilm import DIMENSIONS, MiniLM

TEXTS = [
    "How do I reset my password?",
    "I forgot my password, how can I change it?",
    "What is the capital of France?",
    "Which city is the French capital?",
    "The invoice is due within thirty days of delivery.",
    "",
    "naïve café 東京 🙂",
    "a long text about caches " * 200,
]


@pytest.fixture(scope="module")
def model() -> MiniLM:
    return MiniLM()


def test_vectors_are_float32_and_of_length_one(model: MiniLM) -> None:
    vectors = model.embed(TEXTS)
    assert vectors.shape == (len(TEXTS), DIMENSIONS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_paraphrases_are_near_and_other_questions_far(model: MiniLM) -> None:
    password, forgot, capital, city, invoice = model.embed(TEXTS[:5])
    assert password @ forgot > 0.75
    assert capital @ city > 0.75
    assert max(password @ capital, forgot @ city, invoice @ password, invoice @ capital) < 0.25


def test_similarities_are_those_that_sentence_transformers_publishes(model: MiniLM) -> None:
    # https://sbert.net/docs/sentence_transformer/usage/usage.html
    vectors = model.embed(["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."])
    published = [[1.0, 0.6660, 0.1046], [0.6660, 1.0, 0.1411], [0.1046, 0.1411, 1.0]]
    np.testing.assert_allclose(vectors @ vectors.T, published, atol=2e-4)


def test_a_vector_does_not_depend_on_what_else_is_embedded_or_in_which_order(model: MiniLM) -> None:
    texts = [*(f"{text} {number}" for number in range(6) for text in TEXTS[:7]), TEXTS[7]]
    together = model.embed(texts)
    np.testing.assert_allclose(np.concatenate([model.embed([text]) for text in texts]), together, atol=1e-5)
    np.testing.assert_allclose(model.embed(texts[::-1])[::-1], together, atol=1e-5)


def test_threads_share_one_model(model: MiniLM) -> None:
    alone = model.embed(TEXTS[:5])
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(lambda _: model.embed(TEXTS[:5]), range(12)):
            np.testing.assert_allclose(vectors, alone, atol=1e-5)


def test_nothing_embeds_to_nothing(model: MiniLM) -> None:
    assert model.embed([]).shape == (0, DIMENSIONS)
