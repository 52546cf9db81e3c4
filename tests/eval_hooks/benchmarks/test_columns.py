# SPDX-License-Identifier: Apache-2.0
"""Official columns against published and hand-computed numbers.

PYTHONPATH=. python -m pytest tests/eval_hooks/benchmarks/test_columns.py
"""

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.benchmarks.records import Score
from rgpt4d_plugin.eval_hooks.metrics import MRA_THRESHOLDS, mean_relative_accuracy
from tests.benchmark_items import MMSI, OMNI, R4D, SAT, STI, VSI_CHOICE, VSI_NUMERIC, VSTI_CHOICE, VSTI_NUMERIC


VERDICTS = Path(__file__).parents[2] / "data/benchmarks/vlm4d_verdicts.json.gz"


def judged(split: str, run: str) -> tuple[list[dict], list[float]]:
    """VLM4D's items, as far as its columns depend on them, and the published verdicts of one result file."""
    data = json.loads(gzip.decompress(VERDICTS.read_bytes()))[split]
    video = f"https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_{split}/x.mp4"
    items = [
        {"id": f"validation_{number}", "video": video, "answer": answer}
        for number, answer in enumerate(data["answers"], 1)
    ]
    return items, [float(bit) for bit in data["verdicts"][run]]


@pytest.mark.parametrize(
    "split, run, column, published",
    [
        ("real", "cot/Qwen2.5-VL-7B-Instruct_1fps", "Real", 43.25),
        ("real", "direct-output/gpt-4o_32frame", "Real", 56.16),
    ],
)
def test_vlm4d_gives_the_published_accuracies(split, run, column, published):
    items, verdicts = judged(split, run)
    columns = get("vlm4d").aggregate(items, verdicts)
    assert columns[column] == columns["Overall"] == published
    # The other split is not there.
    assert columns["Synthetic"] == columns["Directional"] == columns["False positive"] == 0


def test_vlm4d_weighs_by_items():
    items, verdicts = judged("real", "direct-output/gpt-4o_32frame")
    more_items, more_verdicts = judged("synthetic", "direct-output/InternVL2_5-8B_4frame")
    columns = get("vlm4d").aggregate(items + more_items, verdicts + more_verdicts)
    assert columns == {
        "Ego-centric": 49.44,  # 222 of 449
        "Exo-centric": 59.44,  # 548 of 922
        "Real": 56.16,  # 770 of 1371
        "Directional": 39.25,  # 157 of 400
        "False positive": 60.0,  # 27 of 45
        "Synthetic": 41.35,  # 184 of 445
        "Overall": 52.53,  # 954 of 1816
    }
    groups = get("vlm4d").by_column(items + more_items, verdicts + more_verdicts)
    assert {name: len(values) for name, values in groups.items()} == {
        "Ego-centric": 449,
        "Exo-centric": 922,
        "Real": 1371,
        "Directional": 400,
        "False positive": 45,
        "Synthetic": 445,
        "Overall": 1816,
    }


@pytest.mark.parametrize(
    "answer, category",
    [
        ("No", "False positive"),
        (" no cat there ", "False positive"),
        ("not moving", "Directional"),
        (0, "Directional"),
    ],
)
def test_vlm4d_false_positives_by_the_answer(answer, category):
    item = {"id": "validation_1", "video": "https://x/videos_synthetic/a.mp4", "answer": answer}
    assert get("vlm4d").category(item) == category


def test_r4d():
    tasks = ["3D Video Grounding", "Counting", "Counting", "Speed & Acceleration", "Something new"]
    columns = get("r4d_bench").aggregate([R4D | {"task": task} for task in tasks], [1.0, 0.25, 0.0, 1.0, 1.0])
    assert columns == {
        "Avg": 65.0,
        "Sta": 100.0,
        "Dyn": pytest.approx(125 / 3),  # items of STI-Bench's tasks are dynamic, too
        "VG": 100.0,
        "DM": 0.0,
        "SR": 0.0,
        "R": 0.0,
        "C": 12.5,
        "T": 0.0,
        "FP": 0.0,
        "SA": 100.0,
        "DP": 0.0,
    }
    assert list(columns) == "Avg Sta Dyn VG DM SR R C T FP SA DP".split()


def test_sti_weighs_by_items_and_names_the_scene():
    items = [
        STI | {"Video": "scene0000_00.mp4", "Task": "Pose Estimation"},
        STI | {"Video": "scene0000_00.mp4", "Task": "Pose Estimation"},
        STI | {"Video": "segment_camera_1.mp4", "Task": "Spatial Relation"},
        STI | {"Video": "000123.mp4", "Task": "Spatial Relation", "scene": None},
        STI | {"Video": "00123.mp4", "Task": "Spatial Relation"},
        STI | {"Video": "00123.mp4", "Task": "Spatial Relation", "Scene": "desktop"},
    ]
    columns = get("sti_bench").aggregate(items, [1, 1, 0, 0, 1, 0])
    assert {name: value for name, value in columns.items() if not math.isnan(value)} == {
        "Overall": 50.0,
        "Spatial Relation": 25.0,
        "Pose Estimation": 100.0,
        "indoor": 100.0,
        "outdoor": 0.0,
        "desktop": 0.0,
        "unknown": 100.0,
    }
    # Upstream says nothing of a task that has no items.
    assert math.isnan(columns["Trajectory Description"])


def test_vsti_is_the_mean_over_types():
    kinds = ["camera_displacement"] * 3 + ["camera_obj_rel_dist_v1"] + ["camera_obj_rel_dist_v2"] * 2
    items = [
        (VSTI_NUMERIC if kind == "camera_displacement" else VSTI_CHOICE) | {"question_type": kind} for kind in kinds
    ]
    columns = get("vsti_bench").aggregate(items, [0.3, 0.6, 0.0, 1.0, 1.0, 0.0])
    assert columns["camera_displacement"] == pytest.approx(30)
    assert columns["camera_obj_rel_dist_v2"] == 50
    assert columns["Overall"] == pytest.approx((30 + 100 + 50) / 3)  # the mean over items would be 48.3
    assert math.isnan(columns["obj_obj_relative_pos_lr"]) and "camera_obj_dist_change" not in columns
    declared = VSTI_NUMERIC | {"question_type": "camera_obj_dist_change"}
    columns = get("vsti_bench").aggregate([declared, VSTI_CHOICE], [1.0, 0.0])
    assert columns["camera_obj_dist_change"] == 100 and columns["Overall"] == 50


def test_vsi_is_the_mean_over_families_and_directions_that_of_their_levels():
    def directions(level, n, **fields):
        return [VSI_CHOICE | {"question_type": f"object_rel_direction_{level}", **fields}] * n

    items = [VSI_NUMERIC, *directions("easy", 1), *directions("medium", 2), *directions("hard", 1, pruned=False)]
    columns = get("vsi_bench").aggregate(items, [0.4, 1.0, 0.0, 1.0, 0.0])
    assert columns["object_rel_direction"] == pytest.approx((100 + 50 + 0) / 3)
    assert columns["object_rel_direction/medium"] == 50
    assert columns["Overall"] == pytest.approx((40 + 50) / 2)  # the mean of the four types would be 47.5
    assert columns["Debiased"] == 0 and math.isnan(columns["route_planning"])


def test_omnispatial_divides_by_a_millionth_more():
    items = [OMNI, OMNI, OMNI | {"task_type": "Complex_Logic", "sub_task_type": "Geometric_Reasoning"}]
    columns = get("omnispatial").aggregate(items, [1, 0, 1])
    assert columns["Overall"] == 2 / (3 + 1e-6) * 100
    assert columns["Perspective_Taking"] == columns["Egocentric"] == 1 / (2 + 1e-6) * 100
    assert columns["Complex_Logic"] == 1 / (1 + 1e-6) * 100 and columns["Manipulation"] == 0


def test_mmsi_folds_hyphens():
    kinds = ["MSR", "Positional Relationship (Cam.-Obj.)", "Positional Relationship (Cam.–Obj.)"]
    columns = get("mmsi_bench").aggregate([MMSI | {"question_type": kind} for kind in kinds], [0, 1, 0])
    assert columns["Avg"] == pytest.approx(100 / 3) and columns["Positional Relationship (Cam.–Obj.)"] == 50
    assert list(columns) == list(get("mmsi_bench").columns)


def test_sat_names_the_types_after_the_mean():
    items = [SAT, SAT | {"question_type": "goal_aim"}, SAT]
    assert get("sat").aggregate(items, [1, 1, 0]) == {
        "Avg": pytest.approx(200 / 3),
        "ego_movement": 50.0,
        "goal_aim": 100.0,
    }


def test_scores_and_numbers_are_the_same():
    score = Score(official=0.25, strict=1.0, parsed="B", how="letter")
    assert get("r4d_bench").aggregate([R4D, R4D], [score, 0.75])["Avg"] == 50


def test_items_and_scores_must_match():
    with pytest.raises(ValueError, match="R4D-Bench: 2 items, but 1 scores"):
        get("r4d_bench").aggregate([R4D, R4D], [1.0])


def test_no_items():
    for benchmark in map(get, BENCHMARKS):
        columns = benchmark.aggregate([], [])
        assert tuple(columns) == benchmark.columns and not any(value > 0 for value in columns.values())


# Mean relative accuracy


def test_the_thresholds_are_ten():
    assert MRA_THRESHOLDS == tuple(np.linspace(0.5, 0.95, int((0.95 - 0.5) / 0.05 + 2)))


@pytest.mark.parametrize(
    "prediction, gold, expected",
    [
        (2.0, 2.0, 1.0),
        (1.5, 1.0, 0.1),  # an error of exactly 0.5 passes the first threshold
        (1.51, 1.0, 0.0),
        (0.0, 1.0, 0.0),
        (1.04, 1.0, 1.0),
        (1.05, 1.0, 1.0),  # 0.05 and 1 - 0.95 are the same float here
        (1.06, 1.0, 0.9),
        (11.0, 10.0, 0.9),  # the ninth threshold is 0.8999999999999999: an error of exactly 0.1 passes
        (1.3, 1.0, 0.5),  # the error is 0.30000000000000004, and so is 1 - 0.7
        (5.0, 4.0, 0.6),
        (-1.0, 1.0, 0.0),
        (-5.0, -1.0, 1.0),  # any prediction passes a negative gold value
        (1.0, 0.0, 0.0),
        (None, 1.0, 0.0),
        (1.0, None, 0.0),
        (math.nan, 1.0, 0.0),
        (math.inf, 1.0, 0.0),
        (1.0, math.nan, 0.0),
    ],
)
def test_mean_relative_accuracy(prediction, gold, expected):
    assert mean_relative_accuracy(prediction, gold) == expected


@given(st.floats(allow_nan=False, width=32), st.floats(allow_nan=False, width=32).filter(bool))
def test_mean_relative_accuracy_is_upstreams(prediction, gold):
    thresholds = np.linspace(0.5, 0.95, 10)
    reference = (abs(prediction - gold) / gold <= 1 - thresholds).mean()
    assert mean_relative_accuracy(prediction, gold) == reference
