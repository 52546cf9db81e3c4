# SPDX-License-Identifier: Apache-2.0
"""The entries of a sample's `videos` and `images` lists: a path, or a path with its regions and its part.

Datasets keep both columns as lists of strings, and LLaMA-Factory hands them on from the converter to the collator
untouched while it drops every other column. So an entry with regions is itself a string: `PREFIX` and JSON. An entry
without is the plain path, and nothing of the host's handling changes for it. Entries with regions are read in
`regions.media_entries`.
"""

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rgpt4d_plugin.video.clip import VideoError
from rgpt4d_plugin.video.frames import VideoInfo, read_info


PREFIX = "rgpt4d:"

LabelStyle = Literal["number", "tag"]
"""The label of <obj_1>: "1" or "<obj_1>"."""

_ROUNDING = 0.001  # seconds
_TIME_SENTENCE = "{which} uniformly sampled from a video of {seconds} seconds."


@dataclass(frozen=True)
class Clip:
    """A video, or the part of it from `start` to `end` (seconds of the source video, None: its own ends).

    Attributes:
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
        """True if only a part of the file is shown."""
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
    """An image file with the regions to mark on it, or, with `of_video`, the frame of a video at which they are all
    seen."""

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
    """Returns the whole file that a path stands for; None for frame lists and file objects."""
    if isinstance(entry, os.PathLike):
        entry = os.fspath(entry)
    return Clip(entry) if isinstance(entry, str) else None


def has_prefix(entry: Any) -> bool:
    """Tells whether an entry says more than a path: regions, or a part of a file."""
    return isinstance(entry, str) and entry.startswith(PREFIX)


def span(clip: Clip, info: VideoInfo) -> tuple[int, int, float]:
    """Returns the numbers of a clip's first and last frame, and its length in seconds.

    Raises:
        VideoError: start or end is past the end of the file, or no frame lies between them.
    """
    if not clip.is_part:
        return 0, info.last, info.duration
    for key, value in (("start", clip.start), ("end", clip.end)):
        # Annotations round their times, and a file's length has the last frame's duration in it or not.
        if value is not None and value > info.length + 1 / info.rate:
            raise VideoError(
                f"videos: {key} {value:g} s is past the end of {clip.path} ({info.length:.2f} s)", clip.path
            )
    # As a cutting tool does: start <= time < end. A time that was rounded to milliseconds stays with its own frame.
    first = info.first_from(clip.start - _ROUNDING) if clip.start is not None else 0
    final = min(info.first_from(clip.end - _ROUNDING), info.frames) - 1 if clip.end is not None else info.last
    if first > final:
        within = f"between {clip.start or 0.0:g} s and {clip.end} s"
        raise VideoError(f"videos: {clip.path} has no frame {within}", clip.path)
    return first, final, info.seconds_of(first, final)


def with_time_sentences(
    messages: Sequence[Mapping[str, Any]], videos: Sequence[Any], placeholders: tuple[str, str]
) -> list[dict[str, Any]]:
    """Returns the messages with the length of every video said before the question about it: `p4d.tpe: text`.

    Args:
        messages: Mappings with `content`.
        videos: `Clip`s or their entries, in the order of their placeholders.
        placeholders: The host's, of an image and of a video.

    Raises:
        VideoError: a video is no file, or its header cannot be read.
    """
    said: list[dict[str, Any]] = []
    seen = 0
    for message in messages:
        words = []
        # A placeholder without a video is the host's to complain about.
        for _ in range(min(message["content"].count(placeholders[1]), len(videos) - seen)):
            clip = _part_of_a_file(videos[seen])
            if clip is None:
                raise VideoError("p4d.tpe: text needs the length of each video, which only a file has")
            seen += 1
            which = "These images are" if len(videos) == 1 else f"The images of video {seen} are"
            words.append(_TIME_SENTENCE.format(which=which, seconds=f"{span(clip, read_info(clip.path))[2]:.1f}"))
        said.append({**message, "content": with_sentences(message["content"], words, placeholders)})
    return said


def _part_of_a_file(entry: Any) -> Clip | None:
    """The clip without its regions."""
    if not has_prefix(entry):
        return entry if isinstance(entry, Clip) else plain_clip(entry)
    data = json.loads(entry.removeprefix(PREFIX))
    return Clip(data["path"], data.get("start"), data.get("end"))


def with_sentences(content: str, sentences: Sequence[str], placeholders: tuple[str, str]) -> str:
    """Puts sentences between the placeholders that a message begins with and its question."""
    if not sentences:
        return content
    question = re.sub(rf"\A\s*(?:(?:{_either(placeholders)})\s*)*", "", content)
    return content.removesuffix(question) + "\n\n".join([*sentences, question])


def split_at(content: str, placeholders: tuple[str, str]) -> list[str]:
    """Cuts a message into placeholders and the texts between them."""
    return re.split(f"({_either(placeholders)})", content)


def _either(placeholders: tuple[str, str]) -> str:
    return "|".join(map(re.escape, placeholders))


def _dump(kind: str, path: str, regions: tuple[Any, ...], **rest: Any) -> str:
    data = {"kind": kind, "path": path, **{key: value for key, value in rest.items() if value is not None}}
    if regions:
        data["regions"] = [dict(region.raw) for region in regions]
        data["fields"] = [_field(region) for region in regions]
    return PREFIX + json.dumps(data, separators=(",", ":"), ensure_ascii=False)


def _field(region: Any) -> str:
    """`regions[N]` of the record, so that errors found later still name it."""
    return region.annotations[0].field.partition(".")[0]
