# SPDX-License-Identifier: Apache-2.0
"""Tiny checkpoints for tests: a random student of every supported family, and a random L4P teacher."""

from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from transformers import PreTrainedConfig, ProcessorMixin

from rgpt4d_plugin.synth4d import TINY_TEACHER
from rgpt4d_plugin.synth4d.tiny_model import random_model, save_student
from rgpt4d_plugin.synth4d.tiny_qwen import build_qwen
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.teachers.l4p import L4P, L4PConfig, read_l4p_config, save_l4p
from tests.tiny_models.gemma4 import build_gemma4
from tests.tiny_models.glm4v import build_glm4v
from tests.tiny_models.nvila import build_nvila
from tests.tiny_models.qwen import as_released, build_qwen3
from tests.tiny_models.square import (
    build_gemma3,
    build_internvl,
    build_llava_next_video,
    build_llava_onevision,
    build_video_llava,
)


_BUILDERS: dict[str, Callable[[str, StudentSizes], tuple[PreTrainedConfig, ProcessorMixin]]] = {
    "qwen2_vl": build_qwen,
    "qwen2_5_vl": build_qwen,
    "qwen3_vl": build_qwen,
    "qwen3_vl_moe": build_qwen3,
    "qwen3_5": build_qwen3,
    "qwen3_5_moe": build_qwen3,
    "llava_next_video": build_llava_next_video,
    "video_llava": build_video_llava,
    "llava_onevision": build_llava_onevision,
    "internvl": build_internvl,
    "gemma3": build_gemma3,
    "gemma4": build_gemma4,
    "glm4v": build_glm4v,
    "glm4v_moe": build_glm4v,
    "nvila": build_nvila,
}
FAMILIES = tuple(_BUILDERS)
FIRST = ("qwen2_5_vl", "qwen3_vl", "llava_next_video", "internvl", "gemma4", "nvila")
OTHERS = tuple(family for family in FAMILIES if family not in FIRST)
"""One of each kind of grid, and those that are like one of them, whose slow tests are `further`: see conftest.py."""

TEMPLATES = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_vl",
    "qwen3_vl": "qwen3_vl_nothink",
    "qwen3_vl_moe": "qwen3_vl",
    "qwen3_5": "qwen3_5",
    "qwen3_5_moe": "qwen3_5_nothink",
    "llava_next_video": "llava_next_video",
    "video_llava": "video_llava",
    "llava_onevision": "rgpt4d_llava_onevision",
    "internvl": "intern_vl",
    "gemma3": "rgpt4d_gemma3",
    "gemma4": "gemma4",
    "glm4v": "glm4v",
    "glm4v_moe": "glm4_5v",
    "nvila": "rgpt4d_nvila",
}
"""The host's template for each; `rgpt4d_...` are the plugin's own."""


def build_tiny_student(
    out_dir: str | PathLike, family: str = "qwen2_5_vl", seed: int = 0, **sizes: int | float
) -> Path:
    """Saves a random small model with its tokenizer and processor; nothing is downloaded.

    Args:
        out_dir: Folder to write, a `model_name_or_path` for the host.
        family: Architecture. `TEMPLATES` says which template goes with it in the host.
        seed: Seed of the weights; the global random state is kept.
        **sizes: Fields of `StudentSizes`.

    Returns:
        The folder.
    """
    config, processor = _BUILDERS[family](family, StudentSizes(**sizes))
    model = random_model(config, seed)
    if family == "gemma3":
        # The library leaves it at zero, and no picture would reach the language model.
        projection = model.model.multi_modal_projector.mm_input_projection_weight
        generator = torch.Generator().manual_seed(seed)
        torch.nn.init.normal_(projection, std=config.vision_config.hidden_size**-0.5, generator=generator)
    folder = save_student(out_dir, model, processor)
    if family == "qwen3_vl_moe":
        as_released(folder / "model.safetensors")
    return folder


def write_random_teacher(path: str | PathLike, seed: int = 0, side: int = 64) -> L4PConfig:
    """Saves a random L4P far smaller than the shipped one; returns its configuration.

    Its frames, patches and tasks are those of the shipped teacher, at side 64 its images and its token grid too.
    """
    shipped = read_l4p_config(TINY_TEACHER)
    hooks = (0, 1, 1, 2)
    config = replace(
        shipped,
        dim=16,
        blocks=2,
        heads=2,
        mlp_hidden=32,
        feature_dim=4,
        last_dim=4,
        layer_dims=(4, 4, 6, 6),
        height=side,
        width=side,
        tasks={
            name: replace(task, hooks=hooks, output_size=task.output_size and (shipped.frames, side // 8, side // 8))
            for name, task in shipped.tasks.items()
        },
    )
    save_l4p(L4P.from_config(config, seed), path)
    return config
