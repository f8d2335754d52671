"""Which texts stand in a prompt."""

import json
import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from askonce.provenance.texts import Rank, TextIndex

CHANCE = random.Random(7)
WORDS = [f"{CHANCE.choice('bcdfg')}{CHANCE.choice('aeiou')}{number}" for number in range(400)]


def text(seed: int, length: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def standing(prompt: str, *texts: str, own: tuple[int, ...] = ()) -> set[int]:
    index = TextIndex()
    for number, one in enumerate(texts):
        index.add(number, one)
    return {number for same in index.standing_in(prompt, own) for number in same}


TEXTS = [text(seed, 20 + 30 * seed) for seed in range(8)]


@given(st.sets(st.integers(0, 7)), st.sampled_from(["\n\n", " ", "; ", "\n---\nPage: "]))
def test_whole_texts_are_found_whatever_is_between_them(which: set[int], between: str) -> None:
    prompt = f"Answer from this: {between.join(TEXTS[one] for one in which)} What else?"
    assert standing(prompt, *TEXTS) == which


@given(st.integers(0, 7), st.booleans())
def test_quoting_and_escaping_do_not_matter(which: int, ascii: bool) -> None:
    lines = "\n".join((TEXTS[which], "Größe\tund \\n \u4f11\u5047\u4e09\u5341\u5929", text(99, 30)))
    prompt = json.dumps({"content": json.dumps([lines], ensure_ascii=ascii)}, ensure_ascii=ascii)
    assert standing(json.loads(prompt)["content"], *TEXTS[:which], lines) == {which}


@given(st.integers(2, 7), st.data())
def test_a_part_of_a_text_is_enough(which: int, data: st.DataObject) -> None:
    words = TEXTS[which].split()
    begin = data.draw(st.integers(0, len(words) - 50))
    assert standing(f"See: {' '.join(words[begin : begin + 50])} …", *TEXTS) == {which}


def test_what_many_texts_have_in_common_says_nothing_of_one() -> None:
    heading = text(50, 12)
    texts = [f"{heading} {one}" for one in TEXTS] + [f"{heading} {text(seed, 30)}" for seed in range(60, 70)]
    assert standing(f"You know: {heading}. What else?", *texts) == set()
    assert standing(f"You know: {texts[3]}. What else?", *texts) == {3}


NAMES = [f"name{number}" for number in range(300)]


def sheet(name: str) -> str:
    return (
        f"{text(70, 25)} the name is {name} and {name} has {len(name)} days, {text(71, 40)} {name} {text(72, 30)}"
    )


def test_records_of_one_template_are_distinguished_whichever_are_own() -> None:
    sheets = [sheet(name) for name in NAMES]
    shown = f"{sheets[3]}\n\n{sheets[200]}\nWhat of name7?"
    assert standing(shown, *sheets) == {3, 200}
    assert standing(shown, *sheets, own=(3,)) == {3, 200}
    assert standing(shown, *reversed(sheets)) == {299 - 3, 299 - 200}
    cut = " ".join(sheets[3].split()[:45])  # within the template's second run
    assert standing(f"See: {cut} …", *sheets[:20]) == {3}


@given(st.integers(0, 119), st.integers(0, 119), st.sampled_from(["word", "append", "prepend", "trim", "insert"]))
def test_another_version_of_a_text_does_not_stand_where_one_does(at: int, begin: int, edit: str) -> None:
    words = text(80, 120).split()
    changed = {
        "word": [*words[:at], "edited", *words[at + 1 :]],
        "append": [*words, "also", "on", "friday"],
        "prepend": ["note", *words],
        "trim": words[: at + 1],
        "insert": [*words[:at], "inserted", "here", *words[at:]],
    }[edit]
    old, new = " ".join(words), " ".join(changed)
    for one, other in ((old, new), (new, old)):
        assert standing(f"Answer from: {one}\nWhen is it open?", one, other) == {0}
        assert standing(f"Answer from: {one}\nWhen is it open?", other, one) == {1}


def test_of_texts_that_have_the_same_words_of_a_prompt_the_highest_counts() -> None:
    words = text(81, 200).split()
    index, part = TextIndex(), " ".join(words[:100])
    for number, end in enumerate((150, 160, 170)):
        index.add(number, " ".join(words[:end]))
    assert index.standing_in(part, rank=lambda numbers: Rank(False, True, numbers == [1])) == [[1]]
    assert index.standing_in(part, rank=lambda numbers: Rank(False, True, numbers < [2])) == [
        [0],
        [1],
    ]  # of one search
    index.add(3, " ".join(words[:150]).upper())
    assert index.standing_in(f"{part} {' '.join(words[100:150])}") == [[0, 3]]


def test_of_many_texts_that_have_the_same_words_of_a_prompt_those_count_that_may_be_meant() -> None:
    index, beginning = TextIndex(), text(82, 60)
    for number in range(100):
        index.add(number, f"{beginning} of {NAMES[number]}: {text(100 + number, 40)}")

    def found(near: Sequence[int], current: Sequence[int]) -> list[list[int]]:
        return index.standing_in(
            beginning, near=near, rank=lambda some: Rank(some[0] in near, some[0] in current, some[0])
        )

    assert found(near=(), current=range(100)) == []
    assert found(near=(7, 70), current=range(100)) == [[70]]


def test_earlier_versions_of_a_text_hide_no_later_one_of_which_a_part_is_shown() -> None:
    index, beginning = TextIndex(), text(83, 60)
    for number in range(12):
        index.add(number, f"{beginning} {text(90, 5 * number + 5)}")
    rank = lambda some: Rank(False, some[0] > 9, some[0])  # noqa: E731
    assert index.standing_in(beginning, rank=rank) == [[11]]


def test_chunks_that_overlap_are_distinguished() -> None:
    words = text(51, 300).split()
    chunks = [" ".join(words[begin : begin + 100]) for begin in range(0, 240, 60)]
    for number, chunk in enumerate(chunks):
        assert standing(f"From {chunk}: what?", *chunks) == {number}


def test_a_short_text_of_others_stands_alone_and_is_no_part_of_another() -> None:
    assert standing("What of pear?", "pear", "apple pie") == set()
    assert standing("apple pie\nWhat of pear?", "pear", "apple", "apple pie") == {2}
    assert standing("apple, pear. Which?", "pear", "apple") == {0, 1}
    assert standing("What of pear?", "pear", own=(0,)) == {0}


def test_scripts_without_spaces_are_read_by_characters() -> None:
    assert standing("根据以下内容回答:员工每年有三十天的年假。谢谢", "员工每年有三十天的年假", "每年") == {0}
    assert standing("วันลาสามสิบวันต่อปี", "สามสิบวัน", own=(0,)) == {0}


def test_what_is_removed_is_found_no_more() -> None:
    index = TextIndex()
    for number, one in enumerate([*TEXTS, "", "pear"]):
        index.add(number, one)
    for number in range(len(TEXTS)):
        index.remove(number)
        assert sorted(index.standing_in("\n".join((*TEXTS, "pear")))) == [
            *([one] for one in range(number + 1, len(TEXTS))),
            [9],
        ]
    index.remove(8)
    index.remove(9)
    assert not (index._texts or index._of_words or index._having or index._beginning)
    assert not any(index._lengths.values())
