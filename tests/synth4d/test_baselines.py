# SPDX-License-Identifier: Apache-2.0
"""Baselines: worked out by hand on a few questions, and near chance on the benchmark's own.

python -m pytest tests/synth4d/test_baselines.py
"""

import json
from dataclasses import replace

import numpy as np
import pytest

from rgpt4d_plugin.synth4d.baselines import BASELINES, baselines
from rgpt4d_plugin.synth4d.benchmark import PRESETS, write_benchmark


def item(clip, kind, right, options=("yes", "no"), interval=0.5, reply=None, alternatives=None, objects=(0,)):
    answer = options[right]
    return {
        "clip": clip,
        "kind": kind,
        "category": kind.split("/")[0],
        "right": right,
        "options": list(options),
        "answer": answer,
        "reply": reply or answer,
        "interval": interval,
        "objects": list(objects),
        "alternatives": list(alternatives or [answer]),
    }


def write(folder, train, test, places=None):
    """Questions, and scenes of one object each, which is at `places[clip]` in the first frame."""
    for part, items in (("", train), ("test", test)):
        (folder / part).mkdir(exist_ok=True)
        clips = sorted({question["clip"] for question in items})
        scenes = [
            {
                "clip": clip,
                "objects": [{"centres": [[*(places or {}).get(clip, (0, 0)), 4.0], [0, 0, 4]], "radius": 0.5}],
            }
            for clip in clips
        ]
        (folder / part / "questions.json").write_text(json.dumps(items))
        (folder / part / "scenes.json").write_text(json.dumps(scenes))
    return baselines(folder)


def test_what_is_most_frequent_is_learned_from_training_and_scored_on_the_rest(tmp_path):
    train = [
        item("a", "FP/x", right, interval=interval)
        for right, interval in ((0, 0.5), (0, 0.5), (1, 1.0), (0, 1.0), (1, 1.0))
    ]
    test = [item("b", "FP/x", 0), item("b", "FP/x", 1, interval=1.0), item("b", "FP/x", 1, interval=1.0)]
    found = write(tmp_path, train, test)
    assert set(found) == set(BASELINES)
    assert found["no video"]["FP"] == pytest.approx(100 / 3)  # always "yes"
    assert found["interval"]["FP"] == pytest.approx(100)  # "yes" at 0.5 s, "no" at 1 s
    assert found["chance"] == {"FP": 50, "Avg": 50}


def test_letters_are_a_habit_too(tmp_path):
    train = [item("a", "T/x", right, reply="B") for right in (0, 1)]
    assert write(tmp_path, train, [item("b", "T/x", right, reply="B") for right in (0, 1)])["no video"]["T"] == 100


def test_the_rank_of_a_number_is_a_habit_too(tmp_path):
    train, test = (
        [
            item(clip, "SA/x", right, options, reply=letter)
            for clip in clips
            for right, options, letter in (
                (1, ("0.50 m/s", "2.00 m/s", "1.00 m/s"), "B"),
                (2, ("1.00 m/s", "-3.00 m/s", "10.0 m/s"), "C"),
                (0, ("7.00 m/s", "3.00 m/s", "0.20 m/s"), "A"),
            )
        ]
        for clips in ("ab", "c")
    )
    assert write(tmp_path, train, test)["no video"]["SA"] == 100


def test_a_kind_that_was_never_trained_on_scores_nothing(tmp_path):
    found = write(tmp_path, [item("a", "T/x", 0)], [item("b", "R/x", 0)])
    assert found["no video"]["R"] == found["first frame"]["R"] == 0


def test_the_first_frame_finds_what_the_place_gives_away(tmp_path):
    rng = np.random.default_rng(0)
    places, items = {}, {"train": [], "test": []}
    for number in range(300):
        clip, x = f"{number}", rng.uniform(-1, 1)
        places[clip] = (x, rng.uniform(-1, 1))
        split = items["train" if number < 200 else "test"]
        split += [item(clip, "T/told", int(x > 0)), item(clip, "R/hidden", int(rng.integers(2)))]
    found = write(tmp_path, items["train"], items["test"], places)
    assert found["first frame"]["T"] > 90 and 30 < found["first frame"]["R"] < 70
    assert found["last frame"]["T"] < 70  # there all are at the same place


def test_without_the_reference_the_most_frequent_of_the_possible_answers_is_said(tmp_path):
    options = ("a", "b", "c")
    test = [
        item("x", "T/x", 0, options, alternatives=["a", "a", "b"]),
        item("x", "T/x", 1, options, alternatives=["a", "a", "b"]),
        item("x", "SR/x", 1, options, alternatives=["a", "b"]),
        item("x", "Probe/x", 2, options, alternatives=["a", "b", "c"]),
    ]
    found = write(tmp_path, test, test)["reference"]
    assert found == pytest.approx({"T": 50, "SR": 50, "Probe": 100 / 3, "Avg": 50})


@pytest.mark.slow
def test_nothing_but_the_video_helps(tmp_path, monkeypatch):
    """States of the first and last frames do not depend on how many are between them, nor on their size."""
    monkeypatch.setitem(PRESETS, "small", replace(PRESETS["small"], frames=2, sizes=((32, 32),), refer="colour"))
    found = baselines(write_benchmark(tmp_path, "small", train=500, test=400))
    chance = found["chance"]
    for name in ("no video", "interval", "first frame"):
        assert found[name]["Avg"] == pytest.approx(chance["Avg"], abs=2.5), name
        for category, percent in found[name].items():
            assert percent == pytest.approx(chance[category], abs=9), (name, category)
    assert found["reference"]["Avg"] > chance["Avg"] + 5
