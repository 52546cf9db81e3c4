# SPDX-License-Identifier: Apache-2.0
"""What rides in a sample's `videos` and `images` lists: a path, or a path with what is to be done with it.

Datasets keep both columns as lists of strings, and LLaMA-Factory hands them on from the converter to the collator
untouched while it drops every other column. So an entry with regions is itself a string: `PREFIX` and JSON. An entry
without is the plain path, and nothing of the host's handling changes for it. Entries with regions are read in
`regions.media_entries`.
"""

import json
import os
from dataclasses import dataclass
from typing import Any, Literal


PREFIX = "rgpt4d:"

LabelStyle = Literal["number", "tag"]
"""What a label shows of <obj_1>: "1" or "<obj_1>"."""


@dataclass(frozen=True)
class Clip:
    """A video, or the part of it from `start` to `end` (seconds of the source video, None: its own ends).

    Attributes:
        path: the file.
        start: seconds.
        end: seconds.
        regions: `regions.region.Region`s, to be marked on the frames that carry them.
        insert_missing: a region's frame that is not sampled is inserted instead of refused.
    """

    path: str
    start: float | None = None
    end: float | None = None
    regions: tuple[Any, ...] = ()
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
        labels: what the labels show.
    """

    path: str
    of_video: bool = False
    regions: tuple[Any, ...] = ()
    labels: LabelStyle = "number"

    def encode(self) -> str:
        """The entry of `images`: the plain path if there is nothing else to say."""
        if not self.regions:
            return self.path
        return _dump("still", self.path, self.regions, of_video=self.of_video or None, labels=self.labels)


def plain_clip(entry: Any) -> Clip | None:
    """Returns the whole file that a path stands for; None for what is no path (frame lists, file objects)."""
    if isinstance(entry, os.PathLike):
        entry = os.fspath(entry)
    return Clip(entry) if isinstance(entry, str) else None


def has_prefix(entry: Any) -> bool:
    """Tells whether an entry says more than a path: regions, or a part of a file."""
    return isinstance(entry, str) and entry.startswith(PREFIX)


def _dump(kind: str, path: str, regions: tuple[Any, ...], **rest: Any) -> str:
    data = {"kind": kind, "path": path, **{key: value for key, value in rest.items() if value is not None}}
    if regions:
        data["regions"] = [dict(region.raw) for region in regions]
        data["fields"] = [_field(region) for region in regions]
    return PREFIX + json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _field(region: Any) -> str:
    """`regions[N]` of the record, so that errors found later still name it."""
    return region.annotations[0].field.partition(".")[0]
