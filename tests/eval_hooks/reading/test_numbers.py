# SPDX-License-Identifier: Apache-2.0
"""Numbers as options and as answers: sign, point, brackets and unit are part of them."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.eval_hooks.answers import match_value, read_choice, read_number


ANGLES = {"A": "-90 degrees", "B": "90 degrees", "C": "45 degrees"}
VECTORS = {"A": "[-0.52, 1.1, 0.3]", "B": "[0.52, 1.1, 0.3]", "C": "[0.52, -1.1, 0.3]"}
LENGTHS = {"A": "0.5 m", "B": "5 m", "C": "2.5 m", "D": "25 m"}
RANGES = {"A": "1-2 m", "B": "2-3 m", "C": "3 m", "D": "more than 3 m"}
SHARES = {"A": "10%", "B": "50%", "C": "1/3", "D": "-5%"}
BARE = {"A": "0", "B": "0.5", "C": "5", "D": "-0.5"}
PAIRS = {"A": "(1, -2)", "B": "(-1, 2)", "C": "(1, 2)"}
LARGE = {"A": "1,250 m", "B": "1.25 m"}

CHOICES = [
    (
        ANGLES,
        "A",
        "-90 degrees|−90°|–90 deg|minus 90 degrees|It turned by negative 90 degrees.|The answer is -90.|$-90^\\circ$"
        "|\\boxed{-90^{\\circ}}|A: -90 degrees|A. -90 degrees|(A) −90 degrees|A -90 degrees|Answer: -90"
        "|It is not 90 degrees but -90 degrees.|The answer is: −90 degrees",
    ),
    (ANGLES, "B", "90 degrees|+90 degrees|B: 90 degrees|The answer is—90 degrees.|90-degree|90 rather than -90"),
    (ANGLES, None, "-45 degrees|B: -90 degrees|A: 90 degrees|not 90 degrees|The answer is not 90 degrees.|-9 degrees"),
    (
        VECTORS,
        "A",
        "[-0.52, 1.1, 0.3]|(-0.52,1.1,0.3)|$\\left[-0.52, 1.1, 0.3\\right]$|x=-0.52, y=1.1, z=0.3|[ - 0.52, 1.1, 0.3]"
        "|A: [-0.52, 1.1, 0.3]|The vector is [-.52, 1.10, 0.30].",
    ),
    (VECTORS, "B", "[0.52, 1.1, 0.3]|0.52 1.1 0.3|[0.52,1.1,0.3]|The vector is [0.52, 1.1, 0.3].|<0.52, 1.1, 0.3>"),
    (VECTORS, "C", "(0.52, −1.10, .3)|[+0.52; -1.1; 0.3]"),
    (VECTORS, None, "[0.3, 1.1, 0.52]|[0.52, 1.1]|[-0.52, -1.1, 0.3]"),
    (
        LENGTHS,
        "A",
        ".5 m|0,5 m|A) .5 m|A: .5 m|half a meter|1/2 m|$\\frac{1}{2}$ m|½ m|5e-1 m|5 × 10^{-1} m|$0.5\\,\\text{m}$"
        "|0.50m|The answer is .5 m.|It moved .5 meters.",
    ),
    (LENGTHS, "B", "B. 5 m|5.0 m|It is 5 m, not 25 m.|5±0.1 m|five meters|5 米"),
    (LENGTHS, "C", "2,5 meters|2.50m|The answer is 2,5 m.|two and a half meters|2½ m|2 1/2 m"),
    (LENGTHS, "D", "twenty-five meters|25,0 m|D. 25 m"),
    (LENGTHS, None, "less than 5 m|-5 m|-.5 m|B: .5 m|5 to 10 m|more than 25 m|0.05 m|between 2.5 and 25 m"),
    (RANGES, "B", "2-3 m|2 to 3 meters|between 2 m and 3 m|2–3m|2 - 3 m"),
    (RANGES, "C", "3 m|It is 3 m."),
    (RANGES, "D", "more than 3 m|It is more than 3 m."),
    (RANGES, None, "2.5 m|2 m"),
    (SHARES, "B", "50 percent|50\\%|50 %"),
    (SHARES, "C", "one third|⅓|\\frac{1}{3}|1/3"),
    (SHARES, "D", "-5%|minus 5 percent"),
    (SHARES, None, "5%|3"),
    (BARE, "B", "B: 0.5|.5|0.5|0,5"),
    (BARE, "D", "-.5|D: -0.5|D. -.5|The answer is D: −0.5|−0,5"),
    (BARE, "A", "A: 0|0.0|-0"),
    (PAIRS, "A", "(1,-2)|(1, −2)"),
    (PAIRS, "B", "(-1,2)|B: (-1, 2)"),
    (PAIRS, "C", "(1,2)|C (1, 2)|[1,2]"),
    (LARGE, "A", "1250 m|1 250 m|1,250 m|1.250,0 m|1,250.0 m"),
    (LARGE, "B", "1.25 m|1,25 m|1.250 m"),
]


@pytest.mark.parametrize(("options", "letter", "replies"), CHOICES)
def test_an_option_is_compared_with_the_number_that_is_written(options, letter, replies):
    found = {reply: read_choice(reply, options).letter for reply in replies.split("|")}
    assert found == dict.fromkeys(found, letter)


NUMBERS = {
    -3: "minus 3|-3 m|x = -3|x = - 3|x=−3|negative three|\\boxed{-3}|The answer is −3.",
    -3.5: "-3,5|−3.5 m|-3.50",
    0.5: ".5|1/2|½|0,5|half a meter|\\frac{1}{2}|5e-1",
    2.5: "approximately 2,5 meters|2.5 ± 0.3 m|2.5 +/- 0.3|2 1/2 m|2½ m|距离是2,5米"
    "|2.5m (8.2ft)|\\(2.5\\,\\text{m}\\)|2.50 m",
    3: "3.|(3)|[3.0]|~3|≈3|3米|the answer is—3|5 - 2 = 3|$\\boxed{3}$ m/s²",
    3.5: "3.5 m/s²|3.5 m^2|约3.5米|**3.5**|3.5 米左右",
    4: "not 3 but 4|3 m is wrong, 4 m is right|4.0",
    0.015: "1.5 \\times 10^{-2}|1.5e-2|1.5 × 10^-2",
    2.4: "In frame 3 the distance is 2.4|The 2nd car is 2.4 m away.|Step 1: it is 2.4",
    120: "one hundred and twenty|a hundred twenty|120.0",
    200: "two hundred meters|2 hundred",
    0.75: "three quarters of a meter|\\boxed{\\frac{3}{4}}|3/4",
    1250.5: "1.250,5 m|1,250.5|1 250.5 m",
    None: "12ft 3in|5'10\"|less than 3 m|more than 3|\\sqrt{2}|2\\pi|10^2|10²|The 2nd car moves.|3D|frame 3"
    "|The answer is not 3."
    "|2-3米|1 m 20 cm|2 minutes 30 seconds|1,2,3|(1, 2)|<3|about 3-4 m|one two|1/0"
    "|<think>The bed is maybe 3 m away. But the|<think>So the answer is 3 m."
    "|Sure. <thinking>3|[THINK]The answer is 3.",
}  # fmt: skip


@pytest.mark.parametrize(("value", "replies"), NUMBERS.items())
def test_the_number_that_is_written_is_read(value, replies):
    found = {reply: read_number(reply).value for reply in replies.split("|")}
    assert found == dict.fromkeys(found, None if value is None else pytest.approx(value))


def with_comma(number):
    return str(number).replace(".", ",")


WRITTEN = (
    "{}", "{}.", "({})", "[{}]", "**{}**", "$ {} $", "\\boxed{{{}}}", "The answer is {}.", "Answer: {}", "{} m", "{}m",
    "About {} meters.", "It is {}", '{{"answer": {}}}', "<answer>{}</answer>", "<think>1 or 7</think>{}", "so x = {}",
)  # fmt: skip
SPELLED = (
    str, lambda n: str(n).replace("-", "−"), lambda n: str(n).replace("-", "–"), with_comma,
    lambda n: f"{n:.2f}", lambda n: str(n).replace("0.", ".", 1) if abs(n) < 1 else str(n), lambda n: f"{n:+}",
    lambda n: str(n).replace("-", "minus "), lambda n: f"{n:.3e}",
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.integers(1, 9999), st.booleans(), st.sampled_from(WRITTEN), st.sampled_from(SPELLED))
def test_each_way_of_writing_a_number_names_the_option_that_it_is(tenths, negative, written, spelled):
    assume(not (spelled is with_comma and written in ("({})", "[{}]")))  # a pair
    number = round(tenths / 10, 1) * (-1 if negative else 1)
    unit = " m" if " m" in written or "}m" in written else ""
    options = dict(zip("ABCDE", (f"{value:.12g}{unit}" for value in (-number, number / 10, number, number * 10))))
    reply = written.format(spelled(number))
    assert read_number(reply).value == pytest.approx(number)
    assert read_choice(reply, options).letter == "C"
    assert match_value(reply, options) == "C"


@pytest.mark.parametrize(
    ("texts", "reply", "expected"),
    [("<5|5-10|>10", ">10", "C"), ("<5|5-10|>10", "5", None), ("< 5 m|> 5 m", "> 5 m", "B"),
     ("< 5 m|> 5 m", "5 m", None),
     ("< 5 m|> 5 m", "less than 5 m", "A"), ("≤5|5", "5", "B"), ("5+|5", "5", "B"), ("5+|5", "5+", "A"),
     ("3|5", "Frame 5", "B"), ("Frame 3|Frame 5", "It happens in frame 5.", "B"), ("3:00|3:30", "3:30", "B"),
     ("car 1|car 2", "Car 2 is faster than car 1.", "B"), ("1/2|1/3", "0.5", "A"), ("2x|3x", "It is 3x faster", "B"),
     ("30%|-30%", "-30 %", "B"), ("5th|6th", "the 6th", "B"), ("3D|2D", "2D", "B"), ("one|two", "2", "B"),
     ("10-20|20-30", "25", None), ("about 5 m|about 7 m", "7 m", "B"), ("1e3|1e4", "1000", "A")],
)  # fmt: skip
def test_options_that_hold_a_number_and_more(texts, reply, expected):
    assert read_choice(reply, dict(zip("ABC", texts.split("|")))).letter == expected


@pytest.mark.parametrize(
    ("options", "reply", "expected"),
    [(ANGLES, "90 degrees", "B"), (ANGLES, "-90", "A"), (LENGTHS, "5,0 m", "B"), (LENGTHS, "not 5 m", None),
     (LENGTHS, "<think>It is 5 m.", None), (LENGTHS, "<think>25 m</think>5 m", "B"),
     (VECTORS, "so [0.52, -1.1, 0.3] it is", "C")],
)  # fmt: skip
def test_exact_values_have_signs(options, reply, expected):
    assert match_value(reply, options) == expected
