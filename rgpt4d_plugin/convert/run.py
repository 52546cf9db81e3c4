# SPDX-License-Identifier: Apache-2.0
"""Runs a conversion and writes its datasets.

    OUT/<name>.jsonl          one record a line, in the order of the source; JSON Lines, because the host's reader then
                              takes the types as they are written and holds a part of the file at a time
    OUT/<name>.summary.json   what was read, what was left out and why, from which files
    OUT/dataset_info.json     created or extended; last, so a dataset that is registered is complete

Same input, same bytes. Each file appears under its name only once it is complete.
"""

import hashlib
import importlib
import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from tqdm import tqdm

from rgpt4d_plugin._version import __version__
from rgpt4d_plugin.convert import SOURCES, source_name
from rgpt4d_plugin.convert.records import IMAGE, VIDEO, BadRecord, Dataset, LeftOut, Record, Row
from rgpt4d_plugin.files import parse_json, read_registry, register, registry_entry, replacing, write_json


@dataclass
class Tally:
    """Counts of the entries of a dataset's files."""

    entries: int = 0
    records: int = 0
    kinds: Counter = field(default_factory=Counter)
    remarks: Counter = field(default_factory=Counter)
    left_out: list[dict[str, Any]] = field(default_factory=list)
    broken: int = 0


@dataclass(frozen=True)
class Converted:
    """The datasets that were written, and where the recipe finds them."""

    datasets: list[Dataset]
    tallies: list[Tally]
    out: Path
    media_dir: Path


def convert(
    source: str,
    src: str | os.PathLike,
    out: str | os.PathLike,
    skip_bad: int = 0,
    media_root: str | os.PathLike | None = None,
) -> Converted:
    """Converts all datasets of a source that are there.

    Args:
        source: Key of `SOURCES`.
        src: The downloaded folder. It is only read.
        out: The host's dataset_dir. Datasets that are registered there already are kept.
        skip_bad: Greatest number of broken entries to leave out, over all files.
        media_root: The host's media_dir, to which the paths in the records are relative. Default: the folder of the
            media.

    Raises:
        ValueError: if the folder is not the source, or for one broken entry too many.
    """
    if skip_bad < 0:
        raise ValueError(f"--skip-bad must be 0 or more, found {skip_bad}.")
    # Not resolved: data that is linked into place must keep the path it was given.
    src, out = Path(os.path.abspath(src)), Path(os.path.abspath(out))
    if not src.is_dir():
        raise ValueError(f"--src: no such folder: {src}")
    source = source_name(source)
    datasets = importlib.import_module(SOURCES[source]).datasets(src, out)
    media_dir = Path(os.path.abspath(media_root)) if media_root is not None else datasets[0].media_dir
    if not datasets[0].media_dir.is_relative_to(media_dir):
        raise ValueError(f"The media are in {datasets[0].media_dir}, which is not below --media-root {media_dir}.")
    out.mkdir(parents=True, exist_ok=True)
    registry = out / "dataset_info.json"
    read_registry(registry)  # a damaged one is better found before the work than after

    tallies = []
    for dataset in datasets:
        allowed = skip_bad - sum(tally.broken for tally in tallies)
        with replacing(out / f"{dataset.name}.jsonl") as file:
            tally = _write_records(dataset, file, media_dir, allowed)
            if not tally.records:
                raise ValueError(f"{dataset.name}: not one of {tally.entries} entries could be used.")
        tallies.append(tally)
        settings = {"src": str(src), "media_dir": str(media_dir), "skip_bad": skip_bad}
        write_json(out / f"{dataset.name}.summary.json", _summary(source, dataset, tally, src, settings))
        columns = ["messages", *dataset.media, *(["regions"] if dataset.regions else [])]
        formatting = "rgpt4d" if dataset.regions else "sharegpt"
        register(out, dataset.name, registry_entry(f"{dataset.name}.jsonl", formatting, columns))
    return Converted(datasets, tallies, out, media_dir)


def report(converted: Converted) -> Iterator[str]:
    """Yields lines for the terminal; the last one says what to put into the recipe."""
    for dataset, tally in zip(converted.datasets, converted.tallies):
        yield f"{dataset.name}: {tally.records} records from {tally.entries} entries"
        for reason, count in _reasons(tally).items():
            yield f"  left out, {reason}: {count}"
        for remark, count in sorted(tally.remarks.items()):
            yield f"  {count} x {remark}"
        for note in dataset.notes:
            yield f"  note: {note}"
    for name in read_registry(converted.out / "dataset_info.json"):
        path = converted.out / f"{name}.summary.json"
        try:
            other = parse_json(path.read_text(encoding="utf-8"))["settings"]["media_dir"]
        except FileNotFoundError:  # registered by hand
            continue
        except (LookupError, OSError, TypeError, ValueError):
            yield f"{path} is no summary of a conversion: remove it, or convert {name} again to learn its media_dir"
            continue
        if other != str(converted.media_dir):
            yield f"{name} has another media_dir ({other}): to mix the two, convert both with the same --media-root"
    keys = {
        "dataset": ",".join(dataset.name for dataset in converted.datasets if dataset.training),
        "eval_dataset": ",".join(dataset.name for dataset in converted.datasets if not dataset.training),
        "dataset_dir": converted.out,
        "media_dir": converted.media_dir,
    }
    yield "in the recipe: " + "; ".join(f"{key}: {value}" for key, value in keys.items() if value)


def _write_records(dataset: Dataset, file: IO[str], media_dir: Path, allowed: int) -> Tally:
    tally = Tally()
    for path in dataset.files:
        count, entries = dataset.read(path)
        label = f"{dataset.name} {path.name}"
        for number, value in enumerate(tqdm(entries, label, count, leave=False, disable=None)):
            tally.entries += 1
            try:
                records = dataset.convert(Row(value, number, path))
                lines = [_line(record, dataset, media_dir) for record in records]
            except LeftOut as why:
                where = {"file": path.name, "record": number, "field": why.field}
                tally.left_out.append(where | {"reason": why.reason, "problem": why.problem})
                if isinstance(why, BadRecord):
                    tally.broken += 1
                    if tally.broken > allowed:
                        raise ValueError(_too_many(path, number, why, tally)) from why
                continue
            file.writelines(lines)
            tally.records += len(records)
            tally.kinds.update(record.kind for record in records)
            tally.remarks.update(remark for record in records for remark in record.remarks)
    return tally


def _too_many(path: Path, number: int, why: BadRecord, tally: Tally) -> str:
    before = f" {tally.broken - 1} broken before it were left out." if tally.broken > 1 else ""
    return (
        f"{path}, record {number} (counted from 0), field `{why.field}`: {why.problem}.{before} "
        "Mend the source, or leave out up to N broken records with --skip-bad N."
    )


def _line(record: Record, dataset: Dataset, media_dir: Path) -> str:
    """Returns a record as one line of the file, after the checks that all sources share."""
    media = {"images": (record.images, IMAGE), "videos": (record.videos, VIDEO)}
    columns: dict[str, Any] = {"id": record.id, "kind": record.kind, "messages": record.messages}
    for message in record.messages:
        if not message["content"].strip():
            raise BadRecord("empty text", message["role"], "the text is empty")
    for name, (paths, placeholder) in media.items():
        found = sum(message["content"].count(placeholder) for message in record.messages)
        if found != len(paths):
            problem = f"the text has {found} {placeholder}, but there are {len(paths)} {name}"
            raise BadRecord("placeholders do not match the media", name, problem)
        if name in dataset.media:
            columns[name] = [path.relative_to(media_dir).as_posix() for path in paths]
    if dataset.regions:
        # As text: Arrow would want the same keys of the same types in every region.
        columns["regions"] = json.dumps(record.regions, separators=(",", ":"), ensure_ascii=False)
    line = json.dumps(columns | record.more, ensure_ascii=False) + "\n"
    try:
        line.encode()
    except UnicodeEncodeError as err:
        problem = f"a text has half a character, {err.object[err.start : err.end]!r}, which no file can hold"
        raise BadRecord("broken text", "messages", problem) from err
    return line


def _reasons(tally: Tally) -> dict[str, int]:
    return dict(sorted(Counter(entry["reason"] for entry in tally.left_out).items()))


def _summary(source: str, dataset: Dataset, tally: Tally, src: Path, settings: dict[str, Any]) -> dict[str, Any]:
    inputs = []
    for path in dataset.files:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        inputs.append({"file": path.relative_to(src).as_posix(), "bytes": path.stat().st_size, "sha256": digest})
    return {
        "dataset": dataset.name,
        "source": source,
        "rgpt4d_plugin": __version__,
        "settings": settings,
        "inputs": inputs,
        "entries": tally.entries,
        "records": tally.records,
        "kinds": dict(sorted(tally.kinds.items())),
        "remarks": dict(sorted(tally.remarks.items())),
        "left_out": _reasons(tally),
        "left_out_entries": tally.left_out,
        "notes": list(dataset.notes),
    }
