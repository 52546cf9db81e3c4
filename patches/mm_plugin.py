# SPDX-License-Identifier: Apache-2.0
"""Seam: the template's multimodal plugin, with what it decodes handed on to the teacher.

The host decodes a clip in `_regularize_videos` and resizes each frame in `_preprocess_image`; the recorder sits on
those names of `llamafactory.data.mm_plugin.MMPluginMixin` (the same in 0.9.5 and main of August 2026), so that no
video is decoded twice and the teacher sees the very frames that the student saw, before any resizing. The host's own
plugin objects stay untouched: a run with `p4d:` uses a copy. To be removed when the host passes frames to collators.
"""

import copy
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from PIL.Image import Image

from rgpt4d_plugin.patches.seams import require
from rgpt4d_plugin.video import SeenClip, VideoError, check_video


@dataclass
class _Reading:
    """What is seen of one video while the host reads it."""

    from_file: bool
    indices: list[int] | None = None
    promised: bool = False
    """Whether the file's header says how long it is."""
    frame_rate: float | None = None
    frames: list[Image] = field(default_factory=list)


class ClipRecorder:
    """Mixin in front of a host plugin class. `recording(on_clip)` switches it on.

    It also names the file in every error about a video, checks files while the dataset is tokenised, and samples
    `p4d.frames` frames per clip where that is set.
    """

    _p4d_frames: int | None = None
    _p4d_on_clip: Callable[[SeenClip], None] | None = None
    _p4d_reading: _Reading | None = None

    @contextmanager
    def recording(self, on_clip: Callable[[SeenClip], None]) -> Iterator[None]:
        """Calls `on_clip` with every clip that is decoded inside the block, in order."""
        self._p4d_on_clip = on_clip
        try:
            yield
        finally:
            self._p4d_on_clip = None

    def __reduce__(self) -> tuple:
        # The class is made at run time: rebuild it in preprocessing workers. What a recording holds is left out, so
        # that the datasets library finds the same fingerprint, and its cache, in every run.
        state = {key: value for key, value in self.__dict__.items() if not key.startswith("_p4d_")}
        return _rebuild, (type(self).__mro__[2], state, self._p4d_frames)

    def _get_video_token_metadata(self, videos: list[Any], processor: Any) -> dict[str, Any] | None:
        for video in videos:
            _check_entry(video)
        return super()._get_video_token_metadata(videos, processor)

    def _get_video_sample_indices(self, video_stream: av.VideoStream, *args: Any, **kwargs: Any) -> Any:
        if self._p4d_frames is None:
            indices = super()._get_video_sample_indices(video_stream, *args, **kwargs)
        else:
            total = video_stream.frames or _count_frames(video_stream)
            indices = np.linspace(0, total - 1, min(total, self._p4d_frames)).astype(np.int32)
        if self._p4d_reading is not None:
            self._p4d_reading.indices = [int(index) for index in indices]
            self._p4d_reading.promised = bool(video_stream.frames or video_stream.duration)
            rate = video_stream.average_rate or video_stream.guessed_rate
            self._p4d_reading.frame_rate = None if rate is None else float(rate)
        return indices

    def _preprocess_image(self, image: Image, **kwargs: Any) -> Image:
        # The host repeats a file's last frame to fill the last temporal patch: the same object again is no new frame.
        reading = self._p4d_reading
        if reading is not None and not (reading.from_file and reading.frames and reading.frames[-1] is image):
            reading.frames.append(image)
        return super()._preprocess_image(image, **kwargs)

    def _regularize_videos(self, videos: list[Any], **kwargs: Any) -> dict[str, list]:
        # One at a time, so that an error knows its file.
        results = [self._p4d_read(video, **kwargs) for video in videos]
        return {key: [item for result in results for item in result[key]] for key in results[0]} if results else {}

    def _p4d_read(self, video: Any, **kwargs: Any) -> dict[str, list]:
        is_file = isinstance(video, (str, os.PathLike))
        path = os.fspath(video) if is_file else next((frame for frame in video if isinstance(frame, str)), None)
        name = path if is_file else f"list of {len(video)} frames"
        if not is_file:
            video = list(video)  # the host appends to it
        count = None if is_file else len(video)
        self._p4d_reading = reading = _Reading(from_file=is_file)
        try:
            result = super()._regularize_videos([video], **kwargs)
        except (av.FFmpegError, OSError) as err:
            raise VideoError(f"{name} cannot be decoded: {err}", path) from err
        except StopIteration as err:  # the host's `next()` over video streams
            raise VideoError(f"{name} has no video stream", path) from err
        finally:
            self._p4d_reading = None
        frames = reading.frames[:count]
        if not frames:
            raise VideoError(f"{name} has no frames", path)
        # Without a length in the header, the host samples more frames than there may be and counts what it gets.
        if reading.promised and _even(len(frames)) < _even(len(reading.indices)):
            raise VideoError(
                f"{name} is cut off or damaged: only {len(frames)} of the {len(reading.indices)} sampled frames could "
                "be decoded",
                path,
            )
        if self._p4d_on_clip is not None:
            self._p4d_on_clip(SeenClip(name, frames, _timestamps(name, reading, len(frames), kwargs)))
        return result


def _count_frames(stream: av.VideoStream) -> int:
    """Frames of a file whose header (Matroska, WebM) does not say; the host seeks to the start before it decodes."""
    return sum(packet.size > 0 for packet in stream.container.demux(stream))


def _check_entry(video: Any) -> None:
    """Raises VideoError unless a record's video is a file that can be read, or a list of frames that are there."""
    if isinstance(video, (str, os.PathLike)):
        check_video(video)
    elif isinstance(video, list):
        for frame in video:
            if isinstance(frame, (str, os.PathLike)) and not os.path.isfile(frame):
                raise VideoError(f"no such video frame: {os.fspath(frame)}", os.fspath(frame))
    else:
        raise VideoError(f"expected the name of a video file or a list of frames, got {video!r}", video)


def _even(frames: int) -> int:
    """Frames after the host has filled the last temporal patch: files that differ by less still fit their tokens."""
    return frames + frames % 2


def _timestamps(name: str, reading: _Reading, count: int, kwargs: dict[str, Any]) -> list[float]:
    """Seconds of each frame, as the host's own Qwen3-VL plugin counts them: index over average frame rate."""
    if reading.indices is None:  # a list of frames: the host takes them to be `video_fps` apart
        return [index / kwargs["video_fps"] for index in range(count)]
    if reading.frame_rate is None:
        raise VideoError(f"{name} does not say its frame rate, so its frames have no timestamps", name)
    return [index / reading.frame_rate for index in reading.indices[:count]]


@functools.cache
def _recorder_class(base: type) -> type:
    require(base, "_regularize_videos", "_preprocess_image", "_get_video_sample_indices", "_get_video_token_metadata")
    return type(f"Recording{base.__name__}", (ClipRecorder, base), {})


def _rebuild(base: type, state: dict[str, Any], frames: int | None) -> Any:
    cls = _recorder_class(base)
    plugin = cls.__new__(cls)
    plugin.__dict__.update(state)
    plugin._p4d_frames = frames
    return plugin


def with_recorder(template: Any, frames: int | None) -> Any:
    """A copy of a host template whose multimodal plugin records clips; the host's own template stays as it is.

    Args:
        template: from `get_template_and_fix_tokenizer`.
        frames: `p4d.frames`.
    """
    template = copy.copy(template)
    template.mm_plugin = _rebuild(type(template.mm_plugin), dict(template.mm_plugin.__dict__), frames)
    return template
