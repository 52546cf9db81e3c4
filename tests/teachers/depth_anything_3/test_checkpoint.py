# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 files: sizes from shapes, and nothing loaded unless every name is accounted for."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from rgpt4d_plugin.teachers.depth_anything_3 import (
    DepthAnything3,
    DepthAnything3CheckpointError,
    DepthAnything3Config,
    load_depth_anything_3,
    read_depth_anything_3_config,
    save_depth_anything_3,
)
from tests.teachers.depth_anything_3 import seeded


NAME = "model.backbone.pretrained.blocks.3.ls1.gamma"


@pytest.fixture
def path(tmp_path):
    save_depth_anything_3(seeded.network(), tmp_path / "model.safetensors")
    return tmp_path / "model.safetensors"


def changed(path, metadata=None, **changes):
    """The file again with some tensors replaced, or left out (None), and other metadata."""
    tensors = {name: tensor for name, tensor in (load_file(path) | changes).items() if tensor is not None}
    other = path.with_name("changed.safetensors")
    save_file(tensors, other, metadata=metadata or {"depth_anything_3": '{"hooks": [1, 3, 4, 5]}'})
    return other


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, seeded.SWIGLU, {"alternate_from": 3, "hooks": (2, 3, 4, 5)}])
def test_a_saved_network_comes_back(tmp_path, changes):
    model = seeded.network(replace(seeded.CONFIG, **changes))
    save_depth_anything_3(model, tmp_path / "model.safetensors")

    loaded = load_depth_anything_3(tmp_path / "model.safetensors", torch.bfloat16)
    assert loaded.config == read_depth_anything_3_config(tmp_path / "model.safetensors") == model.config
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())
    for name, parameter in loaded.named_parameters():
        assert torch.equal(parameter, model.get_parameter(name).bfloat16()), name


@pytest.mark.parametrize(
    ("blocks", "sizes", "numbers"),
    [
        # Counted in the package's own networks, without cameras, splats and the coarser levels' rays.
        pytest.param(12, (384, 6, "gelu", 1536, 4, 64, (48, 96, 192, 384)), 25_627_273, id="small"),
        pytest.param(12, (768, 12, "gelu", 3072, 4, 128, (96, 192, 384, 768)), 100_807_529, id="base"),
        pytest.param(24, (1024, 16, "gelu", 4096, 8, 256, (256, 512, 1024, 1024)), 347_065_257, id="large"),
        pytest.param(40, (1536, 24, "swiglu", 4096, 13, 256, (256, 512, 1024, 1024)), 1_182_066_345, id="giant"),
    ],
)
def test_released_sizes(blocks, sizes, numbers):
    dim, heads, mlp, mlp_hidden, start, feature_dim, layer_dims = sizes
    hooks = {12: (5, 7, 9, 11), 24: (11, 15, 19, 23), 40: (19, 27, 33, 39)}[blocks]
    config = DepthAnything3Config(14, dim, blocks, heads, mlp, mlp_hidden, 37, start, hooks, feature_dim, layer_dims)
    with torch.device("meta"):
        model = DepthAnything3(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == numbers
    assert config.grid == (16, 16)


def test_parts_of_the_released_files_that_are_not_used(path):
    unused = [
        "model.cam_enc.trunk.0.norm1.weight",
        "model.cam_dec.fc_t.bias",
        "model.gs_head.norm.weight",
        "model.head.scratch.output_conv1_aux.2.4.weight",
        "model.head.scratch.output_conv2_aux.0.0.bias",
    ]
    load_depth_anything_3(changed(path, **{name: torch.zeros(3) for name in unused}))


def test_every_wrong_tensor_is_listed_at_once(path):
    other = changed(
        path,
        **{
            NAME: None,
            "model.head.norm.weight": torch.ones(3),
            "model.backbone.pretrained.mask_token": torch.zeros(1, 32),
            "model.head.scratch.output_conv1_aux.3.0.extra": torch.zeros(1),
        },
    )
    with pytest.raises(DepthAnything3CheckpointError) as error:
        load_depth_anything_3(other)
    message = str(error.value)
    assert f"missing (1):\n    {NAME}\n" in message
    assert (
        "unexpected (2):\n    model.backbone.pretrained.mask_token\n    model.head.scratch.output_conv1_aux" in message
    )
    assert "model.head.norm.weight: expected (64,), found (3,)" in message
    assert "depth-anything/DA3-SMALL" in message


@pytest.mark.parametrize("tensor", [torch.full((32,), float("nan")), torch.ones(32, dtype=torch.int32)])
def test_values_must_be_finite_numbers(path, tensor):
    with pytest.raises(DepthAnything3CheckpointError, match=f"not finite \\(1\\):\n    {NAME}"):
        load_depth_anything_3(changed(path, **{NAME: tensor}))


def test_files_that_are_something_else(path, tmp_path):
    with pytest.raises(DepthAnything3CheckpointError, match="is no file"):
        read_depth_anything_3_config(tmp_path)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DepthAnything3CheckpointError, match="not a readable safetensors file"):
        read_depth_anything_3_config(broken)
    save_file({"model.head.norm.weight": torch.zeros(3)}, broken)
    with pytest.raises(DepthAnything3CheckpointError, match="no any-view Depth Anything 3"):
        read_depth_anything_3_config(broken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{}", "no released network has 6 blocks"),
        ('{"hooks": [1, 3, 4, 6]}', "four ascending blocks in 0..5"),
        ('{"hooks": [1, 3, 4, 5], "height": 60}', "multiples of patch 14"),
        ('{"hooks": [1, 3, 4, 5], "views": 3}', r"unknown keys \['views'\]"),
        ('{"hooks": 3}', "'int' object is not iterable .*metadata 'depth_anything_3'"),
        ("not json", "changed.safetensors: Expecting value"),
    ],
)
def test_metadata_is_checked(path, metadata, message):
    with pytest.raises(DepthAnything3CheckpointError, match=message):
        read_depth_anything_3_config(changed(path, {"depth_anything_3": metadata}))
