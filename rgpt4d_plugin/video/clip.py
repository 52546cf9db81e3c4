# SPDX-License-Identifier: Apache-2.0
"""Video files: what the student saw of one, and a cheap check that a file can be read to its end."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import av
from PIL.Image import Image


if TYPE_CHECKING:
    from rgpt4d_plugin.video.frame_cache import StoredClip


PATIENCE = 60.0
"""Seconds that a server may take for a video's header, and for every packet after it."""


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
    frames: Sequence[Image]
    timestamps: list[float]
    """Seconds from the start of the clip, one per frame."""
    marked: dict[int, list[str]] = field(default_factory=dict)
    """Labels of the regions drawn on a frame for the student, by the frame's position in the clip."""
    start: float = 0.0
    """Seconds of the file at which the clip starts."""
    files: tuple[str, ...] = ()
    """The video, or every frame of a list of files; empty for what is no file."""
    stored: "StoredClip | None" = None
    """Where its pixels are kept; `frames` are then decoded only if someone looks at them."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of its frames."""
        return self.frames[0].size if self.stored is None else self.stored.size


def is_address(path: str) -> bool:
    """Tells whether a video is read over the network, as the host lets FFmpeg do."""
    return path.startswith(("http://", "https://"))


def open_video(path: str) -> av.container.InputContainer:
    """Opens a file that has a video stream; raises VideoError otherwise."""
    address = is_address(path)
    if not address and not os.path.isfile(path):
        hint = "; a video is a file, or an address that begins with http:// or https://" if "://" in path else ""
        raise VideoError(f"no such video: {path}{hint}", path)
    try:
        container = av.open(path, timeout=PATIENCE if address else None)
    except av.ExitError as err:
        raise VideoError(f"{path} is not a readable video: no header came within {PATIENCE:g} s", path) from err
    except (av.FFmpegError, OSError) as err:
        raise VideoError(f"{path} is not a readable video: {err.strerror}", path) from err
    if not container.streams.video:
        container.close()
        raise VideoError(f"{path} has no video stream", path)
    if container.streams.video[0].codec_context is None:  # decoding such a stream would end the process
        container.close()
        raise VideoError(f"{path} is not a readable video: FFmpeg has no decoder for it", path)
    return container


def check_video(path: str | os.PathLike) -> None:
    """Raises VideoError unless `path` holds a video stream that can be read to the end that its header promises.

    Reads the header, the first packet and the packets from the last key frame on, and decodes nothing, so that a whole
    dataset can be checked while it is tokenized.
    """
    path = os.fspath(path)
    with open_video(path) as container:
        stream = container.streams.video[0]
        try:
            if next(_packets(container, stream), None) is None:
                raise VideoError(f"{path} has no frames", path)
            if stream.duration:
                _check_end(path, container, stream)
        except av.FFmpegError as err:
            raise VideoError(f"{path} is damaged or cut off: {err.strerror}", path) from err


def _packets(container: av.container.InputContainer, *streams: av.VideoStream) -> Iterator[av.Packet]:
    # The last thing demux() yields is an empty flush packet.
    return (packet for packet in container.demux(*streams) if packet.size)


def _check_end(path: str, container: av.container.InputContainer, stream: av.VideoStream) -> None:
    """Looks for the end of a file that the header promises: one that was cut off in transit ends before it.

    The end is that of its longest stream: some containers give all streams the length of the file.
    """
    promised = float(((stream.start_time or 0) + stream.duration) * stream.time_base)
    container.seek((stream.start_time or 0) + stream.duration, stream=stream)
    reached = 0.0
    for packet in _packets(container):
        if packet.is_corrupt:
            raise VideoError(f"{path} is cut off or damaged at {float(packet.dts * packet.time_base):.2f} s", path)
        time = packet.pts if packet.pts is not None else packet.dts
        reached = max(reached, float(((time or 0) + (packet.duration or 0)) * packet.time_base))
    # Headers round: a twentieth of the clip is more than any of them is off, and less than a cut worth finding here.
    # Whatever a cut leaves of the sampled frames is checked again, exactly, when the clip is decoded.
    if promised - reached > float(stream.duration * stream.time_base) / 20:
        raise VideoError(f"{path} is cut off: it ends at {reached:.2f} s, its header promises {promised:.2f} s", path)
