# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3 weights in and out of files, strictly: every official name is accounted for, or nothing is loaded.

Sizes are read from the shapes of the tensors. Hooks and the size of the input, which shapes do not tell, are
those of the released networks, unless the file's metadata has them as JSON under "depth_anything_3".
"""

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from rgpt4d_plugin.teachers.base import listed, tensor_problems
from rgpt4d_plugin.teachers.depth_anything_3.config import RELEASED_HOOKS, DepthAnything3Config
from rgpt4d_plugin.teachers.depth_anything_3.model import DepthAnything3


METADATA_KEY = "depth_anything_3"
_METADATA_FIELDS = ("hooks", "frames", "height", "width")
_PREFIX = "model."
_BACKBONE = "model.backbone.pretrained."
_HEAD = "model.head."
_UNUSED = re.compile(
    # Cameras as input and output, Gaussian splats, and what gives the rays at the three coarser levels of the pyramid.
    r"model\.(cam_enc|cam_dec|gs_head|gs_adapter)\.|model\.head\.scratch\.output_conv[12]_aux\.[0-2]\."
)
ORIGIN = (
    "The weights are model.safetensors of depth-anything/DA3-SMALL or depth-anything/DA3-BASE (Apache-2.0) on the "
    "Hugging Face Hub."
)


class DepthAnything3CheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or not this network."""


def read_depth_anything_3_config(path: str | PathLike) -> DepthAnything3Config:
    """Configuration of a checkpoint, from its head alone.

    Raises:
        DepthAnything3CheckpointError: There is no such file, or it holds another network.
    """
    return _config_of(Path(path), _open(Path(path)))


def load_depth_anything_3(
    path: str | PathLike,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    encoder: bool = True,
) -> DepthAnything3:
    """The frozen network of a .safetensors file with the official names; without `encoder` its head alone.

    Tensors are cast and moved one at a time. No random numbers are drawn.

    Raises:
        DepthAnything3CheckpointError: Any weight is missing, unexpected, misshapen, or not finite.
    """
    file = _open(Path(path))
    with torch.device("meta"):  # no memory and no random initialisation
        model = DepthAnything3(_config_of(Path(path), file), encoder)
    expected = {_PREFIX + name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    unused = _UNUSED if encoder else re.compile(f"{_UNUSED.pattern}|{re.escape(_BACKBONE)}")
    _raise_for(path, tensor_problems(expected, set(file.keys()), functools.partial(_shape, file), unused.match))
    state, broken = {}, []
    for name in expected:
        tensor = file.get_tensor(name)
        if not (tensor.is_floating_point() and tensor.isfinite().all()):
            broken.append(f"{name} ({tensor.dtype})")
        state[name.removeprefix(_PREFIX)] = tensor.to(device=device, dtype=dtype, copy=True)
    _raise_for(path, {"not floating point or not finite": broken})
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def save_depth_anything_3(model: DepthAnything3, path: str | PathLike) -> None:
    """Writes weights under the official names, and hooks and the size of the input as metadata."""
    tensors = {_PREFIX + name: tensor.detach().cpu().contiguous() for name, tensor in model.named_parameters()}
    config = asdict(model.config)
    metadata = {METADATA_KEY: json.dumps({key: config[key] for key in _METADATA_FIELDS})}
    save_file(tensors, path, metadata={"format": "pt", **metadata})


def _open(path: Path) -> safe_open:
    if not path.is_file():
        raise DepthAnything3CheckpointError(f"{path} is no file; give the checkpoint itself. {ORIGIN}")
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise DepthAnything3CheckpointError(f"{path} is not a readable safetensors file: {error}. {ORIGIN}") from error


def _config_of(path: Path, file: safe_open) -> DepthAnything3Config:
    names = set(file.keys())
    normed = [int(match[1]) for name in names if (match := re.match(_BLOCK + r"attn\.q_norm\.weight$", name))]
    blocks = 1 + max((int(match[1]) for name in names if (match := re.match(_BLOCK, name))), default=-1)
    start = min(normed, default=0)
    gated = f"{_BACKBONE}blocks.0.mlp.w3.weight" in names
    needed = {
        "tokens": f"{_BACKBONE}patch_embed.proj.weight",
        "positions": f"{_BACKBONE}pos_embed",
        "head": f"{_BACKBONE}blocks.{start}.attn.q_norm.weight",
        "mlp": f"{_BACKBONE}blocks.0.mlp.{'w3' if gated else 'fc2'}.weight",
        **{f"layer{level}": f"{_HEAD}scratch.layer{level}_rn.weight" for level in (1, 2, 3, 4)},
        "rays": f"{_HEAD}scratch.refinenet4_aux.out_conv.weight",
    }
    missing = sorted(name for name in needed.values() if name not in names)
    if missing:
        raise DepthAnything3CheckpointError(
            f"{path} holds no any-view Depth Anything 3 with depth and rays: it lacks {missing}. Its networks for one "
            f"view (MONO, METRIC) and for two networks in one (NESTED) are not covered. {ORIGIN}"
        )
    shapes = {key: _shape(file, name) for key, name in needed.items()}
    try:
        told = json.loads((file.metadata() or {}).get(METADATA_KEY, "{}"))
        if unknown := sorted(told.keys() - set(_METADATA_FIELDS)):
            raise ValueError(f"its metadata has unknown keys {unknown}; known: {list(_METADATA_FIELDS)}")
        hooks = told.pop("hooks", None) or RELEASED_HOOKS.get(blocks)
        if hooks is None:
            raise ValueError(
                f"no released network has {blocks} blocks (they have {list(RELEASED_HOOKS)}): give the head's hooks "
                f'in the metadata {METADATA_KEY!r}, such as {{"hooks": [5, 7, 9, 11]}}'
            )
        return DepthAnything3Config(
            patch=shapes["tokens"][2],
            dim=shapes["tokens"][0],
            blocks=blocks,
            heads=shapes["tokens"][0] // shapes["head"][0],
            mlp="swiglu" if gated else "gelu",
            mlp_hidden=shapes["mlp"][1],
            position_side=round((shapes["positions"][1] - 1) ** 0.5),
            alternate_from=start,
            hooks=tuple(hooks),
            feature_dim=shapes["layer1"][0],
            layer_dims=tuple(shapes[f"layer{level}"][1] for level in (1, 2, 3, 4)),
            **told,
        )
    except (ValueError, TypeError, AttributeError, IndexError) as error:
        raise DepthAnything3CheckpointError(
            f"{path}: {error} (sizes are those of the tensors, and of the metadata {METADATA_KEY!r}). {ORIGIN}"
        ) from error


_BLOCK = re.escape(f"{_BACKBONE}blocks.") + r"(\d+)\."


def _shape(file: safe_open, name: str) -> tuple[int, ...]:
    return tuple(file.get_slice(name).get_shape())


def _raise_for(path: str | PathLike, problems: Mapping[str, list[str]]) -> None:
    """Raises one error that lists every problem, if there is any."""
    if found := listed(problems):
        raise DepthAnything3CheckpointError(
            f"{path} does not hold the expected Depth Anything 3 weights.\n{found}\n{ORIGIN}"
        )
