# SPDX-License-Identifier: Apache-2.0
"""Marker file (`rgpt4d_tpe.json`) saved with adapters trained with TPE; the base model's config cannot record it."""

import json
import os
import sys
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.utils import cached_file

from rgpt4d_plugin.files import read_json, write_whole
from rgpt4d_plugin.modeling import TimestampEncoding


MARKER_FILE = "rgpt4d_tpe.json"
"""Beside `adapter_config.json`."""
_REMEDY = "copy the file of the training run again, with the adapter"


def write_marker(folder: str | os.PathLike, encoding: TimestampEncoding) -> None:
    """Marks an adapter's folder."""
    write_whole(Path(folder, MARKER_FILE), json.dumps(asdict(encoding)) + "\n")


def read_marker(adapter: str, **hub: Any) -> TimestampEncoding | None:
    """Returns the encoding that an adapter, a folder or hub id, was trained with, or None.

    `hub` may have `cache_dir`, `revision` and `token` for the hub.

    Raises:
        ValueError: The adapter has a marker, but it does not say the encoding.
    """
    quiet = ("gated_repo", "missing_entries", "connection_errors")
    path = cached_file(adapter, MARKER_FILE, **hub, **{f"_raise_exceptions_for_{case}": False for case in quiet})
    if path is None:
        return None
    found = read_json(Path(path), _REMEDY)
    names = {field.name for field in fields(TimestampEncoding)}
    if not isinstance(found, dict) or set(found) != names or not all(map(_is_positive, found.values())):
        shown = f"{json.dumps(found):.200}"
        raise ValueError(f"{path}: expected positive numbers {' and '.join(sorted(names))}, found {shown}: {_REMEDY}")
    return TimestampEncoding(**{name: float(value) for name, value in found.items()})


def _is_positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= sys.float_info.max


class MarkerCallback(TrainerCallback):
    """Marks every adapter that a run saves."""

    def __init__(self, encoding: TimestampEncoding) -> None:
        self._encoding = encoding

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.is_world_process_zero:
            write_marker(os.path.join(args.output_dir, f"checkpoint-{state.global_step}"), self._encoding)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # The host saves the final adapter into this folder right after.
        if state.is_world_process_zero:
            os.makedirs(args.output_dir, exist_ok=True)
            write_marker(args.output_dir, self._encoding)
