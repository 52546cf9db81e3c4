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
SIGNED = {"A": "-45", "B": "45", "C": "-4.5", "D": "4.5"}
SPEEDS = {"A": "-0.3 m/s", "B": "0.3 m/s", "C": "3 m/s", "D": "-3 m/s"}
PLANE = {"A": "[1, 2]", "B": "[-1, 2]", "C": "[1, -2]", "D": "[-1, -2]"}
METRIC = {"A": "(0.1, 0.2, 0.3) m", "B": "(0.1, -0.2, 0.3) m", "C": "(-0.1, 0.2, 0.3) m"}
TIMES = {"A": "1.5 s", "B": "15 s", "C": "0.15 s"}
AXES = {"A": "x: 0.5, y: -0.2", "B": "x: 0.5, y: 0.2", "C": "x: -0.5, y: 0.2"}
SHIFTS = {"A": "moved 0.5 m to the left", "B": "moved -0.5 m to the left", "C": "moved 0.5 m to the right"}
COMMAS = {"A": "1,5 m", "B": "15 m", "C": "0,15 m"}
SIGNS = {"A": "+10", "B": "-10", "C": "0"}
INTERVALS = {"A": "between -1 and 1", "B": "between 1 and 3", "C": "between 3 and 5"}
NEGATIVE = {"A": "-1", "B": "-2", "C": "1", "D": "2"}
PEOPLE = {"A": "the man in red", "B": "the woman in blue", "C": "the dog"}
CHINESE = {"A": "椅子", "B": "桌子", "C": "灯"}
TURNS = {"A": "left", "B": "right", "C": "up"}
CARS = {"A": "The red car", "B": "The blue car", "C": "They have the same speed"}
BOXES = {"A": "[0.1, 0.2, 0.5, 0.6]", "B": "[0.1, 0.2, 0.5, 0.7]"}
MOVES_UP = {"A": "left", "B": "right", "C": "up", "D": "not moving"}
THOUGHT = "The video shows a car. In frame 1 it is on the left side. In frame 5 it is closer to the right edge. "

CHOICES = [
    (MOVES, "B", [
        "**Answer: B**", "### Answer\n\n**(B) right**",
        "| Option | Verdict |\n|---|---|\n| A | no |\n| B | yes |\n\n**Final answer:** B",
        "A ❌\nB ✅\nC ❌\nD ❌", "- A: left ❌\n- B: right ✅\n- C: towards the camera ❌\n- D: not moving ❌",
        "☑ B",
        "✅ B. right", "Answer: ~~A~~ B", "<answer>option B</answer>", "$$\\boxed{\\textbf{(B)}\\ \\text{right}}$$",
        "\\boxed{A} \\text{ is wrong; } \\boxed{B}", "My final choice: B (confidence: 90%)", "B (90%)",
        "B - 90% confident", "The answer is B (not A).", "The answer is (B), since A, C, and D are not supported.",
        "It's not A. It's not C. It's not D. Hence B.",
        "The object is moving to the right (option B), not left (option A).",
        "Initially left, finally right. So the answer: right", "Could be A, but I'd go with B.", "A? No. B? Yes.",
        "B > A", "答案：B. right", "**答案**：B", "选项 B 是正确的", "B。理由：A不符合", "Answer = {B}",
        "answer: [B]",
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
        "3 m",
    ]),
    (RANGES, "B", [
        "2-4 m", "between 2 and 4 m", "2 to 4 meters", "B: 2-4 m", "about 3 m, so 2-4 m",
    ]),
    (RANGES, "D", [
        "> 6 m", "More than 6 m",
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
    (SIGNED, "A", [
        "−45", "-45.0", "The angle is approximately −45 degrees.",
        "about negative forty-five degrees", "θ = −45°", "$\\theta=-45^{\\circ}$", "\\(-45\\)",
        "`-45`", "**-45**", "\"-45\"", "<answer>-45</answer>", "{\"answer\": -45}", "Answer:-45",
        "answer=-45", "答案是-45", "答案：−45度", "Option A: -45", "A: −45", "[A] -45", "-45 (A)",
        "0 - 45 = -45", "\\boxed{-45}", "Therefore, the final answer is: -45",
        "Therefore, the final answer is: $-45$.",
    ]),
    (SIGNED, "B", [
        "45°", "B) 45", "45 -> B", "The value is 45, not -45.", "It's not -45 but 45",
    ]),
    (SIGNED, "C", [
        "(-4.5)", "−4,5", "negative 4.5", "{\"answer\": \"-4.5\"}", "C.-4.5", "C: -4.5°",
        "(C)-4.5", "\\boxed{-4.5}", "I would say −4.5.",
    ]),
    (SIGNED, None, [
        "minus four point five", "B) -45",
    ]),
    (SIGNED, "D", [
        "4,5", "D.4.5",
    ]),
    (SPEEDS, "A", [
        "-.3 m/s", "−0.30 m/s", "-0.3", "-0,3 m/s",
    ]),
    (SPEEDS, "B", [
        ".3 m/s", "0.3 meters per second", "speed of 0.3 m/s in the negative direction",
    ]),
    (SPEEDS, "D", [
        "-3 m/s",
    ]),
    (SPEEDS, "C", [
        "3.0 m/s",
    ]),
    (SPEEDS, None, [
        "0.3 m/s²", "0.3 m",
    ]),
    (PLANE, "A", [
        "[1,2]", "{1, 2}", "[1.0, 2.0]", "x=1, y=2", "(1;2)", "[1 2]",
    ]),
    (PLANE, "B", [
        "(−1, 2)", "[ -1 , 2 ]",
    ]),
    (PLANE, "C", [
        "1, -2", "<1, -2>", "The vector [1, −2]^T",
    ]),
    (PLANE, "D", [
        "[-1,-2]",
    ]),
    (PLANE, None, [
        "[2, 1]", "[1, 2, 3]",
    ]),
    (METRIC, "A", [
        "(0.1, 0.2, 0.3)", "0.1 m, 0.2 m, and 0.3 m",
    ]),
    (METRIC, "B", [
        "(0.1, -0.2, 0.3) meters",
    ]),
    (METRIC, "C", [
        "(-0.1 m, 0.2 m, 0.3 m)", "[-.1, .2, .3]",
    ]),
    (TIMES, "A", [
        "1.5 seconds", "1,5 s", "1.5",
    ]),
    (TIMES, "C", [
        ".15s",
    ]),
    (TIMES, "B", [
        "15s", "15 sec.",
    ]),
    (TIMES, None, [
        "00:15",
    ]),
    (AXES, "A", [
        "x: 0.5, y: -0.2", "x=.5, y=-.2",
    ]),
    (AXES, "C", [
        "x = -0.5 and y = 0.2",
    ]),
    (AXES, "B", [
        "(0.5, 0.2)",
    ]),
    (SHIFTS, "A", [
        "It moved 0.5 m to the left.",
    ]),
    (SHIFTS, "B", [
        "moved -0.5 m to the left", "moved −0.5 m to the left",
    ]),
    (SHIFTS, "C", [
        "It moved .5 m to the right",
    ]),
    (COMMAS, "A", [
        "1.5 m", "1,5 m",
    ]),
    (COMMAS, "B", [
        "15 m",
    ]),
    (COMMAS, "C", [
        ".15 m",
    ]),
    (SIGNS, "A", [
        "+10", "10",
    ]),
    (SIGNS, "B", [
        "-10", "−10",
    ]),
    (SIGNS, "C", [
        "0",
    ]),
    (SIGNS, None, [
        "±10",
    ]),
    (INTERVALS, "B", [
        "between 1 and 3",
    ]),
    (INTERVALS, "A", [
        "between -1 and 1", "between −1 and 1",
    ]),
    (INTERVALS, None, [
        "2",
    ]),
    (NEGATIVE, "A", [
        "-1", "negative one",
    ]),
    (NEGATIVE, "B", [
        "-2", "minus two",
    ]),
    (NEGATIVE, "C", [
        "1",
    ]),
    (NEGATIVE, "D", [
        "two",
    ]),
    (NEGATIVE, None, [
        "1-2", "1 or 2", "-1 or -2", "-1 to 1",
    ]),
    (PEOPLE, "A", [
        "The man in red is taller than the woman in blue.",
        "Than the dog, the man in red is taller.",
        "The man in red is more to the left than the dog.",
        "The man in red is further away from the camera than the dog is.",
        "Unlike the dog, the man in red moves.",
    ]),
    (PEOPLE, "B", [
        "The woman in blue walks faster than the man in red does.",
    ]),
    (PEOPLE, "C", [
        "The dog runs faster than both people.", "The dog moves, unlike the man in red.",
        "The dog moves instead of the man in red", "The dog, not the man in red",
    ]),
    (PEOPLE, None, [
        "the dog moves less than the man in red", "The dog is not the one; it's the man in red.",
        "the dog exceeds the man in red in speed", "The dog is ahead of the man in red.",
        "the dog overtakes the man in red",
    ]),
    (CARS, "A", [
        "The red car is faster.", "The red car is faster than the blue car.",
        "The red car is faster than the blue one.",
        "The speed of the red car is higher than that of the blue car.",
        "The red car has a greater speed compared with the blue car.",
        "In comparison with the blue car, the red car is faster.",
    ]),
    (CARS, None, [
        "The blue car moves slower than the red car.",
        "The speed of the red car is lower than that of the blue car.",
        "The red car outpaces the blue car.", "The red car's speed exceeds the blue car's.",
        "The red car is just as fast as the blue car.",
        "The red car is twice as fast as the blue car.",
        "The red car is moving more slowly than the blue car",
    ]),
    (CARS, "C", [
        "They have the same speed",
    ]),
    (CHINESE, None, [
        "椅子比桌子更近", "不是椅子", "答案不是椅子",
    ]),
    (CHINESE, "A", [
        "椅子",
    ]),
    (CHINESE, "B", [
        "答案是桌子",
    ]),
    (TURNS, "A", [
        "答案不是B，而是A", "B选项不对，应选A", "B可排除，C可排除，选A", "选A，不选B", "A对，B错", "A √, B ×",
        "A是对的，其他都不对",
        "只有A正确", "而非B，应为A", "是A，不是B", "A而不是B", "A而非B", "选择A而不是B。", "B與事實不符，故選A",
        "答案：A（不是B）",
        "答案：A。B不对。", "正确答案不是B，是A。", "B、C均不正确，因此选择A", "答案為A", "選A", "選項A正確",
    ]),
    (TURNS, None, [
        "B不是正确答案", "我不认为B是正确的", "不能选B", "不会是B", "不太可能是B", "可以排除B", "B可以排除",
        "只有A不正确", "除了B，都对",
        "正确选项并不是B", "答案肯定不是B", "答案绝对不会是B", "B这个答案是错的", "B 不正确", "选项 B 是不正确的",
        "B 选项不正确", "这不是B",
        "我不选B", "非B", "未选B", "无法选择B", "答案不可能為B",
    ]),
    (BOXES, "B", [
        "[0.1, 0.2, 0.5, 0.7]",
    ]),
    (BOXES, "A", [
        "[0.1,0.2,0.5,0.6]", "0.1, 0.2, 0.5, 0.6",
    ]),
    (MOVES_UP, "B", [
        THOUGHT + "So it moves right.", THOUGHT + "The car's motion is more to the right than to the left.",

              THOUGHT + "The answer can't be A because the car ends on the right. It can't be D. Therefore B.",
        THOUGHT + "Thus, the answer is not A; rather, it is B.",
        THOUGHT + "Option B is more accurate than option A.", THOUGHT + "Option B fits better than A, C or D.",
        THOUGHT + "I'd choose B rather than A.",
        THOUGHT + "The best choice is B, as A would need it to move left.",
        THOUGHT + "Answer: B - right. It is not A - left.", "B is the answer; A is not.",
        "The answer to this question is not clear, but I think it is B.", "I don't know, maybe B",
        "I'm not sure but B", "Not sure. B?", "I cannot see the video, but the answer is B",
        "Although it's not clear, the answer is B.",
        "The answer is B, not because it is close but because it moves right.",
        "There's no doubt that the answer is B.", "I don't think so. The answer is B.",
        "The answer is none other than B.", "The answer should be B since the car is not moving left.",
        "The answer must be B: it can't be anything else.", "A. left\nB. right\nC. up\nD. not moving\n\nAnswer: B",
        "**A. left** – The car doesn't.\n**B. right** – Correct.\n**C. up** – No.",
        "<think>\nHmm A? The answer is A. No wait.\n</think>\n\n**B. right**", "<think>The answer is B</think>",
        "Let me think step by step.\n1. The car is on the left.\n2. The car goes right.\n3. So: B",
        "Step 1: A\nStep 2: B\nFinal: B", "The final answer is \\(\\boxed{B}\\). Therefore option A is wrong.",
        "$\\boxed{\\text{right}}$", "\\boxed{B. right}", "回答：B", "最终答案：B", "最终答案是 **B**。", "答案選B",
        "（B）", "【答案】B", "【B】", "答案：【B】right", "B项", "B、right", "Réponse : B", "Respuesta: B",
        "Antwort: **B**", "Die richtige Antwort ist B.", "La risposta corretta è B.", "A resposta correta é B.",
        "Правильный ответ: B", "الإجابة: B", "उत्तर: B", "정답: B", "答えは「B」です", "Đáp án: B",
        "La respuesta correcta no es A, es B.", "Nein, B",
    ]),
    (MOVES_UP, None, [
        THOUGHT + "Based on this, option A is less likely than option B.",
        "It's not possible that the answer is anything other than B.", "The answer is no less than B",
        "The only answer that isn't wrong is B.", "Why not B?", "The correct answer isn't listed.",
        "The answer: cannot be determined", "A. left\nB. right\nC. up\nD. not moving", "<think>foo",
        "<think>foo</think>",
    ]),
    (MOVES_UP, "D", [
        "It isn't moving.", "The car isn't moving left, it isn't moving right: it isn't moving.",
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
    ("<think>Step: 3 m. So the answer is 3 m. Hmm let me", None), ("<think>3</think>The answer is 4.", 4),
    ("<think>3</think>", 3), ("<thinking>It's 3</thinking>\n\n4 m", 4), ("[THINK]It's 3[/THINK]4 m", 4),
    ("<|channel|>analysis<|message|>3<|end|><|start|>assistant<|channel|>final<|message|>4", 4),
    ("<|channel|>analysis<|message|>It is 3", None), ("3</think>4", 4), ("<answer>3</answer>", 3),
    ("<answer>3", 3), ("the answer cannot be 3", None), ("The answer is not 3 but 4.", 4), ("答案不是3", None),
    ("答案不是3，而是4", 4), ("不是3米，是4米", 4), ("3 is not correct; 4 is", 4), ("rather than 3 m, 4 m", 4),
    ("4 m instead of 3 m", 4), ("4 rather than 3", 4), ("It's greater than 3 but less than 5", None),
    ("more than 3 m but the best estimate is 3.4 m", 3.4), ("no more than 3", None), ("at most 3", 3),
    ("exactly 3", 3), ("1.5 to 2.0 meters", None), ("1.5m-2.0m", None), ("1.5~2.0m", None), ("1.5 – 2", None),
    ("around 2 (1.5-2.5)", 2), ("2 (range 1.5 to 2.5)", 2), ("between 1.5 and 2.5, likely 2", 2),
    ("between 1.5 and 2.5, i.e. about 2 m", 2), ("$1{,}250$ m", 1250), ("1\\,250 m", 1250), ("2.5\\,m", 2.5),
    ("2.5\\ m", 2.5), ("\\frac{5}{2}", 2.5), ("5/2 m", 2.5), ("-\\frac{5}{2}", -2.5), ("−5/2", -2.5),
    ("-1/2", -0.5), ("minus half a meter", -0.5), ("-½", -0.5), ("(-2.5)", -2.5), ("[-2.5]", -2.5),
    ("-2.5m", -2.5), ("‑2.5", -2.5), ("﹣2.5", -2.5), ("－2.5", -2.5), ("−2,5", -2.5), ("+2,5", 2.5),
    ("2.5-", 2.5), ("~-2.5", -2.5), ("≈−2.5", -2.5), ("is -2.5", -2.5), ("=-2.5", -2.5), (":-2.5", -2.5),
    ("5.", 5), ("5.0.", 5), ("5,", 5), ("5;", 5), ("5 m.", 5), ("05", 5), ("0.50", 0.5), ("00.5", 0.5),
    ("1.234,56", 1234.56), ("1,234,567.8", 1234567.8), ("1.234.567,8", 1234567.8), ("12,34", 12.34),
    ("1,23 m", 1.23), ("0,001", 0.001), ("1,000", 1000), ("1.000", 1), ("10,5 to 11", None), ("3,5 Meter", 3.5),
    ("環境 3.5 公尺", 3.5), ("minus one half", -0.5),
]  # fmt: skip


@pytest.mark.parametrize(("options", "letter", "replies"), CHOICES)
def test_choices_in_many_styles(options, letter, replies):
    assert {reply: read_choice(reply, options).letter for reply in replies} == dict.fromkeys(replies, letter)


def test_numbers_in_many_styles():
    assert [(reply, read_number(reply).value) for reply, _ in NUMBERS] == NUMBERS
