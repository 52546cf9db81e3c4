# SPDX-License-Identifier: Apache-2.0
"""What the arms read: questions drawn by seed, the controls' files, and recipes that the plugin takes."""

import numpy as np
import pytest

from rgpt4d_plugin.arguments import parse_p4d
from rgpt4d_plugin.evidence.arms import ARMS, PRESETS, Run, recipe_of
from rgpt4d_plugin.evidence.data import all_questions, asked_questions, colours_as_maps, one_question_each


def _asked():
    """Three clips with questions of two kinds, one kind asked three times."""

    def item(kind, number):
        return {"kind": kind, "prompt": f"{kind} {number}?", "reply": str(number)}

    return {f"{clip:05d}": [item("a/b", n) for n in range(3)] + [item("c/d", 9)] for clip in range(60)}


def _texts(records):
    return [record["messages"][0]["content"] for record in records]


def test_one_question_each_is_drawn_by_the_seed():
    asked = _asked()
    one, again, other = (one_question_each(asked, seed) for seed in (1, 1, 2))
    assert _texts(one) == _texts(again) != _texts(other)
    assert all(len(record["messages"]) == 2 for record in one)
    assert [record["videos"] for record in one] == [record["videos"] for record in other]
    # Each kind is as likely, however many questions of it a clip has: 30 of 60, give or take.
    assert 15 < sum("c/d" in text for text in _texts(one)) < 45


def test_all_questions_are_turns_of_one_conversation():
    for record in all_questions(_asked()):
        assert len(record["messages"]) == 8
        assert [m["content"].startswith("<video>") for m in record["messages"]] == [True] + 7 * [False]


def test_colours_take_the_place_of_maps():
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (4, 6, 6, 3), dtype=np.uint8)
    maps = {
        "depth": rng.uniform(2, 9, (4, 6, 6)),
        "flow_2d_backward": rng.normal(size=(4, 2, 6, 6)),
        "motion": rng.random((4, 6, 6)) < 0.25,
    }
    found = colours_as_maps(frames, maps, 3.0)
    assert {name: array.shape for name, array in found.items()} == {name: array.shape for name, array in maps.items()}
    assert np.corrcoef(np.log(found["depth"]).ravel(), frames[..., 0].ravel())[0, 1] == pytest.approx(1)
    assert np.corrcoef(found["flow_2d_backward"][:, 1].ravel(), frames[..., 2].ravel())[0, 1] == pytest.approx(1)
    assert np.log(found["depth"]).std() == pytest.approx(np.log(maps["depth"]).std(), rel=1e-3)
    assert found["motion"].mean() == pytest.approx(maps["motion"].mean(), abs=0.02)
    bright = np.moveaxis(found["flow_2d_backward"], 1, -1)[found["motion"]]
    assert np.sqrt((bright**2).mean()) == pytest.approx(3.0, rel=1e-5)
    still = colours_as_maps(frames, maps | {"motion": np.zeros((4, 6, 6), bool)}, 3.0)
    assert not still["motion"].any()
    assert np.sqrt((still["flow_2d_backward"] ** 2).mean()) == pytest.approx(3.0, rel=1e-5)


def test_asked_questions_are_balanced():
    asked = {
        str(n): [{"kind": "a/b", "reply": "left" if n < 40 else "right"}, {"kind": "c/d", "reply": "yes"}]
        for n in range(50)
    }
    found = asked_questions(asked, 16)
    assert [(item["kind"], item["reply"]) for item in found].count(("a/b", "left")) == 8
    assert [item["kind"] for item in found] == 16 * ["a/b"] + 16 * ["c/d"]
    more = asked_questions(asked, 30)
    assert [item["reply"] for item in more if item["kind"] == "a/b"].count("right") == 10


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("arm", ARMS)
def test_recipes_are_taken_by_the_plugin(tmp_path, preset, arm):
    recipe = recipe_of(PRESETS[preset], tmp_path, Run(arm, "one", 1))
    arguments = parse_p4d(recipe.pop("p4d"), recipe)
    assert arguments.loss.active == ARMS[arm].weights


@pytest.mark.parametrize("preset", PRESETS)
def test_the_learning_rate_falls_until_the_last_step(tmp_path, preset):
    recipe = recipe_of(PRESETS[preset], tmp_path, Run("sft", "one", 1))
    assert sum(recipe["lr_scheduler_kwargs"].values()) + recipe["warmup_steps"] == recipe["max_steps"]
