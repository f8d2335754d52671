"""What no list of opposites has: another word, unit, currency or place in a known question, in twelve languages."""

from __future__ import annotations

import pytest

from askonce.semantic.language.tables import tables
from benchmarks.attacks import Attack, is_guarded

FRAMES = {
    "en": "How do I {}?|I'd like to {}|Where can I {}?|Hi, could you help me to {}",
    "de": "Wie kann ich {}?|Ich will {}|Wo kann ich {}?|Hallo, ich würde gerne {}",
    "es": "¿Cómo puedo {}?|Quiero {}|¿Dónde puedo {}?|Buenas, me gustaría {}",
    "fr": "Comment puis-je {} ?|Je veux {}|Où puis-je {} ?|Bonjour, j'aimerais {}",
    "it": "Come posso {}?|Voglio {}|Dove posso {}?|Salve, vorrei {}",
    "pt": "Como posso {}?|Quero {}|Onde posso {}?|Olá, gostaria de {}",
    "nl": "Hoe kan ik {}?|Ik wil {}|Waar kan ik {}?|Hoi, ik zou graag {}",
    "pl": "Jak mogę {}?|Chcę {}|Gdzie mogę {}?|Dzień dobry, chciałbym {}",
    "tr": "Nasıl {}?|{} istiyorum|Nerede {}?|Merhaba, {} isterdim",
    "zh": "怎么{}?|我想{}|在哪里{}?|你好,请帮我{}",
    "ja": "どうやって{}のですか?|{}方法を教えてください|どこで{}のですか?|こんにちは、{}のを手伝ってください",
    "ko": "어떻게 {} 하나요?|{} 방법을 알려 주세요|어디서 {} 하나요?|안녕하세요, {} 도와주세요",
}
OTHER = {
    "en": "send 100 USD=send 100 CAD;convert rupees=convert rubles;buy a dozen eggs=buy half a dozen eggs;see ads=avoid ads"
    ";translate English to French=translate French to English;order 2 litres=order 2 kg;replace milk with oil=replace oil with milk",
    "de": "den Newsletter abonnieren=den Newsletter abbestellen;die Datei verschlüsseln=die Datei entschlüsseln"
    ";die Tür aufschließen=die Tür zuschließen;im Frühling kommen=im Herbst kommen;den ersten Platz buchen=den zweiten Platz buchen"
    ";vom Deutschen ins Englische übersetzen=vom Englischen ins Deutsche übersetzen;5 Liter kaufen=5 Gallonen kaufen",
    "es": "prestar dinero=pedir dinero prestado;encender el wifi=apagar el wifi;iniciar sesión=cerrar sesión;reservar el primer asiento=reservar el segundo asiento"
    ";pedir 2 kg de harina=pedir 2 g de harina;pagar en francos=pagar en yenes;traducir del inglés al francés=traducir del francés al inglés",
    "fr": "verrouiller l'écran=déverrouiller l'écran;afficher la colonne=masquer la colonne;acheter 2 kg=acheter 2 g"
    ";changer 100 roubles=changer 100 roupies;remplacer le lait par la crème=remplacer la crème par le lait",
    "it": "prestare un libro=prendere un libro in prestito;accendere il wifi=spegnere il wifi;prenotare il primo posto=prenotare il secondo posto;pagare in yen=pagare in franchi"
    ";tradurre dall'inglese al francese=tradurre dal francese all'inglese;accedere=uscire",
    "pt": "viajar de Lisboa para o Porto=viajar do Porto para Lisboa;mostrar a coluna=esconder a coluna;comprar 5 litros=comprar 5 galões"
    ";pegar o primeiro quarto=pegar o segundo quarto;acender a luz=apagar a luz",
    "nl": "het wifi aanzetten=het wifi uitzetten;inloggen=uitloggen;de derde kamer nemen=de vierde kamer nemen;50 USD betalen=50 CAD betalen",
    "pl": "zapalić światło=zgasić światło;zapłacić 50 USD=zapłacić 50 CAD;wziąć trzeci pokój=wziąć czwarty pokój;ukryć kolumnę=pokazać kolumnę",
    "tr": "nisanda gelmek=ağustosta gelmek;dolarla ödemek=euroyla ödemek;5 litre almak=5 galon almak;kapıyı açmak=kapıyı kilitlemek",
    "zh": "加密文件=解密文件;上传文件=下载文件;吃两片药=吃四片药;把英语翻译成法语=把法语翻译成英语;支付50美元=支付50加元",
    "ja": "画面をロックする=画面のロックを解除する;電気をつける=電気を消す;英語をフランス語に訳す=フランス語を英語に訳す;50ドル払う=50ユーロ払う",
    "ko": "로그인=로그아웃;주식 매수=주식 매도;사월에 예약=팔월에 예약;화면 잠금=화면 잠금 해제;우유 5리터 구매=우유 5갤런 구매",
}
SAME = {
    "de": "Wie kündige ich mein Abo?=Ich möchte mein Abo kündigen;Was kostet der Versand?=Wie viel kostet der Versand?",
    "es": "¿Dónde encuentro mi factura?=¿Dónde puedo encontrar mi factura?;Olvidé mi contraseña=He olvidado mi contraseña, ¿qué hago?",
    "fr": "Comment payer par carte ?=Est-ce que je paie par carte ?;Où trouver ma facture ?=Où puis-je trouver ma facture ?",
    "it": "Quando arriva il mio pacco?=Quando arriverà il mio pacco?;Vorrei disdire il mio abbonamento=Come disdico il mio abbonamento?",
    "pt": "Como cancelo minha assinatura?=Quero cancelar minha assinatura;Posso pagar com cartão?=Dá para pagar com cartão?",
    "nl": "Waar vind ik mijn factuur?=Waar kan ik mijn factuur vinden?;Hoe wijzig ik mijn adres?=Ik moet mijn adres wijzigen",
    "pl": "Jak anulować subskrypcję?=Chcę anulować subskrypcję;Zapomniałem hasła=Co zrobić, jeśli zapomniałem hasła?",
    "tr": "Kartla ödeyebilir miyim?=Kartla ödemek mümkün mü?;Faturamı nerede bulurum?=Faturamı nerede bulabilirim?",
    "zh": "怎么取消订阅?=我想取消订阅;我忘记密码了=忘记密码怎么办?",
    "ja": "カードで払えますか?=カードで払うことはできますか?;すみません、住所を変更したいです=住所を変更する方法を教えてください",
    "ko": "구독을 어떻게 취소하나요?=구독을 취소하고 싶어요;배송비는 얼마인가요?=배송비가 얼마예요?",
}


def pairs(lines: str) -> list[tuple[str, str]]:
    both = [tuple(pair.split("=")) for pair in lines.split(";")]
    return [pair for one, other in both for pair in ((one, other), (other, one))]


@pytest.mark.parametrize("language", OTHER)
def test_another_word_in_the_place_of_one_is_guarded(language: str) -> None:
    """Whether one wording of the other question is known, or three."""
    *frames, last = FRAMES[language].split("|")
    known = [tuple(frame.format(one) for frame in frames) for one, _ in pairs(OTHER[language])]
    questions = [last.format(other) for _, other in pairs(OTHER[language])]
    missed = [
        (question, stored)
        for question, wordings in zip(questions, known, strict=True)
        for stored in (wordings, wordings[:1])
        if not is_guarded(Attack(language, "", question, stored))
    ]
    assert missed == []


@pytest.mark.parametrize("language", SAME)
def test_the_same_in_another_form_is_not_guarded(language: str) -> None:
    *frames, last = FRAMES[language].split("|")
    same = [(last.format(one), tuple(frame.format(one) for frame in frames)) for one, _ in pairs(OTHER[language])]
    same += [(question, (known,)) for known, question in pairs(SAME[language])]
    assert [one for one in same if is_guarded(Attack(language, "", *one))] == []


def test_what_a_judge_found_to_be_the_same_is_not_guarded_again() -> None:
    known = ("¿Cómo puedo cancelar mi pedido?", "Quiero anular mi pedido")
    first, other = (is_guarded(Attack("es", "", "Me gustaría anular mi pedido", known[:count])) for count in (1, 2))
    assert (first, other) == (True, False)


def test_tables_have_units_and_currencies_of_each_language() -> None:
    for language in FRAMES:
        found = tables(language)
        classes = {
            place for some in (found.classes, found.units) for places in some.values() for place, _ in places
        }
        assert {"currency", "mass", "volume", "duration", "length"} <= classes, language
        assert len(found.months) > 10
