# SPDX-License-Identifier: Apache-2.0
"""Reading annotation files as they were published: JSON, parquet and TSV, without decoding any image."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item
from rgpt4d_plugin.files import parse_json


def find(folder: Path, patterns: Sequence[str], what: str) -> list[Path]:
    """The files, sorted, that the first fitting pattern finds; BenchmarkDataError, about `what`, if none does."""
    if not folder.is_dir():
        raise BenchmarkDataError(f"{what}: there is no folder {folder}.")
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if found:
            return found
    names = sorted(path.name for path in folder.iterdir())
    shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
    raise BenchmarkDataError(
        f"{folder} does not look like {what}: looked for {', '.join(patterns)}; found {shown or 'nothing'}."
    )


def read_json(path: Path) -> list[Any]:
    """Entries of a file that is one JSON list."""
    try:
        entries = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as err:
        raise BenchmarkDataError(f"{path} is not readable JSON ({err}): download it again.") from err
    if not isinstance(entries, list):
        raise BenchmarkDataError(f"{path}: expected a JSON list of items, found {shortened(entries)}.")
    return entries


def read_lines(path: Path) -> list[Any]:
    """Entries of a file of JSON lines."""
    try:
        return [parse_json(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except ValueError as err:
        raise BenchmarkDataError(f"{path} is not readable JSON lines ({err}): download it again.") from err


def read_tsv(path: Path) -> list[dict[str, str]]:
    """Rows of a tab-separated file with a header. Images in base64 make cells of megabytes; all are kept in memory."""
    limit = csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))
    except (ValueError, csv.Error) as err:
        raise BenchmarkDataError(f"{path} is not a readable TSV file ({err}): download it again.") from err
    finally:
        csv.field_size_limit(limit)


@lru_cache(maxsize=2)
def _column(path: Path, group: int, column: str) -> Any:
    """One column of one row group: questions asked in order read each group once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            return file.read_row_group(group, columns=[column]).column(column)
    except (pa.ArrowException, OSError) as err:
        raise BenchmarkDataError(f"{path}, row group {group}: {column} cannot be read ({err}).") from err


class Row(Mapping[str, Any]):
    """A row of a parquet file, as published, whose encoded images stay in the file until they are asked for."""

    def __init__(self, fields: Mapping[str, Any], heavy: Sequence[str], path: Path, group: int, offset: int) -> None:
        self._fields, self._heavy, self._place = fields, heavy, (path, group, offset)

    def __getitem__(self, name: str) -> Any:
        if name not in self._heavy:
            return self._fields[name]
        path, group, offset = self._place
        return _column(path, group, name)[offset].as_py()

    def __contains__(self, name: object) -> bool:
        return name in self._fields or name in self._heavy

    def __iter__(self) -> Iterator[str]:
        return chain(self._fields, self._heavy)

    def __len__(self) -> int:
        return len(self._fields) + len(self._heavy)

    def __repr__(self) -> str:
        return f"Row({self._fields!r}, {', '.join(self._heavy)} of {self._place})"

    def changed(self, **fields: Any) -> "Row":
        """Returns the same row with other or further fields."""
        return Row(self._fields | fields, self._heavy, *self._place)


def read_parquet(paths: Sequence[Path], columns: Sequence[str], heavy: Sequence[str] = ()) -> list[Row]:
    """Rows of parquet files that belong together.

    Args:
        paths: The files, in order.
        columns: Those that there must be.
        heavy: Those that stay in the files until somebody asks for them; they may be absent.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for path in paths:
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                missing = [name for name in columns if name not in names]
                if missing:
                    raise BenchmarkDataError(f"{path} has no column {', '.join(missing)}; it has {', '.join(names)}.")
                light = [name for name in names if name not in heavy]
                there = [name for name in heavy if name in names]
                for group in range(file.metadata.num_row_groups):
                    entries = file.read_row_group(group, columns=light).to_pylist()
                    rows += [Row(entry, there, path, group, i) for i, entry in enumerate(entries)]
        except (pa.ArrowException, OSError) as err:
            raise BenchmarkDataError(f"{path} is not a readable parquet file ({err}): download it again.") from err
    return rows


def encoded(image: Any, where: str) -> bytes:
    """Bytes of an embedded image: plain, or as the `datasets` library stores its Image type."""
    data = image.get("bytes") if isinstance(image, Mapping) else image
    if not isinstance(data, bytes) or not data:
        raise BenchmarkDataError(f"{where}: expected the bytes of an image, found {shortened(image)}.")
    return data


def below(folder: Path, path: Any, field: str) -> Path:
    """`folder / path`, which must lead to a place below the folder; `field` is where the path came from."""
    if not isinstance(path, str) or not path or Path(path).is_absolute() or ".." in Path(path).parts:
        raise BenchmarkDataError(f"`{field}`: expected a path below the folder, found {shortened(path)}.")
    return folder / path


def text(item: Item, name: str) -> str:
    """A field that must be a text."""
    value = item.get(name)
    if not isinstance(value, str):
        raise BenchmarkDataError(f"`{name}`: expected a text, found {shortened(value)}.")
    return value
