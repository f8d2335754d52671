"""Words of twelve languages that change what a text says, though hardly its embedding.

Months, weekdays, numbers, units and currencies are from Unicode CLDR (`askonce.semantic.language.tables`), opposites
of English are in ``opposites.txt`` (WordNet). No library has the rest, which is below. ``*`` at the end of a word
stands for any ending.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from askonce.semantic.language.tables import tables

UNSPACED = ("zh", "ja")
"""Languages that do not part words: these are found as parts of the text."""

# The most common words of the languages of Latin letters.
COMMON = {
    "en": "the a an is are was be do does did can could will would my your i you it how what where when why which"
    " who to of for with from and or not have has this that there if on in at by get need we our us they as up",
    "de": "der die das ein eine einen einem einer ist sind war ich du sie er wir mein meine meinen meiner wie was wo"
    " wann warum welche wer zu von für mit und oder nicht kein keine habe hat haben kann können wird werden auf im"
    " am den dem des nach bei man es bis in an vom zum zur aus über um beim sich ihr ihre ihren sie dies diese",
    "es": "el la los las un una es son está están fue yo mi mis tu su cómo qué dónde cuándo por para con de del al y"
    " o no puedo puede hay ha he se en que si como cuánto cuál lo me",
    "fr": "le la les un une des est sont je tu il elle nous vous mon ma mes votre comment quoi où quand pourquoi quel"
    " quelle pour avec de du au et ou ne pas peux peut puis dans sur que qui si en ce se combien est-ce",
    "it": "il lo la gli le un una è sono io mio mia miei tuo suo come cosa dove quando perché quale per con di del"
    " della al alla e o non posso può ho ha in che se nel nella da dal dalla si quanto i entro",
    "pt": "o a os as um uma é são está eu meu minha meus seu sua como que onde quando porque qual para com de do da"
    " dos das no na ao e ou não posso pode tem tenho em se por pelo pela quanto",
    "nl": "de het een is zijn was ik je jij u hij wij mijn uw jouw hoe wat waar wanneer waarom welke wie te van voor"
    " met en of niet geen heb heeft hebben kan kunnen wordt worden op in naar bij dat er aan tot",
    "pl": "jest są był ja mój moja moje moją mojej twój jak co gdzie kiedy dlaczego który która do od dla z ze w we"
    " i lub nie mam ma mogę może można na się czy po przez za to o przed",
    "tr": "bir ve veya için ile nasıl ne nerede zaman neden hangi kim mi mı mu mü değil var yok bu şu ben sen benim"
    " kadar gibi daha çok sonra önce olarak nedir edebilir miyim mıyım kaç",
}
LANGUAGES = (*COMMON, "zh", "ja", "ko")

NEGATIONS = {
    "en": "not no never without none nothing cannot neither nor unable nobody nowhere non",
    "de": "nicht nichts nie niemals kein* ohne weder niemand",
    "es": "no nunca jamás sin nada ningún ninguna ninguno tampoco nadie",
    "fr": "pas jamais sans rien aucun aucune ni personne non",
    "it": "non mai senza niente nulla nessun nessuno nessuna né",
    "pt": "não nunca jamais sem nada nenhum nenhuma nem ninguém",
    "nl": "niet niets nooit geen zonder noch niemand",
    "pl": "nie nigdy bez nic żaden żadna żadne ani nikt",
    "tr": "değil yok asla hiç hiçbir yapmadan",
    "zh": "不 没 没有 无法 无 别 未 勿 非",
    "ja": "ない ません なく なし ず 不可 禁止 未 非",
    "ko": "안 못 없 않 아니 말고 마세요 금지 불가",
}

# Words of one place in a sentence: another one changes what is said. Forms of one word are joined by "=".
CONTRASTS = {
    "en": "until=till/after before=prior/after=afterward=afterwards hourly/daily/weekly/monthly/quarterly/annual=yearly"
    "=annually morning/afternoon/evening/night/noon/midnight spring/summer/autumn=fall/winter easter/christmas=xmas/thanksgiving/halloween half=halves/thirds/quarters breakfast/lunch/dinner"
    " ereyesterday/yesterday/today=tonight/tomorrow/overmorrow current=same/last=previous=past/next=following=coming first/last"
    " red/green/blue/yellow/black/white/orange/purple/pink/brown/grey=gray north/south/east/west"
    " northern/southern/eastern/western mother/father/son/daughter/brother/sister/aunt/uncle husband/wife"
    " debit/credit/prepaid incoming=inbound=incomming/outgoing=outbound domestic=inland/international=foreign=abroad"
    " savings/current=checking enable=activate/disable=deactivate open/close=shut start/stop/pause add/remove"
    " increase=raise/decrease=lower=reduce buy/sell lend/borrow send/receive deposit/withdraw=withdrawal lock=block=freeze"
    "/unlock=unblock=unfreeze install/uninstall subscribe/unsubscribe connect/disconnect import/export upload"
    "/download push/pull encode/decode encrypt/decrypt show/hide accept/reject=decline=refuse approve/deny=reject"
    " allow=permit=allowed=permitted=welcome/forbid=prohibit=ban=prohibited=forbidden include/exclude minimum=min=least"
    "/maximum=max=most upper/lower top/bottom left/right public/private temporary/permanent single/double/triple"
    " male/female men/women boy/girl child/adult=grown-up old/new cheap/expensive full/empty hot=warm/cold=cool=chilly easy=simple/hard=difficult extend=prolong=renew/cancel=terminate mandatory=compulsory=obligatory/voluntary=optional light/heavy"
    "/dark large=big/small=little/medium long/short high/low fast=quick/slow early/late rich/poor lose/gain=win"
    " win/lose arrive=arrival/depart=departure arrival/departure entry/exit enter/leave=exit login=log-in"
    "/logout=log-out sender/recipient=receiver=payee payer/payee=recipient buyer/seller lender/borrower landlord/tenant"
    " employer/employee teacher/student=pupil parent/child doctor/patient client/server legal"
    "/illegal true/false positive/negative advantage=pro=benefit/disadvantage=con=drawback best/worst better/worse"
    " more/less=fewer above=over=atleast/below=under=beneath=atmost gratis/charge=fee=chargeable inside/outside begin=beginning=start/end=ending=finish ascending/descending"
    " horizontal/vertical local/global/remote online/offline gross/net taxable/tax-free"
    " all=every=each/none push/pop weekday/weekend"
    " virtual/physical freeze/thaw"
    " shipped=ships=dispatched=dispatches=despatched/delivered=delivers=arrives=arrived/returned=returns"
    " return/exchange=swap/refund=reimburse/repair=mend pickup=pick=collect/drop=dropoff"
    " all=every=each=entire=whole/some=several=one=single only=just/except teach/learn full=fully/part=partial=partly"
    " joint=shared/single=individual english/german/french/spanish/italian/portuguese/dutch/polish/turkish/chinese/japanese"
    "/korean/russian/arabic for/against tighten/loosen archive/restore=unarchive lock=block=freeze/allow single/double=twofold/triple=threefold/quadruple=fourfold/fivefold hundreds/thousands/millions/billions furnished/unfurnished"
    " visa/mastercard/amex clockwise/anticlockwise=counterclockwise aunt/niece uncle/nephew android/iphone=ios mac=macos/windows/linux row/column",
    "de": "vor=vorher/nach=nachher=danach aktivier*=einschalt*=freischalt*/deaktivier*=ausschalt*=abschalt* öffn*=geöffnet"
    "=offen=auf/schließ*=geschlossen=zu sperr*=gesperrt=einfrier*/entsperr* erhöh*=anheb*/senk*=verringer*=reduzier*"
    " kauf*=gekauft/verkauf* send*=gesendet=schick*/empfang*=erhalt* einzahl*/auszahl*=abheb* morgens/abend*"
    "/mittag*/nacht* gestern/heute/morgen/übermorgen nachts=nacht/nächst* links/rechts oben/unten eingehend*/ausgehend* inland*=inländisch*/ausland*"
    "=ausländisch*=international* erst*/letzt* dies*/letzt*/nächst* alt*/neu* groß*/klein* billig*/teuer* früh*/spät*"
    " mehr/weniger mindest*/höchst*=maximal* immer/nie=niemals sommer/winter"
    " lad*/entlad* hinzufüg*/entfern*=lösch* anmeld*/abmeld* erlaubt/verboten"
    " privat*/geschäftlich* debit*/kredit* gewinn*/verlust* ankunft/abfahrt=abflug täglich/wöchentlich/monatlich/jährlich"
    " alle=allen=aller=alles=jede=jeder=jedes=jeden=sämtliche*/einige*=manche*=einzelne*"
    " beginn*=anfang*/ende*=beend* sichtbar/unsichtbar importier*/exportier*",
    "es": "antes/después activ*=habilit*/desactiv*=deshabilit* abr*=abiert*/cerr*=cierr* comprar=compra*/vender=vend*"
    " enviar=envi*/recib* ingres*=deposit*/retir* subir=aument*=sub*/bajar=dismin*=reduc*=baj* bloque*=congel*/desbloque*"
    "=descongel* matutino/tarde/noche ayer/hoy/mañana/pasadomañana izquierda/derecha arriba/abajo entrante*/saliente* nacional*"
    "/internacional*=extranjer* primer*/últim* este=esta/pasad*/próxim* nuev*/viej*=antigu* grande*/pequeñ* barat*/car*"
    " más/menos mínim*/máxim* siempre/nunca añad*=agreg*/elimin*=quit* entrada*/salida* débito/crédito permitid*/prohibid* verano/invierno"
    " públic*/privad* diari*/semanal*/mensual*/anual* conect*/desconect* empez*=inicio/termin*=fin"
    " todo=toda=todos=todas=cada/algún=algun*=varios=varias"
    " remitente/destinatario instal*/desinstal* suscrib*/cancel* prestar=presta/prestad*",
    "fr": "avant/après activ*=allum*/désactiv*=éteind* ouvr*=ouvert*/ferm* achet*=achat*/vend*=vente* envoy*=envoi*/recev*=reç*"
    " dépos*=dépôt*/retir*=retrait* augment*/diminu*=rédui*=baiss* bloqu*=gel*/débloqu*=dégel* matin*/soir*/après-midi/nuit*"
    " hier/aujourd'hui/demain/surlendemain gauche/droite haut/bas entrant*/sortant* national*=nationaux/international*=étranger*"
    " premi*/derni* ce=cette/dernier=dernière=passé/prochain* nouve*=neuf/ancien*=vieux=vieil* grand*/petit* cher*/bon-marché"
    " plus/moins minimum=minimal*/maximum=maximal* toujours/jamais ajout*/supprim*=enlev* arrivée*/départ* arriv*/part=parte=partir=partent=pars=partons=partez débit/crédit autoris*=permis*/interdi*"
    " été/hiver publi*/privé* quotidien*/hebdomadaire*/mensuel*/annuel* connect*/déconnect*"
    " tout=toute=tous=toutes=chaque/quelques=certain*=plusieurs"
    " début*=commenc*/fin=finir=termin* instal*/désinstal* verrouill*/déverrouill* expéditeur/destinataire",
    "it": "prima/dopo attiv*=abilit*/disattiv*=disabilit* apr*=apert*/chiud*=chius* compr*=acquist*/vend* invi*/ricev*"
    " deposit*=vers*/prelev* aument*=alz*/diminu*=abbass*=ridur* blocc*=congel*/sblocc*=scongel* mattin*/pomeriggio/sera*"
    "/notte ieri/oggi/domani/dopodomani sinistra/destra sopra/sotto entrata=ingresso/uscita nazional*/internazional*=estero prim*/ultim*"
    " quest*/scors*/prossim* nuov*/vecchi* grand*/piccol* economic*/costos* più/meno minim*/massim* sempre/mai aggiung*/rimuov*=elimin* debito/credito"
    " consentit*=permess*/vietat* estate/inverno pubblic*/privat* giornalier*/settimanal*/mensil*/annual* connett*/disconnett*"
    " tutto=tutta=tutti=tutte=ogni/alcun*=qualche=certi=certe"
    " arriv*/part* inizi*/fine=finisc* instal*/disinstal* in-entrata/in-uscita prestare=presta/prestito",
    "pt": "antes/depois ativ*=habilit*/desativ*=desabilit* abr*=abert*/fech* compr*/vend* envi*/receb* deposit*/sac*=levant*"
    " aument*/diminu*=reduz* bloque*=congel*/desbloque*=descongel* manhã/tarde/noite ontem/hoje/amanhã/depoisdeamanhã esquerda/direita"
    " entrada*/saída* nacional*=nacionais/internacional*=internacionais=exterior primeir*/últim* est*/passad*/próxim* nov*"
    "/velh*=antig* grande*/pequen* barat*/car* mais/menos mínim*/máxim* sempre/nunca adicion*/remov*=exclu* débito/crédito permitid*/proibid* verão/inverno"
    " públic*/privad* diári*/semanal*/mensal*/anual* conect*/desconect* chegada/partida início/fim=final instal*/desinstal*"
    " todo=toda=todos=todas=cada/algum*=algun*=vários=várias"
    " acima/abaixo emprestar=empresta/emprestad*",
    "nl": "voor=vóór/na activeer*=activeren=inschakel*/deactiveer*=deactiveren=uitschakel* open*=geopend/sluit*=gesloten=dicht"
    " koop*=kopen/verkoop*=verkopen stuur*=sturen=verzend*/ontvang* stort*/opnem*=opneem* verhoog*=verhogen/verlaag*=verlagen"
    " blokkeer*=blokkeren/deblokkeer*=deblokkeren ochtend*/middag*/avond*/nacht* gisteren/vandaag/morgen links/rechts"
    " boven/onder inkomend*/uitgaand* binnenland*/buitenland*=internationa* eerst*/laatst* deze=dit/vorig*/volgend* nieuw*"
    "/oud* groot=grote/klein* goedkoop*=goedkop*/duur*=dure meer/minder minim*/maxim* altijd/nooit toevoeg*/verwijder* toegestaan/verboden zomer/winter"
    " alle=alles=elk=elke=ieder=iedere/enkele=sommige"
    " aankomst/vertrek begin*/eind* aanmeld*/afmeld* dagelijks/wekelijks/maandelijks/jaarlijks ontgrendel*/vergrendel*",
    "pl": "przed/po aktyw*=włącz*/dezaktyw*=wyłącz* otw*/zamk*=zamyk* kup*/sprzeda* wysł*=wysył*=wyśl*/otrzym*=odbi*=odebra*"
    " wpłac*=wpłat*/wypłac*=wypłat* zwiększ*=podnie*/zmniejsz*=obniż* zablok*=blok*/odblok* rano=ran*=poran*/wieczor*=wieczór"
    "/noc* wczoraj/dziś=dzisiaj/jutro lew*/praw* przychodząc*/wychodząc* krajow*/zagraniczn*=międzynarod* pierwsz*/ostatni*"
    " ten=tym=tego/zeszł*=ubiegł*/przyszł*=następn* now*/star* duż*/mał* tani*/drog* więcej/mniej minim*/maks* zawsze/nigdy doda*/usun*"
    "=usuw* przyjazd*/odjazd* dozwolon*/zabronion* lato=latem/zima=zimą początk*=początek/koniec=końc* publiczn*/prywatn*"
    " wszystk*=wszysc*=każd*/niektór*=kilka=kilku=parę"
    " dziennie/tygodniowo/miesięcznie/rocznie",
    "tr": "önce*/sonra* aç*=etkinleştir*/kapat*=kapal*=kapan*=devre satın=al*/sat* gönder*/al* yatır*/çek* artır*=yükselt*/azalt*"
    "=düşür* kilitle*=dondur*=bloke/kilidini=çöz* sabah*/öğle*/akşam*/gece* dün/bugün/yarın sol*/sağ* gelen/giden yurtiçi=yurt"
    "-içi/yurtdışı=uluslararası ilk/son bu/geçen/gelecek=önümüzdeki yeni/eski büyük/küçük ucuz/pahalı fazla/az en-az/en-fazla"
    " her-zaman/asla ekle*/sil*=kaldır* giriş*/çıkış*"
    " tüm=bütün=her/bazı=birkaç"
    " serbest/yasak yaz*/kış* ücretli/ücretsiz açık/kapalı",
    "zh": "之前=以前=前/之后=以后=后 激活=启用=开启=打开=开通/停用=禁用=关闭=注销 冻结/解冻 锁定/解锁 买=购买/卖=出售 存款=存入/取款=取出"
    " 增加=提高=上调/减少=降低=下调 发送=寄/接收=收到 早上=上午=早晨/下午/晚上=夜里/中午 昨天/今天/明天/后天/前天 这个月=本月/上个月=上月/下个月=下月"
    " 本周=这周/上周/下周 左/右 国内/国际=国外=境外 转入=收款/转出=付款 最高=最多/最低=最少 新/旧 大/小 借记卡/信用卡"
    " 天/周/个月/年/小时/分钟 可以=能/不可以=不能 添加/删除 到达/出发 收入/支出 夏天/冬天 允许/禁止 私人/公共 连接/断开 安装/卸载"
    " 首次/最后 总是/从不 男/女 赚/亏",
    "ja": "前/後 有効/無効 開=オン/閉=オフ 凍結/解凍=凍結解除 ロック/ロック解除=アンロック 買=購入/売=売却 入金=預け/出金=引き出 増や=上げ/減ら=下げ"
    " 送=送信/受=受信 朝=午前/午後/夜=晩 昨日/今日/明日/明後日/一昨日 今月/先月/来月 今週/先週/来週 左/右 国内/海外=国際 最大=最高/最小=最低"
    " 新しい/古い 大きい/小さい デビット/クレジット 日間/週間/か月=ヶ月/年間/時間/分 追加/削除 到着/出発 収入/支出 夏/冬 許可/禁止 接続/切断"
    " インストール/アンインストール 最初/最後 毎日/毎週/毎月/毎年 登録/解除 往路/復路 貸/借",
    "ko": "전에=이전/후에=이후 비활성화=끄기=닫기/활성화=켜기=열기 동결=정지/해제 잠금/잠금해제 구매=구입/판매 입금/출금=인출 올리=늘리=인상=높이=높여/내리=줄이=인하=낮추=낮춰"
    " 송금=발신/수취=수신 아침=오전/오후/저녁 어제/오늘/내일/모레/그저께 켜=켭=켤/끄=끕=꺼=껐 잠그=잠가=잠글/열어=열고=여나=여는=여려 이번/지난/다음 왼쪽/오른쪽 국내/해외=국제 최대/최소 새로운/오래된 체크카드=직불/신용"
    " 매일/매주/매월=매달/매년 추가/삭제 도착/출발 수입/지출 여름/겨울 허용/금지 연결/끊기 설치/제거 처음/마지막 등록/해지 비싼/저렴",
}

SYNONYMS = """
leave left depart;contact message write;contact call phone;contact email write;keep store;insure protect cover;raise increase;quick fast
swift;price cost pay charge;delete erase remove;parcel package;illness disease;reach arrive;trip journey;error mistake
fault bug;refund reimburse;reply answer respond;show display;change modify edit alter update;choose select pick;sum amount
;picture photo image;hand submit give;period last duration;guest visitor;plenty lot much many;drug medicine medication
;e-mail email;home house;job work;movie film;car vehicle;stop prevent avoid;create make build;verify check confirm
;annual yearly;client customer;sign login log;outside beyond;phone telephone;allow permit let enable;need require
;begin start commence;end finish stop complete;buy purchase get;help assist support;quickly fast soon;wrong incorrect
;right correct;shut close;hard difficult;easy simple;safe secure;big large;free gratis;fix repair solve resolve
;arrive deliver reach receive;pick choose select;start begin open;serve have offer
;speak talk;holiday vacation leave;supply provide offer give;obtain receive get;use apply;mobile cellphone;test try
;approx about roughly;immediately instantly;occur happen take;melt melting;boil boiling;meal eat eating food;entry enter
;send dispatch post mail;cancel terminate end;extend prolong;defeat beat;beaten defeated;rinse flush wash;hold press;switch change;keep same;sign signature signing;pay cover covered;hard difficult;bring carry take;turn switch;few couple;flight fly flying;serve have offer;stay remain be
"""
"""Words of English that mostly say the same in answers and are no synonyms in ``synonyms.txt``."""

NEGATIVE_PREFIXES = {
    "en": "un non dis de in im ir il mis a",
    "de": "un ent de nicht miss in",
    "es": "des in im dis no",
    "fr": "dés dé in im ir non mal",
    "it": "dis in im s non",
    "pt": "des in im não",
    "nl": "on ont de in niet",
    "pl": "nie dez de bez od",
    "tr": "",
}
OPPOSED_PREFIXES = (
    "en/de up/down in/out im/ex in/ex over/under pre/post hyper/hypo inter/intra as/des en/dis auf/ab ein/aus an/ab"
)

# After one of these a word has another role than elsewhere: 'from A to B'.
ROLES = {
    "en": "from to into onto before after until till by than for with over under via through against at of in on"
    " behind without instead per between if when because while",
    "de": "von vom nach zu zum zur vor bis aus in im ins für mit über durch gegen als statt bei an am auf wenn weil",
    "es": "de del desde hasta a al para por con sin antes en sobre hacia que contra si cuando",
    "fr": "de du des depuis jusqu à au aux vers pour par avec sans avant après en sur que contre chez si quand",
    "it": "da dal dalla dallo dai dagli dalle dall a al alla allo ai agli alle all per con senza prima dopo in nel nella nello nei"
    " negli nelle nell su sul sulla sui sugli sulle sull di del della dello dei degli delle dell verso che contro se quando",
    "pt": "de do da dos das desde até a ao à aos às para por pelo pela com sem antes em no na nos nas sobre que contra se quando",
    "nl": "van naar tot voor na uit door met zonder op in bij over dan tegen als omdat aan",
    "pl": "z ze od do na dla przez po przed bez w we nad pod niż jeśli gdy",
    "tr": "",
}

_CONTRACTED = {
    "de": "von:vom zu:zum,zur in:im an:am,ans bei:beim",
    "es": "de:del a:al",
    "fr": "de:du,des,d à:au,aux",
    "it": "da:dal,dalla,dallo,dai,dagli,dalle,dall a:al,alla,allo,ai,agli,alle,all in:nel,nella,nello,nei,negli,nelle,nell"
    " su:sul,sulla,sui,sugli,sulle,sull di:del,della,dello,dei,degli,delle,dell",
    "pt": "de:do,da,dos,das a:ao,à,aos,às em:no,na,nos,nas por:pelo,pela",
    "pl": "z:ze w:we",
}
PREPOSITIONS = {
    language: {form: line.partition(":")[0] for line in lines.split() for form in line.partition(":")[2].split(",")}
    for language, lines in _CONTRACTED.items()
}
"""What a preposition is without the article or ending."""

UNITS_OF_TIME = {  # minutes
    "minute": 1,
    "min": 1,
    "hour": 60,
    "hr": 60,
    "day": 1440,
    "week": 7 * 1440,
    "fortnight": 14 * 1440,
}


@dataclass(frozen=True)
class Lexicon:
    """The words of one language.

    Attributes:
        months: a word's month, 1 to 12.
        weekdays: a word's weekday; 0 is Monday.
        numbers: a word's number.
        negations: words that deny.
        contrasts: for a word, the places that it takes, each with what it says there.
        units: the same for what is a unit or a currency after a number.
        roles: words after which another one has a role of its own.
        prefixes: those that deny.
        scales: what a word multiplies the number before it with.
        short_scales: the same for abbreviations, after digits alone.
    """

    months: dict[str, int]
    weekdays: dict[str, int]
    numbers: dict[str, int]
    negations: frozenset[str]
    contrasts: dict[str, tuple[tuple[str, str], ...]]
    units: dict[str, tuple[tuple[str, str], ...]]
    roles: frozenset[str]
    prefixes: tuple[str, ...]
    scales: dict[str, int]
    short_scales: dict[str, int]


@cache
def synonyms(word: str) -> frozenset[int]:
    """The groups of English words of one meaning that a word belongs to."""
    return _synonyms().get(word, frozenset())


@cache
def _synonyms() -> dict[str, frozenset[int]]:
    groups = [line.split() for line in _file("synonyms.txt").splitlines()[1:]]
    groups += [group.split() for group in SYNONYMS.split(";")]
    found: dict[str, set[int]] = {}
    for number, group in enumerate(groups):
        for word in group:
            found.setdefault(word, set()).add(number)
    return {word: frozenset(numbers) for word, numbers in found.items()}


def _file(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


_MORE_WEEKDAYS = {
    "en": {"mondays": 0, "tuesdays": 1, "wednesdays": 2, "thursdays": 3, "fridays": 4, "saturdays": 5, "sundays": 6,
           "tues": 1, "thur": 3, "thurs": 3},
    "de": {"montags": 0, "dienstags": 1, "mittwochs": 2, "donnerstags": 3, "freitags": 4, "samstags": 5,
           "sonntags": 6, "sonnabend": 5},
    "pt": {"segunda": 0, "terça": 1, "quarta": 2, "quinta": 3, "sexta": 4, "sábados": 5, "domingos": 6},
    "pl": {"środę": 2, "sobotę": 5, "niedzielę": 6, "niedziele": 6, "poniedziałki": 0, "wtorki": 1, "piątki": 4},
    "es": {"sábados": 5, "domingos": 6},
    "fr": {"lundis": 0, "mardis": 1, "mercredis": 2, "jeudis": 3, "vendredis": 4, "samedis": 5, "dimanches": 6},
    "zh": {"周一": 0, "周二": 1, "周三": 2, "周四": 3, "周五": 4, "周六": 5, "周日": 6, "星期天": 6},
}  # fmt: skip
_MORE_MONTHS = {
    "pl": "styczniu lutym marcu kwietniu maju czerwcu lipcu sierpniu wrześniu październiku listopadzie grudniu".split(),
}
_NO_WEEKDAYS = frozenset("sun sat mar sab ter seg sex dom lun qua qui sob pon dim jeu mer sam ven gio".split())
_NO_MONTHS = frozenset("mar mai sep set ago out mag lug ott gen mart may oca ara dez dic giu nov abr".split())
_NO_NUMBERS = {
    "en": frozenset(["one"]), "de": frozenset("ein eins eine einen einem einer eines".split()),
    "es": frozenset("un uno una cien".split()) - {"cien"}, "fr": frozenset("un une".split()),
    "it": frozenset("un uno una sei".split()), "pt": frozenset("um uma".split()),
    "nl": frozenset("een één".split()), "pl": frozenset("jeden jedna jedno sto".split()) - {"sto"},
    "tr": frozenset("bir".split()), "zh": frozenset("一 〇 零 两".split()) - {"两"},
    "ja": frozenset("一 〇 零".split()),
    "ko": frozenset("일 이 사 오 구 영 공 한 하나 세 네 육 칠 팔 삼 백 천 만 십 열 두".split()) - {"두"},
}  # fmt: skip
"""Number words that are something else too often, and 'one', which is an article in most languages."""


@cache
def lexicon(language: str) -> Lexicon:
    """The words of a language, by its code."""
    table = tables(language)
    months = {word: number for word, number in table.months.items() if word not in _NO_MONTHS or language == "de"}
    weekdays = {word: day for word, day in table.weekdays.items() if len(word) > 1 and word not in _NO_WEEKDAYS}
    months |= {word: number for number, word in enumerate(_MORE_MONTHS.get(language, ()), start=1)}
    if language == "en":
        months |= {"sept": 9}
    if language == "tr":
        months |= {"ocak": 1, "mart": 3}
    numbers = {word: number for word, number in table.numbers.items() if word not in _NO_NUMBERS[language]}
    contrasts = dict(table.classes)
    for place, line in enumerate(CONTRASTS[language].split()):
        for member in line.split("/"):
            forms = member.split("=")
            for form in forms:
                contrasts[form] = (*contrasts.get(form, ()), (f"{place}", forms[0]))
    if language == "en":
        for line in _file("opposites.txt").splitlines()[1:]:
            for word in line.split("/"):
                contrasts[word] = (*contrasts.get(word, ()), (line, word))
    return Lexicon(
        months,
        weekdays | _MORE_WEEKDAYS.get(language, {}),
        numbers,
        frozenset(NEGATIONS[language].split()),
        contrasts,
        table.units,
        frozenset(ROLES.get(language, "").split()),
        tuple(sorted(NEGATIVE_PREFIXES.get(language, "").split(), key=len, reverse=True)),
        table.scales,
        table.short_scales,
    )
