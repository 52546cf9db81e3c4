# SPDX-License-Identifier: Apache-2.0
"""What the published scorers make of a reply, quirks included: each case follows from a rule of the scorer.

PYTHONPATH=. python -m pytest tests/eval_hooks/benchmarks/test_readers.py
"""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, dsr_bench, get, mmsi_bench, r4d_bench, sti_bench, vlm4d
from tests.benchmark_items import (
    DSR,
    MMSI,
    OMNI,
    R4D,
    SAT,
    STI,
    SYNTH4D,
    VLM4D,
    VSI_CHOICE,
    VSI_NUMERIC,
    VSTI_CHOICE,
    VSTI_NUMERIC,
)


# R4D-Bench


@pytest.mark.parametrize(
    "reply, letter",
    [
        ("B", "B"),
        (" \n(B) twice", "B"),
        ("b", None),  # never a lower-case letter
        ("The dog turns (c), hence D", "D"),
        ("(A) or rather (B)", "A"),  # the first match wins
        ("It is C, option (D)", "D"),  # parentheses before words
        ("A dog turns three times: C", "A"),  # the article
        ("The answer is C.", "C"),
        ("answer: C", "C"),
        ("BThe answer is", "B"),  # deleted wherever it stands, which frees the letter
        ("Bthe answer is", None),
        ("Best option:Answer:C", "C"),
        ("The best answer is the first", None),
        ("E", None),  # not valid with four options
        ("(E) or else C", "C"),
        ("答案是B", None),  # no word boundary between letters of any script
        ("答案是 B。", "B"),
        ("", None),
        ("I cannot tell.", None),
    ],
)
def test_r4d(reply, letter):
    assert r4d_bench.read_official(reply, 4) == letter
    score = get("r4d_bench").score(R4D, reply)  # the answer is D
    assert score.official_parsed == letter
    assert score.fallback == (letter is None)
    assert score.official == (0.25 if letter is None else float(letter == "D"))


def test_r4d_fifth_letter():
    item = R4D | {"options": ["a", "b", "c", "d", "e"], "answer": "e"}
    assert get("r4d_bench").score(item, "(E)").official == 1
    assert get("r4d_bench").score(item, "none").official == 0.2


@pytest.mark.parametrize("answer", [None, "", "thrice"])
def test_r4d_without_a_right_answer(answer):
    item = R4D | {"answer": answer, "options": [2, "once", None, 0]}
    assert get("r4d_bench").gold(item) is None
    scores = [get("r4d_bench").score(item, reply) for reply in ("A", "C", "", "nothing")]
    assert [score.official for score in scores] == [score.strict for score in scores] == [0, 0, 0, 0]
    assert [score.fallback for score in scores] == [False, False, True, True]


def test_r4d_zero_is_an_answer_and_the_first_of_equal_options_is_right():
    assert get("r4d_bench").gold(R4D) == "D"
    assert get("r4d_bench").gold(R4D | {"options": ["0", "once", None, 0]}) == "A"


def test_r4d_draws_as_the_harness_does():
    replies = ["B", "no idea", "", "who knows", "(D)", "..."]
    state = random.getstate()
    random.seed(0)
    drawn = ["B"] + [random.choice(list("ABCD")) for _ in range(3)] + ["D"] + [random.choice(list("ABCD"))]
    random.setstate(state)
    rng = random.Random(0)
    assert [get("r4d_bench").drawn(R4D, reply, rng) for reply in replies] == [float(x == "D") for x in drawn]
    rng = random.Random(7)
    often = [get("r4d_bench").drawn(R4D, "no idea", rng) for _ in range(4000)]
    assert sum(often) / 4000 == pytest.approx(0.25, abs=0.03)  # 4 standard errors


# STI-Bench


@pytest.mark.parametrize(
    "reply, letter",
    [
        ("B", "B"),  # the last character
        ("b", None),
        ("(b)", "B"),
        ("(B) 1.00 m", "B"),
        ("B 1.00 m", None),  # the last character is the text's
        ("B. 1.00 m", None),
        ("B.", "B"),
        ("d)", "D"),
        ("It moves on.\nC)", "C"),
        ("first B.\nthen more", "B"),  # the end of any line
        ("B.  ", "B"),
        ("Ans = 'c'", "C"),
        ('ans="D"', "D"),
        ("Answer: apple", "A"),  # no word boundary
        ("Answer : E", "E"),
        ("answer=d", "D"),
        ("Answer: 1.5 m", None),
        ("Option Beta", "B"),
        ("option  c is right", "C"),
        ("C is correct", "C"),
        ("c was correct", "C"),
        ("C iscorrect", "C"),
        ("B is the correct one", None),
        ("Answer: B, that is (C)", "C"),  # by pattern, not by place
        ("as seen in the USA", "A"),  # an upper-case letter at the end, whatever it ends
        ("Right", None),
        ("1.00 m", None),
        ("(F)", None),
        ("", None),  # upstream fails, which scores 0
        (" \n ", None),
    ],
)
def test_sti(reply, letter):
    assert sti_bench.read_official(reply) == letter
    score = get("sti_bench").score(STI, reply)
    assert (score.official, score.official_parsed, score.fallback) == (float(letter == "B"), letter, False)


@pytest.mark.parametrize(
    "reply, numeric, strict",
    [
        ("1.00 m", 1, 1),
        ("1", 1, 1),
        ("1.0005", 1, 1),  # within a thousandth
        ("1.002", 0, 0),
        ("1.20 m", 0, 0),  # no nearest option
        ("100 cm", 0, 0),  # no conversion
        ("(C) 1.00 m", 0, None),  # an official letter comes first
        ("B", 1, 1),
        ("either 1.00 m or 2.00 m", 0, 0),  # two options
        ("left", 0, 0),
        ("", 0, 0),
    ],
)
def test_sti_numbers(reply, numeric, strict):
    score = get("sti_bench").score(STI, reply)
    assert score.columns == {"numeric": numeric}
    assert strict is None or score.strict == strict


# VLM4D


@pytest.mark.parametrize(
    "reply, letter",
    [
        ("D", "D"),
        ("D: 0", "D"),
        ("  D. zero", "D"),
        ("d", None),
        ("A man moves to the right. The answer is D", "A"),  # the article
        ("Answer: d", "D"),
        ("the answer is d)", "D"),
        ("My answer-B", "B"),
        ("Both cars move. Therefore, the final answer is: C.", "C"),
        ("The final answer is $B$", "B"),
        ("answers: B", "B"),
        ("The answer is a question of taste: D", "A"),  # any case after "answer is"
        ("It moves to A, then to D", "A"),
        ("The answer is blue", None),
        ("Dog", None),
        ("E", None),
        ("left", None),
        ("", None),
    ],
)
def test_vlm4d(reply, letter):
    assert vlm4d.read_official(reply) == letter
    for style in get("vlm4d").styles:
        score = get("vlm4d").score(VLM4D, reply, style)  # the answer is D, the integer 0
        assert (score.official, score.official_parsed, score.fallback) == (float(letter == "D"), letter, False)


@pytest.mark.parametrize("answer, gold", [(0, "D"), ("0", "D"), ("By rolling it. ", "B"), ("By rolling it.", None)])
def test_vlm4d_gold(answer, gold):
    assert get("vlm4d").gold(VLM4D | {"answer": answer}) == gold


# VSTI-Bench


@pytest.mark.parametrize(
    "reply, right",
    [
        ("B", 1),
        ("b", 1),
        (" B\n", 1),  # the harness strips
        ("B.", 1),
        ("B...", 1),
        ("B. table", 1),
        ("B table", 1),
        ("B .", 1),
        ("(B)", 0),
        ("B)", 0),
        ("B:", 0),
        ("B\ntable", 0),  # only a blank divides
        ("B\ttable", 0),
        ("table", 0),
        ("The answer is B", 0),
        ("", 0),
    ],
)
def test_vsti_letters(reply, right):
    assert get("vsti_bench").score(VSTI_CHOICE, reply).official == right


@pytest.mark.parametrize(
    "reply, gold, expected",
    [
        ("1.8", 1.8, 1),
        ("1.8", "1.8", 1),  # published as a text, too
        ("1.8 m", 1.8, 1),
        ("1.8m", 1.8, 0),
        ("~1.8", 1.8, 0),
        ("about 1.8", 1.8, 0),
        ("1.8\nmeters", 1.8, 0),
        ("1.8\u00a0m", 1.8, 0),  # no blank
        ("18e-1", 1.8, 1),
        ("2.", 2, 1),
        ("+2", 2, 1),
        ("２", 2, 1),  # Python reads full-width digits
        ("1_000", 1000, 1),
        ("1,000", 1000, 0),
        ("nan", 1.8, 0),
        ("inf", 1.8, 0),
        ("3", 2, 0.1),
        ("1.8", 0, 0),
        ("0", 0, 0),
        ("1.8", "far", 0),
        ("1.8", None, 0),
        ("", 1.8, 0),
    ],
)
def test_vsti_numbers(reply, gold, expected):
    score = get("vsti_bench").score(VSTI_NUMERIC | {"ground_truth": gold}, reply)
    assert score.official == pytest.approx(expected)


def test_vsti_strict_reads_numbers_in_sentences():
    score = get("vsti_bench").score(VSTI_NUMERIC, "The distance is about 1.8 meters.")
    assert (score.official, score.strict, score.parsed) == (0, 1, "1.8")


def test_vsti_unknown_type():
    with pytest.raises(ValueError, match="camera_movement_direction_v1"):
        get("vsti_bench").score(VSTI_CHOICE | {"question_type": "camera_movement_direction_v1"}, "A")


@pytest.mark.parametrize(
    "item, reply, official, strict",
    [
        (VSI_CHOICE, "C", 1, 1),
        (VSI_CHOICE, "c.", 1, 1),
        (VSI_CHOICE, "C. back-left", 1, 1),
        (VSI_CHOICE, "back-left", 0, 1),
        (VSI_CHOICE, "The answer is C", 0, 1),
        (VSI_CHOICE, "B", 0, 0),
        (VSI_NUMERIC, "4", 1, 1),
        (VSI_NUMERIC, "4 tables", 1, 1),
        (VSI_NUMERIC, "There are 4 tables.", 0, 1),
        (VSI_NUMERIC, "5", 0.6, 0.6),
        (VSI_NUMERIC, "many", 0, 0),
    ],
)
def test_vsi_is_scored_as_vsti(item, reply, official, strict):
    score = get("vsi_bench").score(item, reply)
    assert (score.official, score.strict) == (pytest.approx(official), pytest.approx(strict))


# DSR-Bench


@pytest.mark.parametrize(
    ("reply", "letter", "strict"),
    [
        ("B", "B", True),
        ("b", None, True),
        ("The correct answer is B.", "B", True),
        ("Answer: B", "B", True),
        ("Best option: (B)", "B", True),
        ("It grows, then shrinks.", None, True),
        ("A dog runs away; it is B.", "A", True),
        ("By then it grows.", "B", False),
        ("Answer", "A", False),
        ("none", None, False),
    ],
)
def test_dsr(reply, letter, strict):
    assert dsr_bench.read_official(reply) == letter
    score = get("dsr_bench").score(DSR, reply)
    assert (score.official, score.official_parsed, bool(score.strict)) == (letter == "B", letter, strict)


# SAT


@pytest.mark.parametrize(
    "reply, right",
    [
        ("A", 1),
        ("a", 1),
        ("(a)", 1),
        ("**A**", 1),
        ("_A_", 1),
        ("A. rotated left", 1),
        ("A.rotated left", 0),  # without the full stop this is one word
        ("A,", 1),
        ("A\n", 1),
        ("A\nrotated left", 0),
        ("The answer is A", 0),
        ("rotated left", 0),
        ("", 0),
    ],
)
def test_sat(reply, right):
    for style in get("sat").styles:
        assert get("sat").score(SAT, reply, style).official == right
    rehost = {name: value for name, value in SAT.items() if name != "correct_answer"} | {"correct_answer_idx": 0}
    assert get("sat").score(rehost, reply).official == right


@pytest.mark.parametrize(
    "reply, right",
    [
        ("I think that it rotated right", 1),
        ("It rotated left, not rotated right", 0),  # the first hit
        ("Rotated right", 0),  # case-sensitive
        ("B", 1),
    ],
)
def test_sat_options_in_the_question(reply, right):
    # Letters go by place: what is listed as C is B.
    item = SAT | {"question": "Which way?\nA. rotated left\nC. rotated right", "correct_answer": "rotated right"}
    assert get("sat").score(item, reply).official == right


def test_sat_gold_after_the_same_edit():
    assert get("sat").gold(SAT) == "A"
    assert get("sat").gold(SAT | {"correct_answer": "rotated left"}) == "A"
    assert get("sat").gold(SAT | {"correct_answer": "flew"}) is None


# OmniSpatial


@pytest.mark.parametrize(
    "reply, letter, default",
    [
        ("Answer: B", "B", False),
        ("I see it.\n\nAnswer : B", "B", False),
        ("Answer: A\nNo.\nAnswer: B", "B", False),  # the last one
        ("Answer: b", "b", False),  # found, but never right
        ("Answer:\nB", "B", False),
        ("**Answer:** B", None, True),
        ("Answer: **B**", None, True),
        ("Answer: (B)", None, True),
        ("Answer: Behind", None, True),
        ("Answer: E", None, True),
        ("B", None, True),
        ("", None, True),
    ],
)
def test_omnispatial_re(reply, letter, default):
    for place, gold in enumerate("ABC"):
        score = get("omnispatial").score(OMNI | {"answer": place}, reply)
        assert (score.official_parsed, score.fallback) == (letter, default)
        assert score.official == float((letter or "A") == gold)  # an A where there is nothing


@pytest.mark.parametrize(
    "reply, letter, default",
    [
        ('{"analysis": "...", "answer": "B"}', "B", False),
        ('```json\n{"answer": " b. right"}\n```', "B", False),
        ('```json{"answer": "B"}', "B", False),
        ('```\n{"answer": "B"}\n```', None, True),
        ('{"answer": "B"} I am sure.', None, True),
        ('{"analysis": "B"}', None, True),
        ('{"answer": 1}', None, True),
        ('["B"]', None, True),
        ("null", None, True),
        ("B", None, True),
        ("[" * 100_000, None, True),
    ],
)
def test_omnispatial_json(reply, letter, default):
    score = get("omnispatial").score(OMNI, reply, "none+json")
    assert (score.official_parsed, score.fallback, score.official) == (letter, default, float(letter == "B"))
    assert get("omnispatial").score(OMNI | {"answer": 0}, reply, "none+json").official == float(default)


def test_omnispatial_json_empty_answer_is_no_default():
    score = get("omnispatial").score(OMNI | {"answer": 0}, '{"answer": ""}', "none+json")
    assert (score.official_parsed, score.fallback, score.official) == (None, False, 0)


@pytest.mark.parametrize(
    "reply, letter, lmms",
    [
        ("B", "B", 1),
        (" b) right", "B", 1),
        ("Because it is left", "B", 1),
        ("The answer is B", "T", 0),
        ("(B)", "(", 0),
        ("", None, 0),
        ("<think>A, surely</think>\nB", "<", 1),
        ("<thought>A</thought> <answer>b</answer> A", "<", 1),
        ("A <ANSWER>\nB\n</ANSWER>", "A", 1),
    ],
)
def test_omnispatial_direct(reply, letter, lmms):
    score = get("omnispatial").score(OMNI, reply, "none+direct")
    assert (score.official_parsed, score.official, score.fallback) == (letter, float(letter == "B"), False)
    assert score.columns == {"lmms_eval": lmms}


def test_omnispatial_gold_of_the_rehost():
    assert get("omnispatial").gold({**OMNI, "gt": "C"}) == "C"
    assert get("omnispatial").score({**OMNI, "gt": "C"}, "Answer: C").official == 1


# synth4d

WORDS = SYNTH4D | {"style": "word", "options": ["clockwise", "counterclockwise", "not at all"], "answer": "clockwise"}


@pytest.mark.parametrize(
    ("reply", "official", "strict"),
    [
        ("clockwise", 1, 1),
        (" Clockwise.\n", 1, 1),
        ("counterclockwise", 0, 0),
        ("It turns clockwise.", 0, 1),  # the training data's words, or nothing; the strict reader reads sentences
        ("", 0, 0),
        ("A", 0, 1),
    ],
)
def test_synth4d_words(reply, official, strict):
    score = get("synth4d").score(WORDS, reply)
    assert (score.official, score.strict) == (official, strict)


# MMSI-Bench


@pytest.mark.parametrize(
    "reply, letter, lmms",
    [
        ("``B``", "B", "B"),
        ("`B`", "B", "B"),
        ("```B```", "B", "B"),
        ("B", "B", "B"),
        ("(B).", "B", "B"),
        ("The answer is `B. Right`", "B", "B"),
        ("``A`` or rather ``B``", "A", "A"),  # the first ones
        ("``none`` B", None, None),  # what is in backticks replaces the reply
        ("b", None, "B"),
        ("A bike is left: B", "B", "B"),  # skips the article
        ("B right", None, None),  # and this, too
        ("B\nright", None, None),
        ("B 2 m to the right", "B", "B"),
        ("a, B", "B", "A"),
        ("E", None, "E"),
        ("A {B}", "A", "B"),
        ("``B`` {A}", "B", "B"),
        ("\\boxed{B}", "B", "B"),
        ("Both", None, None),
        ("", None, None),
    ],
)
def test_mmsi(reply, letter, lmms):
    assert (mmsi_bench.read_official(reply), mmsi_bench.read_lmms_eval(reply)) == (letter, lmms)
    score = get("mmsi_bench").score(MMSI, reply)
    assert (score.official, score.official_parsed, score.fallback) == (float(letter == "B"), letter, False)
    assert score.columns == {"lmms_eval": float(lmms == "B")}


@pytest.mark.parametrize(
    "text, options",
    [
        ("Where?\nOptions: A: Left, near, B: Right, C: Above, D: Below", ["Left, near", "Right", "Above", "Below"]),
        ("Where? Options: A: x\nB: y\nC: z\nD: Plan B: go", ["x", "y", "z", "Plan B: go"]),
        ("Options: A: at 5 m, B:at 6 m , C: at 7 m, D: at 8 m.", ["at 5 m", "at 6 m", "at 7 m", "at 8 m."]),
        ("Which of A, B, C and D?", ["A", "B", "C", "D"]),
    ],
)
def test_mmsi_options(text, options):
    assert list(get("mmsi_bench").options(MMSI | {"question": text}).values()) == options


def test_mmsi_letters_without_options():
    score = get("mmsi_bench").score(MMSI | {"question": "Which of A, B, C and D?"}, "``B``")
    assert (score.official, score.strict, score.parsed) == (1, 1, "B")


# All


ITEMS = {
    "r4d_bench": [R4D, R4D | {"answer": None}],
    "sti_bench": [STI],
    "vlm4d": [VLM4D],
    "vsti_bench": [VSTI_CHOICE, VSTI_NUMERIC],
    "vsi_bench": [VSI_CHOICE, VSI_NUMERIC],
    "dsr_bench": [DSR],
    "sat": [SAT],
    "omnispatial": [OMNI],
    "mmsi_bench": [MMSI],
    "synth4d": [SYNTH4D, SYNTH4D | {"style": "word"}],
}


def test_a_plain_letter_is_read_alike():
    """The right letter alone is right under both readings wherever a letter alone is asked for."""
    for name in BENCHMARKS:
        benchmark = get(name)
        style = "none+direct" if name == "omnispatial" else benchmark.styles[0]
        item = ITEMS[name][0]
        score = benchmark.score(item, benchmark.gold(item), style)
        assert (score.official, score.strict, score.parsed, score.how) == (1, 1, benchmark.gold(item), "letter")


PIECES = st.sampled_from(
    [
        "A",
        "(B)",
        "`C`",
        "``",
        "Answer: ",
        "answer is ",
        "D.",
        "\n",
        " ",
        "1.5",
        "nan",
        "{",
        "}",
        "```json",
        '{"answer":',
    ]
    + ["Ans=", "Option ", " is correct", "</think>", "<answer>", "１_0", "1e999", "是", "\ud800", "\x00", "ß"]
)
REPLIES = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=12).map("".join))


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(REPLIES)
def test_no_reply_fails(reply):
    for name, items in ITEMS.items():
        benchmark = get(name)
        for item in items:
            for style in benchmark.styles:
                score = benchmark.score(item, reply, style)
                assert 0 <= score.official <= 1 and 0 <= score.strict <= 1
                assert all(value in (0, 1) for value in score.columns.values())
                if name not in ("vsti_bench", "vsi_bench"):
                    assert score.parsed is None or score.parsed in benchmark.options(item)
