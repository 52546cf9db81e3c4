# SPDX-License-Identifier: Apache-2.0
"""Tiny, randomly initialised Qwen-VL students, made offline.

A student folder holds all that `from_pretrained` and LLaMA-Factory need: weights, configuration, its own tokenizer
and processor. It has the real architecture and the real special tokens, so it takes the same host code path as the
released model of its family.
"""

import logging
from os import PathLike
from pathlib import Path
from typing import Literal, get_args

import torch
from transformers import AutoModelForImageTextToText, PreTrainedConfig, PreTrainedModel, ProcessorMixin

from rgpt4d_plugin.synth4d.tiny_qwen import build_qwen
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes
from rgpt4d_plugin.synth4d.tiny_tokenizer import token_ids


logger = logging.getLogger(__name__)

Family = Literal["qwen2_vl", "qwen2_5_vl", "qwen3_vl"]


def build_tiny_student(
    out_dir: str | PathLike, family: Family = "qwen2_5_vl", seed: int = 0, **sizes: int | float
) -> Path:
    """Saves a random small model, a `model_name_or_path` for the host, with its tokenizer and processor; returns the
    folder.

    `sizes` are fields of `StudentSizes`. The global random state is kept.
    """
    if family not in get_args(Family):
        raise ValueError(f"family must be one of {list(get_args(Family))}, found {family!r}.")
    config, processor = build_qwen(family, StudentSizes(**sizes))
    return save_student(out_dir, random_model(config, seed), processor)


def random_model(config: PreTrainedConfig, seed: int) -> PreTrainedModel:
    """Returns a model with weights of a seed; the global random state is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return AutoModelForImageTextToText.from_config(config)


def save_student(out_dir: str | PathLike, model: PreTrainedModel, processor: ProcessorMixin) -> Path:
    """Saves a model with its processor and tokenizer; returns the folder."""
    model.generation_config.update(**token_ids(processor.tokenizer))
    model.save_pretrained(out_dir)
    processor.save_pretrained(out_dir)
    logger.info("Saved a %s of %d parameters in %s.", model.config.model_type, model.num_parameters(), out_dir)
    return Path(out_dir)
