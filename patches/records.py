# SPDX-License-Identifier: Apache-2.0
"""Seam: errors about a video name the dataset, file and record it comes from.

Host names: `get_dataset` as the SFT workflow calls it, and `llamafactory.data.parser.get_dataset_list` to find the
files (0.9.3 to main of August 2026). Looked up only once an error has happened. To be removed when the host names
records in its own errors.
"""

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

from rgpt4d_plugin.video import VideoError


def naming_the_record(get_dataset: Callable[..., Any], data_args: Any) -> Callable[..., Any]:
    """Wraps the host's `get_dataset` so that a VideoError says where the video is used."""

    @functools.wraps(get_dataset)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return get_dataset(*args, **kwargs)
        except VideoError as err:
            raise VideoError(f"{err}{where_used(str(err), data_args)}") from err

    return wrapped


def where_used(message: str, data_args: Any) -> str:
    """' (dataset ..., file ..., record ..., field videos)' for the first record whose video `message` names, or ''."""
    for name, path, column in _record_files(data_args):
        for number, record in enumerate(_records(path)):
            videos = record.get(column) if isinstance(record, dict) else None
            for video in videos if isinstance(videos, list) else [videos]:
                if isinstance(video, str) and video and video in message:
                    return f" (dataset {name!r}, file {path}, record {number}, field {column!r})"
    return ""


def _record_files(data_args: Any) -> Iterator[tuple[str, str, str]]:
    """Dataset name, JSON or JSONL file and video column of every local dataset of the run."""
    from llamafactory.data.parser import get_dataset_list

    names = [*(data_args.dataset or []), *(data_args.eval_dataset or [])]
    for name, attributes in zip(names, get_dataset_list(names, data_args.dataset_dir), strict=True):
        if attributes.load_from == "file" and attributes.videos:
            path = os.path.join(data_args.dataset_dir, attributes.dataset_name)
            if path.endswith((".json", ".jsonl")):
                yield name, path, attributes.videos


def _records(path: str) -> Iterator[Any]:
    with open(path, encoding="utf-8") as stream:
        if path.endswith(".jsonl"):
            yield from (json.loads(line) for line in stream if line.strip())
        else:
            yield from json.load(stream)
