# SPDX-License-Identifier: Apache-2.0
"""Seam: errors about a video name the dataset, file and record it comes from.

Host names: `get_dataset` as the SFT workflow calls it, and `llamafactory.data.parser.get_dataset_list` to find the
files (0.9.3 to main of August 2026). Looked up only once an error has happened. To be removed when the host names
records in its own errors.
"""

import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

from rgpt4d_plugin.template.record_lookup import read_records
from rgpt4d_plugin.template.region_formats import check_region_formats
from rgpt4d_plugin.video import VideoError


def naming_the_record(get_dataset: Callable[..., Any], data_args: Any) -> Callable[..., Any]:
    """Wraps the host's `get_dataset`: a VideoError says where the video is used, and no regions are left unread."""

    @functools.wraps(get_dataset)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        check_region_formats(data_args)
        try:
            return get_dataset(*args, **kwargs)
        except VideoError as err:
            raise VideoError(f"{err}{where_used(err.entry, data_args)}", err.entry) from err

    return wrapped


def where_used(video: Any, data_args: Any) -> str:
    """' (dataset ..., file ..., record ..., field ..., media_dir ...)' of the first record with `video`, or ''.

    Records are counted from 0.
    """
    for name, path, column in _record_files(data_args):
        for number, record in enumerate(read_records(path)):
            entries = record.get(column) if isinstance(record, dict) else None
            if video in _as_given(entries or [], data_args.media_dir):
                media_dir = data_args.media_dir
                return f" (dataset {name!r}, file {path}, record {number}, field {column!r}, media_dir {media_dir})"
    return ""


def _as_given(entries: Any, media_dir: str) -> Iterator[Any]:
    """What the host may make of a record's videos and frames: it puts `media_dir` before those it finds there."""
    if isinstance(entries, list):
        for entry in entries:
            yield from _as_given(entry, media_dir)
    elif isinstance(entries, dict):  # {"path": ..., "start": ..., "end": ...}
        yield entries
        yield from _as_given(entries.get("path"), media_dir)
    else:
        yield entries
        if isinstance(entries, str):
            yield os.path.join(media_dir, entries)


def _record_files(data_args: Any) -> Iterator[tuple[str, str, str]]:
    """Dataset name, JSON or JSONL file and video column of every local dataset of the run."""
    from llamafactory.data.parser import get_dataset_list

    names = [*(data_args.dataset or []), *(data_args.eval_dataset or [])]
    for name, attributes in zip(names, get_dataset_list(names, data_args.dataset_dir), strict=True):
        if attributes.load_from == "file" and attributes.videos:
            path = os.path.join(data_args.dataset_dir, attributes.dataset_name)
            for file in [os.path.join(path, file) for file in os.listdir(path)] if os.path.isdir(path) else [path]:
                if file.endswith((".json", ".jsonl")):
                    yield name, file, attributes.videos
