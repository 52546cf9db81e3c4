# SPDX-License-Identifier: Apache-2.0
"""Other decoders than PyAV, for the frames that PyAV's look at a file has numbered and timed.

A decoder that counts other frames, or has them at other times, would show other frames under the same numbers. Files
with which that happens are read by PyAV, and said once each.
"""

import functools
import importlib
import logging
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from rgpt4d_plugin.video.clip import VideoError, is_address, open_video
from rgpt4d_plugin.video.frames import VideoInfo


logger = logging.getLogger(__name__)

_DECORD_FORMATS = ("mp4", "matroska")
"""decord seeks wrongly in MPEG-TS, without noticing; elsewhere it was not found to."""


class OtherFrames(Exception):
    """A decoder does not have the frames that the file's packets say."""


def check_backend(name: str) -> None:
    """Raises ImportError, with what to do, if a back end cannot be used here."""
    modules = {"decord": "decord", "torchcodec": "torchcodec.decoders"}
    try:
        module = importlib.import_module(modules[name])
        if name == "torchcodec":
            # Its libraries are loaded on first use: the FFmpeg that they need may be missing.
            importlib.import_module("torchcodec._core.ops")
            module.VideoDecoder  # noqa: B018
    except (ImportError, RuntimeError, OSError) as err:
        reason = str(err).strip().partition("\n")[0]
        raise ImportError(
            f"p4d.video.backend: {name} cannot be used: {reason}; pip install 'rgpt4d-plugin[{name}]'"
            + (" and FFmpeg's shared libraries" if name == "torchcodec" else "")
            + ", or leave p4d.video.backend at pyav"
        ) from err


def decode_with(backend: str, info: VideoInfo, indices: Sequence[int]) -> list[Image.Image] | None:
    """Frames of a file with the given numbers, upright; None if the back end has others, and PyAV is to read it."""
    check_backend(backend)
    try:
        pixels = _BACKENDS[backend](info, indices)
    except OtherFrames as err:
        _say(info.path, backend, str(err))
        return None
    return [Image.fromarray(frame) for frame in pixels]


@functools.lru_cache(maxsize=1024)
def _say(path: str, backend: str, why: str) -> None:
    logger.info("%s is read by PyAV, since %s %s", path, backend, why)


def _decord(info: VideoInfo, indices: Sequence[int]) -> np.ndarray:
    import decord

    if is_address(info.path):
        raise OtherFrames("reads no addresses")
    with open_video(info.path) as container:
        if not any(name in container.format.name.split(",") for name in _DECORD_FORMATS):
            raise OtherFrames(f"is not trusted with {container.format.name}")
    try:
        reader = decord.VideoReader(info.path, num_threads=1)
        times = reader.get_frame_timestamp(list(range(len(reader))))[:, 0]
    except (decord.DECORDError, RuntimeError) as err:
        raise OtherFrames(f"cannot open it: {str(err).partition(chr(10))[0]}") from err
    _compare(info, times)
    try:
        return reader.get_batch(list(indices)).asnumpy()
    except decord.DECORDError as err:
        raise VideoError(f"{info.path} cannot be decoded by decord: {err}", info.path) from err


def _torchcodec(info: VideoInfo, indices: Sequence[int]) -> np.ndarray:
    from torchcodec.decoders import VideoDecoder

    try:
        decoder = VideoDecoder(info.path, seek_mode="exact", dimension_order="NHWC", num_ffmpeg_threads=1)
        if len(decoder) != info.frames:
            raise OtherFrames(f"finds {len(decoder)} frames where {info.frames} are shown")
        batch = decoder.get_frames_at(list(indices))
    except (RuntimeError, ValueError, IndexError) as err:
        raise OtherFrames(f"cannot read it: {str(err).partition(chr(10))[0]}") from err
    first = decoder.get_frame_at(0).pts_seconds
    _near(info, batch.pts_seconds.numpy() - first, indices)
    return batch.data.numpy()


_BACKENDS: dict[str, Callable[[VideoInfo, Sequence[int]], np.ndarray]] = {
    "decord": _decord,
    "torchcodec": _torchcodec,
}


def _compare(info: VideoInfo, times: np.ndarray) -> None:
    if len(times) != info.frames:
        raise OtherFrames(f"finds {len(times)} frames where {info.frames} are shown")
    _near(info, times - times[0], range(info.frames))


def _near(info: VideoInfo, seconds: np.ndarray, indices: Sequence[int]) -> None:
    expected = np.array([info.time_of(index) for index in indices])
    if np.abs(seconds - expected).max() > 0.5 / info.rate:
        raise OtherFrames("has its frames at other times")
