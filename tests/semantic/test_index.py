"""The index against a naive model, on disk, and under threads."""

from __future__ import annotations

import logging
import os
import random
import stat
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from askonce.entries.codec import Codec
from askonce.errors import ConfigError
from askonce.semantic.index import file as index_file
from askonce.semantic.index.index import Index
from askonce.semantic.types import IndexedQuery

DIMENSIONS = 24
PLAIN = Codec()


def unit(seed: int, dimensions: int = DIMENSIONS) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dimensions).astype(np.float32)
    return vector / np.linalg.norm(vector)


def query_of(
    number: int, *, answer: int | None = None, partition: int = 0, expires_at: float | None = None
) -> IndexedQuery:
    name = (number if answer is None else answer).to_bytes(32)
    return IndexedQuery(
        number.to_bytes(32), name, f"n{partition % 2}", partition.to_bytes(16), f"question {number}", expires_at
    )


class Model:
    """What the index ought to do, by looking at everything each time."""

    def __init__(self) -> None:
        self.held: dict[bytes, tuple[IndexedQuery, np.ndarray]] = {}

    def search(self, partition: bytes, vector: np.ndarray, k: int, now: float) -> list[tuple[bytes, float, int]]:
        """Expired questions are dropped from the partition that is searched."""
        alive = {key: row for key, row in self.held.items() if row[0].expires_at is None or row[0].expires_at > now}
        target = vector.astype(np.float16).astype(np.float32)
        found = [
            (key, float(row.astype(np.float16).astype(np.float32) @ target), query)
            for key, (query, row) in alive.items()
            if query.partition == partition
        ]
        found.sort(key=lambda each: -each[1])
        return [(key, similarity, self.aliases(query.answer)) for key, similarity, query in found[:k]]

    def aliases(self, answer: bytes) -> int:
        return sum(query.answer == answer for query, _ in self.held.values())


def compare(index: Index, model: Model, partition: int, vector: np.ndarray, now: float) -> None:
    name = partition.to_bytes(16)
    found = index.search(name, vector, 5, now=now)
    expected = model.search(name, vector, 5, now)
    assert [one.query.key for one in found] == [key for key, _, _ in expected]
    assert [one.similarity for one in found] == pytest.approx(
        [similarity for _, similarity, _ in expected], abs=2e-3
    )
    # Those that expired leave when a search meets them, the nearest first; until then they count as aliases.
    for one in found:
        living = {k for k, (query, _) in model.held.items() if query.answer == one.query.answer}
        assert 1 <= one.aliases <= len(living)


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_what_an_exhaustive_search_finds(seed: int) -> None:
    chance = random.Random(seed)
    # All are compared in graphs of up to 150; above, candidates enough for so few questions are looked at.
    index, model, now = Index(exact=150), Model(), 1000.0
    for step in range(1500):
        move, number, partition = chance.random(), chance.randrange(400), chance.choice([0, 0, 0, 0, 1, 2])
        if move < 0.55:
            late = chance.random() < 0.1
            one = query_of(
                number,
                answer=chance.choice([None, chance.randrange(30)]),
                partition=partition,
                expires_at=now + chance.randrange(1, 300) if late else None,
            )
            vector = unit(number if chance.random() < 0.9 else number + 5000)
            index.add(one, vector)
            model.held[one.key] = (one, vector)
        elif move < 0.75:
            keys = [chance.randrange(400).to_bytes(32) for _ in range(3)]
            index.remove(keys)
            for key in keys:
                model.held.pop(key, None)
        elif move < 0.78:
            answer = chance.randrange(30).to_bytes(32)
            expected = {key for key, (one, _) in model.held.items() if one.answer == answer}
            gone = {one.key for one in index.remove_answer(answer)}
            assert gone <= expected
            for key in expected:
                model.held.pop(key)
        elif move < 0.782:
            index.remove_namespace("n1")
            model.held = {key: row for key, row in model.held.items() if row[0].namespace != "n1"}
        else:
            compare(index, model, partition, unit(step + 10_000), now)
        now += 1
    for partition in range(3):
        for query in range(10):
            compare(index, model, partition, unit(query + 20_000), now)
    alive = {key for key, (one, _) in model.held.items() if one.expires_at is None or one.expires_at > now}
    met = {one.key for _ in range(2) for one in index.patrol(10**6)}
    assert alive <= met <= set(model.held) and len(index) == len(met)


def test_as_many_are_found_as_before_when_most_were_removed_or_all_were_replaced() -> None:
    index, rows = Index(exact=64), {number: unit(number) for number in range(3000)}
    for number in range(1000):
        index.add(query_of(number), rows[number])
    for number in range(1000, 3000):  # twice as many come and go as there are
        index.remove([query_of(number - 1000).key])
        index.add(query_of(number), rows[number])
    assert recall(index, {number: rows[number] for number in range(2000, 3000)}) > 0.95
    index.remove(query_of(number).key for number in range(2020, 3000))
    assert recall(index, {number: rows[number] for number in range(2000, 2020)}) == 1.0
    index.remove(query_of(number).key for number in range(2000, 2017))
    assert len(index.search(bytes(16), unit(0), 10)) == len(index) == 3


def recall(index: Index, rows: dict[int, np.ndarray]) -> float:
    """The share of the truly nearest ten that are found."""
    numbers, matrix, hits = list(rows), np.array(list(rows.values())), 0
    for query in range(100):
        target = unit(50_000 + query)
        best = {query_of(numbers[place]).key for place in np.argsort(-(matrix @ target))[:10]}
        found = {one.query.key for one in index.search(bytes(16), target, 10)}
        assert len(found) == 10
        hits += len(best & found)
    return hits / 1000


def test_a_vector_of_another_shape_is_refused() -> None:
    index = Index()
    index.add(query_of(1), unit(1))
    with pytest.raises(ConfigError, match="24 dimensions, this one has"):
        index.add(query_of(2), unit(2, 25))
    with pytest.raises(ConfigError, match="24 dimensions, this one has"):
        index.search(bytes(16), unit(2, 25))
    for nothing in (np.zeros(24, np.float32), np.full(24, np.nan, np.float32), unit(1).reshape(1, -1)):
        with pytest.raises(ConfigError, match="unit length"):
            index.add(query_of(2), nothing)
    assert [one.query for one in index.search(bytes(16), unit(1))] == [query_of(1)]


# -- in a file -------------------------------------------------------------------------------------------------


@pytest.fixture(params=["while vectors move", "at rest"])
def filled(request: pytest.FixtureRequest) -> Index:
    """A partition in a graph, small ones beside it, aliases, and things that were removed."""
    index = Index(exact=64)
    for number in range(400):
        index.add(query_of(number, answer=number // 2), unit(number))
    moving = request.param == "while vectors move"
    index.remove(query_of(number).key for number in (range(230) if moving else range(0, 300, 2)))
    assert (index._partitions[bytes(16)]._old is not None) is moving
    for number in range(400, 440):
        index.add(query_of(number, partition=number % 20 + 1, expires_at=5000.0), unit(number))
    return index


def everything(index: Index) -> object:
    found = [
        [
            (one.query, round(one.similarity, 5), one.aliases)
            for one in index.search(partition.to_bytes(16), unit(query), 5, now=0.0)
        ]
        for partition in range(22)
        for query in range(900, 910)
    ]
    return len(index), found, sorted(one.key for one in index.patrol(10**6))


@pytest.mark.parametrize("codec", [PLAIN, Codec([b"k" * 32])], ids=["plain", "sealed"])
def test_a_saved_index_is_loaded_unchanged_and_usable(
    filled: Index, codec: Codec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("askonce.semantic.index.index.PIECE_BYTES", 10_000)
    path, again = tmp_path / "questions.index", Index(exact=64)
    path.write_bytes(b"what was there before")
    abandoned = tmp_path / ".questions.index.killed"
    abandoned.touch()
    os.utime(abandoned, (0, 0))
    assert index_file.save(filled, path, name="minilm at memory://", position=42, codec=codec)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and [file.name for file in tmp_path.iterdir()] == [path.name]
    assert codec is PLAIN or b"question" not in path.read_bytes()
    assert index_file.load(again, path, name="minilm at memory://", codec=codec) == 42
    assert everything(again) == everything(filled)
    for index in (filled, again):  # both go on alike
        index.remove(query_of(number).key for number in range(100, 300))
        for number in range(500, 700):
            index.add(query_of(number), unit(number))
    assert everything(again) == everything(filled)


def test_an_unusable_file_is_logged_and_ignored(
    filled: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, sealed, again = tmp_path / "questions.index", Codec([b"k" * 32]), Index()
    again.add(query_of(7), unit(7))
    assert index_file.load(again, path, name="a", codec=PLAIN) is None and not caplog.records  # the first start
    index_file.save(filled, path, name="a", position=1, codec=PLAIN)
    whole = path.read_bytes()
    chance = random.Random(0)
    broken = [whole[:length] for length in (0, 10, 32, 35, 200, len(whole) // 2, len(whole) - 8, len(whole) - 1)]
    for place in [3, 30, 33, *(chance.randrange(len(whole) - 8) for _ in range(40))]:
        broken.append(whole[:place] + bytes([whole[place] ^ 0x20]) + whole[place + 1 :])
    for data in broken:
        caplog.clear()
        path.write_bytes(data)
        assert index_file.load(again, path, name="a", codec=PLAIN) is None
        assert "is not used" in caplog.text
    path.write_bytes(whole)
    for name, codec in (("b", PLAIN), ("a", sealed)):
        caplog.clear()
        assert index_file.load(again, path, name=name, codec=codec) is None
        assert "is not used" in caplog.text
    index_file.save(filled, path, name="a", position=1, codec=sealed)
    assert index_file.load(again, path, name="a", codec=Codec([b"l" * 32])) is None
    assert [one.query for one in again.search(bytes(16), unit(7))] == [query_of(7)]


def test_an_invalid_dump_changes_nothing(filled: Index) -> None:
    before = everything(filled)
    for pieces in ([b"?"], [b"\x92\xa5graph"], [next(iter(filled.dump()))[:-3]]):
        with pytest.raises(ValueError, match="not a dump"):
            filled.restore(pieces)
    assert everything(filled) == before


def test_a_file_that_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    (tmp_path / "file").write_text("no folder")
    path = tmp_path / "file" / "questions.index"
    assert not index_file.save(Index(), path, name="a", position=0, codec=PLAIN)
    assert "could not be saved" in caplog.text


# -- threads ---------------------------------------------------------------------------------------------------


def test_threads_add_search_remove_and_save_at_the_same_time(tmp_path: Path) -> None:
    index, errors = Index(exact=64), []
    rows = [unit(number) for number in range(600)]

    def work(worker: int) -> None:
        chance = random.Random(worker)
        try:
            for number in range(worker * 150, worker * 150 + 150):
                index.add(query_of(number, answer=number // 3), rows[number])
                found = index.search(bytes(16), rows[number], 10)
                assert found[0].query.key == query_of(number).key
                assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
                if number % 2:
                    index.remove([query_of(number).key])
                if chance.random() < 0.05:
                    assert index_file.save(index, tmp_path / "index", name="a", position=number, codec=PLAIN)
                    assert index_file.load(Index(exact=64), tmp_path / "index", name="a", codec=PLAIN) is not None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    left = {replace(query_of(number, answer=number // 3)) for number in range(0, 600, 2)}
    assert set(index.patrol(1000)) == left and len(index) == 300
    assert all(index.aliases(one.answer) == sum(other.answer == one.answer for other in left) for one in left)
