# SPDX-License-Identifier: Apache-2.0
"""The layout of a published NVILA folder: its parts, the names of tensors there and in `nvila`, files of weights."""

from pathlib import Path

from rgpt4d_plugin.files import write_json


PARTS = ("llm", "vision_tower", "mm_projector")
"""Folders, each with a configuration and weights."""

_PREFIXES = (
    ("llm", "model.", "model.language_model."),
    ("llm", "lm_head.", "lm_head."),
    ("vision_tower", "vision_model.", "model.vision_tower.vision_model."),
    ("mm_projector", "layers.1.", "model.multi_modal_projector.norm_1."),
    ("mm_projector", "layers.2.", "model.multi_modal_projector.linear_1."),
    ("mm_projector", "layers.4.", "model.multi_modal_projector.norm_2."),
    ("mm_projector", "layers.5.", "model.multi_modal_projector.linear_2."),
    ("mm_projector", "layers.7.", "model.multi_modal_projector.linear_3."),
)

TABLES = ("model.language_model.embed_tokens.weight", "lm_head.weight")
"""Our names of the tensors with a row for each token."""


def our_name(part: str, name: str) -> str:
    """Returns the name in `nvila` of a part's tensor; 'PART/NAME' for one that is not in the model."""
    for folder, theirs, ours in _PREFIXES:
        if folder == part and name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return f"{part}/{name}"


def published_name(name: str) -> tuple[str, str]:
    """Returns (part, name there) of a tensor of `nvila`."""
    for part, theirs, ours in _PREFIXES:
        if name.startswith(ours):
            return part, theirs + name.removeprefix(ours)
    raise ValueError(f"{name}: no tensor of NVILA-Lite has this name")


def shard_name(number: int, count: int) -> str:
    """Name of a file of weights, counted from 1."""
    return f"model-{number:05d}-of-{count:05d}.safetensors"


def write_index(folder: Path, places: dict[str, str], size: int) -> None:
    """Writes the index of the files of weights: tensor -> file, and their bytes in all."""
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": places})


def check_new(folder: Path) -> None:
    """Raises ValueError if there is a model at `--out` already."""
    if (folder / "config.json").exists():
        raise ValueError(f"{folder} has a model already; choose another folder for --out")
