# SPDX-License-Identifier: Apache-2.0
"""Replies in the styles of real models: Markdown, LaTeX, tables, check marks, lists, ranges, units and asides."""

import pytest

from rgpt4d_plugin.eval_hooks.answers import read_choice, read_number


MOVES = {"A": "left", "B": "right", "C": "towards the camera", "D": "not moving"}
THINGS = {"A": "chair", "B": "table", "C": "lamp", "D": "sofa"}
LENGTHS = {"A": "0.5 m", "B": "1.5 m", "C": "2.5 m", "D": "-1.5 m"}
COUNTS = {"A": "1", "B": "2", "C": "3", "D": "4"}
YES_NO = {"A": "Yes", "B": "No"}
RANGES = {"A": "0-2 m", "B": "2-4 m", "C": "4-6 m", "D": "more than 6 m"}
ANGLES = {"A": "15°", "B": "-15°", "C": "30°", "D": "150°"}
VECTORS = {"A": "(1.2, 0.3, -0.5)", "B": "(1.2, -0.3, 0.5)", "C": "(-1.2, 0.3, 0.5)", "D": "(1.2, 0.3, 0.5)"}
ORDINALS = {"A": "first", "B": "second", "C": "third"}
ORDERS = {"A": "chair, table, lamp", "B": "table, chair, lamp", "C": "lamp, chair, table"}
SHARES = {"A": "25%", "B": "50%", "C": "75%"}
MOTIONS = {"A": "Displacement of 1.5 m, speed 0.5 m/s", "B": "Displacement of 1.5 m, speed -0.5 m/s"}

CHOICES = [
    (MOVES, "B", [
        "**Answer: B**", "### Answer\n\n**(B) right**",
        "| Option | Verdict |\n|---|---|\n| A | no |\n| B | yes |\n\n**Final answer:** B",
        "A ❌\nB ✅\nC ❌\nD ❌", "- A: left ❌\n- B: right ✅\n- C: towards the camera ❌\n- D: not moving ❌", "☑ B",
        "✅ B. right", "Answer: ~~A~~ B", "<answer>option B</answer>", "$$\\boxed{\\textbf{(B)}\\ \\text{right}}$$",
        "\\boxed{A} \\text{ is wrong; } \\boxed{B}", "My final choice: B (confidence: 90%)", "B (90%)",
        "B - 90% confident", "The answer is B (not A).", "The answer is (B), since A, C, and D are not supported.",
        "It's not A. It's not C. It's not D. Hence B.",
        "The object is moving to the right (option B), not left (option A).",
        "Initially left, finally right. So the answer: right", "Could be A, but I'd go with B.", "A? No. B? Yes.",
        "B > A", "答案：B. right", "**答案**：B", "选项 B 是正确的", "B。理由：A不符合", "Answer = {B}", "answer: [B]",
        "{\"answer\":\"B\",\"reason\":\"not A\"}", "```\nB\n```", "The correct answer is **B**: *right*.",
        "Correct answer: B\nIncorrect answers: A, C, D", "Yes, B", "No, it's B", "I'd say it's moving rightwards.",
        "The car isn't going left; it is heading right.", "Not left. Right.", "B\nB\nB", "Final answer: (b)",
        "The answer is the second option: right.", "Option 2", "2) right",
    ]),
    (MOVES, None, [
        "A: 10%, B: 80%, C: 5%, D: 5%", "I am torn between A and B.", "Answer: B or C", "A B C D", "ABCD",
        "Eliminated: A, C, D", "#2", "2", "The answer is 2.",
    ]),
    (MOVES, "C", [
        "It's neither left nor right; it's towards the camera.",
    ]),
    (THINGS, "A", [
        "The closest object is the **chair**.", "Chair",
    ]),
    (THINGS, None, [
        "chair > table > lamp > sofa", "Closest to farthest: chair, table, lamp, sofa.",
        "1. chair\n2. table\n3. lamp\n4. sofa", "The chair, which is next to the table.",
        "The chair (in front of the table).", "The chair is in front of the table.",
        "The table has been moved behind the chair", "It's the lamp, the table is too far.", "chair/table",
    ]),
    (THINGS, "C", [
        "I think the lamp.", "No chair; the lamp", "Of all the objects, the lamp is the closest one.",
    ]),
    (THINGS, "D", [
        "The sofa is the one closest to the door, since the lamp is behind it.",
    ]),
    (LENGTHS, "B", [
        "≈ 1.5 m", "1.5 meters (about 5 feet)", "1.5m", "1.50 m", "1.5", "about one and a half meters", "1,5 m",
        "moved 1.5 m backwards", "The distance is 2.5 m - 1.0 m = 1.5 m", "d = 1.5\\ \\text{m}", "\\boxed{1.5\\,m}",
        "$1.5\\text{ m}$", "**1.5 m**", "Answer: 1.5m.", "the answer is B, i.e. 1.5 m",
    ]),
    (LENGTHS, None, [
        "roughly 1.4 m", "Between 1.5 m and 2.5 m", "It is > 1.5 m", "150 cm", "1.5 cm", "1.5 m/s", "A: 1.5 m",
    ]),
    (LENGTHS, "D", [
        "-1.5 m", "The object moved -1.5 m",
    ]),
    (LENGTHS, "A", [
        "A (0.5 m)", "0.5m → A",
    ]),
    (COUNTS, "B", [
        "2", "two", "B", "1 + 1 = 2", "At 3 s, he jumps for the 2nd time. So 2 times.", "2.", "Answer: 2 (two)",
    ]),
    (COUNTS, None, [
        "There are 2 chairs and 3 tables.", "The 2nd one", "more than 2", "2 or 3", "2-3", "2/3", "1-2 times", "IV",
    ]),
    (COUNTS, "C", [
        "I count: 1, 2, 3. So 3.", "Total = 1 + 2 = 3", "3 objects in total", "at least 3", "not 2 but 3",
        "The answer is three.",
    ]),
    (COUNTS, "D", [
        "\\boxed{4}", "4️⃣", "④", "Answer: 4 times, in frames 1, 2, 3 and 4",
    ]),
    (YES_NO, "A", [
        "Yes.", "The answer is yes, not no.",
    ]),
    (YES_NO, "B", [
        "No, the ball misses.",
    ]),
    (YES_NO, None, [
        "Yes and no", "Not really", "Yeah", "是",
    ]),
    (RANGES, None, [
        "3 m", "> 6 m",
    ]),
    (RANGES, "B", [
        "2-4 m", "between 2 and 4 m", "2 to 4 meters", "B: 2-4 m", "about 3 m, so 2-4 m",
    ]),
    (RANGES, "D", [
        "More than 6 m",
    ]),
    (RANGES, "C", [
        "4 – 6 m", "4m-6m", "from 4 to 6 m", "[4, 6] m",
    ]),
    (ANGLES, "A", [
        "15 degrees", "15° clockwise", "15",
    ]),
    (ANGLES, "B", [
        "-15 degrees", "−15°", "The rotation is -15.0°",
    ]),
    (ANGLES, "D", [
        "150",
    ]),
    (ANGLES, None, [
        "1.5°",
    ]),
    (VECTORS, "D", [
        "(1.2, 0.3, 0.5)", "(1.20, 0.30, 0.50)", "D: (1.2, 0.3, 0.5)", "np.array([1.2, 0.3, 0.5])",
    ]),
    (VECTORS, "A", [
        "(1.2,0.3,−0.5)", "$(1.2, 0.3, -0.5)^T$", "\\begin{pmatrix} 1.2 \\\\ 0.3 \\\\ -0.5 \\end{pmatrix}",
    ]),
    (VECTORS, "B", [
        "[1.2 -0.3 0.5]", "\\begin{bmatrix}1.2 & -0.3 & 0.5\\end{bmatrix}",
    ]),
    (VECTORS, "C", [
        "x: -1.2, y: 0.3, z: 0.5", "The translation is (-1.2 m, 0.3 m, 0.5 m)",
    ]),
    (VECTORS, None, [
        "A: (1.2, 0.3, 0.5)",
    ]),
    (ORDINALS, "B", [
        "second", "The second", "It was touched second.", "2nd",
    ]),
    (ORDINALS, "A", [
        "the first one, not the second",
    ]),
    (ORDERS, "A", [
        "chair, table, lamp", "chair -> table -> lamp",
    ]),
    (ORDERS, "C", [
        "First the lamp, then the chair, then the table.",
    ]),
    (ORDERS, "B", [
        "The order is: table, chair, lamp.",
    ]),
    (SHARES, "B", [
        "50%", "50 per cent",
    ]),
    (SHARES, None, [
        "half", "0.5",
    ]),
    (MOTIONS, "B", [
        "Displacement of 1.5 m, speed -0.5 m/s", "speed -0.5 m/s",
    ]),
    (MOTIONS, "A", [
        "A", "1.5 m and 0.5 m/s",
    ]),
]  # fmt: skip
NUMBERS = [
    ("The distance is **3.2 meters**.", 3.2), ("~3.2m", 3.2), ("| distance | 3.2 m |", 3.2),
    ("Answer: 3.2 m (±0.5)", 3.2), ("Based on the frames, 3.2.", 3.2), ("3.2 metres, or 10.5 feet", None),
    ("3.2 m (10.5 ft)", 3.2), ("between 3 and 4, so 3.5", 3.5), ("3-4, say 3.5 m", 3.5), ("d = sqrt(9 + 16) = 5", 5),
    ("\\sqrt{9+16} = 5", 5), ("5 m at frame 3", 5), ("In frame 12, the chair is 2 m away.", 2),
    ("0.8 * 4 = 3.2", 3.2), ("0.8 × 4 = 3.2 m", 3.2), ("3.2\n\nExplanation: the chair is 0.5 m wide.", 3.2),
    ("The room is 4 m by 3 m, so the area is 12 m^2.", 12), ("12 m²", 12), ("area: 12 square meters", 12),
    ("3.2 meters per second", 3.2), ("about three meters", 3), ("three and a half", 3.5), ("3 1/2 feet", 3.5),
    ("2,000", 2000), ("2 000 m", 2000), ("1e-3", 0.001), ("-0", 0), ("+5", 5), ("5!", 5), ("(5)", 5),
    ("five (5)", 5), ("5 (five)", 5), ("5 / 10", 0.5), ("approximately 5'", 5), ("99.9%", 99.9),
    ("The answer is $\\approx 2.3$ m", 2.3), ("$d \\approx 2.3\\,\\mathrm{m}$", 2.3), ("2.3 [m]", 2.3),
    ("2·3", None), ("The final answer is 2.3 meters. (Note: 1 m = 3.28 ft)", 2.3),
    ("the answer is 2.3 m, not 2.5 m", 2.3), ("Not 2.3 m.", None), ("Answer: unknown", None),
    ("第3帧，距离2.5米", 2.5),
    ("答案是2.5", 2.5), ("答案：2.5米。", 2.5), ("距离约为 2.5 m。", 2.5),
    ("2.5メートル", 2.5), ("La distancia es 2,5 m", 2.5),
    ("Die Antwort ist 2,5 m", 2.5), ("0.5-1.0", None), ("2.5 m?", 2.5), ("I'd estimate 2.5 to be right", 2.5),
    ("2.5e0", 2.5), ("1.5+1=2.5", 2.5), ("2.5, give or take 0.3", None), ("one", 1), ("zero", 0), ("none", None),
    ("a", None), ("twelve", 12), ("The chair is 2.5 m from the camera, and the table is 3 m.", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "letter", "reply"),
    [(options, letter, reply) for options, letter, replies in CHOICES for reply in replies],
)
def test_choices_in_many_styles(options, letter, reply):
    assert read_choice(reply, options).letter == letter


@pytest.mark.parametrize(("reply", "value"), NUMBERS)
def test_numbers_in_many_styles(reply, value):
    assert read_number(reply).value == value
