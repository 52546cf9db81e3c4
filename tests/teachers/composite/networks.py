# SPDX-License-Identifier: Apache-2.0
"""Tiny random networks of the real classes, saved as the published ones are."""

from pathlib import Path

import torch
from torchvision.models.optical_flow import raft_small
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    DPTImageProcessor,
    VJEPA2Config,
    VJEPA2Model,
)

from rgpt4d_plugin.teachers.depth_anything_3 import save_depth_anything_3
from tests.teachers.depth_anything_3 import seeded


def save_depth_model(folder: Path, kind: str = "relative", **changes: object) -> str:
    """A Depth Anything (V2) of images of 28 x 28."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=28,
        out_indices=[1, 2, 3, 4],
        reshape_hidden_states=False,
        apply_layernorm=True,
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
        depth_estimation_type=kind,
        max_depth=20 if kind == "metric" else None,
    )
    DepthAnythingForDepthEstimation(config).save_pretrained(folder)
    DPTImageProcessor(size={"height": 28, "width": 28}).save_pretrained(folder)
    return str(folder)


def save_vjepa2(folder: Path) -> str:
    """A V-JEPA 2 of clips of 32 x 32, in patches of 8 and two frames."""
    torch.manual_seed(1)
    config = VJEPA2Config(
        patch_size=8,
        crop_size=32,
        frames_per_clip=4,
        tubelet_size=2,
        hidden_size=24,
        num_attention_heads=2,
        num_hidden_layers=4,
        mlp_ratio=2.0,
        pred_hidden_size=12,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        pred_num_mask_tokens=1,
    )
    VJEPA2Model(config).save_pretrained(folder)
    return str(folder)


def save_raft(path: Path) -> str:
    """torchvision's small RAFT with random weights."""
    torch.manual_seed(2)
    torch.save(raft_small(weights=None).state_dict(), path)
    return str(path)


def save_anything(path: Path) -> str:
    """A Depth Anything 3 of frames of 56 x 56."""
    save_depth_anything_3(seeded.network(), path)
    return str(path)


def save_all(folder: Path) -> dict[str, str]:
    """Options of a composite of all four."""
    return {
        "vjepa2": save_vjepa2(folder / "vjepa2"),
        "depth_model": save_depth_model(folder / "depth"),
        "raft": save_raft(folder / "raft.pth"),
        "depth_anything_3": save_anything(folder / "da3.safetensors"),
    }
