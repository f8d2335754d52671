"""Words with which one requests something in eleven languages, whatever it is: they are no part of what is requested.

No library has them. In Chinese, Japanese and Korean, whose words are not parted by spaces or have endings, they are
patterns.
"""

from __future__ import annotations

import re

FRAMES = {
    "de": "müsste müssten müßte schaffe schaffen schafft schafft lässt ließe ließen machbar denkbar moin na nun gehe ginge wüsste wissen bräuchte brauch hätte hätten habe wurde wurden wird gewesen bin bist seid sehen sieht nenn nenne nennen verrate verraten beschreib beschreiben versuche versuchen bitten anleitung schritte irgendwie irgendwo los bitte danke hallo hi hey guten servus moin sagen sagt sagst sag erklären erklär erkläre erklärt zeig zeige"
    " helfen hilf helft hilfe geht gehen ging möchte möchten will wollen wollte wollen würde würden gern gerne könnte könnten"
    " könnten kannst könnt soll sollte sollen muss muß müssen musst darf dürfen dürfte brauche brauchen braucht tun tut mache machen"
    " macht möglich möglichkeit weg weise frage wissen weiß mir mich uns euch ihnen ihn ihm dir dich du man jemand etwas wäre wären sei"
    " hier dort da denn mal eben eigentlich überhaupt einfach genau so dann also auch noch schon ob dass daß damit dazu davon dafür"
    " einer eines jede jeder jedes jeden jedem meines meiner eure euer eurer ins ans durch gegen ohne seit während sowie sondern aber sehr"
    " kommt komme kommen bekomme lässt lassen gibt welches welchen welchem wohin woher wieso weshalb wofür womit wie-viel wieviel",
    "es": "oiga oye hago haces hagan falta factible viable hacen hecho he has han había hubo fue ha quería pudiera podrías podríais debería deberían haría consigo conseguir logro lograr intento intentar cuénteme cuéntame describa describe aclare aclarar consulta pregunta duda pasa ocurre sucede manual instrucciones hola buenas buenos favor gracias quiero quisiera querría quería querer gustaría deseo desearía necesito necesita"
    " necesitaría debo debe debería deben tengo tiene tener haber hacer hago hace haga puede pueden podría podrían poder podré podemos"
    " puedes pueda posible posibilidad forma manera modo explique explíqueme explícame explicar explica dígame dime diga decir ayuda"
    " ayúdame ayúdeme ayudar muéstrame enseñe enséñame indique indíqueme pasos saber sé sabe vaya dónde adónde cuáles cuántos cuántas"
    " cuanto cuantos quién quiénes le les nos os te ti usted ustedes nuestro nuestra sus estos estas esto ese esa eso esos esas"
    " algún alguna alguno otro otra sobre desde hasta entre sin ser soy estoy estás estar voy vamos va ir así pues entonces"
    " ya también muy aquí ahí allí porque aunque e u ni sino pero cada todo toda todos todas",
    "fr": "passe passera faisable envisageable coucou allô arrive arriver parvenir parviens essaie essayer essaye indiquez indiquer indique décrivez décrire procédure étapes été était étaient avait avais aurait aurais eu fut pourrions devrait devons devez doivent souhaiter désire désirer question bonjour salut svp plaît merci veux veut voudrais voudrait vouloir aimerais aimerait souhaite souhaiterais souhaitez besoin dois"
    " doit devrais faut faudrait falloir faire fais fait faites pouvons pouvez peuvent pourrai pourrais pourrait pourriez pouvoir possible"
    " possibilité moyen façon manière expliquez expliquer explique expliquez-moi dites dire dis dites-moi aidez aider aide aidez-moi"
    " montrez savoir sais savez voici moi me te toi lui leur leurs nos notre vos ta tes ton sa ses son cette ces cet ceci cela ça"
    " y on eux elles ils ici là où quels quelles lequel laquelle est-il est-elle puis-je peut-on dois-je faut-il pourrai-je est-ce"
    " c d j l m n s t qu ai as a avons avez ont avoir être suis es sommes êtes serait sera seriez vais va aller comme alors donc aussi"
    " très bien tout toute tous toutes chaque par sans sous entre chez depuis vers si mais car quelque quelques quelqu un an",
    "it": "fattibile riesco riuscire avrei avrebbe avremmo ho fatto stato stata provo provare indichi indicare indica descriva descrivere procedura passaggi istruzioni salvi domanda succede accade dovete dobbiamo potete possiamo vorreste volete scusi scusa ciao salve buongiorno buonasera prego favore grazie voglio vorrei vorremmo volere vuole desidero desidererei bisogna bisogno devo"
    " deve dovrei dovrebbe dovere serve occorre fare faccio fa faccia può puoi possono potrei potrebbe potrò potere possibile"
    " possibilità modo maniera mi ti ci vi gli le lui lei loro noi voi spieghi spiegare spiega spiegami spiegatemi dica dire dimmi dirmi mostri mostrami"
    " aiuta aiutami aiutare aiutarmi aiuto sapere so sa c d l m s t all dell dall nell sull un quali quanti quanta quante dov com cos che"
    " ciò questo questa questi queste quello quella mie tuoi tua tue sua sue suoi nostro nostra vostro dei degli delle dello ai agli alle"
    " allo dai dagli dalle dallo nei negli nelle nello sul sulla sui sugli sulle sullo tra fra verso senza essere sei siamo siete sarebbe sia"
    " hai abbiamo avete hanno avere vado va andare così allora poi anche molto qui qua lì là ma né ogni tutto tutta tutti tutte uno",
    "pt": "viável consigo conseguir tento tentar precisar necessito foi fui era houve tinha teria haveria há descreva descrever procedimento passos instruções pergunta dúvida acontece devemos podes consegue alguém ei desculpe olá oi bom boa favor obrigado obrigada quero queria gostaria querer desejo preciso precisa precisaria devo deve deveria"
    " deveriam tenho ter fazer faço faz fizer posso podem podemos poderia poderei poderíamos poder possível possibilidade dá jeito forma maneira"
    " modo explique explicar explica diga dizer mostre ajude ajudar ajuda saber sei sabe onde aonde quais quanta quantos quantas me te lhe"
    " nos vos lhes eles elas ele ela você vocês nosso nossa seus suas teu tua este esta isto esse essa isso aquele aquela aos às"
    " pelos pelas num numa dum duma neste nesta nos nas sem sobre desde até entre ser sou estou estar está estão vou vai ir assim então"
    " também muito aqui aí ali lá porquê mas nem cada todo toda todos todas algum alguma outro outra",
    "nl": "haalbaar lukt lukken krijg krijgen zou hoef hoeven beschrijf beschrijven procedure stappen vraag proberen probeer hé hey werd werden geworden geweest had hadden dient dienen mogelijkheden jullie gedaan nu hallo hoi goedendag alstublieft alsjeblieft graag bedankt dank wil willen wilt zou zouden moet moeten mag mogen kunt kon konden"
    " doen doe doet gaat gaan ga leg uitleggen uitleg zeg zeggen zegt vertel vertellen laten help helpen hulp mogelijk mogelijkheid manier weg weten weet"
    " men mij me ons hem haar hen hun zich zij ze we wij jullie zijn haar onze deze dit die elke elk ieder iemand iets hier daar"
    " dan dus ook nog al wel eens even gewoon om door over bij tussen zonder tegen sinds tijdens maar want zo zeer waarmee waarvoor"
    " hoeveel welk ben bent waren was had hebt hebben nodig",
    "pl": "hej mam masz macie jakiś jakieś jakąś jakaś jakikolwiek pomożecie pomoże pomogą udać uda umiem potrafię spróbować próbuję opisz opisać opiszcie procedura kroki instrukcja pytanie został została zostało wykonalne powinno należałoby chcieliśmy chcemy musimy musieli cześć dobry proszę dziękuję chcę chce chciałbym chciałabym chcieć potrzebuję trzeba należy powinienem powinnam muszę musi"
    " musieć zrobić robić robi mogę mogą możemy możesz mógłbym mogłabym móc możliwe możliwość wolno da sposób wyjaśnić wyjaśnij"
    " powiedzieć powiedz pokaż pomóc pomóż pomoc pomocy wiedzieć wiem mi mnie mną nam nas tobie cię ci jego jej ich im go"
    " ją je nim nią swój swoją swoje swoją ten ta to tego tej tę tych tym te jaki jaka jakie jakim ile który która które którym gdzie skąd dokąd żeby aby"
    " że więc tak tu tam też także już jeszcze bardzo bo ale albo ani oraz między nad pod przy bez u wszystko każdy każda być będę będzie"
    " jestem są była było mieć moim moich mojej sobie",
    "tr": "şekilde zorundayım zorunda konusunda konuda imkan imkân deniyorum denemek adım adımlar soru etmek ederim ederiz etmem etmeli edeyim edeceğim edilir edilebilir ediyorum olmak olacak oldu mısınız misiniz musunuz müsünüz miyiz mıyız ücreti pardon hey merhaba selam lütfen teşekkürler istiyorum istiyoruz isterim isterdim isterdik istemek gerek gerekiyor gerekir lazım yapmalıyım"
    " yapmam yapmak yapılır yapabilirim yapmalı yapayım mümkün mümkünse olur olabilir yolu yolunu yol anlatın anlat anlatır açıklayın açıklar açıkla"
    " söyleyin söyler yardım yardımcı eder edin edebilir misiniz mısınız bilmek öğrenmek göster gösterin bana beni bende benden bize bizi siz"
    " sizi size sizin onu ona onun o biz bunu buna şunu burada orada nereden nereye nerden kaça ama veya ya da de ki ise eğer her"
    " bazı tüm bütün böyle şöyle öyle hakkında göre karşı",
}
"""Beside the common words of `COMMON`."""

GREETINGS = re.compile(
    r"^dag\b|\b(?:guten (?:tag|morgen|abend)|buen(?:os|as) (?:días|tardes|noches)|bom dia|boa (?:tarde|noite)|dzień dobry"
    r"|dobry wieczór|goede(?:n|)(?:morgen|middag|avond)|buon giorno|buona sera|bonsoir|iyi (?:günler|akşamlar)|günaydın)\b"
)

SPELLED_FRAMES = {
    "zh": re.compile(
        "用什么(?:方式|办法|方法)?|通过什么|请问|请告诉我|请教|请帮我|请|告诉我|告诉|帮我|帮忙|你好|您好|谢谢|怎么办|怎么样|怎么|怎样|如何|在哪里|在哪儿|哪里|哪儿|在哪"
        "|为什么|什么|多少|可不可以|能不能|是不是|有没有|可以|能够|可能|应该|需要|必须|想要|想|我们|我|你|您|方法|办法|步骤|方式|途径|手续"
        "|必|该|要|得|会|能|吗|呢|吧|啊|了|的|地|着|去|来|把|将|让|给|是|有|在|这|那|个|一下|才|就|都|也|和|与|或"
    ),
    "ja": re.compile(
        "方法|手段|教えて|助けて|手伝って|下さい|可能|必要|場合|出来|手順|思い|思う|知り|知って|欲しい|願い|何処|何故|何|私|どう|ください|こんにちは|すみません"
    ),
    "ko": re.compile(
        "저기요|여보세요|합니다|합니까|할게요|해요|안녕하세요|부탁(?:드립니다|드려요|해요|합니다)?|도와 ?(?:주세요|주시겠어요|주실|줘요?|주십시오)|알려 ?(?:주세요|주실|줘요?|주십시오)|가르쳐 ?(?:주세요|줘요?)"
        "|설명해 ?(?:주세요|줘요?)|어떻게|어디서|어디에서|어디|언제|왜|무엇을?|뭐|방법[을이은]?|할 ?방법|해야|하나요|되나요|할까요|될까요|하려면|하고|싶(?:어요|습니다|은데|다)"
        "|수 ?있(?:나요|습니까|을까요|어요|습니다|는지)|가능(?:한가요|합니까|할까요)?|얼마(?:인가요|예요|나|입니까)?|있(?:나요|습니까|을까요|어요|습니다|는지)|어떤|어떡하죠|하죠|하는|것을|필요(?:한가요|합니까)?|저는|제가|나는|내가|저희|우리|제|내"
    ),
}
