# SPDX-License-Identifier: Apache-2.0
"""Folders of checkpoints: one run at a time writes into them, and an interrupted one leaves the last incomplete."""

import errno
import json
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from transformers.trainer import TRAINER_STATE_NAME


DECODER_FILE = "p4d_decoder.safetensors"
"""The decoder's weights in a checkpoint folder, for resuming."""


@contextmanager
def only_run_in(folder: str | Path) -> Iterator[None]:
    """Holds an output folder for one training, made if need be; the end of the process, however it comes, frees it.

    Raises:
        RuntimeError: Another training holds it.
    """
    import fcntl

    os.makedirs(folder, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RuntimeError(
                f"output_dir: {folder}: another training is writing into it; wait for its end or choose another folder"
            ) from None
        except OSError as err:  # some network file systems have no locks
            if err.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EBADF):
                raise
        yield
    finally:
        os.close(handle)


def write_decoder(folder: str | Path, state: dict[str, torch.Tensor]) -> None:
    """Writes the decoder's weights into a checkpoint folder, made if need be, whole or not at all.

    Raises:
        OSError: They cannot be written, as on a full disk.
    """
    os.makedirs(folder, exist_ok=True)
    path = Path(folder) / DECODER_FILE
    unfinished = path.with_suffix(".tmp")
    try:
        save_file(state, unfinished)
    except SafetensorError as err:
        unfinished.unlink(missing_ok=True)
        raise OSError(f"{path} cannot be written: {err}") from err
    os.replace(unfinished, path)


def check_resumable(folder: str | Path) -> None:
    """Checks what can be checked of a checkpoint without loading it; the Trainer takes the files one after the other.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is cut off. Both name the newest checkpoint beside this one that is complete.
    """
    folder = Path(folder)
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
