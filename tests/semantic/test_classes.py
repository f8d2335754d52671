"""Words of English that take one place: another word of the class there is refused, and another wording is not."""

from __future__ import annotations

import itertools

import pytest

from benchmarks.attacks import Attack, is_guarded

FRAMES = ("How do I {}?", "I want to {}, what should I do?", "Please tell me how to {}.", "Is it possible to {}?")
CLASSES = {
    "pay {}": "in US dollars|in Canadian dollars|in A$|in sterling|in Swiss francs"
    "|in Norwegian kroner|in Danish kroner|in pence|in bitcoin|in ether",
    "order 5 {}": "kg|litres|square metres|GB|Gbit|bottles|boxes|sheets",
    "rent it {}": "per hour|per night|weekly|fortnightly|quarterly|per year",
    "come {}": "tomorrow|the day after tomorrow|tonight|next week|in winter|at Christmas|in the morning"
    "|in Sept|at 5",
    "buy {} tickets": "two|twenty|twenty-one|a hundred|a thousand|a million|many|a few|all|half the|a third of the",
    "raise it {}": "by 5%|by 5 points|by 5 basis points|to 5%|by half|by a quarter|threefold",
    "install {}": "version 2.1|version 2.10|the pro edition|the home edition|type A|type AB",
    "install Python {} in the app": "3.1|3.10",
    "get {}": "100 Mbps|100 MBps",
    "{} the driver": "install|avoid installing|prevent installing",
    "{} a chat": "archive|restore",
    "{} a caller": "block|allow",
    "{} the screw": "tighten|loosen",
    "buy {} drinks": "sugary|sugar-free",
}
SAME = (
    ("pay in dollars", "pay in US dollars"),
    ("pay in Indian rupees", "pay in rupees"),
    ("order 5 oz of tea", "order 5 ounces of tea"),
    ("send 5 photos", "send 5 pictures"),
    ("wait 5 business days", "wait 5 days"),
    ("rent it per hour", "rent it by the hour"),
    ("rent it yearly", "rent it per year"),
    ("see a $1 charge", "see a charge of $1"),
    ("send a thousand dollars", "send $1,000"),
    ("buy a dozen eggs", "buy twelve eggs"),
    ("add 5 credit cards", "add 5 cards"),
)


@pytest.mark.parametrize("phrase", CLASSES)
def test_another_word_of_a_class_is_guarded(phrase: str) -> None:
    for one, other in itertools.permutations(CLASSES[phrase].split("|"), 2):
        if {one, other} in ({"type A", "the pro edition"}, {"avoid installing", "prevent installing"}):
            continue
        if phrase == "install {}" and ("type" in one) != ("type" in other):
            continue
        stored = tuple(frame.format(phrase.format(one)) for frame in FRAMES)
        assert is_guarded(Attack("en", "class", FRAMES[0].format(phrase.format(other)), stored)), (one, other)


@pytest.mark.parametrize(("one", "other"), SAME)
def test_another_wording_of_the_same_is_not(one: str, other: str) -> None:
    for known, new in ((one, other), (other, one)):
        assert not is_guarded(Attack("en", "class", FRAMES[0].format(new), (FRAMES[0].format(known),)))
