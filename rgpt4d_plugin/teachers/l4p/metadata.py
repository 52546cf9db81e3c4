# SPDX-License-Identifier: Apache-2.0
"""The configuration as the string metadata of a safetensors file, one JSON text per section.

Sections: `encoder`, `dpt`, `img_info` ([T, H, W]) and one per task. Keys are those of the L4P configuration files
(NVlabs/L4P commit 8701a4b). Settings that only exist in one form here, such as 3D convolutions, are still checked:
a file that says otherwise describes another network. Every size has an upper bound, so that no file can ask for a
network that fits no machine.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from rgpt4d_plugin.teachers.l4p.config import TASKS, L4PConfig, TaskConfig
from rgpt4d_plugin.validation import Checked, check, shown


_SECTIONS = ("encoder", "dpt", "img_info")
_SHARED_TASK_KEYS = ("activation", "actpost_scale_factors", "fusion_scale_factors", "output_size")

Width = Annotated[int, Field(strict=True, ge=1, le=16384)]
Pixels = Annotated[int, Field(strict=True, ge=1, le=4096)]
Frames = Annotated[int, Field(strict=True, ge=1, le=512)]
Hook = Annotated[int, Field(strict=True, ge=0, le=512)]
Scale = Annotated[int, Field(strict=True, ge=-4, le=4)]
Factor = Annotated[int, Field(strict=True, ge=1, le=16)]


class EncoderSection(Checked):
    """The video ViT."""

    embed_dim: Width
    depth: Annotated[int, Field(strict=True, ge=1, le=512)]
    num_heads: Width
    mlp_ratio: Annotated[float, Field(strict=True, gt=0, le=64)]
    norm_eps: Annotated[float, Field(strict=True, gt=0, le=1)]
    in_chans: Literal[3] = 3
    qkv_bias: Literal[True] = True
    init_values: Literal[0] = 0
    # Repeated from the other sections; compared with what they say.
    img_size: Any = None
    patch_size: Any = None
    tubelet_size: Any = None
    all_frames: Any = None
    token_grid: Any = None


class DPTSection(Checked):
    """The shared part of the heads."""

    feature_dim: Width
    last_dim: Width
    layer_dims: tuple[Width, Width, Width, Width]
    hooks_idx: tuple[Hook, Hook, Hook, Hook]
    patch_size: tuple[Pixels, Pixels, Pixels]
    is_use_conv3d: Literal[True] = True
    head_type: Literal["regression"] = "regression"


class TaskSection(Checked):
    """One head."""

    num_channels: Annotated[int, Field(strict=True, ge=1, le=64)]
    activation: Literal["linear", "exp"]
    actpost_scale_factors: Annotated[tuple[tuple[Scale, Scale, Scale], ...], Field(min_length=4, max_length=4)]
    fusion_scale_factors: Annotated[tuple[tuple[Factor, Factor, Factor], ...], Field(min_length=4, max_length=4)]
    output_size: tuple[Frames, Pixels, Pixels] | None
    hooks_idx: tuple[Hook, Hook, Hook, Hook] | None = None


def config_from_metadata(metadata: Mapping[str, str]) -> L4PConfig | None:
    """Returns the configuration in a file's metadata, or None if there is no trace of one.

    Other entries, such as `format`, are ignored.

    Raises:
        ValueError: If a section is missing, is not JSON, or holds missing, unknown, or impossible values.
    """
    tasks = [task for task in TASKS if task in metadata]
    present = [section for section in _SECTIONS if section in metadata]
    if not tasks and not present:
        return None
    if len(present) < len(_SECTIONS) or not tasks:
        raise ValueError(
            f"the metadata needs the sections {list(_SECTIONS)} and at least one of {list(TASKS)}, "
            f"found {present + tasks}."
        )
    problems: list[str] = []
    encoder = check(EncoderSection, _json(metadata, "encoder"), "encoder", problems)
    dpt = check(DPTSection, _json(metadata, "dpt"), "dpt", problems)
    size = check(tuple[Frames, Pixels, Pixels], _json(metadata, "img_info"), "img_info", problems)
    heads = {task: check(TaskSection, _json(metadata, task), task, problems) for task in tasks}
    if encoder is None or dpt is None or size is None or problems:
        raise ValueError(f"its metadata describes no L4P network: {'; '.join(problems)}.")
    config = L4PConfig(
        frames=size[0],
        height=size[1],
        width=size[2],
        patch=dpt.patch_size,
        dim=encoder.embed_dim,
        blocks=encoder.depth,
        heads=encoder.num_heads,
        # A ratio such as 48/11 is not exact in binary; upstream truncates, so do not fall below the meant integer.
        mlp_hidden=int(encoder.embed_dim * encoder.mlp_ratio + 1e-6),
        eps=encoder.norm_eps,
        feature_dim=dpt.feature_dim,
        last_dim=dpt.last_dim,
        layer_dims=dpt.layer_dims,
        tasks={
            name: TaskConfig(
                channels=head.num_channels,
                hooks=head.hooks_idx or dpt.hooks_idx,
                **{key: getattr(head, key) for key in _SHARED_TASK_KEYS},
            )
            for name, head in heads.items()
            if head is not None
        },
    )
    for key, expected in _derived(config).items():
        if key in encoder.model_fields_set and (value := getattr(encoder, key)) != expected:
            raise ValueError(
                f"encoder.{key} must be {expected} to agree with img_info and dpt.patch_size, found {shown(value)}."
            )
    return config


def config_to_metadata(config: L4PConfig) -> dict[str, str]:
    """Returns the sections that `config_from_metadata` reads back to the same configuration."""
    shared_hooks = next(iter(config.tasks.values())).hooks
    sections: dict[str, Any] = {
        "encoder": {
            "embed_dim": config.dim,
            "depth": config.blocks,
            "num_heads": config.heads,
            "mlp_ratio": config.mlp_hidden / config.dim,
            "norm_eps": config.eps,
            **_fixed(EncoderSection, "in_chans", "qkv_bias", "init_values"),
            **_derived(config),
        },
        "dpt": {
            "feature_dim": config.feature_dim,
            "last_dim": config.last_dim,
            "layer_dims": config.layer_dims,
            "hooks_idx": shared_hooks,
            "patch_size": config.patch,
            **_fixed(DPTSection, "is_use_conv3d", "head_type"),
        },
        "img_info": (config.frames, config.height, config.width),
    }
    for name, task in config.tasks.items():
        sections[name] = {
            "num_channels": task.channels,
            **{key: getattr(task, key) for key in _SHARED_TASK_KEYS},
        }
        if task.hooks != shared_hooks:
            sections[name]["hooks_idx"] = task.hooks
    return {name: json.dumps(section) for name, section in sections.items()}


def _derived(config: L4PConfig) -> dict[str, Any]:
    """Encoder entries that repeat other sections; square sizes are one number, as upstream writes them."""
    (time, *pixels), image = config.patch, [config.height, config.width]
    return {
        "img_size": image[0] if image[0] == image[1] else image,
        "patch_size": pixels[0] if pixels[0] == pixels[1] else pixels,
        "tubelet_size": time,
        "all_frames": config.frames,
        "token_grid": list(config.grid),
    }


def _fixed(section: type[Checked], *keys: str) -> dict[str, Any]:
    return {key: section.model_fields[key].default for key in keys}


def _json(metadata: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(metadata[name])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} is not JSON: {error}.") from error
