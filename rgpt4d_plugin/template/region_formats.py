# SPDX-License-Identifier: Apache-2.0
"""Refuses datasets whose regions nobody would read: those of another `formatting` than the plugin's own.

The host drops columns that it does not know without a word, and the model would be asked about marks that it never
sees. Host names: `llamafactory.data.parser.get_dataset_list` and `DATA_CONFIG` (0.9.3 to main of August 2026).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from llamafactory.data.parser import get_dataset_list
from llamafactory.extras.constants import DATA_CONFIG

from rgpt4d_plugin.files import read_registry
from rgpt4d_plugin.template.record_lookup import dataset_files, dataset_names


_LOOKED_AT = 1 << 20
"""Bytes of a dataset's file whose records are looked at."""


def check_region_formats(data_args: Any, names: Sequence[str] | None = None) -> None:
    """Raises RegionError for a dataset with regions whose format reads none.

    Checked are these names in `dataset_info.json`, or the datasets of the run.
    """
    if names is None:
        names = dataset_names(data_args)
    for name, attributes in zip(names, get_dataset_list(names, data_args.dataset_dir), strict=True):
        if attributes.formatting.startswith("rgpt4d"):
            continue
        columns, place = _columns(name, data_args.dataset_dir)
        if "regions" in columns or any(map(_has_regions, _first_records(attributes, data_args))):
            from rgpt4d_plugin.regions.region import RegionError  # a run without regions has no use for that room

            own = "rgpt4d_openai" if attributes.formatting == "openai" else "rgpt4d"
            raise RegionError(
                f"regions: dataset {name!r} has some, but formatting: {attributes.formatting} reads none; write "
                f'"formatting": "{own}" into its entry of {place}'
            )


def _columns(name: str, folder: Any) -> tuple[Any, str]:
    """Returns the `columns` of a dataset's entry, and where it stands."""
    if isinstance(folder, dict):
        return folder.get(name, {}).get("columns", {}), "dataset_dir"
    path = Path(folder, DATA_CONFIG)
    return read_registry(path).get(name, {}).get("columns", {}), str(path)


def _first_records(attributes: Any, data_args: Any) -> Iterator[Any]:
    """Yields the records at the beginning of a local JSON or JSONL file, without reading all of it."""
    path = next(iter(dataset_files(attributes, data_args)), None)
    if path is None:
        return
    with open(path, encoding="utf-8", errors="replace") as stream:
        text = stream.read(_LOOKED_AT)
    decoder, position = json.JSONDecoder(), text.find("{")
    while position >= 0:
        try:
            record, end = decoder.raw_decode(text, position)
        except (RecursionError, ValueError):  # cut off, or broken: the host's reader says what is wrong
            return
        yield record
        position = text.find("{", end)


def _has_regions(record: Any) -> bool:
    regions = record.get("regions") if isinstance(record, dict) else None
    if isinstance(regions, str) and regions.lstrip().startswith("["):
        return '"obj_' in regions
    return isinstance(regions, list) and any(isinstance(region, dict) and "id" in region for region in regions)
