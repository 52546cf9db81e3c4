# SPDX-License-Identifier: Apache-2.0
"""The strict reader: a table of awkward replies, properties, bounds, and agreement with judged replies."""

import gzip
import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.eval_hooks import answers
from rgpt4d_plugin.eval_hooks.answers import match_value, read_choice, read_number
from rgpt4d_plugin.eval_hooks.reading.outcome import NOT_READ, READ
from rgpt4d_plugin.eval_hooks.reading.text import HEAD, TAIL, plain


JUDGED = Path(__file__).parents[1] / "data" / "vlm4d_judged_sample.jsonl.gz"

MOVES = {"A": "not moving", "B": "right", "C": "left", "D": "towards the camera"}
COUNTS = {"A": 0, "B": 1, "C": 2, "D": 10}
YES_NO = {"A": "Yes", "B": "No", "C": "It hits the rim", "D": "Not enough information in the scene to answer"}
THINGS = {"A": "A car", "B": "A person is walking to the right", "C": "No object is moving", "D": "A red apple"}
PATHS = {"A": "left", "B": "left and towards the camera", "C": "left to right", "D": "right to left"}
TURNS = {"A": "clockwise", "B": "counter-clockwise", "C": "not spinning", "D": "no dog there"}
LENGTHS = {"A": "0.53 m", "B": "1.5 m", "C": "2 m", "D": "20 m", "E": "1,250 m"}
NONE_OF = {"A": "left", "B": "right", "C": "none of the above"}
WAYS = {"A": "left", "B": "right", "C": "neither", "D": "both"}

# (kind, options, [(reply, letter or why none was read), ...]); each decided by hand.
TABLE = [
    (
        "a letter alone",
        MOVES,
        [
            ("B", "B"), ("b", "B"), (" B \n", "B"), ("B.", "B"), ("B:", "B"), ("(B)", "B"), ("[B]", "B"), ("B)", "B"),
            ("b)", "B"), ("(b)", "B"), ("'B'", "B"), ('"B"', "B"), ("`B`", "B"), ("``B``", "B"), ("**B**", "B"),
            ("**B**.", "B"), ("__B__", "B"), ("_B_", "B"), ("*B*", "B"), ("$B$", "B"), ("$B", "B"), ("$$B$$", "B"),
            ("\\boxed{B}", "B"), ("$\\boxed{\\text{B}}$", "B"), ("\\(\\boxed{B}\\)", "B"),
            ("\\[ \\boxed{\\mathrm{B}} \\]", "B"), ("$\\text{B}$", "B"), ("<b>B</b>", "B"), ("B</s>", "B"),
            ("B<|im_end|>", "B"), ("Ｂ", "B"), ("Ⓑ", "B"), ("𝐁", "B"), ("（B）", "B"), ("{B}", "B"), ("[[B]]", "B"),
            ("<B>", "B"), ("A", "A"), ("a", "A"), ("A.", "A"), ("(a)", "A"), ("Option B", "B"), ("option b", "B"),
            ("Choice (B)", "B"), ("Answer B", "B"), ("> B", "B"), ("- B", "B"), ("# B", "B"), ("“B”", "B"),
            ("‘b’", "B"), ("B!", "B"), ("\u200fB\u200f", "B"), ("B\x00", "B"), ("🅱", "B"), ("LETTER: B", "B"),
            ("$LETTER = B", "B"), ("$LETTER: B", "B"), ("$LETTER$ = $B$", "B"), ("${LETTER} B", "B"), ("It's B", "B"),
            ("I think B.", "B"), ("I guess B", "B"), ("Maybe B.", "B"), ("ASSISTANT: B", "B"), ("ASSISTANT: A", "A"),
            ("[/INST] B", "B"), ("B<end_of_utterance>", "B"), ("{\\bf B}", "B"), ("$\\mathbf{B}$", "B"),
            ("B, B, B", "B"), ("B️", "B"), ("C;", "C"), ("The letter is B", "B"),
        ],
    ),
    (
        "a letter and its text",
        MOVES,
        [
            ("B: right", "B"), ("B. right", "B"), ("B) right", "B"), ("(B) right", "B"), ("B right", "B"),
            ("B - right", "B"), ("B-right", "B"), ("B.right", "B"), ("B:right", "B"), ("b: right", "B"),
            ("b. right", "B"), ("b right", "B"), ("B – Right.", "B"), ("**B: right**", "B"), ("**B**: right", "B"),
            ("'B: right'", "B"), ("B (right)", "B"), ("B, right", "B"), ("B\nright", "B"), ("A: not moving", "A"),
            ("A not moving", "A"), ("A - not moving", "A"), ("A. Not moving.", "A"), ("Option B: right", "B"),
            ("Answer: B: right", "B"), ("The answer is B: right.", "B"), ("right (B)", "B"), ("right - B", "B"),
            ("C: to the left", "C"), ("D: It is moving towards the camera", "D"), ("B: left", "ambiguous"),
            ("The answer is (C) right.", "ambiguous"), ("B) left. It turns.", "ambiguous"), ("right, B", "B"),
            ("B;right", "B"), ("b)right", "B"), ("B: right B: right B: right", "B"), ("C left C left C left", "C"),
            ("(d) towards the camera", "D"), ("The correct answer is (d) towards the camera.", "D"),
            ("(B) right is the correct answer.", "B"), ("B: right. C: left.", "ambiguous"), ("A: right", "ambiguous"),
            ("Option B: The car is moving to the right.", "B"), ("B: moving to the right of the frame", "B"),
            ("right B", "B"),
        ],
    ),
    (
        "a letter, then reasons",
        MOVES,
        [
            ("B. The car moves to the right of the frame.", "B"),
            ("B\n\nThe wheels turn left at first, then it goes right.", "B"),
            ("B because the car is not moving left.", "B"), ("A because nothing moves.", "A"),
            ("A, since the car stands.", "A"),
            ("B: right\n\nExplanation: A is wrong since it moves, and C is the opposite.", "B"),
            ("(C)\n\nThe dog on the right runs to the left.", "C"), ("B is correct. A and C are not.", "B"),
            ("A is correct, as the car is not moving.", "A"), ("Option C is the best choice: the dog runs left.", "C"),
            ("B, not A", "B"), ("B and not C.", "B"), ("B rather than C", "B"), ("I choose B over C.", "B"),
        ],
    ),
    (
        "the article and the pronoun",
        THINGS,
        [
            ("A car", "A"), ("A person is walking to the right", "B"), ("A person is walking to the right.", "B"),
            ("A red apple", "D"), ("A bike passes by.", "unread"), ("A man is standing there. No one else.", "unread"),
            ("A", "A"), ("A: A car", "A"), ("A person is seen. A car is not. The answer is D.", "D"),
            ("I see a red apple", "D"), ("I think it is A.", "A"), ("The answer is A red apple", "D"),
            ("It is a car.", "A"), ("'A car'", "A"), ("a car", "A"), ("car", "A"), ("Car.", "A"),
            ("The person picks up a red apple.", "D"), ("red apple", "D"),
        ],
    ),
    (
        "final-answer phrases",
        MOVES,
        [
            ("It stands at first. Therefore, the final answer is: B", "B"),
            ("... Therefore, the final answer is: $B$.", "B"), ("Therefore, the final answer is: $B", "B"),
            ("Therefore, the final answer is $LETTER: B", "B"), ("Therefore, the final answer is: **B**", "B"),
            ("'Therefore, the final answer is: B'", "B"), ("Therefore, the final answer is: B: right", "B"),
            ("Therefore, the final answer is: right", "B"), ("Therefore, the final answer is: B (right).", "B"),
            ("Therefore, the final answer is: 'right'.", "B"), ("Therefore, the final answer is: b", "B"),
            ("Therefore, the final answer is: $\\boxed{B}$", "B"), ("The final answer is $\\text{B}$.", "B"),
            ("Final answer: B", "B"), ("Final Answer B", "B"), ("**Final Answer**\n\nB", "B"),
            ("### Final Answer\n**B: right**", "B"), ("Final Answer:\n\\boxed{B}", "B"), ("**Answer:** B", "B"),
            ("Answer - B", "B"), ("The correct option is (B).", "B"),
            ("The best answer, based on the frames, is B.", "B"), ("The correct answer to the question is B.", "B"),
            ("The answer would be option B.", "B"), ("My answer is therefore B.", "B"), ("Ans: B", "B"),
            ("Hence, option B.", "B"), ("So the answer must be B.", "B"), ("I would go with B.", "B"),
            ("I choose option (b).", "B"), ("We select B here.", "B"), ("The answer is most likely B.", "B"),
            ("The option that best matches the video is B.", "B"), ("Option B is correct.", "B"),
            ("B is the correct answer.", "B"), ("The answer is B. A is wrong. C is wrong. D is wrong.", "B"),
            ("Answer: B\nA: it does not stand still.\nC: it does not go left.", "B"),
            ("Answer: A\nOn reflection the answer is B.", "B"), ("The answer is A. The answer is B.", "B"),
            ("Therefore, the final answer is: A. Therefore, the final answer is: C.", "C"),
            ("The final answer is that the car is moving to the right.", "B"), ("答案是B。", "B"), ("答案：B", "B"),
            ("因此，答案是：B", "B"), ("选B。", "B"), ("所以选B", "B"), ("正确答案是 B。", "B"), ("答案是right", "B"),
            ("The answer is a.", "A"), ("The answer is A", "A"), ("Therefore, the final answer is: A.", "A"),
            ("The correct answer is: A - not moving", "A"), ("the final answer is:\n\nC: left", "C"),
            ("→ Answer → B", "B"), ("The answer is:\n\n**B**\n\nbecause A is wrong.", "B"),
            ("The answer cannot be determined. However, if I had to guess, B.", "B"),
            ("None of the options is right, but the closest is B.", "B"),
            ("I will choose the most likely answer: B", "B"), ("Let's choose option B.", "B"),
            ("The answer is B.\n\n(Note: the answer could also be C if the video is mirrored.)", "B"),
            ("If it moved left, the answer would be C. But it moves right.", "B"),
            ("However, if we have to choose, the best answer would be B.", "B"),
            ("Answer: B\n\nOption A is correct only if it stands still.", "B"), ("B is more plausible than C.", "B"),
            ("Therefore, the final answer is: left, which is option C.", "C"),
            ("Therefore, the final answer is: C: left, not B: right", "C"),
            ("Therefore, the final answer is: A/B", "ambiguous"), ("Therefore, the final answer is: None", "refused"),
            ("The final answer is: The car is moving to the left.", "C"), ("Final answer: The answer is A.", "A"),
            ("Therefore, the final answer is: [C]", "C"), ("Therefore, the final answer is: $\\textbf{C}$", "C"),
            ("Therefore, the final answer is: C\n\nI hope this helps! Is there anything else?", "C"),
            ("The final answer is therefore A.", "A"), ("The car moves right, which matches option B.", "B"),
            ("So it's B.", "B"), ("That leaves C.", "C"), ('The answer to the question "Is it A or B?" is C.', "C"),
            ('The option of "not moving" is not relevant. It goes left.', "C"),
            ("The answer is based on the wheels. It goes left.", "C"), ("The answer is clear: it goes left.", "C"),
            ("Answer:\nB", "B"), ("Answer:", "unread"), ("The correct answer is:", "unread"),
        ],
    ),
    (
        "structured replies",
        MOVES,
        [
            ('{"answer": "B"}', "B"), ("{'answer': 'B'}", "B"), ('```json\n{"answer": "B"}\n```', "B"),
            ('{"explanation": "A is wrong", "answer": "B"}', "B"),
            ('{"answer": "B", "explanation": "A is wrong, C is wrong"}', "B"), ('{"final_answer": "B: right"}', "B"),
            ('{"answer": ["B"]}', "B"), ('{"answer": "right"}', "B"), ('{"choice": "b"}', "B"),
            ('{"answer_letter": "B", "confidence": 0.9}', "B"),
            ('{"answer": "The car moves right", "confidence": 0.9}', "B"), ("<answer>B</answer>", "B"),
            ("<answer> B: right </answer>", "B"), ("<answer>\nB", "B"),
            ("<think>It is A or C. The answer is A.</think>B", "B"),
            ("<think>The answer is A.</think>\n<answer>B</answer>", "B"),
            ("<think>\nThe answer is A. Wait, no.\n</think>\n\nThe answer is **B**.", "B"),
            ("The answer is A.</think>\nB", "B"), ("◁think▷Maybe A.◁/think▷B", "B"),
            ("<think>So the answer is B.</think>", "B"), ("<answer>A</answer> no, <answer>B</answer>", "B"),
            ("<final>B</final>", "B"), ("<choice>B</choice>", "B"),
            ("<|channel|>analysis<|message|>A?<|end|><|channel|>final<|message|>B", "B"),
            ("<think>x</think><answer><|begin_of_box|>B<|end_of_box|></answer>", "B"),
            ('I looked at it.\n\n{"answer": "B"}', "B"), ("Reason: it turns.\nAnswer: b", "B"), ("answer=B", "B"),
            ('{"A": "not moving"}', "A"), ("B<think>or A", "B"), ("<think>A</think>B<think>or A", "B"),
            ("[THINK]A[/THINK]B", "B"), ("<|begin_of_thought|>A<|end_of_thought|>B", "B"),
            ("<think>It is A. <answer>B</answer>", "B"), ("<reasoning>A</reasoning>B", "B"),
            ("[Analysis] It moves. [Answer] B", "B"),
        ],
    ),
    (
        "an option in words",
        MOVES,
        [
            ("Right. The car on the left stands.", "B"), ("right", "B"), ("Right.", "B"), ("RIGHT", "B"),
            ("'right'", "B"), ("to the right", "B"),
            ("The right", "B"), ("rightward", "B"), ("towards the right", "B"),
            ("The car is moving to the right.", "B"), ("It moves right", "B"),
            ("The car turns to the right side of the frame.", "B"), ("not moving", "A"), ("Not moving.", "A"),
            ("The car is not moving.", "A"), ("The car does not move.", "A"), ("The car isn't moving.", "A"),
            ("The car is stationary.", "A"), ("It stays in the same place.", "A"), ("It's motionless.", "A"),
            ("towards the camera", "D"), ("toward the camera", "D"), ("It is moving towards the camera.", "D"),
            ("It comes closer to the camera.", "D"), ("It approaches the camera.", "D"),
            ("The car moves from the left to the right.", "B"), ("It is moving from left to right.", "B"),
            ("The left car moves right.", "B"), ("The man's left hand moves to the right.", "B"),
            ("It is not moving left but right.", "B"), ("It is moving right, not left.", "B"),
            ("It moves right rather than left.", "B"), ("Instead of left, it goes right.", "B"),
            ("It is not moving to the left or right; it is moving towards the camera.", "D"),
            ("In the first frame it is on the left. Therefore, the car is moving right.", "B"),
            ("The car is moving right. This can be seen from its wheels.", "B"),
            ("The car turned right before turning left.", "B"), ("No doubt it moves left.", "C"),
            ("It moves right because the left wheel brakes.", "B"),
            ("The car is not moving towards or away from the camera.", "A"),
            ("It does not move in any direction.", "A"), ("The man on the left walks to the right.", "B"),
            ("The right car is going left.", "C"), ("It goes left, then right.", "ambiguous"),
            ("Therefore, it is going to the left direction.", "C"), ("There is no movement.", "A"),
            ("It remains in the same position.", "A"),
        ],
    ),
    (
        "options that contain each other",
        PATHS,
        [
            ("left", "A"), ("left and towards the camera", "B"), ("It moves left and towards the camera.", "B"),
            ("It moves from left to right.", "C"), ("right to left", "D"),
            ("It moves to the left, towards the camera.", "B"), ("It is moving left.", "A"),
            ("From right to left.", "D"),
        ],
    ),
    (
        "options that say no",
        TURNS,
        [
            ("clockwise", "A"), ("counterclockwise", "B"), ("counter clockwise", "B"), ("anti-clockwise", "B"),
            ("It spins in a counter-clockwise direction.", "B"), ("It is not spinning.", "C"),
            ("There is no dog in the video.", "D"), ("There are no dogs visible.", "D"), ("No dog there", "D"),
            ("It does not spin clockwise.", "unread"),
            ("It's not spinning clockwise, it's spinning counter-clockwise.", "B"),
            ("There is no dog in the image. Therefore, the question is not applicable.", "D"),
            ("The wheel isn't spinning.", "C"), ("The dog is not visible in the video.", "D"),
            ("The video does not show any dogs.", "D"), ("There isn't a dog.", "unread"),
            ("The dog rotates clockwise.", "A"), ("It rotates neither clockwise nor counter-clockwise.", "unread"),
        ],
    ),
    (
        "yes, no and not enough",
        YES_NO,
        [
            ("No. The ball hits the board.", "B"), ("Yes", "A"), ("No", "B"), ("no.", "B"),
            ("No, it does not.", "B"), ("Yes, the ball hits it.", "A"),
            ("The answer is no.", "B"), ("The correct answer is 'yes'.", "A"), ("B: No", "B"),
            ("There is no ball.", "unread"), ("It hits the rim.", "C"),
            ("There is not enough information to tell.", "D"), ("It cannot be determined from the video.", "D"),
            ("The answer is: No, because it misses.", "B"), ("Therefore, the ball does not hit the rim.", "B"),
            ("Therefore, the ball goes in.", "A"), ("The ball goes in.", "unread"),
            ("So the answer is clear.", "unread"), ("Therefore, we must look again.", "unread"),
            ("Therefore, the question is odd.", "unread"), ("Therefore, it might be so.", "unread"),
        ],
    ),
    (
        "numbers",
        COUNTS,
        [
            ("Two. I see 1 and 10.", "C"), ("2", "C"), ("two", "C"), ("Two.", "C"), ("2.0", "C"), ("10", "D"),
            ("1", "B"), ("The answer is 2.", "C"),
            ("The final answer is: $2$", "C"), ("\\boxed{2}", "C"), ("twice", "C"), ("He jumps twice.", "C"),
            ("There are two cars.", "C"), ("There are no cars moving left.", "A"), ("None of the cars move.", "A"),
            ("zero", "A"), ("There is only one car.", "B"), ("once", "B"), ("2 times", "C"), ("C. 2", "C"),
            ("C: 2", "C"), ("The number of cars is 2.", "C"), ("It could be 1 or 2.", "ambiguous"), ("3", "unread"),
            ("There are 7 cars.", "unread"), ("1. I look at the cars.\n2. I count them.\nThere are 10.", "D"),
            ("He does not take any steps.", "A"), ("option 2 is 1", "B"),
            ("The ball is the one that moves.", "unread"), ("1.0", "B"),
            ("It turns 360 degrees, 1 full revolution.", "B"), ("0", "A"), ("four", "unread"),
            ("Four times", "unread"), ("1 (B)", "B"), ("B - 1", "B"), ("A: 1", "ambiguous"), ("B: 3", "B"),
            ("ten", "D"), ("Zero cars.", "A"), ("The person did not put down any objects.", "A"),
            ("There are 2 in the first frame and 10 later.", "ambiguous"), ("10 cars move, so the answer is 10.", "D"),
        ],
    ),
    (
        "numbers with units",
        LENGTHS,
        [
            ("0.53 m", "A"), ("0.53", "A"), ("0.530 meters", "A"), ("The length is 1.50 m.", "B"), ("2 metres", "C"),
            ("2.0", "C"), ("1250 m", "E"), ("1,250", "E"), ("20", "D"), ("200 cm", "unread"), ("2 cm", "unread"),
            ("about 0.5 m", "unread"), ("E", "E"), ("E. 1,250 m", "E"), ("1.5 m or 2 m", "ambiguous"),
            ("two meters", "C"), ("between 1.5 m and 2 m", "ambiguous"), ("0.5", "unread"),
        ],
    ),
    (
        "answers in words",
        MOVES,
        [
            ("option two", "B"), ("The second option", "B"), ("Option 2", "B"), ("the second option is correct.", "B"),
            ("The answer is the third option.", "C"), ("the last option", "D"),
            ("The first one is wrong, the answer is the second option.", "B"),
            ("The first option is incorrect. The second option is correct.", "B"), ("2nd option", "B"),
            ("option #3", "C"),
        ],
    ),
    (
        "none of the options",
        NONE_OF,
        [
            ("None of the above", "C"), ("none of the above.", "C"), ("None of these options is right.", "C"),
            ("C", "C"), ("None of the given options match.", "C"), ("The answer is none of the above.", "C"),
            ("none", "C"),
        ],
    ),
    (
        "neither and both",
        WAYS,
        [
            ("Neither", "C"), ("neither.", "C"), ("It moves neither left nor right.", "C"), ("Both", "D"),
            ("It is left.", "A"), ("The answer is both.", "D"), ("The answer is neither.", "C"),
        ],
    ),
    (
        "arguments against options",
        MOVES,
        [
            ("A is incorrect. B is incorrect. D is incorrect. So the answer is C.", "C"),
            (
                "A: not moving - This is incorrect.\nB: right - This is incorrect.\nC: left - This is correct.\nD: "
                "towards the camera - incorrect.",
                "C",
            ),
            ("A is wrong, B is wrong, D is wrong, so C.", "C"),
            ("Options A, B and D can be ruled out, leaving C.", "C"), ("It is not A, B, or D. It is C.", "C"),
            ("A: not moving\nB: right\nC: left\nD: towards the camera\n\nThe car drives left, so C fits.", "C"),
            ("Although A seems plausible, C is correct.", "C"), ("Not A. Not B. The answer is D.", "D"),
            (
                "Option A is not correct because the car moves. Option B is not correct. Option C is the correct "
                "answer.",
                "C",
            ),
            ("Between A and B, B is more likely.", "B"), ("The answer is not A but B.", "B"),
            ("The answer is not A.", "unread"), ("A is incorrect.", "unread"),
            ("B cannot be right. D is the answer.", "D"), ("A can be eliminated. Therefore, C.", "C"),
            ("Option A (not moving) is wrong; option C (left) matches what we see.", "C"),
        ],
    ),
    (
        "changes of mind",
        MOVES,
        [
            ("B: right. The man has to wait for the car on the left.", "B"), ("Hold on to C. But wait! It is B.", "B"),
            ("The answer is A. Wait, the wheels turn. The answer is B.", "B"),
            ("So it is A. Wait, let me check again. It moves to the right.", "B"),
            ("It looks like A. However, it moves, so the answer is B.", "B"),
            ("The answer is B. Wait, no... actually the car goes left. So C.", "C"),
            ("Answer: B\n\nCorrection: the answer is C.", "C"),
        ],
    ),
    (
        "no choice",
        MOVES,
        [
            ("", "empty"), ("   \n", "empty"), ("...", "empty"), ("\u200b\u200f", "empty"), ("\x00", "empty"),
            ("**", "empty"), ("A or B", "ambiguous"), ("A, B", "ambiguous"),
            ("Both A and C are correct.", "ambiguous"), ("The answer is either B or C.", "ambiguous"),
            ("B/C", "ambiguous"), ("A: not moving\nD: towards the camera", "ambiguous"),
            ("right or left", "ambiguous"), ("It moves left or right.", "ambiguous"), ("E", "unread"),
            ("The answer is E.", "unread"), ("F: up", "unread"), ("Hello!", "unread"),
            ("The video shows a car.", "unread"), ("I'm sorry, but I can't see the video.", "refused"),
            ("It cannot be determined from the frames.", "refused"),
            ("Therefore, the final answer is: N/A", "refused"), ("None of the above.", "refused"),
            ("There is not enough information to answer.", "refused"),
            (
                "Therefore, the final answer is: $LETTER, where $LETTER must be only one of the options (A or B or "
                "C or D).",
                "unread",
            ),
            ("The options are A, B, C and D.", "unread"), ("U-turn", "unread"), ("The C-shaped road bends.", "unread"),
            ("He takes vitamin C.", "unread"), ("Player B kicks the ball.", "unread"), ("up", "unread"),
            ("The question is which way it goes.", "unread"),
            (
                "Let me look at the frames. In the first frame, the car is on the left side. In the second frame, "
                "the car is a little further along the road, and the driver looks out of the window. In the third "
                "frame, the car has moved on, the trees on the left are hidden, and the driver is still looking "
                "out of the window. In the fourth frame the car",
                "unread",
            ),
            ("<think>The car could be going left, the answer could be", "unread"),
            ("<think>The answer is B.", "unread"),
            ("Sure.\n<think>B", "unread"), ("[THINK]B is right", "unread"), ("<|begin_of_thought|>B", "unread"),
            ("<Thinking>B", "unread"), ("<seed:think>B", "unread"), ("<think>A</think>\n<think>B", "unread"),
            ("<|channel|>analysis<|message|>Answer: B", "unread"), ("◁think▷B", "unread"),
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "cases"), [pytest.param(*rest, id=kind) for kind, *rest in TABLE])
def test_awkward_replies(options, cases):
    readings = [(reply, read_choice(reply, options)) for reply, _ in cases]
    assert [(reply, reading.letter or reading.how) for reply, reading in readings] == cases


@pytest.mark.parametrize(
    ("reply", "how"),
    [
        ("B", "letter"), ("B: right. It turns.", "letter"), ("It turns.\n\nB", "letter"),
        ("\\boxed{B}", "letter"), ("The answer is B.", "final"), ("So it is \\boxed{B}.", "letter"), ("right",
        "option"),
        ("It moves to the right.", "option"),
    ],
)  # fmt: skip
def test_how_it_was_read(reply, how):
    assert read_choice(reply, MOVES) == answers.Reading("B", how)


def test_a_number_is_read_as_a_value():
    assert read_choice("There are two.", COUNTS) == answers.Reading("C", "value")


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("3.5", 3.5), ("3.5 meters", 3.5), ("3.5m", 3.5), ("about 2.5 m", 2.5), ("-3.2", -3.2), ("0", 0.0),
        ("two", 2.0),
        ("1,234.5 m", 1234.5), ("twenty-five", 25.0), ("two and a half meters", 2.5), ("half a meter", 0.5),
        ("The answer is 2.5 meters.", 2.5), ("The final answer is: $2.31$", 2.31), ("\\boxed{2.5}", 2.5),
        ("$\\boxed{2.5 \\text{ m}}$", 2.5), ("Answer: 4", 4.0), ('{"answer": 4.2}', 4.2), ("5 - 2 = 3", 3.0),
        ("<think>It is 5.</think>3", 3.0), ("First 2 m, so the answer is 4 m.", 4.0), ("３．５", 3.5), ("1e-1", 0.1),
        ("I see 3 frames; the distance is 2.4 meters.", 2.4), ("The answer is 3.5 meters (11.5 feet).", 3.5),
        ("1. I look.\n2. I measure.\nIt moved 4 m.", 4.0), ("It moves the one that is there 2 m.", 2.0),
        ("2-3 m", "ambiguous"), ("2 to 3", "ambiguous"), ("between 2 and 3 m", "ambiguous"), ("2 or 3", "ambiguous"),
        ("3 m, 4 m", "ambiguous"), ("", "empty"), ("...", "empty"), ("It moves.", "unread"), ("1e999", "unread"),
        ("I cannot determine the distance.", "refused"), ("N/A", "refused"),
    ],
)  # fmt: skip
def test_numbers_are_read(reply, expected):
    reading = read_number(reply)
    assert (reading.how if reading.value is None else reading.value) == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("0.53", "A"), ("It is 0.53 meters long.", "A"), ("0.5301", "A"), ("0.531", None), ("1.5", "B"), ("1250", "E"),
        ("1.5 or 2", None), ("53 cm", None), ("two", None), ("", None), ("0.5", None), ("left", None),
    ],
)  # fmt: skip
def test_exact_values_match_options(reply, expected):
    assert match_value(reply, LENGTHS) == expected


def test_values_in_a_row_match_in_a_row():
    options = {"A": "(1, 2, 3)", "B": "(1, 3, 2)", "C": "left", "D": None}
    assert match_value("The camera ends at (1.0, 3.0, 2.0).", options) == "B"
    assert match_value("(1, 2)", options) is None


def test_equal_options_are_one_answer():
    options = {"A": "left", "B": "up", "C": "up", "D": "right"}
    assert read_choice("C", options).letter == read_choice("B", options).letter == "B"
    assert read_choice("up", options).letter == "B"


def test_options_equal_but_for_their_case_cannot_be_told_apart_by_their_text():
    assert read_choice("up", {"A": "Up", "B": "up "}) == answers.Reading(None, "ambiguous")
    assert read_choice("B", {"A": "Up", "B": "up "}).letter == "B"


def test_options_of_any_type():
    options = {"A": None, "B": 0, "C": 0.5, "D": ""}
    assert [read_choice(reply, options).letter for reply in ("0", "0.5", "D", "A", "")] == ["B", "C", "A", "A", None]


def test_wrong_letters_of_options_are_an_error():
    with pytest.raises(ValueError, match="A to Z"):
        read_choice("B", {"1": "left", "2": "right"})


TEMPLATES = (
    "{letter}", "({letter})", "**{letter}**", "{letter}.", "{letter}: {text}", "{text}", "The answer is {letter}.",
    "The answer is {text}.", "Therefore, the final answer is: ${letter}$", "Option {letter} is correct.",
    "\\boxed{{{letter}}}", "Not {other}, but {letter}.", "{other} is wrong. So the answer is {letter}.",
    "The answer is {other}. Wait, the answer is {letter}.", "It is the {text}.",
    "It is not the {rest}, it is the {text}.",
    '{{"answer": "{letter}"}}', "I choose option {letter}.", "{letter} or {other}", "It is the {text} or the {rest}.",
    "Neither {letter} nor {other}.", "({letter}) {rest}", "I see a {text}.\n\n{letter}",
)  # fmt: skip
THINGS_SEEN = (
    "red ball", "blue car", "green bike", "small dog", "big cat", "old bus", "new train", "wooden boat", "glass cup",
    "metal spoon", "paper kite", "leather shoe", "plastic chair", "stone bridge", "yellow plane", "white horse",
    "black sheep", "brown bear", "pink bird", "grey whale", "purple fish", "orange fox", "golden ring", "silver coin",
    "long rope", "round table",
)  # fmt: skip


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_the_order_of_options_changes_nothing(data):
    texts = data.draw(st.lists(st.sampled_from(THINGS_SEEN), min_size=2, max_size=26, unique=True))
    template = data.draw(st.sampled_from(TEMPLATES))
    text, rest = data.draw(st.permutations(texts))[:2]

    def said(order):
        options = dict(zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", order))
        letter = {value: key for key, value in options.items()}
        reply = template.format(letter=letter[text], other=letter[rest], text=text, rest=rest)
        reading = read_choice(reply, options)
        return options.get(reading.letter), reading.how

    assert said(texts) == said(data.draw(st.permutations(texts)))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [("I or B", None), ("B or I", None), ("I and a friend say B.", "B"), ("I think that it is B.", "B"), ("I", "I")],
)
def test_the_letter_i_and_the_pronoun(reply, expected):
    assert read_choice(reply, dict(zip("ABCDEFGHI", THINGS_SEEN))).letter == expected


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.text(st.characters(exclude_categories=())), st.sampled_from([MOVES, COUNTS, YES_NO, PATHS, LENGTHS, {}]))
def test_no_text_raises(reply, options):
    reading = read_choice(reply, options)
    assert (reading.letter is None and reading.how in NOT_READ) or (reading.letter in options and reading.how in READ)
    number = read_number(reply)
    assert (number.value is None and number.how in NOT_READ) or number.how in READ
    assert match_value(reply, options) in (None, *options)


WORDS = (
    "A B C D ( ) [ ] . , : ; ! ? ' \" * ` $ \\ _ - + / # \n \t answer the is not option correct because so "
    "therefore I choose left right moving no none of 1 2.5 1,000 m two twenty- and or wait \\boxed{ <think> </think> "
    "<answer> n't N/A \u0301 \u202e \ud800 \x00 \u4e2d first second if would be cannot determine "
    "hundred thousand half third minus 1/2 \u00bd \\frac{1}{2} {,} e9 x10^9 % \u00b0 "
    "than among as not\u4e0d \u7b54\u6848 \u662f ~~ "
    "\u274c <1, \u00b1 0: frame"
).split(" ")


@pytest.mark.slow
@settings(deadline=None, max_examples=300)
@given(st.lists(st.sampled_from(WORDS), max_size=40), st.sampled_from(["", " "]))
def test_no_mixture_of_marks_raises(pieces, glue):
    reply = glue.join(pieces)
    assert read_choice(reply, MOVES).how in (*READ, *NOT_READ)
    assert read_number(reply).how in (*READ, *NOT_READ)


LONG = {
    **{piece: piece for piece in (
        "A", "A ", "A. ", "A or ", "(A) ", "(", "[{", "answer ", "the answer is ", "answer is A ", "option ",
        "I choose ",
        "\\boxed{", "<think>", "<answer>", "</think>", "left ", "left right ", "not ", "n't ", " ", "\n", ".",
        "1 ", "1,",
        "1,111", "-", "*", "_a", "$", '"', "so A ", "wait, A ", "A\n", "A: left\n", "A/", "\ud800", "\u0301",
        "\ufdfa", "\x00",
        "\u4e2d", "first option ", "cannot ", "twenty-", "<a", "A is not ", "either ", "this is ",
        "hundred ", "hundred and ", "[1,", "1/", "1 1", "than ", "as so ", "left than right ", "\\frac{1}{2}", "~~",
        "<1,",
        "1'000", "so 1 ", "A than B ", "\u4e0d\u662fA", "A\u4e0d", "frames 1, ", "as A as B ", "\u25c1", "minus ",
        "1.1,",
    )},
    "words": " ".join(random.Random(0).choices(WORDS, k=50_000)),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("piece", LONG)
def test_the_work_on_a_reply_does_not_grow_with_its_length(piece):
    """What the reader's searches see is bounded; `benchmarks/long_replies.py` measures how long they take."""
    reply = (LONG[piece] * (100_000 // len(LONG[piece]) + 1))[:100_000]
    assert len(plain(reply)) <= HEAD + TAIL + 10
    assert read_choice(reply, MOVES).how in (*READ, *NOT_READ)
    assert read_number(reply).how in (*READ, *NOT_READ)


def test_of_a_long_reply_the_ends_are_read():
    assert read_choice("It moves. " * 100_000 + "The answer is C.", MOVES).letter == "C"
    assert read_choice("C: left. " + "It moves on. " * 100_000, MOVES).letter == "C"


def judged():
    with gzip.open(JUDGED, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.slow
def test_agrees_with_the_judge():
    """Differs on one reply: for "towards the top of the ladder" the judge says "up"."""
    different = []
    for record in judged():
        right = next(letter for letter, value in record["choices"].items() if value == record["answer"])
        if (read_choice(record["response"], record["choices"]).letter == right) != record["judge_correct"]:
            different.append((record["run"], record["id"]))
    assert different == [("real_mc_cot/Phi-4-multimodal-instruct_16frame.json", "validation_885")]


STYLES = (
    "Therefore, the final answer is: ${letter}$", "Therefore, the final answer is: $LETTER = {letter}", "**{letter}**",
    "The answer is ({small}).", "Therefore, the final answer is: {text}", "$\\boxed{{\\text{{{letter}: {text}}}}}$",
    "So option {letter} is correct.", "## Final Answer\n\n{letter}. {text}", '{{"answer": "{letter}"}}',
    "This matches option {letter}: {text}.", "<answer>{letter}</answer>", "Hence, {letter}.",
    "The final answer is: {letter}\n\nNote that it could be left or right, since only a single image is given.",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("style", STYLES)
def test_the_style_of_the_last_line_changes_nothing(style):
    """Real chains of thought, their last sentence written in another way."""
    ending = "Therefore, the final answer is: "
    for record in judged():
        thought, found, name = record["response"].strip().rpartition(ending)
        name = name.strip(" .$*")
        if found and name in record["choices"]:
            text = str(record["choices"][name]).strip().rstrip(".")
            last = style.format(letter=name, small=name.lower(), text=text)
            assert read_choice(f"{thought.strip()}\n\n{last}", record["choices"]).letter == name
