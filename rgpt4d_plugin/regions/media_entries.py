# SPDX-License-Identifier: Apache-2.0
"""What rides in a sample's `videos` and `images` lists: a path, or a path with what is to be done with it.

Datasets keep both columns as lists of strings, and LLaMA-Factory hands them on from the converter to the collator
untouched while it drops every other column. So an entry with regions is itself a string: `PREFIX` and JSON. An entry
without is the plain path, and nothing of the host's handling changes for it.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from rgpt4d_plugin.regions.region import Region, RegionError, parse_region


PREFIX = "rgpt4d:"

LabelStyle = Literal["number", "tag"]
"""What a label plate shows of <obj_1>: "1" or "<obj_1>"."""


@dataclass(frozen=True)
class Clip:
    """A video, or the part of it from `start` to `end` (seconds of the source video, None: its own ends).

    Attributes:
        path: the file.
        start: seconds.
        end: seconds.
        regions: to be marked on the frames that carry them.
        insert_missing: a region's frame that is not sampled is inserted instead of refused.
    """

    path: str
    start: float | None = None
    end: float | None = None
    regions: tuple[Region, ...] = ()
    insert_missing: bool = False

    @property
    def is_part(self) -> bool:
        """Whether only a part of the file is shown."""
        return self.start is not None or self.end is not None

    def encode(self) -> str:
        """The entry of `videos`: the plain path if there is nothing else to say."""
        if not self.is_part and not self.regions:
            return self.path
        return _dump(
            "clip", self.path, self.regions, start=self.start, end=self.end, insert=self.insert_missing or None
        )


@dataclass(frozen=True)
class ImageEntry:
    """An image file, or the frame of a video at which its regions are first seen; the regions are marked on it.

    Attributes:
        path: of the image, or of the video.
        of_video: whether it is a frame of a video; its regions are then all seen at that frame.
        regions: to be marked.
        labels: what the label plates show.
    """

    path: str
    of_video: bool = False
    regions: tuple[Region, ...] = ()
    labels: LabelStyle = "number"

    def encode(self) -> str:
        """The entry of `images`: the plain path if there is nothing else to say."""
        if not self.regions:
            return self.path
        return _dump("still", self.path, self.regions, of_video=self.of_video or None, labels=self.labels)


def decode_clip(entry: Any) -> Clip | None:
    """The clip that an entry of `videos` stands for; None for what is no path (frame lists, file objects)."""
    if isinstance(entry, os.PathLike):
        entry = os.fspath(entry)
    if not isinstance(entry, str):
        return None
    if not entry.startswith(PREFIX):
        return Clip(entry)
    path, regions, data = _load(entry, "clip")
    return Clip(path, data.get("start"), data.get("end"), regions, data.get("insert", False))


def decode_image_entry(entry: Any) -> ImageEntry | None:
    """The still that an entry of `images` stands for; None for what is no path."""
    if not isinstance(entry, str):
        return None
    if not entry.startswith(PREFIX):
        return ImageEntry(entry)
    path, regions, data = _load(entry, "still")
    return ImageEntry(path, data.get("of_video", False), regions, data["labels"])


def parse_clip(entry: Any, field: str) -> Clip:
    """A record's entry of `videos`: a path or {"path": ..., "start": ..., "end": ...}.

    Raises:
        RegionError: naming the field, what was found and what was expected.
    """
    if isinstance(entry, str) and entry:
        return Clip(entry)
    expected = 'a path or {"path": ..., "start": seconds, "end": seconds}'
    if not isinstance(entry, Mapping):
        raise RegionError(f"{field}: expected {expected}, got {entry!r}")
    given = {key: value for key, value in entry.items() if value is not None}
    if unknown := set(given) - {"path", "start", "end"}:
        raise RegionError(f"{field}.{min(unknown)}: unknown key; expected {expected}")
    if not isinstance(given.get("path"), str) or not given["path"]:
        raise RegionError(f"{field}.path: expected a path, got {given.get('path')!r}")
    for key in ("start", "end"):
        value = given.get(key, 0.0)
        # Not `value < 0`: NaN is refused too.
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
            raise RegionError(f"{field}.{key}: expected seconds from 0, got {value!r}")
    clip = Clip(given["path"], *(float(given[key]) if key in given else None for key in ("start", "end")))
    if clip.end is not None and clip.end <= (clip.start or 0.0):
        raise RegionError(f"{field}: end {clip.end:g} s is not after start {clip.start or 0.0:g} s")
    return clip


def _dump(kind: str, path: str, regions: tuple[Region, ...], **rest: Any) -> str:
    data = {"kind": kind, "path": path, **{key: value for key, value in rest.items() if value is not None}}
    if regions:
        data["regions"] = [dict(region.raw) for region in regions]
        data["fields"] = [_field(region) for region in regions]
    return PREFIX + json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _field(region: Region) -> str:
    """`regions[N]` of the record, so that errors found later still name it."""
    return region.annotations[0].field.partition(".")[0]


def _load(entry: str, kind: str) -> tuple[str, tuple[Region, ...], dict[str, Any]]:
    data = json.loads(entry.removeprefix(PREFIX))
    if data["kind"] != kind:
        raise RegionError(f"{data['path']} is a {data['kind']} among the {'videos' if kind == 'clip' else 'images'}")
    pairs = zip(data.get("regions", ()), data.get("fields", ()), strict=True)
    # Which medium a region belongs to was checked where it was parsed first; here any number is in range.
    many = 1 << 30
    return data["path"], tuple(parse_region(raw, field, many, many) for raw, field in pairs), data
