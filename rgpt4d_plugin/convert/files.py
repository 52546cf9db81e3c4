# SPDX-License-Identifier: Apache-2.0
"""Reads published annotation files and finds their media."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.convert.records import BadRecord
from rgpt4d_plugin.files import is_file, read_json


def read_list(path: Path) -> tuple[int, list[Any]]:
    """Returns the number of entries of a file that is one JSON list, and the entries."""
    entries = _read_json(path)
    if not isinstance(entries, list):
        raise ValueError(f"{path}: expected a JSON list of records, found {shortened(entries)}.")
    return len(entries), entries


def read_dict(path: Path) -> tuple[int, list[tuple[str, Any]]]:
    """Returns the number of entries of a file that is one JSON object, and its pairs of key and value."""
    entries = _read_json(path)
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected a JSON object with one entry per video, found {shortened(entries)}.")
    return len(entries), list(entries.items())


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ValueError(f"{path} is not a regular file: download it again.")
    return read_json(path, "download it again.")


def annotation_files(*folders: Path) -> list[Path]:
    """Returns the JSON files directly in these folders, without those that a conversion writes."""
    found = [path for folder in folders for path in sorted(folder.glob("*.json"))]
    return [path for path in found if path.name != "dataset_info.json" and not path.name.endswith(".summary.json")]


def nothing_found(src: Path, what: str, looked_for: Iterable[str]) -> ValueError:
    """Returns the error for a `--src` folder that does not hold the source."""
    names = sorted(path.name for path in src.iterdir())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    return ValueError(
        f"{src} does not look like {what}: looked for {', '.join(looked_for)}; found {shown or 'nothing'}. "
        "Give the downloaded folder as --src."
    )


def is_media(folder: Path, path: str, name: str) -> bool:
    """Tells whether `path` is a file below `folder`; `name` is the field it came from."""
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise BadRecord("path outside --src", name, f"{path!r} is not a path below {folder}")
    return is_file(folder / path)


def find_media(folder: Path, candidates: Sequence[str], name: str) -> Path:
    """Returns the first candidate, relative to `folder`, that is a file."""
    for candidate in candidates:
        if is_media(folder, candidate, name):
            return folder / candidate
    raise BadRecord("missing media file", name, f"no file {' or '.join(candidates)} below {folder}")
