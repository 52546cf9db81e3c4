# SPDX-License-Identifier: Apache-2.0
"""Videos and images for a model outside the host: sampled, scaled and marked as the host does it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from rgpt4d_plugin.files import open_image
from rgpt4d_plugin.regions.drawing.marks import Mark, draw_marks
from rgpt4d_plugin.regions.frame_matching import Placed, frame_of, mark_of, place
from rgpt4d_plugin.video import SeenClip, VideoError, check_video
from rgpt4d_plugin.video.entries import Clip, ImageEntry, span
from rgpt4d_plugin.video.frames import VideoInfo, read_frames, read_info
from rgpt4d_plugin.video.sampling import Sampling


@dataclass(frozen=True)
class ShownClip:
    """The frames of a clip as the model is shown them, before its own processor.

    Attributes:
        frames: RGB, resized by the host's rule and marked.
        raw: the same frames as they were decoded.
        indices: number of each frame, counted from the first one shown.
        seconds: time of each frame from the first one shown.
        rate: frames per second of the source.
        total: number of frames that the sampled ones stand for.
        marked: labels of the regions drawn on a frame, by the frame's position.
        start: seconds of the file at which the clip starts.
        files: see `SeenClip`.
    """

    source: str
    frames: list[Image.Image]
    raw: list[Image.Image]
    indices: list[float]
    seconds: list[float]
    rate: float
    total: int
    marked: dict[int, list[str]] = field(default_factory=dict)
    start: float = 0.0
    files: tuple[str, ...] = ()

    @property
    def seen(self) -> SeenClip:
        """The clip for the teacher: decoded frames without marks."""
        return SeenClip(self.source, self.raw, self.seconds, self.marked, self.start, self.files)

    @property
    def metadata(self) -> dict[str, Any]:
        """`video_metadata` for a transformers video processor, of a clip that it does not sample itself."""
        return {
            "total_num_frames": self.total,
            "fps": self.rate,
            "duration": self.total / self.rate,
            "frames_indices": self.indices,
        }


def show_clip(clip: Clip, sampling: Sampling) -> ShownClip:
    """Decodes, scales and marks a clip's sampled frames.

    Raises:
        RegionError: the clip's part or a region does not fit the file.
        VideoError: the file cannot be decoded.
    """
    info, total, placed = _place(clip, sampling)
    raw = read_frames(clip.path, placed.indices)
    frames = [fit(frame, sampling.max_pixels) for frame in raw]
    for position, marks in placed.marks.items():
        frames[position] = draw_marks(frames[position], marks, (info.width, info.height))
    origin = placed.indices[0] if clip.is_part else 0
    marked = {at: [f"<obj_{mark.number}>" for mark in marks] for at, marks in placed.marks.items()}
    seconds = [info.time_of(index) - info.time_of(origin) for index in placed.indices]
    # Where the rate varies, the frames' numbers are those that a video of constant rate would have at their times.
    even = info.times is None
    indices = [index - origin if even else at * info.rate for index, at in zip(placed.indices, seconds, strict=True)]
    start = info.time_of(origin)
    return ShownClip(clip.path, frames, raw, indices, seconds, info.rate, total, marked, start, (clip.path,))


def check_clip(clip: Clip, sampling: Sampling) -> None:
    """Raises what `show_clip` would, as far as headers and ends of files tell it; decodes nothing."""
    check_video(clip.path)
    _place(clip, sampling)


def show_frames(pictures: Sequence[Image.Image], sampling: Sampling) -> ShownClip:
    """Shows all of a list of frames, taken to be `sampling.fps` apart, as the host does."""
    raw = list(pictures)
    seconds = [index / sampling.fps for index in range(len(raw))]
    return ShownClip(
        f"list of {len(raw)} frames",
        [fit(frame, sampling.max_pixels) for frame in raw],
        raw,
        list(range(len(raw))),
        seconds,
        sampling.fps,
        len(raw),
    )


def show_still(still: ImageEntry, sampling: Sampling) -> Image.Image:
    """Opens, scales and marks an image or a key frame; see `open_image_entry` for errors."""
    picture = open_image_entry(still)
    return draw_marks(fit(picture, sampling.image_max_pixels), marks_on(still, picture.size), picture.size)


def check_still(still: ImageEntry) -> None:
    """Raises what `show_still` would, as far as headers tell it."""
    marks_on(still, open_image_entry(still, size_only=True).size)


def open_image_entry(still: ImageEntry, size_only: bool = False) -> Image.Image:
    """The image, or the video's frame; with `size_only` a blank picture stands for a frame, so that nothing is
    decoded.

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


def check_takes_videos(processor: Any) -> None:
    """Raises VideoError if a transformers processor takes images only, or no times of decoded frames.

    The former would leave videos out without a word.
    """
    if any(cls.__name__ == "VideoLlavaProcessor" for cls in type(processor).__mro__):
        raise VideoError(
            f"{type(processor).__name__} takes neither times of decoded frames nor options for text (transformers "
            "5.5). LLaMA-Factory with `rgpt4d_video_llava` shows the model videos, in training, chat and its API"
        )
    if not hasattr(processor, "video_processor"):
        raise VideoError(
            f"{type(processor).__name__} takes no videos. LLaMA-Factory with a `rgpt4d_` template shows such a model "
            "the frames of a video as images, in training, chat and its API"
        )


def processed(
    processor: Any,
    texts: Sequence[str],
    pictures: Sequence[Any],
    clips: Sequence[ShownClip],
    counts: Sequence[tuple[int, int]],
    **kwargs: Any,
) -> Any:
    """Returns what a transformers processor makes of texts and their media, as its model takes it.

    Args:
        processor: Called with `kwargs` too.
        texts: As a chat template wrote them.
        pictures: Images, flat or in one list per text.
        clips: Those of all texts.
        counts: Images and clips of each text.

    Raises:
        VideoError: There are clips, and the processor takes no videos.
        ValueError: Images and clips are in an order that the processor miswrites.
    """
    # Imported here: with it comes torch, which a prompt for a server does not need.
    from rgpt4d_plugin.students.glm4v import for_model

    if clips:
        check_takes_videos(processor)
    media: dict[str, Any] = {}
    if any(pictures):
        media["images"] = pictures
    if clips:
        media["videos"] = [clip.frames for clip in clips]
        media["do_sample_frames"] = False
        media["video_metadata"] = [clip.metadata for clip in clips]
    return for_model(processor(text=texts, **media, **kwargs), processor, counts)


def fit(picture: Image.Image, max_pixels: int) -> Image.Image:
    """RGB, scaled down to an area by the host's rule."""
    if picture.width * picture.height > max_pixels:
        factor = math.sqrt(max_pixels / (picture.width * picture.height))
        picture = picture.resize((int(picture.width * factor), int(picture.height * factor)))
    return picture.convert("RGB")


def _place(clip: Clip, sampling: Sampling) -> tuple[VideoInfo, int, Placed]:
    """Returns the file, the clip's number of frames in it, and which of them are shown with which marks."""
    info = read_info(clip.path)
    first, final, seconds = span(clip, info)
    return info, final - first + 1, place(clip, info, sampling.of(info, first, final, seconds))
