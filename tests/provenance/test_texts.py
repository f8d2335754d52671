"""Which texts stand in a prompt."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from askonce.provenance.texts import TextIndex

CHANCE = random.Random(7)
WORDS = [f"{CHANCE.choice('bcdfg')}{CHANCE.choice('aeiou')}{number}" for number in range(400)]


def text(seed: int, length: int) -> str:
    return " ".join(random.Random(seed).choices(WORDS, k=length))


def standing(prompt: str, *texts: str, own: tuple[int, ...] = ()) -> set[int]:
    index = TextIndex()
    for number, one in enumerate(texts):
        index.add(number, one)
    return set(index.standing_in(prompt, own))


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
        assert set(index.standing_in("\n".join((*TEXTS, "pear")), ())) == {*range(number + 1, len(TEXTS)), 9}
    index.remove(8)
    index.remove(9)
    assert not index._having and not any(index._lengths.values())
