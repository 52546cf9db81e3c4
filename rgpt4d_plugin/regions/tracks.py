# SPDX-License-Identifier: Apache-2.0
"""Tracks: regions followed through time, as mappings of a record with frames and pixels; interpolated between key
frames.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rgpt4d_plugin.regions.frame_matching import frame_of
from rgpt4d_plugin.regions.region import Region, RegionError, corners_of
from rgpt4d_plugin.video.frames import VideoInfo


Entry = dict[str, Any]
"""One annotation of a track: {"frame": 12, "box": [x1, y1, x2, y2]}, or point, polygon, mask; in source pixels."""

_DIGITS = 3  # of a pixel; far below what anybody can draw
_LINEAR = ("box", "point", "polygon")


def kind_of(entry: Mapping[str, Any]) -> str:
    """Returns "box", "point", "polygon" or "mask"."""
    return next(kind for kind in (*_LINEAR, "mask") if entry.get(kind) is not None)


def entries_of(region: Region, info: VideoInfo) -> list[Entry]:
    """Returns the annotations of a region of a video, in the order of its frames, with frame numbers and pixels.

    Raises:
        RegionError: One of them does not fit the video, or two belong to one frame.
    """
    entries = []
    for annotation in region.annotations:
        annotation.shape(info.width, info.height)  # raises where it does not fit
        value = annotation.value
        if annotation.kind != "mask":
            scale = (info.width, info.height) if annotation.normalized else (1, 1)
            points = [[x * scale[0], y * scale[1]] for x, y in corners_of(annotation.kind, value)]
            value = points if annotation.kind == "polygon" else [side for point in points for side in point]
            value = rounded(value)
        entries.append({"frame": frame_of(annotation, info), annotation.kind: value})
    entries.sort(key=lambda entry: entry["frame"])
    for before, after in zip(entries, entries[1:]):
        if before["frame"] == after["frame"]:
            raise RegionError(f"{region.id}: two annotations of frame {after['frame']} of {info.path}; remove one")
    return entries


def region_of(number: int, name: str, pieces: Sequence[Sequence[Entry]]) -> dict[str, Any]:
    """Returns the region of a record: of a single frame, or a track. `pieces`: see `filled`."""
    entries = [entry for piece in pieces for entry in piece]
    about = {"id": f"obj_{number}"} | ({"name": name} if name else {}) | {"video": 0}
    if any(kind_of(entry) != "mask" and np.max(entry[kind_of(entry)]) <= 1 for entry in entries):
        about["normalized"] = False  # within the first pixel, where a record has to say so
    return about | entries[0] if len(entries) == 1 else about | {"track": entries}


def filled(pieces: Iterable[Sequence[Entry]], step: int) -> list[list[Entry]]:
    """Puts linear interpolations between key frames, so that no two frames of a piece are more than `step` apart.

    A piece is a time for which the region is followed without a break; nothing is put between pieces. Masks, and
    polygons with different numbers of corners, have nothing in between.
    """
    return [list(_filled(piece, step)) for piece in pieces]


def between(before: Entry, after: Entry, frames: Iterable[int]) -> list[Entry]:
    """Returns the linear interpolation of two entries at some frames; none for two that nothing lies between."""
    kind = kind_of(before)
    if kind not in _LINEAR or kind != kind_of(after) or len(before[kind]) != len(after[kind]):
        return []
    length = after["frame"] - before["frame"]
    return [
        {"frame": frame, kind: rounded(_mixed(before[kind], after[kind], (frame - before["frame"]) / length))}
        for frame in frames
    ]


def at_frames(entries: Sequence[Entry], frames: Iterable[int]) -> list[Entry]:
    """Thins a track to some frames: its own entries there, and interpolations from the ones around."""
    own = {entry["frame"]: entry for entry in entries}
    found = []
    for frame in frames:
        earlier = [entry for entry in entries if entry["frame"] <= frame]
        later = [entry for entry in entries if entry["frame"] > frame]
        if frame in own:
            found.append(own[frame])
        elif earlier and later:
            found += between(earlier[-1], later[0], [frame])
    return found


def rounded(value: Any) -> Any:
    """Rounds nested coordinates to a thousandth of a pixel: conversions there and back end where they began."""
    return [rounded(part) for part in value] if isinstance(value, list | tuple) else round(float(value), _DIGITS)


def _filled(piece: Sequence[Entry], step: int) -> Iterator[Entry]:
    for before, after in zip(piece, piece[1:]):
        yield before
        yield from between(before, after, range(before["frame"] + step, after["frame"], step))
    yield piece[-1]


def _mixed(before: Any, after: Any, share: float) -> Any:
    if isinstance(before, list | tuple):
        return [_mixed(one, other, share) for one, other in zip(before, after, strict=True)]
    return before + share * (after - before)
