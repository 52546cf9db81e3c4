# SPDX-License-Identifier: Apache-2.0
"""`p4d.teacher.compile` gives the same features."""

import functools

import pytest
import torch

from rgpt4d_plugin.teachers import ClipKey, TeacherWindows, teacher_class
from rgpt4d_plugin.teachers.depth_anything_3 import save_depth_anything_3
from tests.teachers.depth_anything_3 import seeded
from tests.tiny_models import write_random_teacher


@pytest.mark.slow
@pytest.mark.parametrize("name", ["l4p", "depth_anything_3"])
def test_compiled_features_are_the_same(tmp_path, monkeypatch, name):
    """Every block is captured whole. Code for it is not generated: for these blocks that takes minutes on a CPU."""
    compile_module = functools.partialmethod(torch.nn.Module.compile, backend="eager", fullgraph=True)
    monkeypatch.setattr(torch.nn.Module, "compile", compile_module)
    path = tmp_path / "teacher.safetensors"
    if name == "l4p":
        write_random_teacher(path)
    else:
        save_depth_anything_3(seeded.network(), path)
    kind = teacher_class(name)
    options = {"type": name, "checkpoint": str(path), "dtype": "float32"}
    plain, compiled = (
        kind.load(kind.Arguments(**options, compile=switch), torch.device("cpu"), ("depth",))
        for switch in (False, True)
    )
    spec = plain.spec
    shape = (1, spec.window, 3, *spec.input_size)
    frames = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    windows = TeacherWindows(((ClipKey("clip.mp4", (0.0,) * spec.window), 0),), frames)
    hooks = spec.hooks_of(("depth",))
    with torch.inference_mode():
        expected, found = plain.features(windows, hooks), compiled.features(windows, hooks)
    for hook in hooks:
        torch.testing.assert_close(found[hook], expected[hook], rtol=1e-4, atol=1e-5)
    assert any(module._compiled_call_impl is not None for module in compiled.model.modules())
    assert all(module._compiled_call_impl is None for module in plain.model.modules())
