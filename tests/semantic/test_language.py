"""In which language a text is."""

import subprocess
import sys

import pytest

from askonce.semantic.language.reading import language_of

QUESTIONS = {
    "en": ("How do I reset my PIN?", "reset pin", "card lost"),
    "de": ("Wie setze ich meine PIN zurück?", "Karte gesperrt", "Welche Gebühren fallen an?"),
    "es": ("¿Cómo restablezco mi PIN?", "Tarjeta perdida ayer", "¿Cuánto cuesta una transferencia?"),
    "fr": ("Comment réinitialiser mon code ?", "Quels sont vos tarifs ?", "J'ai perdu ma carte hier"),
    "it": ("Come posso reimpostare il PIN?", "Ho perso la carta", "Quanto costa un bonifico?"),
    "pt": ("Como posso redefinir o PIN?", "Perdi o meu cartão", "Quanto custa uma transferência?"),
    "nl": ("Hoe stel ik mijn pincode opnieuw in?", "Mijn pas is geblokkeerd", "Wat kost een overboeking?"),
    "pl": ("Jak zresetować PIN?", "Zgubiłem kartę", "Ile kosztuje przelew?"),
    "tr": ("PIN kodumu sıfırlamak istiyorum", "Kartım kayboldu", "Havale ücreti ne kadar?"),
    "zh": ("如何重置密码？", "银行卡丢了", "转账手续费多少"),
    "ja": ("暗証番号をリセットするには？", "カードを紛失しました", "振込手数料はいくらですか"),
    "ko": ("비밀번호를 어떻게 재설정하나요?", "카드를 분실했어요", "이체 수수료는 얼마인가요?"),
}


@pytest.mark.parametrize("language", QUESTIONS)
def test_short_questions_show_their_language(language: str) -> None:
    assert [language_of(question) for question in QUESTIONS[language]] == [language] * 3


@pytest.mark.parametrize("text", ["", "42", "ok", "hm?", "PIN", "🙂", "\ud800"])
def test_what_shows_no_language_is_taken_for_english(text: str) -> None:
    assert language_of(text) == "en"


def test_several_texts_count_together() -> None:
    assert language_of("PIN", "Wie setze ich sie zurück?") == "de"


WITHOUT_TEMPORARY_FILES = """
import sys, tempfile

def fails():
    raise FileNotFoundError(2, "No usable temporary directory found")

tempfile.gettempdir = tempfile._gettempdir = fails
from askonce import Semantic
from askonce.semantic.language.identifier import log_likelihoods

Semantic(lambda text: [1.0], model="ones")
found = log_likelihoods("Wie lange dauert die Lieferung nach Deutschland?")
print(max(found, key=found.get))
"""
WHERE_CALLS_MAY_NOT_BLOCK = """
import asyncio
import blockbuster
from askonce import Semantic

async def main():
    with blockbuster.blockbuster_ctx():
        Semantic(lambda text: [1.0], model="ones")
    from askonce.semantic.language.identifier import log_likelihoods

    found = log_likelihoods("Wie lange dauert die Lieferung nach Deutschland?")
    print(max(found, key=found.get))

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [WITHOUT_TEMPORARY_FILES, WHERE_CALLS_MAY_NOT_BLOCK], ids=["no folder", "loop"])
def test_languages_are_known_without_temporary_files(program: str) -> None:
    if "blockbuster" in program:
        pytest.importorskip("blockbuster")  # CI has it: it is locked
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "de", done.stderr[-2000:]
