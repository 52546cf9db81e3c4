# SPDX-License-Identifier: Apache-2.0
"""Finds the record of a dataset that an error comes from; the files are read only once an error has happened.

The host hands a converter one record at a time and no number, and templates and collators get less than that. Host
name: `llamafactory.data.parser.get_dataset_list` (0.9.3 to main of August 2026).
"""

import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.validation import shown
from rgpt4d_plugin.video import MediaError, VideoError


_converters: list[Any] = []
"""Converters of this process's datasets, in the order in which the host made them."""


def remember(converter: Any) -> None:
    """Makes a dataset's records known to `where_used`."""
    _converters[:] = [other for other in _converters if other.dataset_attr != converter.dataset_attr]
    _converters.append(converter)


def where_used(entry: Any, data_args: Any = None, folder: bool = False) -> str:
    """Names the first record that holds a medium: 'dataset ..., file ..., record ...', or '' if none is found.

    Records are counted from 0. With the host's `data_args`, the records of all local datasets of a run are searched;
    without, the datasets of the plugin's own formats, and `folder` adds the field and where its files are looked for.
    """
    if data_args is not None:
        return next(_uses_in_run(entry, data_args), "")
    for converter in reversed(_converters):
        for path, number, record in records(converter):
            try:
                converted = converter.convert(record)
            except ValueError:  # another record of the file is wrong too
                continue
            for field in ("videos", "images"):
                if entry in (converted[f"_{field}"] or []):
                    column = getattr(converter.dataset_attr, field)
                    where = f", field {column!r}, media_dir {converter.data_args.media_dir}" if folder else ""
                    return place_name(converter, path, number) + where
    return ""


def naming_the_record(get_dataset: Callable[..., Any], data_args: Any) -> Callable[..., Any]:
    """Wraps the host's `get_dataset`: what it cannot read is named with its record, and no regions are unread."""

    @functools.wraps(get_dataset)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        # On use: it imports the host's data package, whose own import activates what imports this module.
        from rgpt4d_plugin.template.region_formats import check_region_formats

        _converters.clear()  # those of an earlier run of this process
        check_region_formats(data_args)
        try:
            return get_dataset(*args, **kwargs)
        except VideoError as err:
            where = where_used(err.entry, data_args)
            raise VideoError(f"{err} ({where})" if where else str(err), err.entry) from err
        except (MediaError, P4DConfigError):
            raise
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as err:
            from rgpt4d_plugin.template.wrong_records import first_wrong_record

            wrong = first_wrong_record(data_args)
            if wrong is None:
                raise
            raise wrong from err

    return wrapped


def place_name(converter: Any, path: str, number: int) -> str:
    """Returns the name of a record of a converter's dataset in errors."""
    return f"dataset {converter.dataset_attr.dataset_name!r}, file {path}, record {number}"


def records(converter: Any) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Yields (file, number, record) of a converter's local JSON or JSONL files; nothing for other datasets."""
    for file in dataset_files(converter.dataset_attr, converter.data_args):
        for number, record in enumerate(read_records(file)):
            if isinstance(record, dict):
                yield file, number, Filled(record)


class Filled(dict):
    """A record as the datasets library gives it: columns that other records have are there, and null."""

    def __missing__(self, key: str) -> None:
        return None


def read_records(path: str) -> Iterator[Any]:
    """Yields the records of a JSON list or of JSON lines."""
    with open(path, encoding="utf-8") as stream:
        if path.endswith(".json"):
            try:
                yield from json.load(stream)
                return
            except json.JSONDecodeError:  # JSON lines under this name: the datasets library reads them all the same
                stream.seek(0)
        yield from (json.loads(line) for line in stream if line.strip())


def check_begin(attributes: Any, data_args: Any) -> None:
    """Raises RegionError for a local dataset without records, of which the datasets library says nothing useful.

    Of a file that holds null its reader ends the process.
    """
    files, problem = dataset_files(attributes, data_args), None
    for file in files:
        with open(file, "rb") as stream:
            begin = stream.read(1 << 16).removeprefix(b"\xef\xbb\xbf").strip()
        if not re.match(rb"\{|\[\s*(\{|\]|\Z)|\Z", begin):
            problem = (
                f"expected a JSON list of objects, or an object a line, got {shown(begin[:40].decode('latin-1'))}"
            )
        elif re.fullmatch(rb"(\[\s*\]|\{\s*\})?", begin) and len(files) == 1:
            problem = "there are no records"
        if problem is not None:
            from rgpt4d_plugin.regions.region import RegionError  # a run without regions has no use for that room

            raise RegionError(f"dataset {attributes.dataset_name!r}, file {file}: {problem}")


def dataset_names(data_args: Any) -> list[str]:
    """Names of the datasets of a run, those for evaluation included."""
    return [*(data_args.dataset or []), *(data_args.eval_dataset or [])]


def _uses_in_run(entry: Any, data_args: Any) -> Iterator[str]:
    from llamafactory.data.parser import get_dataset_list

    names = dataset_names(data_args)
    for name, attributes in zip(names, get_dataset_list(names, data_args.dataset_dir), strict=True):
        column = attributes.videos
        for file in dataset_files(attributes, data_args) if column else ():
            for number, record in enumerate(read_records(file)):
                entries = record.get(column) if isinstance(record, dict) else None
                if entry in _as_given(entries or [], data_args.media_dir):
                    field = f"field {column!r}, media_dir {data_args.media_dir}"
                    yield f"dataset {name!r}, file {file}, record {number}, {field}"


def _as_given(entries: Any, media_dir: str) -> Iterator[Any]:
    """Yields what the host may make of a record's videos and frames: it puts `media_dir` before those it finds."""
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


def dataset_files(attributes: Any, data_args: Any) -> list[str]:
    """The JSON and JSONL files of a local dataset that are there."""
    if attributes.load_from != "file" or not isinstance(data_args.dataset_dir, str):
        return []
    path = os.path.join(data_args.dataset_dir, attributes.dataset_name)
    files = sorted(os.path.join(path, name) for name in os.listdir(path)) if os.path.isdir(path) else [path]
    return [file for file in files if file.endswith((".json", ".jsonl")) and os.path.isfile(file)]
