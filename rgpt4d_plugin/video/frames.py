# SPDX-License-Identifier: Apache-2.0
"""The frames of a video file that a player shows: how many, when, which way up, and single ones by their number.

Headers are not believed: a container may be longer than its video, hide frames by an edit list, or say no length and
no rate. So the packets of a file are looked through once, without decoding them.
"""

import bisect
import functools
import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

import av
from PIL import Image

from rgpt4d_plugin.video.clip import VideoError, check_video, open_video


_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
"""How a decoded frame is turned upright, by the angle of the file's display matrix."""


@dataclass(frozen=True)
class VideoInfo:
    """The frames of a file's first video stream.

    Attributes:
        width: Pixels of an upright frame, as is `height`.
        rate: Frames per second, on average where the rate varies.
        frames: Number of frames that are shown.
        duration: Seconds from the first frame to the end of the last, as the header says them unless it is wrong.
        times: Seconds of each frame from the first; None where frame i is shown at i / rate.
        pts: The stream's own time of each frame.
        rotation: Degrees, counterclockwise, by which decoded frames are turned to be upright.
        promised: Number of frames that the header says; None if it says none.
    """

    path: str
    width: int
    height: int
    rate: float
    frames: int
    duration: float
    times: Sequence[float] | None = field(default=None, repr=False)
    pts: Sequence[int] = field(default=(), repr=False)
    rotation: int = 0
    promised: int | None = None

    @property
    def last(self) -> int:
        """Number of the last frame, counted from 0."""
        return self.frames - 1

    @property
    def is_as_the_host_reads_it(self) -> bool:
        """Tells whether LLaMA-Factory gets upright frames, as many as the header says."""
        return self.rotation == 0 and self.promised in (None, self.frames)

    @property
    def length(self) -> float:
        """Seconds from the first frame to the end of the last, as its frames say them."""
        return self.frames / self.rate

    def seconds_of(self, first: int, final: int) -> float:
        """Returns how long the frames from `first` to `final` are shown together."""
        if self.times is None:
            return (final - first + 1) / self.rate
        end = self.times[final + 1] if final < self.last else self.length
        return end - self.times[first]

    def time_of(self, frame: int) -> float:
        """Returns the seconds at which a frame is shown."""
        return frame / self.rate if self.times is None else self.times[frame]

    def frame_at(self, seconds: float) -> int:
        """Returns the number of the frame nearest to a time; it is past the last one for a time past the end."""
        if self.times is None:
            return round(seconds * self.rate)
        if seconds > self.length:
            return self.last + max(1, round((seconds - self.times[-1]) * self.rate))
        after = min(bisect.bisect_left(self.times, seconds), self.last)
        return min(max(after - 1, 0), after, key=lambda frame: abs(self.times[frame] - seconds))

    def first_from(self, seconds: float) -> int:
        """Returns the number of the first frame that is shown at a time or later; `frames` if there is none."""
        if self.times is None:
            return max(math.ceil(seconds * self.rate), 0)
        return bisect.bisect_left(self.times, seconds)


def read_info(path: str) -> VideoInfo:
    """Returns the frames of a file; raises VideoError if it cannot be read to its end."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):  # an address, or a file that is missing or whose name no file can have
        return _read_info(path, None)
    return _read_info(path, (state.st_mtime_ns, state.st_size))


@functools.lru_cache(maxsize=1024)
def _read_info(path: str, state: tuple[int, int] | None) -> VideoInfo:
    check_video(path)
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            packets, first = [], None
            for packet in container.demux(stream):
                if first is None:
                    first = next(iter(packet.decode()), None)
                if packet.size:  # the last one is an empty flush packet
                    packets.append(packet)
            pts: list = sorted(
                (packet.pts for packet in packets if not packet.is_discard), key=lambda time: (time is None, time)
            )
            last = next((packet.duration for packet in packets if pts and packet.pts == pts[-1]), None)
            # Packets that bear no time of their own, or no frame: only decoding tells.
            if first is None or None in pts or len(set(pts)) < len(pts) or stream.codec_context.name == "vp8":
                with open_video(path) as again:
                    pts = [_pts(frame, path) for frame in again.decode(video=0)]
            # A file may begin with packets that nothing can be decoded from.
            pts = [time for time in pts if time >= first.pts] if pts else []
            if not pts:
                raise VideoError(f"{path} has no frames", path)
            # Only these containers count what they hold: MP4 its packets, AVI the places for them, filled or not.
            formats = container.format.name.split(",")
            there = len(packets) if "mp4" in formats else pts[-1] + 1 if "avi" in formats else stream.frames
            if there < stream.frames * (0.95 if "avi" in formats else 1):
                raise VideoError(
                    f"{path} is cut off: only {there} of the {stream.frames} frames of its header are there",
                    path,
                )
            return _info(path, stream, first, pts, last)
    except av.FFmpegError as err:
        raise VideoError(f"{path} cannot be decoded: {err}", path) from err


def _info(path: str, stream: av.VideoStream, first: av.VideoFrame, pts: Sequence[int], last: int | None) -> VideoInfo:
    tick = float(stream.time_base)
    times = [(time - pts[0]) * tick for time in pts]
    header = stream.average_rate or stream.guessed_rate
    steps = [after - before for before, after in zip(times, times[1:], strict=False)]
    rates = [float(header)] if header else []
    rates += [len(steps) / times[-1]] if steps else []
    # Times are rounded to ticks, which are milliseconds in Matroska.
    close = 1.01 * max(tick, 0.001)
    rate = next((r for r in rates if all(abs(t - n / r) <= close for n, t in enumerate(times))), None)
    varies = rate is None and len(times) > 1
    if varies:
        length = times[-1] + (last * tick if last else statistics.median(steps))
        rate = len(times) / length
    else:
        # A single frame of no rate is shown for its own duration.
        rate = rate or (1 / (last * tick) if last else 1.0)
        length = len(times) / rate
    said = float(stream.duration * stream.time_base) if stream.duration is not None else None
    duration = said if said is not None and abs(said - length) < 1.5 / rate else length
    rotation = round(first.rotation / 90) * 90 % 360
    width, height = (first.height, first.width) if rotation in (90, 270) else (first.width, first.height)
    return VideoInfo(
        path,
        width,
        height,
        rate,
        len(pts),
        duration,
        tuple(times) if varies else None,
        tuple(pts),
        rotation,
        stream.frames or None,
    )


def read_frames(path: str, indices: Sequence[int], backend: str = "pyav") -> list[Image.Image]:
    """Decodes the frames with the given numbers, ascending, and turns them upright.

    Decoding begins at the key frame before the first of them, or at the file's beginning where no such key frame is
    found.

    Args:
        path: The file.
        indices: Numbers of the frames.
        backend: Decoder, as in `p4d.video.backend`; a file that it reads otherwise than PyAV is read by PyAV.

    Raises:
        VideoError: The file cannot be decoded, or one of the frames is missing.
    """
    info = read_info(path)
    if backend != "pyav":
        from rgpt4d_plugin.video.backends import decode_with

        frames = decode_with(backend, info, indices)
        if frames is not None:
            return frames
    found = _decode(path, info, indices, seek=indices[0] > 0)
    if any(index not in found for index in indices):
        found = _decode(path, info, indices, seek=False)
    there = [found[index] for index in indices if index in found]
    if len(there) < len(indices):
        raise VideoError(
            f"{path} is cut off or damaged: only {len(there)} of the {len(indices)} sampled frames could be decoded",
            path,
        )
    return there


def _decode(path: str, info: VideoInfo, indices: Sequence[int], seek: bool) -> dict[int, Image.Image]:
    """Returns the frames that are found, by number."""
    wanted, found = set(indices), {}
    # Rounding of time bases must not take a frame for its neighbor.
    starts = [(before + after) / 2 for before, after in zip(info.pts, info.pts[1:], strict=False)]
    try:
        with open_video(path) as container:
            stream = container.streams.video[0]
            if seek:
                container.seek(info.pts[indices[0]], stream=stream)
            for frame in container.decode(stream):
                number = bisect.bisect(starts, _pts(frame, path))
                if number in wanted and number not in found:
                    found[number] = upright(frame.to_image(), info)
                if number >= indices[-1]:
                    break
    except av.FFmpegError as err:
        raise VideoError(f"{path} cannot be decoded: {err}", path) from err
    return found


def upright(frame: Image.Image, info: VideoInfo) -> Image.Image:
    """Turns a decoded frame as a player shows it."""
    return frame.transpose(_TURNS[info.rotation]) if info.rotation else frame


def _pts(frame: av.VideoFrame, path: str) -> int:
    if frame.pts is None:
        raise VideoError(f"{path} has frames without a time; rewrite it, e.g. ffmpeg -i {path} fixed.mp4", path)
    return frame.pts
