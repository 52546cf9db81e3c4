# SPDX-License-Identifier: Apache-2.0
"""The configuration as the string metadata of a safetensors file, one JSON text per section.

Sections: `encoder`, `dpt`, `img_info` ([T, H, W]) and one per task. Keys are those of the L4P configuration files
(NVlabs/L4P commit 8701a4b). Settings that only exist in one form here, such as 3D convolutions, are still checked:
a file that says otherwise describes another network.
"""

import json
from collections.abc import Mapping
from typing import Any

from rgpt4d_plugin.teachers.l4p.config import TASKS, L4PConfig, TaskConfig


_ENCODER_KEYS = {"embed_dim", "depth", "num_heads", "mlp_ratio", "norm_eps"}
_ENCODER_FIXED = {"in_chans": 3, "qkv_bias": True, "init_values": 0}
_ENCODER_DERIVED = {"img_size", "patch_size", "tubelet_size", "all_frames", "token_grid"}
_DPT_KEYS = {"feature_dim", "last_dim", "layer_dims", "hooks_idx", "patch_size"}
_DPT_FIXED = {"is_use_conv3d": True, "head_type": "regression"}
_TASK_KEYS = {"num_channels", "activation", "actpost_scale_factors", "fusion_scale_factors", "output_size"}
_SECTIONS = ("encoder", "dpt", "img_info")


def config_from_metadata(metadata: Mapping[str, str]) -> L4PConfig | None:
    """The configuration in a file's metadata, or None if there is no trace of one.

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
    encoder = _section(metadata, "encoder", _ENCODER_KEYS, _ENCODER_FIXED, optional=_ENCODER_DERIVED)
    dpt = _section(metadata, "dpt", _DPT_KEYS, _DPT_FIXED)
    frames, height, width = _integers(_json(metadata, "img_info"), 3, "img_info")
    patch = _integers(dpt["patch_size"], 3, "dpt.patch_size")
    dim = _integer(encoder["embed_dim"], "encoder.embed_dim")
    config = L4PConfig(
        frames=frames,
        height=height,
        width=width,
        patch=patch,
        dim=dim,
        blocks=_integer(encoder["depth"], "encoder.depth"),
        heads=_integer(encoder["num_heads"], "encoder.num_heads"),
        # A ratio such as 48/11 is not exact in binary; upstream truncates, so do not fall below the meant integer.
        mlp_hidden=int(dim * _number(encoder["mlp_ratio"], "encoder.mlp_ratio") + 1e-6),
        eps=_number(encoder["norm_eps"], "encoder.norm_eps"),
        feature_dim=_integer(dpt["feature_dim"], "dpt.feature_dim"),
        last_dim=_integer(dpt["last_dim"], "dpt.last_dim"),
        layer_dims=_integers(dpt["layer_dims"], 4, "dpt.layer_dims"),
        tasks={task: _task(metadata, task, dpt["hooks_idx"]) for task in tasks},
    )
    for key, expected in _derived(config).items():
        if key in encoder and encoder[key] != expected:
            raise ValueError(
                f"encoder.{key} must be {expected} to agree with img_info and dpt.patch_size, found {encoder[key]!r}."
            )
    return config


def config_to_metadata(config: L4PConfig) -> dict[str, str]:
    """The sections that `config_from_metadata` reads back to the same configuration."""
    shared_hooks = next(iter(config.tasks.values())).hooks
    sections: dict[str, Any] = {
        "encoder": {
            "embed_dim": config.dim,
            "depth": config.blocks,
            "num_heads": config.heads,
            "mlp_ratio": config.mlp_hidden / config.dim,
            "norm_eps": config.eps,
            **_ENCODER_FIXED,
            **_derived(config),
        },
        "dpt": {
            "feature_dim": config.feature_dim,
            "last_dim": config.last_dim,
            "layer_dims": config.layer_dims,
            "hooks_idx": shared_hooks,
            "patch_size": config.patch,
            **_DPT_FIXED,
        },
        "img_info": (config.frames, config.height, config.width),
    }
    for name, task in config.tasks.items():
        sections[name] = {
            "num_channels": task.channels,
            "activation": task.activation,
            "actpost_scale_factors": task.actpost_scale_factors,
            "fusion_scale_factors": task.fusion_scale_factors,
            "output_size": task.output_size,
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


def _task(metadata: Mapping[str, str], name: str, shared_hooks: Any) -> TaskConfig:
    section = _section(metadata, name, _TASK_KEYS, {}, optional={"hooks_idx"})
    scales = {}
    for key in ("actpost_scale_factors", "fusion_scale_factors"):
        if not isinstance(section[key], list):
            raise ValueError(f"{name}.{key} must be a list of triples, found {section[key]!r}.")
        scales[key] = tuple(_integers(triple, 3, f"{name}.{key}") for triple in section[key])
    size = section["output_size"]
    return TaskConfig(
        channels=_integer(section["num_channels"], f"{name}.num_channels"),
        hooks=_integers(section.get("hooks_idx", shared_hooks), 4, f"{name}.hooks_idx"),
        activation=section["activation"],
        output_size=None if size is None else _integers(size, 3, f"{name}.output_size"),
        **scales,
    )


def _section(
    metadata: Mapping[str, str], name: str, required: set[str], fixed: dict[str, Any], optional: set[str] = frozenset()
) -> dict[str, Any]:
    """One section with exactly the known keys; `fixed` ones may be absent but not different."""
    section = _json(metadata, name)
    if not isinstance(section, dict):
        raise ValueError(f"{name} must be a JSON object, found {section!r}.")
    missing = sorted(required - section.keys())
    unknown = sorted(section.keys() - required - fixed.keys() - optional)
    if missing or unknown:
        raise ValueError(f"{name}: missing keys {missing}, unknown keys {unknown}.")
    for key, value in fixed.items():
        if section.get(key, value) != value:
            raise ValueError(f"{name}.{key} must be {value!r}, the only form supported, found {section[key]!r}.")
    return section


def _json(metadata: Mapping[str, str], name: str) -> Any:
    try:
        return json.loads(metadata[name])
    except json.JSONDecodeError as error:
        raise ValueError(f"{name} is not JSON: {error}.") from error


def _integer(value: Any, name: str) -> int:
    # bool is an int in Python, but `true` is never a size.
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{name} must be an integer, found {value!r}.")
    return value


def _integers(value: Any, length: int, name: str) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) != length:
        raise ValueError(f"{name} must be a list of {length} integers, found {value!r}.")
    return tuple(_integer(item, name) for item in value)


def _number(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise ValueError(f"{name} must be a number, found {value!r}.")
    return float(value)
