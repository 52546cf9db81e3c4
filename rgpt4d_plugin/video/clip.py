# SPDX-License-Identifier: Apache-2.0
"""Video files: what the student saw of one, and a cheap check that a file can be read to its end."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import av
from PIL.Image import Image


class MediaError(ValueError):
    """A video, an image or a region of a record cannot be used."""


class VideoError(MediaError):
    """A video cannot be used. The message names the file and what is wrong with it.

    Attributes:
        entry: what the record has for the video: the file, as the host was given it, or a frame of a list of frames.
    """

    def __init__(self, message: str, entry: Any = None):
        super().__init__(message)
        self.entry = entry


@dataclass(frozen=True)
class SeenClip:
    """The frames that the host decoded for the student, before any resizing."""

    source: str
    frames: list[Image]
    timestamps: list[float]
    """Seconds from the start of the file, one per frame."""
    marked: dict[int, list[str]] = field(default_factory=dict)
    """Labels of the regions drawn on a frame for the student, by the frame's position in the clip."""


def check_video(path: str | os.PathLike) -> None:
    """Raises VideoError unless `path` holds a video stream that can be read to the end that its header promises.

    Reads the header, the first packet and the packets from the last key frame on, and decodes nothing, so that a whole
    dataset can be checked while it is tokenised.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise VideoError(f"no such video: {path}", path)
    try:
        container = av.open(path)
    except (av.FFmpegError, OSError) as err:
        raise VideoError(f"{path} is not a readable video: {err.strerror}", path) from err
    with container:
        stream = next((stream for stream in container.streams if stream.type == "video"), None)
        if stream is None:
            raise VideoError(f"{path} has no video stream", path)
        try:
            if next(_packets(container, stream), None) is None:
                raise VideoError(f"{path} has no frames", path)
            if stream.duration:
                _check_end(path, container, stream)
        except av.FFmpegError as err:
            raise VideoError(f"{path} is damaged or cut off: {err.strerror}", path) from err


def _packets(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet]:
    # The last thing demux() yields is an empty flush packet.
    return (packet for packet in container.demux(stream) if packet.size)


def _check_end(path: str, container: av.container.InputContainer, stream: av.VideoStream) -> None:
    """A file that was cut off in transit still promises all of its frames: see whether the last ones are there."""
    promised = (stream.start_time or 0) + stream.duration
    container.seek(promised, stream=stream)
    reached = 0
    for packet in _packets(container, stream):
        if packet.is_corrupt:
            raise VideoError(f"{path} is cut off or damaged at {float(packet.dts * stream.time_base):.2f} s", path)
        time = packet.pts if packet.pts is not None else packet.dts
        reached = max(reached, (time or 0) + (packet.duration or 0))
    # Headers round: a twentieth of the clip is more than any of them is off, and less than a cut worth finding here.
    # Whatever a cut leaves of the sampled frames is checked again, exactly, when the clip is decoded.
    if promised - reached > stream.duration / 20:
        found, expected = (float(time * stream.time_base) for time in (reached, promised))
        raise VideoError(f"{path} is cut off: it ends at {found:.2f} s, its header promises {expected:.2f} s", path)
