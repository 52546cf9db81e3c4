# SPDX-License-Identifier: Apache-2.0
"""Which record of a dataset an error comes from: looked up in the files once an error has happened.

The host hands a converter one record at a time and no number, and templates and collators get less than that.
"""

import json
import os
from collections.abc import Iterator
from typing import Any


_converters: list[Any] = []
"""Converters of this process's datasets, in the order in which the host made them."""


def remember(converter: Any) -> None:
    """Makes a dataset's records known to `where_used`."""
    _converters[:] = [other for other in _converters if other.dataset_attr != converter.dataset_attr]
    _converters.append(converter)


def where_used(entry: Any) -> str:
    """'dataset ..., file ..., record ...: ' of the first record whose `videos` or `images` hold an entry, or ''."""
    for converter in reversed(_converters):
        for path, number, record in records(converter):
            try:
                converted = converter.convert(record)
            except ValueError:  # another record of the file is wrong too
                continue
            if entry in [*(converted["_videos"] or []), *(converted["_images"] or [])]:
                return place_name(converter, path, number)
    return ""


def place_name(converter: Any, path: str, number: int) -> str:
    """How errors name a record; numbers are counted from 0."""
    return f"dataset {converter.dataset_attr.dataset_name!r}, file {path}, record {number}: "


def records(converter: Any) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(file, number, record) of a converter's local JSON or JSONL files; nothing for datasets from elsewhere."""
    attributes, data_args = converter.dataset_attr, converter.data_args
    if attributes.load_from != "file" or not isinstance(data_args.dataset_dir, str):
        return
    path = os.path.join(data_args.dataset_dir, attributes.dataset_name)
    for file in sorted(os.path.join(path, name) for name in os.listdir(path)) if os.path.isdir(path) else [path]:
        if file.endswith((".json", ".jsonl")):
            for number, record in enumerate(read_records(file)):
                if isinstance(record, dict):
                    yield file, number, _Filled(record)


class _Filled(dict):
    """A record as the datasets library gives it: columns that other records have are there, and null."""

    def __missing__(self, key: str) -> None:
        return None


def read_records(path: str) -> Iterator[Any]:
    """Records of a JSON list or of JSON lines."""
    with open(path, encoding="utf-8") as stream:
        if path.endswith(".json"):
            try:
                yield from json.load(stream)
                return
            except json.JSONDecodeError:  # JSON lines under this name: the datasets library reads them all the same
                stream.seek(0)
        yield from (json.loads(line) for line in stream if line.strip())
