"""Answers of nearly the same words that contradict each other in a detail; their embeddings are equal."""

from __future__ import annotations

import pytest

from askonce.semantic import Comparison, EmbeddingJudge
from tests.support.questions import ones, pairs, verdicts

DIFFERENT = """
It is 5 degrees outside. | It is -5 degrees outside.
Set the value to -1. | Set the value to 1.
x > 3 | x < 3
x >= 3 | x > 3
x = y + 1 | x = y - 1
It leaves from platform A. | It leaves from platform B.
Go to Terminal 1A. | Go to Terminal 1B.
Fill in form I-9. | Fill in form W-9.
You need an A. | You need a C.
SELECT * FROM a | SELECT * FROM b
Write to a@x.com. | Write to b@x.com.
Contact support@acme.com for help. | Contact sales@acme.com for help.
See /docs/a. | See /docs/b.
Dogs must be leashed. | Dogs may be leashed.
You have to pay. | You can pay.
You should pay. | You could pay.
Du musst bezahlen. | Du kannst bezahlen.
Debe pagar hoy. | Puede pagar hoy.
You get a refund if you have a receipt. | You get a refund unless you have a receipt.
Es kostet nichts, wenn es regnet. | Es kostet nichts, außer wenn es regnet.
It will likely rain. | It will possibly rain.
We always answer. | We sometimes answer.
Most banks charge a fee. | Some banks charge a fee.
Both parents must sign. | Either parent must sign.
Pay before Monday. | Pay by Monday.
You owe us 50 euros. | We owe you 50 euros.
Your bank pays us. | We pay your bank.
Take one pill twice daily. | Take two pills once daily.
It takes 3-5 business days. | It takes 3-5 days.
yes, it does | it does not
Я должен. | Я не должен.
He pays her. | She pays him.
She was paid by him. | He was paid by her.
He trusts them completely. | They trust him completely.
Her manager approves his request. | His manager approves her request.
I can lend you the bike. | You can lend me the bike.
Sie hilft ihm beim Umzug. | Er hilft ihr beim Umzug.
Il la paie. | Elle le paie.
他帮她搬家。 | 她帮他搬家。
彼は彼女を招待した。 | 彼女は彼を招待した。
Admins too. | Just admins.
Guests can enter as well. | Guests alone can enter.
Even free users get support. | Just free users get support.
No one but the owner can open it. | The owner can open it, too.
Not only members can vote. | Only members can vote.
Nur Admins dürfen das. | Auch Admins dürfen das.
Seuls les adultes paient. | Les adultes paient aussi.
只有管理员可以删除。 | 管理员也可以删除。
您必须提前付款。 | 您可以提前付款。
您应该更新软件。 | 您必须更新软件。
您无需注册。 | 您必须注册。
严禁携带液体。 | 可以携带液体。
制服を着なければならない。 | 制服を着てもよい。
예약해야 합니다. | 예약하셔도 됩니다.
Kaydolmalısınız. | Kaydolabilirsiniz.
A helmet is mandatory. | A helmet is optional.
You can return the item within 30 days. | You can exchange the item within 30 days.
Your order has been shipped. | Your order has been delivered.
The laptop has been repaired. | The laptop has been returned.
We have received your complaint. | We have resolved your complaint.
Call us to change your address. | Email us to change your address.
alice owes bob money. | bob owes alice money.
Oracle acquired Sun in 2010. | Sun acquired Oracle in 2010.
Julia has two children and Sam has three. | Julia has three children and Sam has two.
张三欠李四钱。 | 李四欠张三钱。
If it rains, the guard tells the cook. | The cook tells the guard when it rains.
The nurse was trained by the doctor. | The nurse trained the doctor.
Payments from abroad are quick. | Quick handling applies to payments to abroad.
The bus leaves Porto for Krakow at 11:40. | At 11:40 there is a bus from Krakow to Porto.
"""
SAME = """
We open at nine. | We open at 9.
Sure! The store is closed on Sundays. | The store is closed on Sundays.
It weighs 900 g and costs 40 euros. | It costs 40 euros and weighs 900 g.
In May you may apply. | You may apply in May.
You can't park here. | You cannot park here.
The limit is at most 5. | At most 5 is the limit.
今日は休みです。 | 今日は休みです
He pays her. | She is paid by him.
They sued us. | We were sued by them.
The nurse was trained by the doctor. | The doctor trained the nurse.
On delivery, the seller is paid by the buyer. | The buyer pays the seller on delivery.
Admins too. | Also admins.
Just click Save. | Click Save.
Only admins can delete users. | Just admins can delete users.
您必须提前付款。 | 您需要提前付款。
您可以在网上付款。 | 您能在网上付款。
Your order has been shipped. | Your order was dispatched.
The parcel has arrived. | The parcel was delivered.
Your parcel should arrive in two weeks. | Your parcel is delivered in two weeks.
"""


@pytest.mark.parametrize(("one", "other"), pairs(DIFFERENT))
def test_a_detail_makes_answers_different(one: str, other: str) -> None:
    assert verdicts(EmbeddingJudge(ones), one, other) == [False, False]


@pytest.mark.parametrize(("one", "other"), pairs(SAME))
def test_the_same_details_in_other_words_do_not(one: str, other: str) -> None:
    assert EmbeddingJudge(ones)(Comparison("?", "?", one, other)) is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("商店九点开门。", "商店早上九点开门。"),
        ("今日は休みです。", "本日は休みです。"),
        ("네, 가능합니다.", "가능합니다."),
    ],
)
def test_languages_without_spaces_are_judged(one: str, other: str) -> None:
    assert EmbeddingJudge(ones)(Comparison("?", "?", one, other)) in (True, False)
