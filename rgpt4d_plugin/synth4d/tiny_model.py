# SPDX-License-Identifier: Apache-2.0
"""Tiny, randomly initialised checkpoints made offline: a student of each supported family, and an L4P expert.

A student folder holds all that `from_pretrained` and LLaMA-Factory need: weights, configuration, its own tokenizer
and processor. It has the real architecture and the real special tokens, so it takes the same host code path as the
released model of its family.
"""

import logging
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig, ProcessorMixin

from rgpt4d_plugin.synth4d.tiny_expert import TINY
from rgpt4d_plugin.synth4d.tiny_qwen import build_qwen
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_square import (
    build_gemma3,
    build_internvl,
    build_llava_next_video,
    build_llava_onevision,
)
from rgpt4d_plugin.synth4d.tiny_tokenizer import token_ids
from rgpt4d_plugin.teachers.l4p import L4P, L4PConfig, save_l4p


logger = logging.getLogger(__name__)

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl", "llava_next_video", "llava_onevision", "internvl", "gemma3"]
FAMILIES: tuple[Family, ...] = get_args(Family)

TEMPLATES: dict[Family, str] = {
    "qwen2_vl": "qwen2_vl",
    "qwen2_5_vl": "qwen2_vl",
    "qwen3_vl": "qwen3_vl_nothink",
    "llava_next_video": "llava_next_video",
    "llava_onevision": "rgpt4d_llava_onevision",
    "internvl": "intern_vl",
    "gemma3": "rgpt4d_gemma3",
}
"""The host's template for each; `rgpt4d_...` are the plugin's own."""

_BUILDERS: dict[Family, Callable[[Family, StudentSizes], tuple[PreTrainedConfig, ProcessorMixin]]] = {
    "qwen2_vl": build_qwen,
    "qwen2_5_vl": build_qwen,
    "qwen3_vl": build_qwen,
    "llava_next_video": build_llava_next_video,
    "llava_onevision": build_llava_onevision,
    "internvl": build_internvl,
    "gemma3": build_gemma3,
}


def build_tiny_student(
    out_dir: str | PathLike, family: Family = "qwen2_5_vl", seed: int = 0, **sizes: int | float
) -> Path:
    """Save a random small model with its tokenizer and processor; nothing is downloaded.

    Args:
        out_dir: Folder to write, a `model_name_or_path` for the host.
        family: Architecture. `TEMPLATES` says which template goes with it in the host.
        seed: Seed of the weights; the global random state is kept.
        **sizes: Fields of `StudentSizes`.

    Returns:
        The folder.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {list(FAMILIES)}, found {family!r}.")
    out = Path(out_dir)
    config, processor = _BUILDERS[family](family, StudentSizes(**sizes))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config)
        if family == "gemma3":
            # The library leaves it at zero, and no picture would reach the language model.
            projection = model.model.multi_modal_projector.mm_input_projection_weight
            torch.nn.init.normal_(projection, std=config.vision_config.hidden_size**-0.5)
    model.generation_config.update(**token_ids(processor.tokenizer))
    model.save_pretrained(out)
    processor.save_pretrained(out)
    logger.info("Saved a %s of %d parameters in %s.", family, model.num_parameters(), out)
    return out


def write_random_expert(path: str | PathLike, seed: int = 0) -> L4PConfig:
    """Save a random L4P far smaller than the shipped one, for tests; returns its configuration.

    Its frames, image size, token grid and tasks are those of the shipped expert.
    """
    hooks = (0, 1, 1, 2)
    config = replace(
        TINY,
        dim=16,
        blocks=2,
        heads=2,
        mlp_hidden=32,
        feature_dim=4,
        last_dim=4,
        layer_dims=(4, 4, 6, 6),
        tasks={name: replace(task, hooks=hooks) for name, task in TINY.tasks.items()},
    )
    save_l4p(L4P.from_config(config, seed), path)
    return config
