# SPDX-License-Identifier: Apache-2.0
"""L4P weights in and out of files, strictly: every official name is accounted for, or nothing is loaded.

Names: L4P, NVlabs/L4P commit 8701a4b.
"""

import pickle
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from rgpt4d_plugin.teachers.base import listed, tensor_problems
from rgpt4d_plugin.teachers.l4p.config import RELEASED, L4PConfig
from rgpt4d_plugin.teachers.l4p.metadata import config_from_metadata, config_to_metadata
from rgpt4d_plugin.teachers.l4p.model import L4P


_PREFIX = "l4p_model."
_TORCH_SUFFIXES = (".ckpt", ".pt", ".pth")
_LISTED = 20
_FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
ORIGIN = (
    "The official weights come from https://github.com/NVlabs/L4P (non-commercial licence); "
    "the checkpoint is one Lightning .ckpt file."
)
_CONVERT = (
    "If you trust the file, convert it once with torch.load(path, weights_only=False)['state_dict'] and "
    "safetensors.torch.save_file({name: tensor.clone() for name, tensor in ...items()}, 'l4p.safetensors')."
)


class L4PCheckpointError(ValueError):
    """A checkpoint that is not there, not readable, or not this network."""


@dataclass(frozen=True)
class _Source:
    """Tensors that are read one at a time."""

    label: str
    names: frozenset[str]
    read_shape: Callable[[str], tuple[int, ...]]
    read: Callable[[str], Tensor]


def read_l4p_config(checkpoint: str | PathLike | Mapping[str, Tensor]) -> L4PConfig:
    """Returns the configuration in the metadata of a safetensors file, else the released one; reads no tensors.

    Raises:
        L4PCheckpointError: If there is no such checkpoint or its metadata is not valid.
    """
    if isinstance(checkpoint, Mapping):
        return RELEASED
    path = _check_path(checkpoint)
    if path.suffix in _TORCH_SUFFIXES:
        return RELEASED
    return _config_of(path, _open_safetensors(path))


def load_l4p(
    checkpoint: str | PathLike | Mapping[str, Tensor],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    *,
    tasks: Iterable[str] | None = None,
    config: L4PConfig | None = None,
    encoder: bool = True,
) -> L4P:
    """Returns a frozen L4P with the weights of a checkpoint, in eval mode for good.

    Tensors are cast and moved one at a time, so that the peak memory is about the model in `dtype`. No random numbers
    are drawn.

    Args:
        checkpoint: Lightning file (.ckpt, .pt, .pth), .safetensors file, or mapping, with the official names.
        dtype: Floating dtype of the weights.
        device: Where the weights go.
        tasks: Heads to build and load; None for all of the configuration.
        config: Sizes; None for those in the file's metadata, else the released ones.
        encoder: False: build and load heads alone.

    Raises:
        L4PCheckpointError: If the checkpoint cannot be read or any weight is missing, unexpected, or misshapen.
        ValueError: If a task is not in the configuration.
    """
    if dtype not in _FLOATS:
        raise ValueError(f"dtype must be one of {list(_FLOATS)}, found {dtype}.")
    source, stored_config = _open(checkpoint)
    config = config or stored_config
    tasks = config.check_tasks(config.tasks if tasks is None else tasks)
    with torch.device("meta"):  # No memory and no random initialisation.
        model = L4P(replace(config, tasks={task: config.tasks[task] for task in tasks}), encoder)
    targets = _targets(model)
    skipped = tuple(f"{_PREFIX}task_heads.{task}." for task in config.tasks if task not in tasks)
    skipped += () if encoder else (f"{_PREFIX}video_encoder.",)
    _check(source, targets, skipped)

    state = {}
    for name, (parameter, official) in targets.items():
        tensor = source.read(official[0]).detach()
        if not tensor.is_floating_point():
            raise L4PCheckpointError(f"{source.label}: {official[0]} must be floating point, found {tensor.dtype}.")
        # A fresh copy even without a cast, so that neither the caller's tensors nor a mapped file are shared.
        state[name] = torch.empty(parameter.shape, dtype=dtype, device=device).copy_(tensor)
        if not state[name].isfinite().all():
            raise L4PCheckpointError(
                f"{source.label}: {official[0]} holds NaN or infinity as {dtype}. Such a teacher would destroy the "
                f"student; get the file again. {ORIGIN}"
            )
    model.load_state_dict(state, assign=True)
    return model.freeze()


def save_l4p(model: L4P, path: str | PathLike) -> None:
    """Writes a .safetensors file for `load_l4p`: weights by their official names, the configuration as metadata."""
    if Path(path).suffix != ".safetensors":
        raise ValueError(f"L4P weights are saved as .safetensors, found {str(path)!r}.")
    tensors = {}
    for parameter, names in _targets(model).values():
        for name in names:
            # Copies, since safetensors does not store two names of one memory.
            tensors[name] = parameter.detach().to("cpu", copy=True).contiguous()
    save_file(tensors, path, metadata={"format": "pt", **config_to_metadata(model.config)})


def _targets(model: L4P) -> dict[str, tuple[Tensor, tuple[str, ...]]]:
    """Returns, per parameter name, the parameter and its official names."""
    return {name: (parameter, _official_names(name)) for name, parameter in model.named_parameters()}


def _official_names(name: str) -> tuple[str, ...]:
    """Returns the official names of a parameter; the projections of the pyramid levels have two."""
    if name.startswith("task_heads."):
        _, task, rest = name.split(".", 2)
        name = f"task_heads.{task}.task_head.dpt.{rest}"
    for level in (1, 2, 3, 4):
        single = f".scratch.layer{level}_rn."
        if single in name:
            # Upstream registers the four layers a second time in a list, and both names are in the checkpoint.
            return _PREFIX + name, _PREFIX + name.replace(single, f".scratch.layer_rn.{level - 1}.")
    return (_PREFIX + name,)


def _is_known_extra(name: str) -> bool:
    """Returns whether a dense teacher leaves a name out: tracking, aligners, recorded inputs and outputs."""
    return name.startswith((_PREFIX + "task_heads.track_2d.", "io.")) or any(
        "aligner" in component for component in name.split(".")
    )


def _check(source: _Source, targets: Mapping[str, tuple[Tensor, tuple[str, ...]]], skipped: tuple[str, ...]) -> None:
    """Raises one error that lists everything that is wrong with the tensors."""
    expected = {name: tuple(parameter.shape) for parameter, names in targets.values() for name in names}
    problems = tensor_problems(
        expected, source.names, source.read_shape, lambda name: name.startswith(skipped) or _is_known_extra(name)
    )
    if not any(problems.values()):
        # Reading values is slow, so it waits until names and shapes are right.
        problems = {"two names of one weight, but different values": list(_differing_copies(source, targets))}
    if found := listed(problems):
        raise L4PCheckpointError(
            f"{source.label} does not hold the expected L4P weights.\n{found}\n"
            "If this is a network of another size, pass its config, or a .safetensors file with the configuration in "
            f"its metadata. {ORIGIN}"
        )


def _differing_copies(source: _Source, targets: Mapping[str, tuple[Tensor, tuple[str, ...]]]) -> Iterator[str]:
    for _, official in targets.values():
        if len(official) == 2 and not torch.equal(*(source.read(name).nan_to_num() for name in official)):
            yield f"{official[0]} and {official[1]}"


def _open(checkpoint: str | PathLike | Mapping[str, Tensor]) -> tuple[_Source, L4PConfig]:
    if isinstance(checkpoint, Mapping):
        return _mapping_source("The given mapping", checkpoint), RELEASED
    path = _check_path(checkpoint)
    if path.suffix in _TORCH_SUFFIXES:
        return _mapping_source(str(path), _read_lightning(path)), RELEASED
    file = _open_safetensors(path)
    source = _Source(
        label=str(path),
        names=frozenset(file.keys()),
        read_shape=lambda name: tuple(file.get_slice(name).get_shape()),
        read=file.get_tensor,
    )
    return source, _config_of(path, file)


def _mapping_source(label: str, tensors: Mapping[str, Tensor]) -> _Source:
    others = [name for name, value in tensors.items() if not isinstance(value, Tensor)]
    if others:
        raise L4PCheckpointError(f"{label} must hold tensors only, but {others[:_LISTED]} are not. {ORIGIN}")
    return _Source(label, frozenset(tensors), lambda name: tuple(tensors[name].shape), tensors.__getitem__)


def _check_path(checkpoint: str | PathLike) -> Path:
    """Returns the path, if a file of a known kind is there."""
    path = Path(checkpoint)
    if path.is_dir():
        raise L4PCheckpointError(f"{path} is a directory; give the checkpoint file in it. {ORIGIN}")
    if not path.is_file():
        raise L4PCheckpointError(f"{path} does not exist. {ORIGIN}")
    if path.suffix not in (*_TORCH_SUFFIXES, ".safetensors"):
        raise L4PCheckpointError(
            f"{path} is not a known kind of checkpoint; expected one of {[*_TORCH_SUFFIXES, '.safetensors']}. {ORIGIN}"
        )
    # Only zip files can be mapped into memory; this also keeps older pickles away from the unpickler.
    if path.suffix in _TORCH_SUFFIXES and not zipfile.is_zipfile(path):
        raise L4PCheckpointError(
            f"{path} is not a checkpoint in PyTorch's zip format; the download may be incomplete. {ORIGIN}"
        )
    return path


def _read_lightning(path: Path) -> Mapping[str, Tensor]:
    """Returns the tensors of a Lightning file, mapped from disk. Code in the file is never run."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL (\S+)", str(error))
        what = refused.group(1) if refused else str(error)
        raise L4PCheckpointError(
            f"{path} holds more than tensors and was not loaded, since that could run code; refused: {what}. "
            f"{_CONVERT} {ORIGIN}"
        ) from error
    except (RuntimeError, EOFError, OSError) as error:
        raise L4PCheckpointError(f"{path} is not a readable PyTorch checkpoint: {error} {ORIGIN}") from error
    state = content.get("state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping):
        found = sorted(map(str, content))[:_LISTED] if isinstance(content, Mapping) else type(content).__name__
        raise L4PCheckpointError(f"{path} has no dictionary 'state_dict', found {found}. {ORIGIN}")
    return state


def _open_safetensors(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise L4PCheckpointError(f"{path} is not a readable safetensors file: {error}. {ORIGIN}") from error


def _config_of(path: Path, file: safe_open) -> L4PConfig:
    try:
        return config_from_metadata(file.metadata() or {}) or RELEASED
    except ValueError as error:
        raise L4PCheckpointError(f"{path}: {error}") from error
