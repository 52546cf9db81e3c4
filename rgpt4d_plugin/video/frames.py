# SPDX-License-Identifier: Apache-2.0
"""Single frames of a video file by their number, without decoding all that comes before them."""

from collections.abc import Sequence
from dataclasses import dataclass

import av
import numpy as np
from PIL.Image import Image

from rgpt4d_plugin.video.clip import VideoError


@dataclass(frozen=True)
class VideoInfo:
    """What a file's header says of its first video stream.

    Attributes:
        path: the file, for messages.
        width: pixels.
        height: pixels.
        rate: frames per second, None where the header does not say.
        frames: number of frames, None where the header does not say (Matroska, WebM).
        duration: seconds, None where neither stream nor container says.
    """

    path: str
    width: int
    height: int
    rate: float | None
    frames: int | None
    duration: float | None

    @classmethod
    def of(cls, path: str, stream: av.VideoStream) -> "VideoInfo":
        """Reads the header of an opened stream."""
        rate = stream.average_rate or stream.guessed_rate
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif stream.container.duration is not None:
            duration = stream.container.duration / av.time_base
        else:
            duration = None
        return cls(path, stream.width, stream.height, float(rate) if rate else None, stream.frames or None, duration)

    @property
    def last(self) -> int | None:
        """Number of the last frame, counted from 0; from duration and rate where the header has no count."""
        if self.frames is not None:
            return self.frames - 1
        if self.duration is not None and self.rate is not None:
            return max(round(self.duration * self.rate) - 1, 0)
        return None

    def frame_at(self, seconds: float) -> int:
        """Number of the frame nearest to a time.

        Raises:
            VideoError: the file does not say its frame rate.
        """
        return round(seconds * self.known_rate)

    @property
    def known_last(self) -> int:
        """Number of the last frame; raises VideoError where the header does not say."""
        if self.last is None:
            raise VideoError(f"{self.path} does not say how long it is, so no part of it can be cut out", self.path)
        return self.last

    @property
    def known_rate(self) -> float:
        """Frames per second; raises VideoError where the header does not say."""
        if self.rate is None:
            raise VideoError(f"{self.path} does not say its frame rate, so its frames have no timestamps", self.path)
        return self.rate


def open_video(path: str) -> av.container.InputContainer:
    """Opens a file that has a video stream; raises VideoError otherwise."""
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as err:
        reason = "no such video" if isinstance(err, FileNotFoundError) else "not a readable video"
        raise VideoError(f"{reason}: {path}", path) from err
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video stream", path)
    return container


def read_info(path: str) -> VideoInfo:
    """Header of a file; raises VideoError if it cannot be read."""
    with open_video(path) as container:
        return VideoInfo.of(path, container.streams.video[0])


def spread(count: int, total: int) -> list[int]:
    """Numbers of `count` frames spread over `total`, the first and the last among them: the host's rule."""
    return [int(index) for index in np.linspace(0, total - 1, count).astype(np.int32)]


def read_frames(path: str, indices: Sequence[int]) -> list[Image]:
    """Decodes the frames with the given numbers, ascending, from the key frame before the first of them on.

    Frames are told apart by their presentation time, so that a file can be entered in its middle: frame i is the one
    shown at i / rate seconds after the first. In a file of constant rate this is the i-th decoded frame.

    Raises:
        VideoError: the file cannot be decoded, or ends before the last frame that is asked for.
    """
    with open_video(path) as container:
        stream = container.streams.video[0]
        rate = VideoInfo.of(path, stream).known_rate
        frames: list[Image] = []
        try:
            # The header's start_time is not it: AVI files with B-frames say 0 and begin at 1.
            begin = _time(next(container.decode(stream)), path)
            # Half a frame early: rounding of time bases must not place a frame before the time it is looked up by.
            wanted = [begin + (index - 0.5) / rate / float(stream.time_base) for index in indices]
            container.seek(max(round(wanted[0]), 0), stream=stream)
            for frame in container.decode(stream):
                while len(frames) < len(wanted) and _time(frame, path) >= wanted[len(frames)]:
                    frames.append(frame.to_image())
                if len(frames) == len(wanted):
                    return frames
        except (av.FFmpegError, StopIteration) as err:
            raise VideoError(f"{path} cannot be decoded: {err or 'it has no frames'}", path) from err
    raise VideoError(
        f"{path} is cut off or damaged: only {len(frames)} of the {len(indices)} sampled frames could be decoded", path
    )


def _time(frame: av.VideoFrame, path: str) -> int:
    if frame.pts is None:
        raise VideoError(f"{path} has frames without a time; rewrite it, e.g. ffmpeg -i {path} fixed.mp4", path)
    return frame.pts
