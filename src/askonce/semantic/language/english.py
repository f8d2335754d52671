"""Words and phrases of English that answers are worded with and that carry no fact, or say the same as others."""

from __future__ import annotations

import re

from askonce.semantic.language.reading import stem

COURTESY = re.compile(
    r"\b(?:thanks?|sorry|afraid|unfortunately|worry|worries|hope|glad|happy|welcome|let me know|let us know|feel free"
    r"|anything else|nothing else|no further|of course|sure|certainly|absolutely|(?:good|great) question|apolog\w+|no problem"
    r"|hesitate|appreciate|as an ai|would you like me|do you want me|can i (?:help|assist)"
    r"|have a (?:good|great|nice|wonderful|lovely|pleasant|fantastic)|best regards|understand|any (?:other|more|further) questions"
    r"|vielen dank|gerne?|danke|tut mir leid|gracias|lo siento|con gusto|merci|désolée?|je vous en prie|avec plaisir"
    r"|grazie|mi dispiace|prego|obrigad[oa]|lamento|com prazer|bedankt|graag|dziękuję|proszę bardzo|teşekkürler|谢谢|抱歉|감사합니다)\b",
    re.IGNORECASE,
)
CLOSING = re.compile(
    r"(?:das hilft ihnen weiter|ich hoffe,? (?:das|dies) hilft(?: ihnen| dir)?(?: weiter)?|ich hoffe,? das war hilfreich"
    r"|kann ich (?:ihnen|dir) (?:sonst )?(?:noch )?(?:irgendwie |bei etwas )?(?:weiter)?helfen"
    r"|(?:bei|wenn sie) weitere[nr]? fragen (?:haben, )?(?:stehe ich|stehen wir) (?:ihnen )?(?:gerne )?zur verfügung"
    r"|zögern sie nicht, (?:uns|mich) zu (?:kontaktieren|fragen)|haben sie (?:noch )?(?:weitere )?fragen"
    r"|n'hésitez pas(?: à (?:nous contacter|demander|me demander))?(?: si vous avez (?:d'autres|des) questions)?"
    r"|j'espère que (?:cela|ça) (?:vous )?(?:aide|aidera|sera utile)|puis-je vous aider (?:avec|pour) autre chose"
    r"|(?:puedo|le puedo|te puedo) ayudar(?:te|le)? (?:en|con) algo más|espero que (?:te|le) sea (?:útil|de ayuda)"
    r"|no dude(?:s)? en (?:contactarnos|preguntar)(?: si tiene(?:s)? (?:más )?preguntas)?|espero haber(?:te|le) ayudado"
    r"|spero (?:che (?:questo )?)?(?:ti |le )?(?:sia utile|sia stato utile|di (?:esserti|esserle) stato utile)"
    r"|posso aiutar(?:ti|la) (?:con|in) qualcos'altro|espero ter ajudado|espero que (?:isso )?ajude"
    r"|posso ajudar (?:em|com) (?:mais )?(?:alguma coisa|algo)(?: mais)?|ik hoop dat dit helpt"
    r"|kan ik (?:u|je) (?:nog )?(?:ergens |met iets anders )?(?:anders )?(?:mee )?helpen|mam nadzieję, że to pomoże"
    r"|好的|当然(?:可以)?|没问题|感谢您的(?:咨询|提问|来信|耐心等待)|希望(?:这)?(?:对您|能)有?所?帮助(?:到您)?"
    r"|(?:请问)?(?:您)?还有(?:其他|别的)?(?:什么)?(?:问题|需要(?:帮助)?(?:的)?)吗|如有(?:其他|任何)?(?:问题|疑问)，?(?:请)?随时(?:联系我们|告诉我)"
    r"|承知(?:いた)?しました|かしこまりました|もちろんです|お問い合わせ(?:いただき)?ありがとうございます"
    r"|(?:ご参考に|お役に)(?:なれば|立てれば)幸いです|(?:他|ほか)に(?:ご)?(?:質問|不明点)は(?:ございますか|ありますか)"
    r"|(?:その他|他に)?ご不明な点がございましたら、?お気軽にお問い合わせください)",
    re.IGNORECASE,
)
"""Whole sentences of courtesy in other languages."""
AGAIN = re.compile(
    r"^(?:in (?:short|summary|brief)|to sum(?:marize| up)|(?:the )?short answer)[:,] ", re.IGNORECASE
)
COURTEOUS = frozenset(
    """
    message messages enquiry inquiry request email writing contacting asking understanding patience waiting
    thank ask reach out contact question good great happy glad help hope let know further else anything nothing
    assist assistanc sorry hear apology apologize apologis inconvenienc trouble worry problem course sure
    certain absolut welcom day nic feel free writ again unclear clear require side need do pleas understand
    concern patienc easy simpl here other one more action step tak on your part end afraid unfortunate best
    regard kind this be anyon answer happen helps sooner sorted inform hesitate whenever done matter can will
    would glad get touch time always anytime is able us me hav i we you it that much for to required needed
    anything nothing else side feedback questions concerns wonderful lovely perfect pleasure always
today appreciate appreciat caused caus ai assistant model language tell explain walk through detail details like
want pleasant fantastic ahead may might
""".split()
)
# Phrases that say the same in other words; English alone.
PHRASES = [
    (re.compile(pattern), word)
    for pattern, word in (
        (r"\b(\w+)n['’]t\b", r"\1 not"),
        (r"\b(?:ca|cannot) not\b|\bcannot\b|\bcan not\b", "can not"),
        (r"\bwo not\b", "will not"),
        (
            r"\bfree of charge\b|\bfor free\b|\bat no (?:extra |additional )?(?:costs?|charge)\b"
            r"|\bwithout (?:any |a )?(?:charges?|costs?|fees?|payment|paying)\b|\bcosts? nothing\b"
            r"|\bno (?:\w+ )?(?:charges?|costs?|fees?)\b|\bnot cost (?:you )?anything\b|\bfree(?! (?:space|up|time|trial|disk))\b",
            "gratis",
        ),
        (r"\b(?:not|never)((?: \w+){0,2}) (?:more|longer|greater|older) than\b", r"\1 atmost"),
        (
            r"\bno (?:more|longer|greater|older) than\b|\bat (?:the )?most\b|\bup to\b|\b(?:a |the )?maximum(?: of| is)?\b"
            r"|\bnot exceed(?:ing)?\b|\bwithin\b|\bno later than\b",
            "atmost",
        ),
        (r"\bno (?:less|fewer) than\b|\bat (?:the )?least\b|\b(?:a |the )?minimum(?: of| is)?\b", "atleast"),
        (
            r"\b(?:(?:more|longer|greater|higher|older|later) than|above|over|exceed(?:s|ing)?)(?= (?:a |an )?(?:\d|€|\$|£|one|two|"
            r"three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|a thousand))",
            "above",
        ),
        (
            r"\b(?:(?:less|shorter|fewer|lower|younger|smaller|earlier) than|below|under)(?= (?:the age of )?(?:a |an )?(?:\d|€|\$|£|one|two|"
            r"three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|a thousand))",
            "below",
        ),
        (r"\b(?:compared (?:with|to)|in comparison (?:with|to))\b", "than"),
        (r"\b(\w+)'(?:ll|ve|re|m|d)\b", r"\1"),
        (r"\bhand(?:ed|s|ing)? in\b", "submit"),
        (r"\b(?:rather than|instead of|in place of)\b", "instead"),
        (
            r"\b(?:is|are|was|were|be) not (?:possible|allowed|permitted|able)\b|\b(?:is|are|was|were|be) (?:impossible|prohibited|forbidden|unable|banned)\b",
            "can not",
        ),
        (r"\bno longer\b", "not"),
        (r"\b(?:at once|right away|straight away|instantly|without delay)\b", "immediately"),
        (r"\b(?:cash machines?|cash dispensers?|automated teller machines?)\b", "atm"),
        (r"\b(?:mobile|cell|smart) ?phones?\b", "mobile"),
        (r"\b(?:get in touch with|reach out to)\b", "contact"),
        (r"\bturn(?:s|ed|ing)? on\b|\bswitch(?:es|ed|ing)? on\b", "enable"),
        (r"\bturn(?:s|ed|ing)? off\b|\bswitch(?:es|ed|ing)? off\b", "disable"),
        (r"\bno ((?:\w+ )?\w+) (?:(?:is|are) )?(?:needed|required|necessary)\b", r"neednot \1"),
        (
            r"(?<![\w.,])((?:\d[\d.,]*+|two|three|four|five|six|seven|eight|nine|ten|twelve)(?: \w+)?)"
            r" or (?:more|older|above|over)\b",
            r"atleast \1",
        ),
        (r"\b(?:needs?|requires?) no\b", "neednot"),
        (r"\bpay(?:ing|s)? back\b|\bpaid back\b", "repay"),
        (r"\b(?:out of|not in|no) stock\b", "soldout"),
        (
            r"\b(?:do|does|did|will|would|need)? ?not (?:need|have|require|required|necessary)\b(?: to\b)?|\b(?:is|are) (?:optional|unnecessary)\b"
            r"|\b(?:is|are) not (?:needed|required|necessary|mandatory)\b",
            "neednot",
        ),
        (r"\b(?:business|working|work) (?=days?\b)", "business "),
        (r"\b(?:e-mail|e mail)\b", "email"),
        (r"\bpo box(?:es)?\b", "post office box"),
    )
]
SOFT = frozenset(
    """
    avoid refrain stop prevent fail lack refuse exclude unless only gratis instead optional neednot atmost
    unavailable never hardly rarely cease free
""".split()
)
LIGHT = frozenset(
    stem(word)
    for word in (
        """
        anything something
    so but on its their his her than while whenever still yet though although during either neither well even
    that's there's who whom whose those thesealso already still usually normally generally typically mostly
    about around approximately roughly now currently just simply please then first next there here it they them
    one some any every each all both such expect expected take takes get gets go goes make give put have become
    happen use used using come see find should must need needs required able may might can could would will
    shall want like way case time moment located called mean means possible allowed permitted available via
    directly again once soon ago sum amount kind sort type thing under within atmost up out off over back plus
    too very however together need let set done end s t re ve ll d m u is be do following each per apply applies
    open pick choose select tap click press find found handle section menu page button screen arrive reach
    receive deliver finish done tell say explain mean want wish check make sure try visit know our between until
    unfortunately lasts last long longer start begin beginning cost costs age aged half celsius degree point
    stay remain compared return back later whenever guest bring serve part detail certain necessary mandatory
    obligatory always ever me therefore thus since during soon next ready directly simply further additional
    additionally first finally
"""
    ).split()
)
STEPS = frozenset(
    stem(word)
    for word in "arrive receive deliver return open finish start begin stay remain bring serve find choose pick "
    "select visit call give check try reach".split()
)
"""Light words that carry a fact where another word stands in their place: 'the order was delivered', 'shipped'."""
AFRAID = re.compile(
    r"^(?:I'm|I am|we are|we're) afraid(?: that)? |^(?:please )?note that |^(?:sorry|yes|sure)[,:] ", re.IGNORECASE
)
CONVERSE = frozenset("buy sell lend borrow send receive give take until".split())
"""What one does and the other undergoes: opposites in nearly the same words only."""
TITLES = frozenset("mr mrs ms dr miss prof the i".split())
