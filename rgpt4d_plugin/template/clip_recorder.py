# SPDX-License-Identifier: Apache-2.0
"""Seam: the template's multimodal plugin, with what it decodes handed on to the teacher.

The host decodes a clip in `_regularize_videos` and resizes each frame in `_preprocess_image`; the recorder sits on
those names of `llamafactory.data.mm_plugin.MMPluginMixin` (the same in 0.9.5 and main of August 2026), so that no
video is decoded twice and the teacher sees the very frames that the student saw, before any resizing and without the
marks of region prompts. The host's own plugin objects stay untouched: a run with `p4d:` uses a copy. To be removed
when the host passes frames to collators.
"""

import copy
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import av
from PIL.Image import Image

from rgpt4d_plugin.seams import require
from rgpt4d_plugin.template.clip_reader import (
    HOST_NAMES,
    ClipReader,
    Reading,
    clip_of,
    frame_times,
    read_context,
    reading_with,
)
from rgpt4d_plugin.template.plugin_classes import with_reader
from rgpt4d_plugin.video import SeenClip, VideoError
from rgpt4d_plugin.video.frames import read_info


class ClipRecorder(ClipReader):
    """Mixin in front of a host plugin class. `recording(on_clip)` switches it on.

    It also names the file in every error about a video, and checks files while the dataset is tokenised.
    """

    @contextmanager
    def recording(self, on_clip: Callable[[SeenClip], None]) -> Iterator[None]:
        """Calls `on_clip` with every clip that is decoded inside the block, in order."""
        with reading_with(on_clip=on_clip):
            yield

    def _p4d_check(self, video: Any) -> None:
        _check_entry(video)

    def _preprocess_image(self, image: Image, **kwargs: Any) -> Image:
        # The host repeats a file's last frame to fill the last temporal patch: the same object again is no new frame.
        reading = read_context().reading
        if reading is not None and not (reading.count is None and reading.raw and reading.raw[-1] is image):
            reading.raw.append(image)
        return super()._preprocess_image(image, **kwargs)

    def _p4d_decode(self, reading: Reading, **kwargs: Any) -> dict[str, list]:
        name, path = reading.name, _path(reading)
        try:
            result = super()._p4d_decode(reading, **kwargs)
        except (av.FFmpegError, OSError) as err:
            raise VideoError(f"{name} cannot be decoded: {err}", path) from err
        except StopIteration as err:  # the host's `next()` over video streams
            raise VideoError(f"{name} has no video stream", path) from err
        frames = reading.raw[: reading.count]
        if not frames:
            raise VideoError(f"{name} has no frames", path)
        filled = _even if self.pairs_frames else int
        if reading.indices is not None and filled(len(frames)) < filled(len(reading.indices)):
            raise VideoError(
                f"{name} is cut off or damaged: only {len(frames)} of the {len(reading.indices)} sampled frames could "
                "be decoded",
                path,
            )
        on_clip = read_context().on_clip
        if on_clip is not None:
            marked = {at: [f"<obj_{mark.number}>" for mark in marks] for at, marks in reading.marks.items()}
            on_clip(SeenClip(name, frames, frame_times(reading, len(frames), kwargs["video_fps"]), marked))
        return result


def _path(reading: Reading) -> str | None:
    if reading.clip is not None:
        return reading.clip.path
    frames = reading.entry if reading.count is not None else []
    return next((frame for frame in frames if isinstance(frame, str)), None)


def _check_entry(video: Any) -> None:
    """Raises VideoError unless a record's video is a file that can be read, or a list of frames that are there."""
    clip = clip_of(video)
    if clip is not None:
        read_info(clip.path)
    elif isinstance(video, list):
        for frame in video:
            if isinstance(frame, (str, os.PathLike)) and not os.path.isfile(frame):
                raise VideoError(f"no such video frame: {os.fspath(frame)}", os.fspath(frame))
    else:
        raise VideoError(f"expected the name of a video file or a list of frames, got {video!r}", video)


def _even(frames: int) -> int:
    """Frames after the host has filled the last temporal patch: files that differ by less still fit their tokens."""
    return frames + frames % 2


def with_recorder(template: Any, frames: int | None, sentences: bool | None = None) -> Any:
    """Returns a copy of a host template whose multimodal plugin records clips; the host's own stays as it is.

    Args:
        template: The host's, from `get_template_and_fix_tokenizer`.
        frames: `p4d.frames`.
        sentences: `p4d.tpe: text`; None keeps the template's.
    """
    require(type(template.mm_plugin), *HOST_NAMES, "_get_video_token_metadata")
    template = copy.copy(template)
    template.mm_plugin = with_reader(template.mm_plugin, ClipRecorder, frames, sentences)
    return template
