# SPDX-License-Identifier: Apache-2.0
"""The script that trains the small teacher: its losses and its data, and how good the shipped checkpoint is."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from rgpt4d_plugin.synth4d import TINY_TEACHER
from rgpt4d_plugin.synth4d.balls import sample_scene
from rgpt4d_plugin.synth4d.render import render
from rgpt4d_plugin.synth4d.scene import Camera
from rgpt4d_plugin.teachers.l4p import load_l4p, read_l4p_config


SCRIPT = Path(__file__).parents[2] / "benchmarks" / "train_tiny_teacher.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("train_tiny_teacher", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_shipped_teacher_has_the_script_s_configuration(script):
    assert read_l4p_config(TINY_TEACHER) == script.TINY


def test_teacher_losses_are_zero_at_the_truth_only(script):
    target = {name: value[None] for name, value in script.make_sample((0, 0)).items()}
    maps = {name: target[name].float() for name in script.TINY.tasks} | {"dyn_mask": 40 * (2 * target["dyn_mask"] - 1)}
    assert all(term.item() == pytest.approx(0, abs=1e-6) for term in script.teacher_losses(maps, target).values())
    wrong = maps | {"flow_2d_backward": maps["flow_2d_backward"] + 1}
    # Smooth L1 of an error of one pixel is a half wherever it is, and the term is weighted 3.
    assert script.teacher_losses(wrong, target)["flow"].item() == pytest.approx(1.5, abs=1e-4)


def test_token_losses_are_least_at_naive_patch_means(script):
    target = {name: value[None] for name, value in script.make_sample((0, 1)).items()}
    values = torch.zeros(8, 8, 8, 4, 2)
    for t, y, x, frame in np.ndindex(8, 8, 8, 2):
        patch = (0, slice(None), 2 * t + frame, slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8))
        weight = target["dyn_mask"][patch] + 1e-3
        values[t, y, x, 0, frame] = target["depth"][patch].log().mean() - np.log(7.0)
        values[t, y, x, 1:3, frame] = (target["flow_2d_backward"][patch] * weight).sum((1, 2)) / weight.sum()
        values[t, y, x, 3, frame] = torch.logit(target["dyn_mask"][patch].mean(), eps=1e-6)
    values = values.flatten(3).reshape(1, 512, 8).requires_grad_()
    terms = script.token_losses(values, target)
    assert terms["depth"].item() + terms["flow"].item() == pytest.approx(0, abs=1e-6)
    terms["mask"].backward()
    assert values.grad.abs().max() < 1e-6  # the cross entropy of shares is not zero, but this is its minimum


@pytest.mark.slow
def test_teacher_starts_at_constant_maps(script):
    model = script.initialise(0)
    maps = model(model.normalise(script.make_sample((0, 2))["frames"][None]), script.TINY.tasks)
    assert maps["depth"].median().item() == pytest.approx(7, rel=0.3)
    assert all(maps[name].std() < 0.5 for name in ("flow_2d_backward", "dyn_mask", "camray"))


def test_turned_sample_is_the_turned_world(script):
    rng = np.random.default_rng(0)
    clip = render(sample_scene(rng, 48, 80), 8, 48, 80, fps=1.0, ray_grid=(6, 10))
    turn = np.array([-1.0, -1.0, 1.0])
    balls = tuple(replace(b, centre=b.centre * turn, velocity=b.velocity * turn) for b in clip.scene.bodies)
    camera = Camera(clip.scene.camera.velocity * turn, clip.scene.camera.turn * turn)
    expected = render(replace(clip.scene, bodies=balls, camera=camera), 8, 48, 80, fps=1.0, ray_grid=(6, 10))
    sample = {
        "frames": torch.from_numpy(clip.frames).permute(0, 3, 1, 2),
        "depth": torch.from_numpy(clip.depth)[None],
        "flow_2d_backward": torch.from_numpy(clip.flow_2d_backward).transpose(0, 1),
        "dyn_mask": torch.from_numpy(clip.motion)[None].float(),
        "camray": torch.from_numpy(clip.camray).transpose(0, 1),
    }
    found = script.turned(sample)
    np.testing.assert_allclose(found["depth"][0], expected.depth, rtol=1e-5)
    np.testing.assert_allclose(found["flow_2d_backward"].transpose(0, 1), expected.flow_2d_backward, atol=1e-4)
    np.testing.assert_array_equal(found["dyn_mask"][0].bool(), expected.motion)
    np.testing.assert_allclose(found["camray"].transpose(0, 1), expected.camray, atol=1e-6)


@pytest.mark.slow
def test_shipped_teacher_beats_trivial_answers(script):
    assert TINY_TEACHER.stat().st_size < 3_000_000
    scores = script.evaluate(load_l4p(TINY_TEACHER), clips=4)
    assert scores["log_depth_error_balls"] < 0.5 * scores["log_depth_error_balls_constant"]
    assert scores["flow_epe_moving"] < 0.8 * scores["flow_epe_moving_zero"]
    assert scores["mask_iou"] > 0.5
