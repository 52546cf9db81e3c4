# SPDX-License-Identifier: Apache-2.0
"""A question as the content parts of an OpenAI chat message, its media inline as data URLs."""

import base64
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import av
from PIL import Image
from pydantic import Field, PositiveInt

from rgpt4d_plugin.eval_hooks.benchmark_task import Question
from rgpt4d_plugin.eval_hooks.benchmarks.records import Medium
from rgpt4d_plugin.files import open_image
from rgpt4d_plugin.regions.frame_matching import span
from rgpt4d_plugin.regions.media_entries import Clip
from rgpt4d_plugin.regions.rendering import fit
from rgpt4d_plugin.validation import check
from rgpt4d_plugin.video.frames import read_frames, read_info
from rgpt4d_plugin.video.sampling import spread_in_time


# VideoError, RegionError and BenchmarkDataError are ValueErrors. SyntaxError is what PIL raises for a PNG file with a
# broken chunk.
MEDIA_ERRORS = (ValueError, OSError, SyntaxError, av.FFmpegError)


@dataclass(frozen=True)
class MediaOptions:
    """How media are sent.

    Attributes:
        media: `frames`: a video is sampled here, at the times at which the host would, and sent as images; every
            server takes these. `video`: the file is sent as it is, and the server samples it by its own settings;
            vLLM and SGLang do, while LLaMA-Factory 0.9.5's server fails on such a video.
        picture: Format of images; `png` is lossless, and some five times larger.
        jpeg_quality: 1 to 100; colours are not subsampled.
        video_max_pixels: Frames are scaled down to this area; the host's key and default.
        image_max_pixels: The same for images.
    """

    media: Literal["frames", "video"] = "frames"
    picture: Literal["jpeg", "png"] = "jpeg"
    jpeg_quality: Annotated[int, Field(ge=1, le=100)] = 95
    video_max_pixels: PositiveInt = 256 * 256
    image_max_pixels: PositiveInt = 768 * 768

    def problems(self) -> list[str]:
        """Returns what is wrong with the values."""
        found: list[str] = []
        check(MediaOptions, vars(self), "", found)
        return found

    def description(self) -> dict[str, Any]:
        """Returns the options that the replies depend on."""
        unused = {"jpeg_quality"} if self.picture == "png" else set()
        return {name: value for name, value in asdict(self).items() if name not in unused}


def content(question: Question, options: MediaOptions) -> list[dict[str, Any]]:
    """Content parts: the media in their order, then the text.

    Raises:
        MEDIA_ERRORS: A video or an image cannot be read, or a part of a video is to be sent as a file.
    """
    parts = [part for medium in question.media for part in _parts(medium, question.frames, options)]
    return [*parts, {"type": "text", "text": question.prompt}]


def frames_of(medium: Medium, count: int) -> list[Image.Image]:
    """Frames of a video, spread over it or over its part; all of them if it has no more than `count`."""
    path = str(medium.path)
    info = read_info(path)
    first, final, _ = span(Clip(path, medium.start, medium.end), info)
    return read_frames(path, spread_in_time(info, first, final, count))


def _parts(medium: Medium, frames: int, options: MediaOptions) -> list[dict[str, Any]]:
    if medium.kind == "image":
        with open_image(medium.data if medium.data is not None else medium.path) as picture:
            return [_image_part(fit(picture, options.image_max_pixels), options)]
    if options.media == "video":
        return [_video_part(medium)]
    return [_image_part(fit(frame, options.video_max_pixels), options) for frame in frames_of(medium, frames)]


def _image_part(picture: Image.Image, options: MediaOptions) -> dict[str, Any]:
    buffer = io.BytesIO()
    if options.picture == "jpeg":
        picture.save(buffer, format="JPEG", quality=options.jpeg_quality, subsampling=0)
    else:
        picture.save(buffer, format="PNG")
    return _part("image", options.picture, buffer.getvalue())


def _video_part(medium: Medium) -> dict[str, Any]:
    if medium.start is not None or medium.end is not None:
        raise ValueError(
            f"media: video sends whole files, and of {medium.path} only a part is asked for; use media: frames"
        )
    # The extension, not the registered type: LLaMA-Factory's server knows video/mkv, not video/x-matroska.
    return _part("video", Path(medium.path).suffix.lstrip(".").lower(), Path(medium.path).read_bytes())


def _part(kind: str, format: str, content: bytes) -> dict[str, Any]:
    url = f"data:{kind}/{format};base64,{base64.b64encode(content).decode()}"
    return {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
