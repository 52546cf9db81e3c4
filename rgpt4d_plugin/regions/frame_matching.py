# SPDX-License-Identifier: Apache-2.0
"""Assigns the marks of regions to the sampled frames of a clip."""

from collections.abc import Sequence
from dataclasses import dataclass

from rgpt4d_plugin.regions.drawing.marks import Mark
from rgpt4d_plugin.regions.region import Annotation, Region, RegionError
from rgpt4d_plugin.video.entries import Clip, LabelStyle, span
from rgpt4d_plugin.video.frames import VideoInfo


@dataclass(frozen=True)
class Placed:
    """Numbers of a clip's frames in the source video, ascending, and the marks on each by its position among them."""

    indices: list[int]
    marks: dict[int, list[Mark]]


def place(clip: Clip, info: VideoInfo, indices: Sequence[int]) -> Placed:
    """Finds the sampled frame of every region of a clip.

    A region seen at frame i belongs to the sampled frame nearest to i, if that is at most half a sampling step away. A
    track marks every sampled frame that one of its annotations belongs to, the nearest one where there are several.

    Raises:
        RegionError: a region's shape does not fit the frame, its time is past the end, or no sampled frame is near and
            `clip.insert_missing` is not set.
    """
    moments = [
        [(frame_of(annotation, info), annotation) for annotation in region.annotations] for region in clip.regions
    ]
    shown = list(indices)
    reach = _reach(shown, clip, info)
    for region, seen in zip(clip.regions, moments, strict=True):
        if not any(_near(shown, frame, reach, info) is not None for frame, _ in seen):
            frame, annotation = min(seen, key=lambda moment: min(_apart(moment[0], i, info) for i in indices))
            if not clip.insert_missing:
                raise RegionError(_missed(region, annotation, frame, shown, clip))
            shown = sorted({*shown, frame})

    marks: dict[int, list[Mark]] = {}
    for region, seen in zip(clip.regions, moments, strict=True):
        nearest: dict[int, tuple[float, Annotation]] = {}
        for frame, annotation in seen:
            position = _near(shown, frame, reach, info)
            if position is not None:
                distance = _apart(shown[position], frame, info)
                if position not in nearest or distance < nearest[position][0]:
                    nearest[position] = (distance, annotation)
        for position, (_, annotation) in nearest.items():
            marks.setdefault(position, []).append(mark_of(region, annotation, info.width, info.height))
    return Placed(shown, marks)


def mark_of(region: Region, annotation: Annotation, width: int, height: int, labels: LabelStyle = "number") -> Mark:
    """A region's mark on a source frame of this size; raises RegionError if its shape does not fit."""
    label = str(region.number) if labels == "number" else region.tag
    return Mark(label, region.number, annotation.shape(width, height))


def frame_of(annotation: Annotation, info: VideoInfo) -> int:
    """Number of the source frame at which a region was seen; raises RegionError if it is past the end."""
    if annotation.frame is not None:
        frame, name, given = annotation.frame, "frame", f"frame {annotation.frame}"
    else:
        assert annotation.time is not None, "an annotation of an image has no frame"
        frame, name, given = info.frame_at(annotation.time), "time", f"{annotation.time:g} s"
        if frame == info.last + 1:
            frame = info.last  # the very end of the file: its last frame is still shown
    if frame > info.last:
        length = f"{info.frames} frames, {info.length:.2f} s"
        raise RegionError(f"{annotation.field}.{name}: {given} is past the end of {info.path} ({length})")
    return frame


def _reach(indices: Sequence[int], clip: Clip, info: VideoInfo) -> float:
    """Half a sampling step, in seconds; the half frame more is what rounding of the sampled numbers takes away."""
    if len(indices) > 1:
        step = (info.time_of(indices[-1]) - info.time_of(indices[0])) / (len(indices) - 1)
    else:
        step = span(clip, info)[2]
    return step / 2 + 0.5 / info.rate


def _apart(one: int, other: int, info: VideoInfo) -> float:
    """Seconds between two frames; rounded, so that equal distances compare as equal."""
    return round(abs(info.time_of(one) - info.time_of(other)), 6)


def _near(indices: Sequence[int], frame: int, reach: float, info: VideoInfo) -> int | None:
    """Position of the shown frame that a source frame belongs to: the nearest, unless the clip ends far before it."""
    position = min(range(len(indices)), key=lambda at: _apart(indices[at], frame, info))
    inside = indices[0] <= frame <= indices[-1]
    return position if inside or _apart(indices[position], frame, info) <= reach + 1e-6 else None


def _missed(region: Region, annotation: Annotation, frame: int, shown: Sequence[int], clip: Clip) -> str:
    return (
        f"{annotation.field}: {region.id} is seen at frame {frame} of {clip.path}, but the frames shown are "
        f"{shown[0]} to {shown[-1]} and none is within half a sampling step of it; change the clip's start and end, "
        "or set p4d.regions.missing_frame: insert"
    )
