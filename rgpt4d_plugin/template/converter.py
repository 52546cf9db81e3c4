# SPDX-License-Identifier: Apache-2.0
"""Dataset converters `rgpt4d` and `rgpt4d_openai`: the host's sharegpt and openai records, with `regions` and clips.

Host names: `DatasetConverter`, `SharegptDatasetConverter`, `OpenAIDatasetConverter` of `llamafactory.data.converter`
(0.9.5 and main of August 2026). `dataset.map` pickles the classes by name, so preprocessing workers and the cache of
the datasets library treat them like the host's own.
"""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import multiprocess
from llamafactory.data.converter import OpenAIDatasetConverter, SharegptDatasetConverter
from llamafactory.extras import logging
from llamafactory.extras.constants import DATA_CONFIG, IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER

from rgpt4d_plugin.files import parse_json, read_registry
from rgpt4d_plugin.regions.media_entries import Clip, parse_clip
from rgpt4d_plugin.regions.prompt_styles import apply_style
from rgpt4d_plugin.regions.region import Region, RegionError, check_mentions, parse_regions
from rgpt4d_plugin.template import record_lookup
from rgpt4d_plugin.template.clip_reader import P4DSettings
from rgpt4d_plugin.template.derived_templates import PREFIX, derived_template_of


logger = logging.get_logger(__name__)

# Shared with the preprocessing workers, which are forked, so that one of them warns for all.
_warned: dict[str, Any] = {}


class RegionRecords:
    """Mixin in front of a host converter."""

    def __post_init__(self) -> None:
        # `columns.regions` of dataset_info.json, which the host's own attributes have no place for.
        self.regions_column = regions_column(self.data_args.dataset_dir, self.dataset_attr.dataset_name)
        _warned[self.dataset_attr.dataset_name] = multiprocess.Value("b", 0)
        record_lookup.remember(self)

    def __call__(self, example: dict[str, Any]) -> dict[str, Any]:
        """Converts one record; a RegionError names dataset, file, record and field."""
        try:
            output, idle = self._convert(example)
        except RegionError as err:
            raise self._located(err) from err
        if idle:
            self._warn(idle)
        return output

    def convert(self, example: dict[str, Any]) -> dict[str, Any]:
        """Converts one record; a RegionError names the field only."""
        return self._convert(example)[0]

    def _convert(self, example: dict[str, Any]) -> tuple[dict[str, Any], list[Region]]:
        """Returns the host's record, and the regions that no message names."""
        try:
            output = super().__call__(example)
        except (AttributeError, KeyError, TypeError) as err:  # of a column or a key that is not there, or null
            raise RegionError(self._problem(example) or f"{type(err).__name__}: {err}") from err
        messages = [*output["_prompt"], *output["_response"]]
        if not messages or not all(isinstance(message["content"], str) for message in messages):
            raise RegionError(self._problem(example, output))
        videos = [Clip(video) if isinstance(video, str) else video for video in output["_videos"] or []]
        images = output["_images"] or []
        regions = parse_regions(self._with_mask_paths(example.get(self.regions_column)), len(videos), len(images))
        idle = check_mentions([message["content"] for message in messages], regions)
        p4d: P4DSettings = getattr(self.data_args, "p4d", P4DSettings())
        if regions or any(isinstance(video, Clip) and video.is_part for video in videos):
            self._check_template()
        styled = apply_style(messages, images, videos, regions, p4d.regions, (IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER))
        turns = len(output["_prompt"])
        return {
            **output,
            "_prompt": styled.messages[:turns],
            "_response": styled.messages[turns:],
            "_images": styled.images or None,
            "_videos": styled.videos or None,
        }, idle

    def _problem(self, example: dict[str, Any], output: dict[str, Any] | None = None) -> str | None:
        """Returns what is wrong with the messages of a record that the host cannot convert, or leaves out."""
        from rgpt4d_plugin.template.wrong_records import messages_problem, turns_problem

        problem = messages_problem(example, self.dataset_attr)
        return problem or (turns_problem(example, output, self.dataset_attr) if output is not None else None)

    def _find_medias(self, medias: Any) -> list[Any] | None:
        """Looks media up below `media_dir` as the host does, also entries {"path": ..., "start": ..., "end": ...}."""
        if isinstance(medias, str) and medias.lstrip()[:1] in ("[", "{", '"'):
            with contextlib.suppress(ValueError):  # a path may begin with a bracket
                medias = parse_json(medias)  # of a mixed column, see `mixed_columns`
        entries = [medias] if isinstance(medias, Mapping) else medias
        if not isinstance(entries, list) or not any(_is_part(entry) for entry in entries):
            return super()._find_medias(medias)
        clips = [parse_clip(entry, f"videos[{number}]") for number, entry in enumerate(entries)]
        paths = super()._find_medias([clip.path for clip in clips])
        return [replace(clip, path=path) for clip, path in zip(clips, paths, strict=True)]

    def _with_mask_paths(self, raw: Any) -> Any:
        """Returns regions, or the annotations of a track, with mask files looked up like media."""
        if isinstance(raw, list):
            return [self._with_mask_paths(item) for item in raw]
        if not isinstance(raw, Mapping):
            return raw
        found = dict(raw)
        mask = found.get("mask")
        if isinstance(mask, str) and not mask.lstrip().startswith("{"):
            found["mask"] = super()._find_medias([mask])[0]
        if isinstance(found.get("track"), list):
            found["track"] = self._with_mask_paths(found["track"])
        return found

    def _check_template(self) -> None:
        name = self.data_args.template
        if name is not None and name.startswith(PREFIX):
            return
        derived = derived_template_of(name)
        if derived is None:
            raise RegionError(
                f"template: {name!r} has no video support that region prompts and clips could use; choose the "
                f"{PREFIX}... template of your model"
            )
        raise RegionError(f"template: {name!r} shows no regions and cuts no clips; use template: {derived}")

    def _located(self, error: RegionError) -> RegionError:
        """Returns the error of the first record of the file that has one, with its number."""
        for path, number, record in record_lookup.records(self):
            try:
                self._convert(record)
            except RegionError as err:
                return RegionError(f"{record_lookup.place_name(self, path, number)}: {err}")
        return RegionError(f"dataset {self.dataset_attr.dataset_name!r}: {error}")

    def _warn(self, idle: list[Region]) -> None:
        """Says once per dataset how many regions no message names."""
        warned = _warned[self.dataset_attr.dataset_name]
        with warned.get_lock():
            if warned.value:
                return
            warned.value = 1
        counts = [(number, len(self._convert(record)[1])) for _, number, record in record_lookup.records(self)]
        total = sum(count for _, count in counts) or len(idle)
        first = next((number for number, count in counts if count), None)
        where = f", first in record {first}" if first is not None else ""
        logger.warning(
            f"dataset {self.dataset_attr.dataset_name!r}: {total} region(s) are named in no message and shown all the "
            f"same{where} ({idle[0].id})."
        )


def _is_part(entry: Any) -> bool:
    """Tells whether a medium of a record has a path of its own; images inside a dataset's file have bytes as well."""
    return isinstance(entry, Mapping) and "bytes" not in entry


def regions_column(folder: Any, file_name: str) -> str:
    """Returns the name of the column with the regions, for the dataset with this file."""
    config = read_registry(Path(folder, DATA_CONFIG)) if isinstance(folder, str) else folder
    for entry in config.values():
        if file_name in (entry.get("file_name"), entry.get("hf_hub_url"), entry.get("script_url")):
            return entry.get("columns", {}).get("regions", "regions")
    return "regions"


@dataclass
class RegionShareGPTConverter(RegionRecords, SharegptDatasetConverter):
    """`formatting: rgpt4d`."""


@dataclass
class RegionOpenAIConverter(RegionRecords, OpenAIDatasetConverter):
    """`formatting: rgpt4d_openai`."""
