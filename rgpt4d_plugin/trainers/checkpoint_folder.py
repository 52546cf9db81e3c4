# SPDX-License-Identifier: Apache-2.0
"""Folders of checkpoints, the last of which an interrupted run leaves incomplete."""

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from transformers.trainer import TRAINER_STATE_NAME

from rgpt4d_plugin.files import write_whole


DECODER_FILE = "p4d_decoder.safetensors"
"""The decoder's weights in a checkpoint folder, for resuming."""

_PARTS = {
    "the student's configuration": ("config.json", "adapter_config.json", "pytorch_model*", "global_step*"),
    "the student's weights": ("model*.safetensors", "adapter_model*", "pytorch_model*", "global_step*"),
    "the optimizer's state": ("optimizer*", "global_step*"),
}
"""What must be there -> how it is called alone, by FSDP and by DeepSpeed. Without an optimizer's state the Trainer
would go on with a new one, and without a configuration make a model of the default size; it would say nothing."""

_SHAPES = ("p4d.tpe", "p4d.decoder.layers", "p4d.decoder.hidden_size")
"""Settings without which the weights do not fit, or fit another model."""


def write_decoder(folder: str | Path, state: dict[str, torch.Tensor], settings: Mapping[str, Any]) -> None:
    """Writes the decoder's weights into a checkpoint folder, made if need be, whole or not at all.

    Args:
        settings: Those of the block, by their keys in the recipe; `check_resumable` compares them.
    """
    path = Path(folder, DECODER_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, save(state, {"settings": json.dumps(settings)}))


def check_resumable(folder: str | Path, settings: Mapping[str, Any]) -> list[str]:
    """Checks a checkpoint as far as that goes without loading it; the Trainer takes the files one after the other.

    Returns:
        The settings that have changed since, each as "key: before, now".

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is cut off. Both name the newest checkpoint beside this one that is complete. Or the
            checkpoint is of a run with other weights.
    """
    folder = Path(folder)
    _check_files(folder)
    with safe_open(folder / DECODER_FILE, "pt") as file:
        saved = json.loads((file.metadata() or {}).get("settings", "{}"))
    changed = {
        key: f"{key}: {saved[key]!r} before, {value!r} now"
        for key, value in settings.items()
        if key in saved and saved[key] != value
    }
    if unfit := [said for key, said in changed.items() if key in _SHAPES]:
        raise ValueError(
            f"cannot resume: {folder} was trained with other settings: {'; '.join(unfit)}. Set them back, or start "
            "anew from its weights (model_name_or_path)"
        )
    return list(changed.values())


def _check_files(folder: Path) -> None:
    try:
        _check(folder)
    except (FileNotFoundError, ValueError) as err:
        complete = _newest_complete(folder)
        advice = (
            f"resume_from_checkpoint: {complete} is complete" if complete else "no checkpoint beside it is complete"
        )
        raise type(err)(f"cannot resume: {err}; {advice}") from None


def _check(folder: Path) -> None:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    state = folder / TRAINER_STATE_NAME  # written last
    if not state.is_file():
        raise FileNotFoundError(f"{state} is missing, so the run ended while it was saving this checkpoint")
    if not (folder / DECODER_FILE).is_file():
        raise FileNotFoundError(
            f"{folder / DECODER_FILE} is missing; the checkpoint was saved without `p4d:` or with save_only_model"
        )
    for part, names in _PARTS.items():
        if not any(next(folder.glob(name), None) for name in names):
            raise FileNotFoundError(f"{folder / names[0]} is missing, and with it {part}")
    for path in sorted(folder.iterdir()):
        if not _is_whole(path):
            raise ValueError(f"{path} is cut off or damaged")


def _is_whole(path: Path) -> bool:
    """Returns False for a file that ends too early, as far as its kind shows it."""
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".safetensors":
            with safe_open(path, "pt"):
                pass
    except (ValueError, SafetensorError):
        return False
    return path.suffix not in (".pt", ".pth") or zipfile.is_zipfile(path)


def _newest_complete(folder: Path) -> Path | None:
    """Returns the complete checkpoint of the most steps beside `folder`, other than it."""
    steps = {}
    for path in folder.parent.glob("checkpoint-*"):
        number = path.name.removeprefix("checkpoint-")
        if number.isdecimal() and path != folder:
            try:
                _check(path)
            except (FileNotFoundError, ValueError):
                continue
            steps[int(number)] = path
    return steps[max(steps)] if steps else None
