# SPDX-License-Identifier: Apache-2.0
"""A teacher of one's own: the whole interface in a few lines, trained with through the host."""

import importlib
import re
from pathlib import Path

import pytest
import torch
import yaml

from rgpt4d_plugin.arguments import P4DConfigError, parse_p4d
from rgpt4d_plugin.teachers import ClipKey, base, register_teacher
from rgpt4d_plugin.teachers.base import teacher_class
from tests.harness import logs, train_here


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def brightness(tmp_path_factory):
    """The module of the documentation's example, importable as `brightness`."""
    (code,) = re.findall(
        r"```python\n(import torch.*?)```", (ROOT / "docs/teachers.md").read_text(encoding="utf-8"), re.S
    )
    folder = tmp_path_factory.mktemp("example")
    (folder / "brightness.py").write_text(code, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("brightness")


@pytest.mark.slow
def test_a_teacher_of_ones_own_trains_through_the_host(assets, tmp_path):
    """With the very block of the documentation."""
    (page,) = re.findall(r"```yaml\n(p4d:\n  preset: none.*?)```", (ROOT / "docs/teachers.md").read_text(), re.S)
    block = yaml.safe_load(page)["p4d"]
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
        ({"type": "brightness:BrightnessTeacher", "fra": 3}, "p4d.teacher.fra: unknown key; did you mean 'far'?"),
        ("l4p", "p4d.teacher: expected a mapping, got 'l4p'"),
    ],
)
def test_options_that_cannot_work(teacher, complaint):
    with pytest.raises(P4DConfigError) as caught:
        parse_p4d({"teacher": teacher, "loss": {"depth": 1}})
    assert complaint in str(caught.value)


def test_a_class_is_found_by_its_module_or_its_name(brightness, monkeypatch):
    monkeypatch.setattr(base, "_TEACHERS", dict(base._TEACHERS))
    assert teacher_class("brightness:BrightnessTeacher") is brightness.BrightnessTeacher
    register_teacher("bright", brightness.BrightnessTeacher)
    assert teacher_class("bright") is brightness.BrightnessTeacher


def test_maps_of_a_whole_clip_are_its_windows(brightness):
    teacher = brightness.BrightnessTeacher(brightness.BrightnessArguments(), torch.device("cpu"))
    clip = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8)
    whole = teacher.maps(clip, ClipKey("a.mp4", (0.0,) * 6), "depth", (0,))
    brightness = clip.float().div(255).unflatten(2, (4, 8)).unflatten(4, (4, 8)).mean((1, 3, 5))
    torch.testing.assert_close(whole[0], torch.log(10 * (1 - brightness.sigmoid())))
