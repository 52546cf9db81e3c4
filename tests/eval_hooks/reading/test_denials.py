# SPDX-License-Identifier: Apache-2.0
"""A letter that is denied is not read, in whatever language; the one that is not is."""

import pytest

from rgpt4d_plugin.eval_hooks.answers import read_choice


MOVES = {"A": "left", "B": "right", "C": "towards the camera", "D": "up"}

NOTHING = (
    "答案不是A|不是A|不选A|排除A|A不对|答案不可能是A|答案并非A|答案：不是A|我认为不是A|不应选择A|答案无法确定"
    "|除A外都正确|答案绝不是A|答案唔係A|没有选A|最不可能的是A|A不正确。|A不正確|选项A错误|A（向左）不符合|A被排除了|A是错的|答案不應該是A"
    "|A和C都不正确|A、B、C、D都错"
    "|答えはAではありません|Aは間違い|정답은 A가 아니다|La respuesta no es A|La réponse n'est pas A"
    "|Die Antwort ist nicht A"
    "|Ответ не A|The answer cannot be A.|The answer can't be A.|The answer is definitely not A.|The answer isn't A."
    "|The answer could never be A|My answer would not be A|It's unlikely that the answer is A"
    "|I don't think the answer is A.|I do not believe A is right.|I wouldn't choose A."
    "|Not A|Anything but A|All except A"
    "|The correct answer is neither A nor C.|I doubt that the answer is A.|The answer must not be A."
)
B = (
    "A不正确，B正确。|不选A，选B|排除A、C和D，所以选B。|A错误，B正确|A是错误的。答案是B|答案不应该是A，而是B|答案不是A而是B"
    "|答案是B，而不是A|选B而不选A|选项A不符合，选项B符合。|A和C都不正确，B正确|A、C、D都错，选B|正确答案是B|应该选B|因此选择B。|答案为B"
    "|答案应为B|故选B|综上所述，答案是B。|B选项正确|选项B正确|B是正确的|B是对的，A是错的"
    "|A没有依据，B更合理|A被排除了。B"
    "|A不成立，C不成立，D不成立，故B成立|錯誤的是A，正確的是B|答案是A吗？不，答案是B"
    "|选项A：不正确\n选项B：正确|答案不仅合理而且明确：B"
    "|答えはBです|正解はB|Aは間違いで、Bが正しい。|Aではなく、Bです。|정답은 B|La respuesta es B"
    "|La réponse est B|Die Antwort ist B"
    "|Nicht A, sondern B|Ответ: B|A resposta é B|The answer should not be A but B|The answer isn't A, it's B."
    "|The answer is no longer A but B|I would not pick A; I pick B.|There is no way the answer is A. The answer is B"
    "|The answer cannot be A. So it is B.|The answer is B; it can't be A.|Neither A nor C. B."
)


@pytest.mark.parametrize(
    ("reply", "letter"), [(reply, None) for reply in NOTHING.split("|")] + [(reply, "B") for reply in B.split("|")]
)
def test_denied_letters(reply, letter):
    assert read_choice(reply, MOVES).letter == letter
