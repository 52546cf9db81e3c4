# SPDX-License-Identifier: Apache-2.0
"""Reads the entries of a sample's `videos` and `images` that carry regions or name a part of a file."""

import json
from collections.abc import Mapping
from typing import Any

from rgpt4d_plugin.regions.region import TOO_LATE, Region, RegionError, is_number, parse_region
from rgpt4d_plugin.validation import shown
from rgpt4d_plugin.video.entries import PREFIX, Clip, ImageEntry, has_prefix, plain_clip


def decode_clip(entry: Any) -> Clip | None:
    """Returns the clip that an entry of `videos` stands for; None for frame lists and file objects."""
    if not has_prefix(entry):
        return plain_clip(entry)
    path, regions, data = _load(entry, "clip")
    return Clip(path, data.get("start"), data.get("end"), regions, data.get("insert", False))


def decode_image_entry(entry: Any) -> ImageEntry | None:
    """Returns the image, or frame of a video, that an entry of `images` stands for; None if it is no path."""
    if not has_prefix(entry):
        return ImageEntry(entry) if isinstance(entry, str) else None
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
        raise RegionError(f"{field}: expected {expected}, got {shown(entry)}")
    given = {key: value for key, value in entry.items() if value is not None}
    if unknown := set(given) - {"path", "start", "end"}:
        raise RegionError(f"{field}.{min(map(str, unknown))}: unknown key; expected {expected}")
    if not isinstance(given.get("path"), str) or not given["path"]:
        raise RegionError(f"{field}.path: expected a path, got {shown(given.get('path'))}")
    for key in ("start", "end"):
        value = given.get(key, 0.0)
        if not is_number(value) or not 0 <= value < TOO_LATE:
            raise RegionError(f"{field}.{key}: expected seconds from 0, got {shown(value)}")
    start, end = (float(given[key]) if key in given else None for key in ("start", "end"))
    clip = Clip(given["path"], start, end)
    if clip.end is not None and clip.end <= (clip.start or 0.0):
        raise RegionError(f"{field}: end {clip.end:g} s is not after start {clip.start or 0.0:g} s")
    return clip


def _load(entry: str, kind: str) -> tuple[str, tuple[Region, ...], dict[str, Any]]:
    try:
        data = json.loads(entry.removeprefix(PREFIX))
        data["kind"], data["path"]
    except (KeyError, RecursionError, TypeError, ValueError) as err:
        raise RegionError(
            f"{entry:.80}: expected a path; what begins with {PREFIX} is made by the plugin alone"
        ) from err
    if data["kind"] != kind:
        raise RegionError(f"{data['path']} is a {data['kind']} among the {'videos' if kind == 'clip' else 'images'}")
    pairs = zip(data.get("regions", ()), data.get("fields", ()), strict=True)
    # Which medium a region belongs to was checked where it was parsed first; here any number is in range.
    many = 1 << 30
    return data["path"], tuple(parse_region(raw, field, many, many) for raw, field in pairs), data
