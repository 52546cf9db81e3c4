# SPDX-License-Identifier: Apache-2.0
"""The picture that a still stands for, and its marks."""

from PIL import Image

from rgpt4d_plugin.files import open_image
from rgpt4d_plugin.regions.drawing.marks import Mark
from rgpt4d_plugin.regions.frame_matching import frame_of, mark_of
from rgpt4d_plugin.regions.media_entries import ImageEntry
from rgpt4d_plugin.video.frames import read_frames, read_info


def open_image_entry(still: ImageEntry, size_only: bool = False) -> Image.Image:
    """The image, or the video's frame.

    Args:
        still: with at least one region if it is of a video.
        size_only: a blank picture of a frame's size will do, so that nothing is decoded.

    Raises:
        RegionError: the frame is past the end of the video.
        VideoError: the video cannot be read.
        ImageError: The image is too large, or in a format that is not read.
    """
    if not still.of_video:
        return open_image(still.path)
    info = read_info(still.path)
    frame = frame_of(still.regions[0].annotations[0], info)
    if size_only:
        return Image.new("RGB", (info.width, info.height))
    return read_frames(still.path, [frame])[0]


def marks_on(still: ImageEntry, size: tuple[int, int]) -> list[Mark]:
    """The marks of a still whose picture has this size; raises RegionError if a region does not fit."""
    return [mark_of(region, region.annotations[0], *size, still.labels) for region in still.regions]
