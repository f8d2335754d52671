"""A namespace of one's own."""

from __future__ import annotations

import uuid

import pytest


@pytest.fixture
def space() -> str:
    return uuid.uuid4().hex
