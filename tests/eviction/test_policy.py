"""Budgets."""

from typing import Any

import pytest

from askonce.eviction.policy import parse_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512 MiB", 2**29), ("1.5k", 1500), ("7", 7), (9, 9), (None, None)]
)
def test_sizes_can_be_texts(text: Any, size: int | None) -> None:
    assert parse_bytes(text) == size
