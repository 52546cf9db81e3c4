# SPDX-License-Identifier: Apache-2.0
"""Every prompt to the letter: published numbers belong to these very texts.

PYTHONPATH=. python -m pytest tests/eval_hooks/benchmarks/test_prompts.py
"""

import json

import pytest

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
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


MARKS = (
    "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled <obj_1>, "
    "<obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions.\n\n"
)
SAT_HINT = (
    "When multiple images are provided, You want to realize that when camera moves left, the objects in the image "
    "move right, and vice versa. And when you are asked about the movement of the same object captured in different "
    "images, you can compare the position of the object relative to other objects in the image to answer the "
    "question.\n"
)
ROLE = "\nYou are a spatial-reasoning assistant.\n\nTask\n-----\nYou will receive  \n"
INPUTS = (
    "1. **Image** - a single RGB frame depicting a scene.  \n"
    "2. **Question** - a natural-language query about spatial relationships between objects in the image.  \n"
    "3. **Options** - ≥2 answer candidates, each tagged by a capital letter (A, B, C, D…).\n\n"
)
GROUNDED = (
    "Always ground your answer in the visual evidence; do not hallucinate unseen objects.\n"
    "If uncertain, pick the most plausible option—never refuse or reply “insufficient information.”\n\n"
)
OMNI_END = "\n\nWhere is the car?\nA. left\nB. right\nC. behind"

PROMPTS = [
    (
        "r4d_bench",
        R4D,
        "direct",
        MARKS + "How often does <obj_1> turn?\n\nOptions:\n(A) 2\n(B) once\n(C) \n(D) 0\n\n"
        "Answer with only the letter of the correct option.",
    ),
    (
        "r4d_bench",
        R4D | {"som_image": None, "question": ""},
        "direct",
        "How often does the dog turn?\n\nOptions:\n(A) 2\n(B) once\n(C) \n(D) 0\n\n"
        "Answer with only the letter of the correct option.",
    ),
    (
        "sti_bench",
        STI,
        "direct",
        "From 0.0 s to 12.5 s. How long is the table?\n(A) 0.50 m\n(B) 1.00 m\n(C) 1.50 m\n(D) 2.00 m\n(E) 2.50 m\n"
        "Please output only the option letter!",
    ),
    (
        "vlm4d",
        VLM4D,
        "direct",
        "\nQuestion: How many times does the batter hit the ball to the right?\n"
        "A: 1\nB: By rolling it. \nC: 2\nD: 0\n\n"
        "Do not generate any intermediate reasoning process. "
        "Answer directly with the option letter from the given choices.",
    ),
    (
        "vlm4d",
        VLM4D,
        "cot",
        "\nQuestion: How many times does the batter hit the ball to the right?\n"
        "A: 1\nB: By rolling it. \nC: 2\nD: 0\n\n"
        "Answer the given multiple-choice question step by step. Begin by explaining your reasoning process clearly. "
        "In the last sentence of your response, you must conclude by stating the final answer using the following "
        "format: 'Therefore, the final answer is: $LETTER' (without quotes), where $LETTER must be only one of the "
        "options (A or B or C or D). Think step by step before answering.",
    ),
    (
        "vsti_bench",
        VSTI_CHOICE,
        "direct",
        "These are frames of a video.\nWhich of these is the closest?\nOptions:\nA. chair\nB. table\nC. lamp\n"
        "Answer with the option's letter from the given choices directly.",
    ),
    (
        "vsti_bench",
        VSTI_NUMERIC,
        "direct",
        "These are frames of a video.\nHow far?\nPlease answer the question using a single word or phrase.",
    ),
    (
        "vsti_bench",
        VSTI_NUMERIC,
        "api",
        "These are frames of a video.\nHow far?\nDo not response anything other than a single number!",
    ),
    (
        "vsi_bench",
        VSI_CHOICE,
        "direct",
        "These are frames of a video.\nWhere is the stove?\nOptions:\nA. front-left\nB. back-right\nC. back-left\n"
        "D. front-right\nAnswer with the option's letter from the given choices directly.",
    ),
    (
        "vsi_bench",
        VSI_NUMERIC,
        "direct",
        "These are frames of a video.\nHow many tables are in this room?\n"
        "Please answer the question using a single word or phrase.",
    ),
    (
        "vsi_bench",
        VSI_CHOICE,
        "easi",
        "These are frames of a video.\nWhere is the stove?\nA. front-left\nB. back-right\nC. back-left\n"
        "D. front-right\nAnswer with the option's letter from the given choices directly.",
    ),
    (
        "vsi_bench",
        VSI_NUMERIC,
        "easi",
        "These are frames of a video.\nHow many tables are in this room?\n"
        "Answer briefly and directly in one float number.",
    ),
    (
        "sat",
        SAT,
        "lmms",
        "Which way did the camera move?\n" + SAT_HINT + "\nA. rotated left\nB. rotated right\n\n"
        "Only output the letter of the correct option and nothing else.",
    ),
    (
        "sat",
        SAT,
        "authors",
        "The first image is from the beginning of the video and the second image is from the end. "
        "Which way did the camera move? Answer the question using a single word or phrase. "
        'Choose between the following options: "rotated left" or "rotated right".',
    ),
    (
        "sat",
        SAT | {"question_type": "goal_aim"},
        "authors",
        "Which way did the camera move? Answer the question using a single word or phrase. "
        'Choose between the following options: "rotated left" or "rotated right".',
    ),
    (
        "omnispatial",
        OMNI,
        "manual_cot+re",
        ROLE + INPUTS + "Guidelines\n----------\n"
        "Please follow these steps to analyze the image and answer the question:\n"
        "1. First, carefully observe the image and identify all relevant objects and their spatial relationships.\n"
        "2. Next, break down the question into key components that need to be addressed.\n"
        "3. Think through the spatial reasoning step-by-step to arrive at your answer. It may be necessary to "
        "transfer perspective to better understand the scene.\n"
        "4. Finally, select the most appropriate option (A, B, C, or D) based on your analysis.\n\n" + GROUNDED + "\n"
        "End your answer with a separate line formatted exactly as:\n\nAnswer: X\nwhere X ∈ {A, B, C, D}.\n"
        + OMNI_END,
    ),
    (
        "omnispatial",
        OMNI,
        "none+direct",
        ROLE + INPUTS + "Based on the image and question, provide your answer.\n" + GROUNDED + "\n"
        "Note: You only need to respond with A, B, C, or D without providing any additional information.\n" + OMNI_END,
    ),
    (
        "omnispatial",
        OMNI,
        "zeroshot_cot+json",
        ROLE + INPUTS.replace("  \n", "\n") + "Think step by step and provide the answer.\n" + GROUNDED + "\n"
        "You need to respond with the answer in JSON format:\n\n```json\n{\n"
        '    "analysis": "The analysis of the image and question",\n    "answer": "A"\n}\n```\n' + OMNI_END,
    ),
    (
        "mmsi_bench",
        MMSI,
        "direct",
        "Where is the door?\nOptions: A: Left, near, B: Right, C: Above, D: Below\n"
        "Answer with the option's letter from the given choices directly. "
        "Enclose the option's letter within ``.",
    ),
    (
        "dsr_bench",
        DSR,
        "direct",
        "\nThese are the frames of a video. Select the best answer to the following multiple-choice question based on "
        "the video. Respond with only the letter (A, B, C, or D) of the correct option.\n"
        "Question: Between 2.0s and 9.0s, how does the distance between the dog and the ball change?\n"
        "A. It shrinks.\nB. It grows, then shrinks.\nC. It grows.\nD. It stays.\nAnswer: ",
    ),
    (
        "synth4d",
        SYNTH4D,
        "direct",
        "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled "
        "<obj_1>, <obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions.\n\n"
        "Which way does <obj_2> move?\n\nOptions:\n(A) up\n(B) left",
    ),
]


@pytest.mark.parametrize("name, item, style, expected", PROMPTS)
def test_prompt(name, item, style, expected):
    assert get(name).prompt(item, style) == expected


def test_the_first_style_is_the_default():
    assert get("omnispatial").prompt(OMNI) == get("omnispatial").prompt(OMNI, "manual_cot+re")
    assert {name: get(name).styles for name in BENCHMARKS} == {
        "r4d_bench": ("direct",),
        "sti_bench": ("direct",),
        "vlm4d": ("direct", "cot"),
        "vsti_bench": ("direct", "api"),
        "vsi_bench": ("direct", "api", "easi"),
        "dsr_bench": ("direct",),
        "sat": ("lmms", "authors"),
        "omnispatial": (
            "manual_cot+re",
            "manual_cot+json",
            "manual_cot+direct",
            "zeroshot_cot+re",
            "zeroshot_cot+json",
            "zeroshot_cot+direct",
            "none+re",
            "none+json",
            "none+direct",
        ),
        "mmsi_bench": ("direct",),
        "synth4d": ("direct",),
    }


def test_unknown_style():
    with pytest.raises(ValueError, match=r"VLM4D has no prompt style 'chatty' \(known: direct, cot\)"):
        get("vlm4d").prompt(VLM4D, "chatty")


def test_token_limits():
    assert {name: get(name).token_limit() for name in BENCHMARKS} == {
        "r4d_bench": 16,
        "sti_bench": 16,
        "vlm4d": 16,
        "vsti_bench": 16,
        "vsi_bench": 16,
        "dsr_bench": 16,
        "sat": 16,
        "omnispatial": 8192,
        "mmsi_bench": 2048,
        "synth4d": 16,
    }
    assert get("vlm4d").token_limit("cot") == 1024
    assert get("omnispatial").token_limit("none+direct") == 16


def test_candidates_as_json_in_a_text():
    item = STI | {"Candidates": json.dumps(STI["Candidates"])}
    assert get("sti_bench").prompt(item) == get("sti_bench").prompt(STI)


def test_options_of_a_rehost_are_shown_as_published():
    item = SAT | {"correct_answer_idx": 0}
    assert "\nA. rotated left in the first frame\n" in get("sat").prompt(item)
