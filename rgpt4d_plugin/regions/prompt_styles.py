# SPDX-License-Identifier: Apache-2.0
"""From a record with regions to what the model is shown: messages, images and videos of one style.

| style       | what the model sees of <obj_1>                                                                |
|-------------|-----------------------------------------------------------------------------------------------|
| `som`       | a numbered outline on the frame that carries the region, or on every frame of its track       |
| `som_image` | the marked key frame as an image before the video, with the release's preamble (R4D-Bench)    |
| `text`      | its coordinates and time in words                                                             |
| `none`      | nothing but the name                                                                          |

A region of an image is marked on that image in both `som` styles.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rgpt4d_plugin.arguments import RegionArguments
from rgpt4d_plugin.files import open_image
from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon
from rgpt4d_plugin.regions.frame_matching import frame_of
from rgpt4d_plugin.regions.region import Annotation, Region, RegionError
from rgpt4d_plugin.video.entries import Clip, ImageEntry, span, split_at, with_sentences
from rgpt4d_plugin.video.frames import read_info


PLACEHOLDERS = ("<image>", "<video>")
"""The host's, of an image and of a video."""

# The release's sentence for its one set-of-mark image; two more forms for what the release has not.
_PREAMBLE = (
    "{which} a set-of-mark annotation of a key frame from the video, with bounding boxes labeled <obj_1>, <obj_2>, "
    "etc. References to <obj_N> in the question correspond to those labeled regions."
)


@dataclass(frozen=True)
class StyledRecord:
    """A record as the model is shown it; `images` and `videos` are entries for the `rgpt4d_<name>` templates."""

    messages: list[dict[str, Any]]
    images: list[Any]
    videos: list[Any]


def apply_style(
    messages: Sequence[Mapping[str, Any]],
    images: Sequence[Any],
    videos: Sequence[Any],
    regions: Sequence[Region],
    options: RegionArguments,
    placeholders: tuple[str, str] = PLACEHOLDERS,
) -> StyledRecord:
    """Puts a record into the style of `options`.

    Args:
        messages: Mappings with `content`, whose placeholders stand for the images and videos in their order.
        images: Paths, or what else the host takes where no region belongs to it.
        videos: `Clip`s, or what else the host takes where no region belongs to it.
        regions: Regions of the record.
        options: `p4d.regions`.
        placeholders: Of an image and of a video.

    Raises:
        RegionError: a region belongs to a medium that is no file, or, in style `text`, does not fit its frame.
        VideoError: a file's header cannot be read; it is only where the text needs it.
    """
    of_video = {n: [r for r in regions if (r.medium, r.index) == ("video", n)] for n in range(len(videos))}
    of_image = {n: [r for r in regions if (r.medium, r.index) == ("image", n)] for n in range(len(images))}
    for region in regions:
        medium = videos[region.index] if region.medium == "video" else images[region.index]
        if not isinstance(medium, (Clip, str)):
            field = region.annotations[0].field
            raise RegionError(f"{field}: belongs to {region.medium} {region.index}, which is no file; give its path")

    drawn = options.style in ("som", "som_image")
    stills = [
        ImageEntry(image, regions=tuple(of_image[n])) if drawn and of_image[n] else image
        for n, image in enumerate(images)
    ]
    clips = [
        replace(clip, regions=tuple(of_video[n]), insert_missing=options.missing_frame == "insert")
        if options.style == "som" and of_video[n]
        else clip
        for n, clip in enumerate(videos)
    ]

    entries: list[Any] = []
    asked: list[dict[str, Any]] = []
    seen_images = seen_videos = 0
    image_placeholder, video_placeholder = placeholders
    for message in messages:
        parts, words = [], []
        for part in split_at(message["content"], placeholders):
            if part == image_placeholder and seen_images < len(images):
                entries.append(stills[seen_images])
                if options.style == "text":
                    words += _in_words(of_image[seen_images], images[seen_images])
                seen_images += 1
            elif part == video_placeholder and seen_videos < len(videos):
                here, clip = of_video[seen_videos], videos[seen_videos]
                if options.style == "som_image" and here:
                    keys = _key_frames(here, clip)
                    words.append(_preamble(len(entries), len(keys)))
                    parts += [image_placeholder] * len(keys)
                    entries += keys
                elif options.style == "text":
                    words += _in_words(here, clip)
                seen_videos += 1
            parts.append(part)
        asked.append({**message, "content": with_sentences("".join(parts), words, placeholders)})
    # Media without a placeholder are the host's to complain about.
    entries += stills[seen_images:]
    return StyledRecord(asked, [_encoded(entry) for entry in entries], [_encoded(clip) for clip in clips])


def _encoded(entry: Any) -> Any:
    return entry.encode() if isinstance(entry, (Clip, ImageEntry)) else entry


def _key_frames(regions: Sequence[Region], clip: Clip) -> list[ImageEntry]:
    """Returns one still per moment at which regions are first seen, in the order of time."""
    moments: dict[tuple[bool, Any], list[Region]] = {}
    for region in regions:
        first = region.annotations[0]
        moments.setdefault((first.frame is None, first.time if first.frame is None else first.frame), []).append(
            region
        )
    return [ImageEntry(clip.path, True, tuple(moments[moment]), "tag") for moment in sorted(moments)]


def _preamble(before: int, count: int) -> str:
    if before == 0 and count == 1:
        return _PREAMBLE.format(which="The first image is")
    if count == 1:
        return _PREAMBLE.format(which=f"Image {before + 1} is")
    return _PREAMBLE.format(which=f"Each of the images {before + 1} to {before + count} is")


def _in_words(regions: Sequence[Region], medium: Any) -> list[str]:
    """Returns one paragraph about the regions of a video or an image."""
    if not regions:
        return []
    if isinstance(medium, Clip):
        info = read_info(medium.path)
        size = (info.width, info.height)
        origin = info.time_of(span(medium, info)[0])
    else:
        with open_image(medium) as image:
            size = image.size
    sentences = ["Coordinates are x, y in thousandths of the frame's width and height, from its top left corner."]
    for region in regions:
        places = []
        for annotation in region.annotations:
            when = f" at {info.time_of(frame_of(annotation, info)) - origin:.2f} seconds" if annotation.timed else ""
            places.append(_place(annotation, *size) + when)
        sentences.append(f"{region.tag} is {', then '.join(places)}.")
    return [" ".join(sentences)]


def _place(annotation: Annotation, width: int, height: int) -> str:
    shape = annotation.shape(width, height)
    if isinstance(shape, Point):
        return f"at ({_thousandths(shape.x, width)}, {_thousandths(shape.y, height)})"
    if isinstance(shape, Box):
        x1, y1, x2, y2 = shape.x1, shape.y1, shape.x2, shape.y2
    elif isinstance(shape, Polygon):
        (x1, x2), (y1, y2) = ((min(values), max(values)) for values in zip(*shape.points))
    else:
        x1, y1, x2, y2 = _bounds(shape)
    corners = [f"({_thousandths(x, width)}, {_thousandths(y, height)})" for x, y in ((x1, y1), (x2, y2))]
    return f"the box from {corners[0]} to {corners[1]}"


def _bounds(mask: Mask) -> tuple[int, int, int, int]:
    rows, columns = (np.flatnonzero(mask.bitmap.any(axis=axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _thousandths(value: float, size: int) -> int:
    return round(1000 * value / size)
