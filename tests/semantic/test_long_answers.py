"""The work of the default judge grows with the length of answers, not its square: a data URL is one long word."""

from __future__ import annotations

import base64
import random
import time

import pytest

from askonce.semantic import Comparison, EmbeddingJudge
from askonce.semantic.language.replacement import same

LENGTH = 6_000
CHANCE = random.Random(1)
BASE64 = base64.b64encode(CHANCE.randbytes(2 * LENGTH)).decode()
WORDS = " ".join("".join(CHANCE.choices("abdegiklmnoprstu", k=5)) for _ in range(LENGTH))
RUNS = {
    "base64": BASE64,
    "hexadecimal digits": CHANCE.randbytes(LENGTH).hex(),
    "one letter": "a" * 2 * LENGTH,
    "digits": "7" * 2 * LENGTH,
    "a row of digits with points": "1." * LENGTH,
    "a row of thousands": "100.200." * (LENGTH // 4) + "1",
    "one word many times": "ha " * LENGTH,
    "many words": WORDS,
    "lines of a table": "".join(f"row {row} has value {row * 7}.\n" for row in range(LENGTH // 10)),
    "opening quotes": "“" * 2 * LENGTH,
    "Chinese digits": "三" * 2 * LENGTH,
    "verbs": "it is " * (LENGTH // 3),
}
OPENINGS = {
    "en": "He gives her the picture that you wanted, she gives it to him: ",
    "tr": "İstediğiniz resim burada, hemen indirebilirsiniz: ",
    "ko": "요청하신 그림은 여기에 있습니다 그리고 바로 받을 수 있습니다: ",
    "zh": "这是您想要的图片，您可以马上下载：",
}


def work(opening: str, run: str) -> float:
    judge, half = EmbeddingJudge(), len(run) // 2
    comparison = Comparison("", "", f"{opening}{run}", f"{opening}{run[:half]}{run[half + 1 :]}!")
    began = time.thread_time()
    judge(comparison)
    return time.thread_time() - began


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("language", OPENINGS)
def test_four_times_the_length_takes_far_less_than_sixteen_times_the_work(language: str, run: str) -> None:
    text = RUNS[run][: 2 * LENGTH]
    work(OPENINGS[language], "a b")  # the tables are loaded
    for _ in range(3):  # other processes disturb
        once, fourfold = work(OPENINGS[language], text[: len(text) // 4]), work(OPENINGS[language], text)
        if fourfold < 10 * once:
            return
    pytest.fail(f"{once} s, {fourfold} s")


def test_what_can_be_read_as_endings_in_very_many_ways_is_not_tried_in_all() -> None:
    assert not same("ki" + "ar" * 40 + "q", "ki", "tr")


@pytest.mark.parametrize("number", ["7" * 400 + " thousand", "5" + "兆" * 400, "million " * 400, "9" * 400 + "万"])
def test_a_number_of_any_size_is_read(number: str) -> None:
    for language in OPENINGS:
        work(OPENINGS[language], number)
