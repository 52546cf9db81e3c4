# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 behind the teacher interface: units, gauge, gradients."""

import math

import pytest
import torch

from rgpt4d_plugin.teachers import ClipKey, TeacherWindows, teacher_class
from rgpt4d_plugin.teachers.depth_anything_3 import DepthAnything3Teacher, save_depth_anything_3
from tests.teachers.depth_anything_3 import seeded


HOOKS = seeded.CONFIG.hooks


def frames(count):
    return (seeded.seeded("frames", (count, 3, 56, 56)) * 60 + 128).clamp(0, 255).byte()


def windows(batch=1):
    key = ClipKey("clip.mp4", (0.0, 1.0, 2.0, 3.0))
    return TeacherWindows(((key, 0),) * batch, frames(4 * batch).unflatten(0, (batch, 4)))


@pytest.fixture
def teacher():
    return DepthAnything3Teacher(seeded.network())


def test_the_spec_is_known_before_a_weight_is_loaded(tmp_path):
    save_depth_anything_3(seeded.network(), tmp_path / "model.safetensors")
    kind = teacher_class("depth_anything_3")
    options = kind.Arguments(type="depth_anything_3", checkpoint=str(tmp_path / "model.safetensors"))
    spec = kind.read_spec(options)
    assert (spec.input_size, spec.window, spec.stride, spec.tubelet, spec.grid) == ((56, 56), 4, 2, 1, (4, 4, 4))
    assert (spec.width, spec.features) == (64, (0, 1, 2, 3, 4, 5))
    assert {term: (found.shape, found.hooks) for term, found in spec.maps.items()} == {
        "depth": ((1, 4, 56, 56), HOOKS),
        "camray": ((6, 4, 32, 32), HOOKS),
    }
    teacher = kind.load(options, torch.device("cpu"), ("depth",))
    assert teacher.spec == spec and teacher.dtype == torch.bfloat16


def test_shapes_are_those_of_the_spec_and_latents_of_the_teacher_give_its_maps(teacher):
    features = teacher.features(windows(2), HOOKS)
    assert {tuple(feature.shape) for feature in features.values()} == {(2, 64, 64)}
    for term, found in teacher.spec.maps.items():
        target = teacher.targets(windows(2), features, term)
        assert target.shape == (2, *found.shape) and target.dtype == torch.float32
        assert torch.equal(teacher.predict(features, term), target)


def test_maps_do_not_depend_on_the_scale_of_a_window(teacher):
    features = teacher.features(windows(), HOOKS)
    before = {term: teacher.targets(windows(), features, term) for term in teacher.spec.maps}
    assert before["depth"].mean().abs() < 1e-6
    scratch = teacher.model.head.scratch
    scratch["output_conv2"][2].bias[0] += math.log(3)  # all depths times three, and so the origins
    rays = scratch["output_conv2_aux"]["3"]["5"]
    rays.weight[3:6] *= 3
    rays.bias[3:6] *= 3
    for term, target in before.items():
        torch.testing.assert_close(teacher.targets(windows(), features, term), target, rtol=1e-5, atol=1e-5)


def test_origins_are_in_units_of_the_geometric_mean_depth(teacher):
    features = teacher.features(windows(), HOOKS)
    geometry = teacher.model.decode(features, (4, 4))
    rays = teacher.targets(windows(), features, "camray")[0]
    torch.testing.assert_close(rays[:3], geometry.rays[0, :, :3].transpose(0, 1))
    torch.testing.assert_close(rays[3:] * geometry.log_depth.mean().exp(), geometry.rays[0, :, 3:].transpose(0, 1))


def test_the_first_view_is_the_reference_and_the_others_are_a_set(teacher):
    clip = frames(4)
    order = [0, 3, 1, 2]
    key = windows().keys
    straight = teacher.features(TeacherWindows(key, clip[None]), (5,))[5].unflatten(1, (4, 16))
    mixed = teacher.features(TeacherWindows(key, clip[order][None]), (5,))[5].unflatten(1, (4, 16))
    torch.testing.assert_close(mixed, straight[:, order], rtol=1e-4, atol=1e-4)
    reference_moved = teacher.features(TeacherWindows(key, clip[[1, 0, 2, 3]][None]), (5,))[5].unflatten(1, (4, 16))
    assert (reference_moved - straight[:, [1, 0, 2, 3]]).abs().max() > 0.1


@pytest.mark.parametrize("term", ["depth", "camray"])
def test_gradients_reach_every_latent_and_no_weight(teacher, term):
    latents = {hook: f.clone().requires_grad_() for hook, f in teacher.features(windows(), HOOKS).items()}
    teacher.predict(latents, term).square().mean().backward()
    assert all(latent.grad.abs().max() > 0 for latent in latents.values())
    assert all(parameter.grad is None for parameter in teacher.model.parameters())


def test_bfloat16_is_near(teacher):
    exact = teacher.targets(windows(), teacher.features(windows(), HOOKS), "depth")
    model = seeded.network().bfloat16()
    rounded = DepthAnything3Teacher(model)
    found = rounded.targets(windows(), rounded.features(windows(), HOOKS), "depth")
    assert found.dtype == torch.float32
    assert (found - exact).abs().mean() < 0.05 * exact.std()


def test_depth_to_look_at_has_one_scale_over_the_clip(teacher, monkeypatch):
    clip, key = frames(7), ClipKey("clip.mp4", tuple(map(float, range(7))))
    field = torch.linspace(0, 3, 9).view(1, -1, 1, 1).expand(1, 9, 56, 56)  # log depth, one value per frame
    starts = iter((0, 2, 4))

    def own_scale(windows, features, term):
        start = next(starts)
        depth = field[None, :, start : start + 4]
        return depth - depth.mean()

    monkeypatch.setattr(teacher, "targets", own_scale)
    depth = teacher.maps(clip, key, "depth", HOOKS)
    torch.testing.assert_close(depth, field[:, :7] - field[:, :4].mean())
    monkeypatch.undo()
    assert teacher.maps(clip, key, "camray", HOOKS).shape == (6, 7, 32, 32)
