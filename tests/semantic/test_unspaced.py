"""Answers in Chinese, Japanese and Korean, to embeddings that know none of their characters."""

from __future__ import annotations

import pytest

from askonce.semantic import Comparison, EmbeddingJudge
from tests.support.questions import ones, pairs, verdicts

OTHER = """
付款已成功,订单已确认。 | 付款未成功,订单未确认。
这张卡已激活。 | 这张卡未激活。
停车场免费,24小时开放。 | 停车场收费,24小时开放。
支持退款。 | 拒绝退款。
红茶含咖啡因。 | 绿茶含咖啡因。
您可以不付款。 | 您不可以付款。
先提交申请表格,再缴纳押金。 | 先缴纳押金,再提交申请表格。
3天内付款5次。 | 5天内付款3次。
请乘5号线。 | 请乘五路车。
駐車場は無料です。 | 駐車場は有料です。
この席は禁煙です。 | この席は喫煙です。
猫が犬を追う。 | 猫を犬が追う。
환불이 승인되었습니다. | 환불이 거절되었습니다.
카드가 활성화되었습니다. | 카드가 활성화되지 않았습니다.
결제가 성공했습니다. | 결제가 실패했습니다.
Go to the station 東京. | Go to the station 京都.
Choose 開 in the menu of the app. | Choose 閉 in the menu of the app.
连接5G网络。 | 连接4G网络。
型号A-12适用。 | 型号A-13适用。
ደህና ነው። | ደህና አይደለም።
"""
SAME = """
退款会在5个工作日内到账。 | 退款会在5个工作日内到账哦。
退款会在5个工作日内到账。 | 退款将在5个工作日内到账
请在30天内退货。 | 在30天内退货。
您的申请已批准。 | 你的申请已批准。
送料は5000円です。 | 送料は5000円でございます。
30日以内に返品できます。 | 30日以内に返品できますよ。
수수료는 5000원입니다. | 수수료는 5000원이에요.
"""


@pytest.mark.parametrize(("one", "other"), pairs(OTHER))
def test_other_characters_are_another_answer_whatever_the_embeddings_say(one: str, other: str) -> None:
    assert verdicts(EmbeddingJudge(ones), one, other) == [False, False]


@pytest.mark.parametrize(("one", "other"), pairs(SAME))
def test_a_particle_or_a_number_between_characters_is_no_other_answer(one: str, other: str) -> None:
    assert EmbeddingJudge(ones)(Comparison("?", "?", one, other)) is True
