"""Questions that differ from known ones in what embeddings hardly show, in twelve languages.

Each language has frames, and pairs of phrases by kind. The wordings of one phrase in all frames are stored; requested are
those of the other phrase. ``python -m benchmarks.attacks`` counts what a rule serves that trusts every neighbour.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from askonce.semantic.decision.features import candidate
from askonce.semantic.decision.state import RuleState
from askonce.semantic.types import IndexedQuery, Neighbour

FRAMES = {
    "en": "can I pay {}|is it possible to pay {}|I would like to pay {}|what happens if I pay {}|tell me how to pay {}",
    "de": "kann ich {} bezahlen|ist es möglich, {} zu bezahlen|ich möchte {} bezahlen|was passiert, wenn ich {} bezahle"
    "|wie kann man {} bezahlen",
    "es": "puedo pagar {}|es posible pagar {}|me gustaría pagar {}|qué pasa si pago {}|cómo se puede pagar {}",
    "fr": "est-ce que je peux payer {}|est-il possible de payer {}|je voudrais payer {}|comment payer {}"
    "|que se passe-t-il si je paie {}",
    "it": "posso pagare {}|è possibile pagare {}|vorrei pagare {}|cosa succede se pago {}|come si può pagare {}",
    "pt": "posso pagar {}|é possível pagar {}|eu gostaria de pagar {}|o que acontece se eu pagar {}|como posso pagar {}",
    "nl": "kan ik {} betalen|is het mogelijk om {} te betalen|ik wil graag {} betalen|hoe kan ik {} betalen"
    "|wat gebeurt er als ik {} betaal",
    "pl": "czy mogę zapłacić {}|czy można zapłacić {}|chciałbym zapłacić {}|co się stanie, jeśli zapłacę {}|jak zapłacić {}",
    "tr": "{} ödeyebilir miyim|{} ödemek mümkün mü|{} ödemek istiyorum|{} nasıl ödeme yapabilirim|{} ödersem ne olur",
    "zh": "我可以{}付款吗|能不能{}付款|我想{}付款|如果{}付款会怎么样|怎么{}付款",
    "ja": "{}支払えますか|{}支払うことはできますか|{}支払いたいです|{}支払うとどうなりますか|どうやって{}支払いますか",
    "ko": "{} 지불할 수 있나요|{} 지불이 가능한가요|{} 지불하고 싶어요|{} 지불하면 어떻게 되나요|어떻게 {} 지불하나요",
}

# kind: phrase = other phrase; …
PHRASES = {
    "en": """
number: with two cards = with three cards; for 5 people = for 6 people; in twelve rates = in ten rates; 100.50 at once = 1000.50 at once
currency: in dollars = in euros; 20 pounds = 20 euros; in yen = in francs; $30 in cash = €30 in cash
unit: for 5 kg of rice = for 5 lb of rice; for 10 km = for 10 miles; every month = every week; for two days = for two weeks
date: on Monday = on Tuesday; in March = in May; in may = in march; on 3 May = on 4 May; in june = in july; on Fridays = on Sundays
negation: with my card = not with my card; with a code = without a code; ever by phone = never by phone
opposite: before the trip = after the trip; for incoming transfers = for outgoing transfers; for domestic mail = for international mail; for a refundable ticket = for a non-refundable ticket; to freeze the account = to unfreeze the account; in the morning = in the evening; to enable roaming = to disable roaming; this month = last month; by debit card = by credit card; for a deposit = for a withdrawal; for ascending order = for descending order
roles: a train from Berlin to Paris = a train from Paris to Berlin; ann for bob = bob for ann; to move dollars to euros = to move euros to dollars; to fly from oslo to rome = to fly from rome to oslo
""",
    "de": """
number: mit zwei Karten = mit drei Karten; für fünf Personen = für sechs Personen; in 12 Raten = in 10 Raten
currency: in Euro = in Dollar; 20 Pfund = 20 Euro; in Yen = in Franken
unit: jede Woche = jeden Monat; für zwei Tage = für zwei Wochen; für 10 Kilometer = für 10 Meilen
date: am Montag = am Dienstag; im März = im Mai; am 3. Juni = am 4. Juni; im Januar = im Juli
negation: mit Karte = nicht mit Karte; mit Code = ohne Code; immer bar = nie bar
opposite: vor der Reise = nach der Reise; morgens = abends; für die Aktivierung = für die Deaktivierung; eingehende Beträge = ausgehende Beträge; im Inland = im Ausland; die alte Rechnung = die neue Rechnung; diesen Monat = letzten Monat; gestern = heute
roles: den Zug von Köln nach Bonn = den Zug von Bonn nach Köln; den Flug von Berlin nach Rom = den Flug von Rom nach Berlin
""",
    "es": """
number: con dos tarjetas = con tres tarjetas; para cinco personas = para seis personas; en 12 plazos = en 10 plazos
currency: en euros = en dólares; 20 libras = 20 euros; en yenes = en pesos
unit: cada mes = cada semana; por dos días = por dos semanas; por 10 kilómetros = por 10 millas
date: el lunes = el martes; en marzo = en mayo; el 3 de junio = el 4 de junio; en enero = en julio
negation: con tarjeta = no con tarjeta; con código = sin código; siempre en efectivo = nunca en efectivo
opposite: antes del viaje = después del viaje; por la mañana = por la noche; para activar la tarjeta = para desactivar la tarjeta; transferencias entrantes = transferencias salientes; la factura nueva = la factura antigua; con débito = con crédito; el mes pasado = el mes próximo; para abrir la cuenta = para cerrar la cuenta
roles: el tren de Madrid a Lisboa = el tren de Lisboa a Madrid; el vuelo desde Roma hasta París = el vuelo desde París hasta Roma
""",
    "fr": """
number: avec deux cartes = avec trois cartes; pour cinq personnes = pour six personnes; en 12 fois = en 10 fois
currency: en euros = en dollars; 20 livres = 20 euros; en yens = en francs
unit: chaque mois = chaque semaine; pour deux jours = pour deux semaines; pour 10 kilomètres = pour 10 milles
date: le lundi = le mardi; en mars = en mai; le 3 juin = le 4 juin; en janvier = en juillet
negation: avec la carte = pas avec la carte; avec un code = sans un code; toujours en espèces = jamais en espèces
opposite: avant le voyage = après le voyage; le matin = le soir; pour activer la carte = pour désactiver la carte; les virements entrants = les virements sortants; la nouvelle facture = l'ancienne facture; par débit = par crédit; pour ouvrir un compte = pour fermer un compte; hier = demain
roles: le train de Lyon à Paris = le train de Paris à Lyon; le vol de Rome vers Nice = le vol de Nice vers Rome
""",
    "it": """
number: con due carte = con tre carte; per cinque persone = per quattro persone; in 12 rate = in 10 rate
currency: in euro = in dollari; 20 sterline = 20 euro; in yen = in euro
unit: ogni mese = ogni settimana; per due giorni = per due settimane
date: il lunedì = il martedì; a marzo = a maggio; il 3 giugno = il 4 giugno; a gennaio = a luglio
negation: con la carta = non con la carta; con il codice = senza il codice; sempre in contanti = mai in contanti
opposite: prima del viaggio = dopo il viaggio; di mattina = di sera; per attivare la carta = per disattivare la carta; la nuova fattura = la vecchia fattura; con debito = con credito; per aprire il conto = per chiudere il conto; ieri = domani; per bloccare la carta = per sbloccare la carta
roles: il treno da Roma a Milano = il treno da Milano a Roma; il volo da Parigi a Nizza = il volo da Nizza a Parigi
""",
    "pt": """
number: com dois cartões = com três cartões; para cinco pessoas = para seis pessoas; em 12 vezes = em 10 vezes
currency: em euros = em dólares; 20 libras = 20 euros; em ienes = em reais
unit: todo mês = toda semana; por dois dias = por duas semanas
date: na segunda-feira = na terça-feira; em março = em maio; em 3 de junho = em 4 de junho; em janeiro = em julho
negation: com cartão = não com cartão; com código = sem código; sempre em dinheiro = nunca em dinheiro
opposite: antes da viagem = depois da viagem; de manhã = à noite; para ativar o cartão = para desativar o cartão; a fatura nova = a fatura velha; com débito = com crédito; para abrir a conta = para fechar a conta; ontem = amanhã; para bloquear o cartão = para desbloquear o cartão
roles: o trem de Lisboa para Porto = o trem de Porto para Lisboa; o voo de Roma para Paris = o voo de Paris para Roma
""",
    "nl": """
number: met twee kaarten = met drie kaarten; voor vijf personen = voor zes personen; in 12 termijnen = in 10 termijnen
currency: in euro = in dollar; 20 pond = 20 euro
unit: elke maand = elke week; voor twee dagen = voor twee weken
date: op maandag = op dinsdag; in maart = in mei; op 3 juni = op 4 juni; in januari = in juli
negation: met de kaart = niet met de kaart; met een code = zonder een code; altijd contant = nooit contant
opposite: vóór de reis = na de reis; 's ochtends = 's avonds; om de kaart te activeren = om de kaart te deactiveren; inkomende bedragen = uitgaande bedragen; de nieuwe rekening = de oude rekening; in het binnenland = in het buitenland; gisteren = vandaag; de goedkope reis = de dure reis
roles: de trein van Utrecht naar Gent = de trein van Gent naar Utrecht; de vlucht van Rome naar Parijs = de vlucht van Parijs naar Rome
""",
    "pl": """
number: dwiema kartami = trzema kartami; za pięć osób = za sześć osób; w 12 ratach = w 10 ratach
currency: w euro = w dolarach; 20 funtów = 20 euro
unit: co miesiąc = co tydzień; za dwa dni = za dwa tygodnie
date: w poniedziałek = we wtorek; w marcu = w maju; 3 czerwca = 4 czerwca; w styczniu = w lipcu
negation: kartą = nie kartą; z kodem = bez kodu; zawsze gotówką = nigdy gotówką
opposite: przed podróżą = po podróży; rano = wieczorem; za aktywację karty = za dezaktywację karty; nową fakturę = starą fakturę; przelew krajowy = przelew zagraniczny; wczoraj = dziś; za tani bilet = za drogi bilet; żeby otworzyć konto = żeby zamknąć konto
roles: pociąg z Krakowa do Gdyni = pociąg z Gdyni do Krakowa; lot z Rzymu do Pragi = lot z Pragi do Rzymu
""",
    "tr": """
number: iki kartla = üç kartla; beş kişi için = altı kişi için; 12 taksitle = 10 taksitle
currency: euro ile = dolar ile; 20 sterlin = 20 euro
unit: her ay = her hafta; iki gün için = iki hafta için
date: pazartesi günü = salı günü; mart ayında = mayıs ayında; 3 haziranda = 4 haziranda
negation: kartla = kartla değil; her zaman nakit = asla nakit
opposite: seyahatten önce = seyahatten sonra; sabah = akşam; yeni fatura = eski fatura; yurtiçi havale = yurtdışı havale; dün = bugün; ucuz bilet = pahalı bilet; gelen havale = giden havale; ilk taksit = son taksit
roles: Ankara'dan İzmir'e tren = İzmir'den Ankara'ya tren; Roma'dan Paris'e uçak = Paris'ten Roma'ya uçak
""",
    "zh": """
number: 用两张卡 = 用三张卡; 为五个人 = 为六个人; 分12期 = 分10期
currency: 用美元 = 用欧元; 用20英镑 = 用20欧元
unit: 每个月 = 每周; 提前两天 = 提前两周
date: 在星期一 = 在星期二; 在三月 = 在五月; 在6月3日 = 在6月4日
negation: 用卡 = 不用卡; 有密码 = 没有密码
opposite: 旅行之前 = 旅行之后; 早上 = 晚上; 为激活卡 = 为停用卡; 为新账单 = 为旧账单; 向国内 = 向国外; 昨天 = 今天; 用借记卡 = 用信用卡; 为打开账户 = 为关闭账户
roles: 从北京到上海的车票 = 从上海到北京的车票; 从罗马到巴黎的机票 = 从巴黎到罗马的机票
""",
    "ja": """
number: 二枚のカードで = 三枚のカードで; 五人分を = 六人分を; 12回払いで = 10回払いで
currency: ドルで = ユーロで; 20ポンドを = 20ユーロを
unit: 毎月 = 毎週; 二日間 = 二週間
date: 月曜日に = 火曜日に; 三月に = 五月に; 6月3日に = 6月4日に
negation: カードで = カードではなく; 必要なら = 必要ないなら
opposite: 旅行の前に = 旅行の後に; 朝 = 夜; 有効にするために = 無効にするために; 新しい請求書を = 古い請求書を; 国内で = 海外で; 昨日 = 今日; デビットカードで = クレジットカードで
roles: 東京から大阪までの切符を = 大阪から東京までの切符を; ローマからパリまでの便を = パリからローマまでの便を
""",
    "ko": """
number: 두 장의 카드로 = 세 장의 카드로; 12개월로 = 10개월로; 5명을 위해 = 6명을 위해
currency: 달러로 = 유로로; 20파운드를 = 20유로를
unit: 매일 = 매주
date: 월요일에 = 화요일에; 3월에 = 5월에; 6월 3일에 = 6월 4일에
negation: 카드로 = 카드가 아니라; 코드가 있으면 = 코드가 없으면
opposite: 여행 전에 = 여행 후에; 아침에 = 저녁에; 활성화를 위해 = 비활성화를 위해; 국내에서 = 해외에서; 어제 = 오늘; 체크카드로 = 신용카드로; 이번 달에 = 지난 달에
roles: 서울에서 부산으로 가는 표를 = 부산에서 서울로 가는 표를; 로마에서 파리로 가는 표를 = 파리에서 로마로 가는 표를
""",
}


@dataclass(frozen=True)
class Attack:
    """A question, and the stored wordings of another one that it must not be answered with."""

    language: str
    kind: str
    question: str
    stored: tuple[str, ...]


def attacks() -> Iterator[Attack]:
    """All pairs of all languages, in both directions and in every frame."""
    for language, block in PHRASES.items():
        frames = FRAMES[language].split("|")
        for line in block.strip().splitlines():
            kind, _, pairs = line.partition(": ")
            for pair in pairs.split("; "):
                one, other = pair.split(" = ")
                for stored, question in ((one, other), (other, one)):
                    wordings = tuple(frame.format(stored) for frame in frames)
                    for frame in frames:
                        yield Attack(language, kind, frame.format(question), wordings)


def wordings() -> Iterator[Attack]:
    """The same phrase in a frame that is not stored: what must still be served."""
    for language, block in PHRASES.items():
        frames = FRAMES[language].split("|")
        for line in block.strip().splitlines():
            kind, _, pairs = line.partition(": ")
            for pair in pairs.split("; "):
                for phrase in pair.split(" = "):
                    for place, frame in enumerate(frames):
                        others = [one for one in frames if one != frames[place]]
                        yield Attack(
                            language, kind, frame.format(phrase), tuple(one.format(phrase) for one in others)
                        )


def is_guarded(attack: Attack) -> bool:
    """Whether the guards alone keep the stored answer from being served."""
    order = sorted(attack.stored, key=lambda stored: -len(set(stored) & set(attack.question)))
    neighbours = [
        Neighbour(
            IndexedQuery(number.to_bytes(32, "big"), bytes(32), "", bytes(16), text), 0.99 - number / 1000, 10
        )
        for number, text in enumerate(order)
    ]
    return candidate(attack.question, neighbours, RuleState()).guarded


def passed(some: Iterator[Attack], wrong: Callable[[Attack], bool]) -> tuple[int, Counter[str], list[Attack]]:
    """How many, and which of them are wrong, by language and kind."""
    count, by, which = 0, Counter[str](), []
    for attack in some:
        count += 1
        if wrong(attack):
            by[f"{attack.language} {attack.kind}"] += 1
            which.append(attack)
    return count, by, which


if __name__ == "__main__":
    count, by, which = passed(attacks(), lambda attack: not is_guarded(attack))
    print(f"{count} attacks, not guarded: {len(which)} ({len(which) / count:.2%})", dict(by))
    for attack in which[::5]:
        print(" ", attack.language, attack.kind, "|", attack.question, "|", attack.stored[0])
    count, by, which = passed(wordings(), is_guarded)
    print(f"{count} other wordings, guarded: {len(which)} ({len(which) / count:.2%})", dict(by))
    for attack in which[::20]:
        print(" ", attack.language, attack.kind, "|", attack.question, "|", attack.stored[0])
