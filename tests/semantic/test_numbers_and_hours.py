"""Numbers in words, large ones among them, and halves and quarters of hours, in twelve languages."""

from __future__ import annotations

import pytest

from askonce.semantic.language.reading import reading
from benchmarks.attacks import Attack, is_guarded

HOURS = {
    "en": ("come at half past five", "5:30", "come at five"),
    "de": ("um halb acht kommen", "7:30", "um acht kommen"),
    "es": ("venir a las cinco y media", "5:30", "venir a las cinco"),
    "fr": ("venir à cinq heures et quart", "5:15", "venir à cinq heures"),
    "it": ("venire alle cinque e mezza", "5:30", "venire alle cinque"),
    "pt": ("vir às cinco e meia", "5:30", "vir às cinco"),
    "nl": ("om kwart voor acht komen", "7:45", "om acht uur komen"),
    "pl": ("przyjść o wpół do ósmej", "7:30", "przyjść o ósmej"),
    "tr": ("saat sekiz buçukta gelmek", "8:30", "saat sekizde gelmek"),
    "zh": ("五点半过来", "5:30", "五点过来"),
    "ja": ("5時半に来店", "5:30", "5時に来店"),
    "ko": ("다섯 시 반에 방문", "5:30", "다섯 시에 방문"),
}
LARGE = {
    "en": "a million dollars|two hundred and five|$2.5m|$5bn|5k|half a million|five thousand two hundred and six",
    "de": "fünf Millionen Euro|2,5 Mio. Euro|fünftausend Euro",
    "es": "dos mil millones de euros|veinte mil euros",
    "fr": "deux cent cinquante euros|5 milliards",
    "it": "duemila euro|5 mln di euro",
    "pt": "cinco milhões de reais|5 mi de reais",
    "nl": "vijf miljoen euro|vijfduizend euro",
    "pl": "pięć tysięcy złotych|5 tys. złotych",
    "tr": "beş yüz bin lira|5 milyon lira",
    "zh": "五百万美元|5万美元|一亿两千万元",
    "ja": "三百万円|5千円",
    "ko": "오백만 원|5만 원|천 달러",
}
VALUES = {
    "en": "1000000 205 2500000 5000000000 5000 500000 5206",
    "de": "5000000 2500000 5000",
    "es": "2000000000 20000",
    "fr": "250 5000000000",
    "it": "2000 5000000",
    "pt": "5000000 5000000",
    "nl": "5000000 5000",
    "pl": "5000 5000",
    "tr": "500000 5000000",
    "zh": "5000000 50000 120000000",
    "ja": "3000000 5000",
    "ko": "5000000 50000 1000",
}


@pytest.mark.parametrize("language", HOURS)
def test_halves_and_quarters_of_hours_are_read_and_guarded(language: str) -> None:
    text, time, at_the_hour = HOURS[language]
    assert time in reading(text, language).quantities
    assert is_guarded(Attack(language, "hour", text, (at_the_hour,)))
    assert is_guarded(Attack(language, "hour", at_the_hour, (text,)))


@pytest.mark.parametrize("language", LARGE)
def test_large_numbers_in_words_and_abbreviations_are_read(language: str) -> None:
    for text, value in zip(LARGE[language].split("|"), VALUES[language].split(), strict=True):
        assert reading(text, language).quantities == {value}, text


def test_number_words_beside_each_other_stay_apart() -> None:
    assert reading("between two hundred and three hundred", "en").quantities == {"200", "300"}
    assert reading("five or six million", "en").quantities == {"5", "6000000"}
