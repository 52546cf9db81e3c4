# SPDX-License-Identifier: Apache-2.0
"""Local JSON records that the datasets library cannot put into a table: columns of several types, or giant numbers.

One rule: such a column is loaded as JSON text if the plugin's converters read it (`regions`, and `videos` or `images`
of a path in one record and a part of a file in the next) or if nobody does. Any other is an error that names the first
record that differs and the field.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import datasets

from rgpt4d_plugin.regions.region import RegionError, shown
from rgpt4d_plugin.template.converter import regions_column
from rgpt4d_plugin.template.record_lookup import dataset_files, read_records


_LIST = "a list"
_KINDS = {bool: "true or false", int: "a number", float: "a number", str: "text", list: _LIST, dict: "an object"}


def loader_of_text(attributes: Any, data_args: Any) -> Callable[..., datasets.Dataset]:
    """Returns what stands in for `datasets.load_dataset` where that has failed.

    Args:
        attributes: The dataset's, as the host's parser gives them.
        data_args: The host's.

    Raises:
        RegionError: A column is mixed that has to be of one type, or a file is no JSON.
    """
    regions = regions_column(data_args.dataset_dir, attributes.dataset_name)
    read = {column for column in vars(attributes).values() if isinstance(column, str)}
    ours = attributes.formatting.startswith("rgpt4d")
    seen: dict[str, tuple[str, int]] = {}
    records: list[dict[str, Any]] = []
    mixed: set[str] = set()
    for file in dataset_files(attributes, data_args):
        for number, record in enumerate(_records(file, attributes.dataset_name)):
            records.append(record)
            for column, field, kind in _kinds(record):
                other, first = seen.setdefault(field, (kind, number))
                if kind == other:
                    continue
                is_media = column in (attributes.videos, attributes.images) and _LIST not in (kind, other)
                if column in read and not (ours and (column == regions or is_media)):
                    raise RegionError(
                        f"dataset {attributes.dataset_name!r}, file {file}, record {number}, field {field}: {kind}, "
                        f"but in record {first} it is {other}; write it in one way in all records"
                    )
                mixed.add(column)

    # Where nothing is mixed, some value is too large or too deep: the converter says of which region.
    as_text = mixed or {column for record in records for column in record if column == regions or column not in read}

    def load(**_: Any) -> datasets.Dataset:
        return datasets.Dataset.from_list(
            [{**record, **{key: json.dumps(record[key]) for key in as_text & record.keys()}} for record in records]
        )

    return load


def _records(file: str, dataset: str) -> Iterator[dict[str, Any]]:
    try:
        records = list(read_records(file))
    except (RecursionError, ValueError) as err:
        raise RegionError(f"dataset {dataset!r}, file {file}: not readable JSON: {err}") from err
    if not records:
        raise RegionError(f"dataset {dataset!r}, file {file}: there are no records")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise RegionError(
                f"dataset {dataset!r}, file {file}, record {number}: expected an object with the record's columns, "
                f"got {shown(record)}"
            )
    yield from records


def _kinds(record: Any) -> Iterator[tuple[str, str, str]]:
    """Yields (column, field, kind) of every value of a record, those inside others too; null is of any kind."""
    left = [(column, column, value) for column, value in record.items()]
    while left:
        column, field, value = left.pop()
        if value is not None:
            yield column, field, _KINDS[type(value)]
        if isinstance(value, list):
            left += [(column, f"{field}[]", item) for item in value]
        elif isinstance(value, dict):
            left += [(column, f"{field}.{key}", item) for key, item in value.items()]
