# SPDX-License-Identifier: Apache-2.0
"""Our L4P returns what the original returns, on random weights; make_fixture.py says where the recording is from."""

import lzma
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from rgpt4d_plugin.teachers.l4p import TASKS, load_l4p


RECORDING = Path(__file__).with_name("small.safetensors.xz")

# float32 with another order of summation, through six blocks and about twenty convolutions: the original differs from
# itself in float64 by up to 6e-6, and the rounded weights of the recording add about as much. The least change that a
# wrong detail (such as tanh GELU) makes is 3e-4.
CLOSE = {"rtol": 1e-4, "atol": 1e-4}


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Path of a complete checkpoint, its `io.*` tensors, and the stride of the recorded pixel maps."""
    path = tmp_path_factory.mktemp("l4p") / "small.safetensors"
    path.write_bytes(lzma.decompress(RECORDING.read_bytes()))
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    for name in list(tensors):
        for level in (1, 2, 3, 4):
            if f".layer{level}_rn." in name:
                tensors[name.replace(f"layer{level}_rn", f"layer_rn.{level - 1}")] = tensors[name].clone()
        if ".refinenet3.resConfUnit1." in name:
            tensors[name.replace("refinenet3", "refinenet4")] = torch.zeros_like(tensors[name])
    save_file(tensors, path, metadata=metadata)
    io = {name[len("io.") :]: tensor for name, tensor in tensors.items() if name.startswith("io.")}
    return path, io, int(metadata["io_stride"])


@pytest.fixture(scope="module")
def model(recording):
    return load_l4p(recording[0])


@pytest.fixture(scope="module")
def features(model, recording):
    return model.encode(recording[1]["clip"])


def test_features(features, recording):
    _, io, _ = recording
    assert len(features) == 7
    recorded = [index for index in range(7) if f"feat.{index}" in io]
    assert recorded == [0, 3, 6]
    for index in recorded:
        torch.testing.assert_close(features[index], io[f"feat.{index}"], **CLOSE)


def test_features_in_part(model, features, recording):
    clip = recording[1]["clip"]
    for wanted in [(0,), (2, 3, 4), (1, 6)]:
        part = model.encode(clip, only=wanted)
        assert sorted(part) == list(wanted)
        assert all(torch.equal(part[index], features[index]) for index in wanted)


@pytest.mark.parametrize("task", TASKS)
def test_maps(model, features, recording, task):
    _, io, stride = recording
    found = model.decode(features, [task])[task]
    assert tuple(found.shape) == (1, *model.config.map_shape(task))
    if task != "camray":
        found = found[..., ::stride, ::stride]
    torch.testing.assert_close(found, io[f"out.{task}"], **CLOSE)


@pytest.mark.parametrize(
    ("task", "change", "name"),
    [
        # The final resize, which the ray head skips at its own size.
        ("camray", {"output_size": (16, 16, 16)}, "camray_out16"),
        # No hook on the normed last feature, as in the released model.
        ("depth", {"hooks": (1, 2, 3, 5)}, "depth_hooks_1_2_3_5"),
    ],
)
def test_maps_of_changed_heads(model, features, recording, task, change, name):
    path, io, stride = recording
    tasks = {**model.config.tasks, task: replace(model.config.tasks[task], **change)}
    changed = load_l4p(path, tasks=[task], config=replace(model.config, tasks=tasks))
    found = changed.decode(features, [task])[task]
    if task != "camray":
        found = found[..., ::stride, ::stride]
    torch.testing.assert_close(found, io[f"out.{name}"], **CLOSE)


def test_forward_of_one_window(model, recording):
    _, io, stride = recording
    maps = model(io["clip"], ["camray", "depth"])
    torch.testing.assert_close(maps["camray"], io["out.camray"], **CLOSE)
    torch.testing.assert_close(maps["depth"][..., ::stride, ::stride], io["out.depth"], **CLOSE)


def test_bfloat16(model, features, recording):
    half = load_l4p(recording[0], torch.bfloat16)
    encoded = half.encode(recording[1]["clip"])
    assert {feature.dtype for feature in encoded} == {torch.bfloat16}
    for task, found in half.decode(encoded, ("depth", "camray")).items():
        assert found.dtype == torch.float32
        expected = model.decode(features, [task])[task]
        # bfloat16 keeps 8 bits, 4e-3 per rounding; roundings of about ten layers in a row add up as a random walk.
        assert (found - expected).norm() < 3e-2 * expected.norm(), task
