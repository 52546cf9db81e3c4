# SPDX-License-Identifier: Apache-2.0
"""Marker file of adapters trained with TPE, since the configuration of the base model cannot record it."""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transformers import TrainerCallback
from transformers.utils import cached_file

from rgpt4d_plugin.modeling import TimestampEncoding


MARKER_FILE = "rgpt4d_tpe.json"
"""Beside `adapter_config.json`."""


def write_marker(folder: str | os.PathLike, encoding: TimestampEncoding) -> None:
    """Marks an adapter's folder."""
    Path(folder, MARKER_FILE).write_text(json.dumps(asdict(encoding)) + "\n", encoding="utf-8")


def read_marker(adapter: str, **hub: Any) -> TimestampEncoding | None:
    """The encoding that an adapter was trained with, or None.

    Args:
        adapter: folder or hub id.
        **hub: `cache_dir`, `revision`, `token` for the hub.
    """
    quiet = ("gated_repo", "missing_entries", "connection_errors")
    path = cached_file(adapter, MARKER_FILE, **hub, **{f"_raise_exceptions_for_{case}": False for case in quiet})
    return None if path is None else TimestampEncoding(**json.loads(Path(path).read_text(encoding="utf-8")))


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
