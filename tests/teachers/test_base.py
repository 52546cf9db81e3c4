# SPDX-License-Identifier: Apache-2.0
"""A teacher of one's own: the whole interface in a few lines, trained with through the host."""

import pytest
import torch

from rgpt4d_plugin.arguments import P4DConfigError, parse_p4d
from rgpt4d_plugin.teachers import ClipKey, MapSpec, Teacher, TeacherArguments, TeacherSpec, register_teacher
from rgpt4d_plugin.teachers.base import teacher_class
from rgpt4d_plugin.validation import Number
from tests.harness import logs, train_here


class ToyArguments(TeacherArguments):
    far: Number = 10.0


class BrightnessTeacher(Teacher):
    """Its one feature is a patch's mean color; its depth takes bright for near, one value per patch and frame."""

    Arguments = ToyArguments

    def __init__(self, options, device):
        self.spec, self.device, self.dtype, self.far = self.read_spec(options), device, torch.float32, options.far

    @classmethod
    def read_spec(cls, options):
        return TeacherSpec(
            name="brightness",
            input_size=(32, 32),
            window=4,
            stride=4,
            tubelet=1,
            grid=(4, 4, 4),
            width=3,
            features=(0,),
            maps={"depth": MapSpec((1, 4, 4, 4), hooks=(0,))},
        )

    @classmethod
    def load(cls, options, device, terms):
        return cls(options, device)

    def features(self, windows, hooks):
        patches = windows.frames.to(self.device).float().div(255).unfold(3, 8, 8).unfold(4, 8, 8).mean((-1, -2))
        return {0: patches.permute(0, 1, 3, 4, 2).flatten(1, 3)}

    def targets(self, windows, features, term):
        return self.predict(features, term)

    def predict(self, latents, term):
        nearness = latents[0].mean(-1).unflatten(1, self.spec.grid)
        return torch.log(self.far * (1 - nearness.sigmoid()))[:, None]


def test_a_teacher_of_ones_own_trains_through_the_host(assets, tmp_path):
    register_teacher("brightness", BrightnessTeacher)
    block = {"preset": "none", "teacher": {"type": "brightness", "far": 20}, "loss": {"latent": 0.1, "depth": 0.1}}
    train_here(assets.recipe(tmp_path / "out", p4d=block, max_steps=3))
    lines = logs(tmp_path / "out")
    assert all(0 < line[key] < 10 for line in lines for key in ("loss_latent", "loss_depth"))
    assert lines[-1]["loss"] == pytest.approx(
        lines[-1]["loss_sft"] + 0.1 * (lines[-1]["loss_latent"] + lines[-1]["loss_depth"]), rel=1e-4
    )


@pytest.mark.parametrize(
    ("teacher", "complaint"),
    [
        ({"type": "l4q"}, "p4d.teacher.type: unknown teacher 'l4q'; did you mean 'l4p'?"),
        ({"type": "no.such:Teacher"}, "p4d.teacher.type: 'no.such:Teacher' cannot be imported: No module named 'no'"),
        ({"type": "json:loads"}, "no subclass of rgpt4d_plugin.teachers.Teacher"),
        ({"type": 3}, "p4d.teacher.type: expected text, got 3"),
        ({"type": f"{__name__}:BrightnessTeacher", "fra": 3}, "p4d.teacher.fra: unknown key; did you mean 'far'?"),
        ("l4p", "p4d.teacher: expected a mapping, got 'l4p'"),
    ],
)
def test_options_that_cannot_work(teacher, complaint):
    with pytest.raises(P4DConfigError) as caught:
        parse_p4d({"teacher": teacher, "loss": {"depth": 1}})
    assert complaint in str(caught.value)


def test_a_class_is_found_by_its_module():
    assert teacher_class(f"{__name__}:BrightnessTeacher") is BrightnessTeacher


def test_maps_of_a_whole_clip_are_its_windows():
    teacher = BrightnessTeacher(ToyArguments(), torch.device("cpu"))
    clip = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    whole = teacher.maps(clip, ClipKey("a.mp4", (0.0,) * 6), "depth", (0,))
    brightness = clip.float().div(255).unflatten(2, (4, 8)).unflatten(4, (4, 8)).mean((1, 3, 5))
    torch.testing.assert_close(whole[0], torch.log(10 * (1 - brightness.sigmoid())))
