"""What an object changes of itself while it answers is no setting; what the application changes is."""

from __future__ import annotations

from typing import Any

from askonce.keys.counters import counters_as_at_first, record_counters


class Embedder:
    def __init__(self) -> None:
        self.size, self.calls, self.texts = 4, 0, ["warm-up"]
        self.inner: Any = None

    def form(self) -> dict[str, Any]:
        fields = {name: list(value) if isinstance(value, list) else value for name, value in vars(self).items()}
        return counters_as_at_first(self, fields, private=False)

    def answer(self) -> None:
        self.calls += 1
        self.texts.append("text")
        if self.inner is not None:
            self.inner.answer()
        record_counters(self)


def test_counters_and_logs_count_as_they_were_at_first() -> None:
    one = Embedder()
    first = one.form()
    for _ in range(3):
        one.answer()
        assert one.form() == first


def test_settings_count_as_they_are() -> None:
    one = Embedder()
    one.form()
    one.answer()
    one.size = 8
    assert (one.form()["size"], one.form()["calls"]) == (8, 0)
    other = Embedder()
    other.form()
    other.texts.append("a stop word")
    assert other.form()["texts"] == ["warm-up", "a stop word"]


def test_an_object_in_the_object_counts_too() -> None:
    outer, inner = Embedder(), Embedder()
    outer.inner = inner
    before = (outer.form()["calls"], inner.form())
    outer.answer()
    assert (outer.form()["calls"], inner.form()) == before


def test_private_names_only() -> None:
    one = Embedder()
    counters_as_at_first(one, {"calls": 0}, private=True)
    one.answer()
    assert counters_as_at_first(one, {"calls": 1}, private=True) == {"calls": 1}
