# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's `LogCallback` writes a fixed set of keys to trainer_log.jsonl; this adds the loss terms.

Host names: `llamafactory.train.callbacks.LogCallback.on_log` and `_write_log` (0.9.3 to main of August 2026). Only
the one object of the run is touched. To be removed when the host writes every logged key.
"""

from collections.abc import Callable, Iterable
from typing import Any

from rgpt4d_plugin.seams import require


def extend(callbacks: Iterable[Any], keys: Iterable[str]) -> Callable[[], None]:
    """Lets every LogCallback among `callbacks` also write `keys`, where logged; returns the undo function."""
    from llamafactory.train.callbacks import LogCallback

    require(LogCallback, "on_log", "_write_log")
    keys = tuple(keys)
    extended = [(callback, callback.on_log) for callback in callbacks if isinstance(callback, LogCallback)]
    for callback, _ in extended:
        _extend_one(callback, keys)

    def undo() -> None:
        for callback, on_log in extended:
            callback.on_log = on_log

    return undo


def _extend_one(callback: Any, keys: tuple[str, ...]) -> None:
    on_log = callback.on_log

    def on_log_with_terms(args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        write_log = callback._write_log  # the class's, or that of an extension around this one
        latest = state.log_history[-1]
        terms = {key: latest[key] for key in keys if key in latest}
        # on_log hands `self._write_log` to a thread: it must carry these terms, not those of a later step.
        callback._write_log = lambda output_dir, logs: write_log(output_dir, {**logs, **terms})
        try:
            on_log(args, state, control, **kwargs)
        finally:
            callback._write_log = write_log

    callback.on_log = on_log_with_terms
