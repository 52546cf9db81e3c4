# SPDX-License-Identifier: Apache-2.0
"""A question about regions at inference, styled as in training: of a plain model, of the host, or of a server.

Frames, marks and text come from the functions that the `rgpt4d_<name>` templates use.
"""

import base64
import functools
import io
import mimetypes
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Annotated, Any

from PIL import Image
from pydantic import ConfigDict, Field, field_validator

from rgpt4d_plugin.arguments import P4DConfigError, parse_region_options
from rgpt4d_plugin.files import open_image
from rgpt4d_plugin.regions.media_entries import decode_clip, decode_image_entry
from rgpt4d_plugin.regions.prompt_styles import PLACEHOLDERS, StyledRecord, apply_style
from rgpt4d_plugin.regions.region import RegionError, check_mentions, parse_regions
from rgpt4d_plugin.regions.rendering import Sampling, ShownClip, processed, show_clip, show_still
from rgpt4d_plugin.validation import Checked, check, shown
from rgpt4d_plugin.video.entries import Clip, with_time_sentences


_Seconds = Annotated[float, Field(ge=0)]
_Count = Annotated[int, Field(ge=1)]


class _Arguments(Checked):
    """What may be given to a `RegionPrompt`; its regions and styles are checked by their own parsers."""

    model_config = ConfigDict(strict=True)

    path: Any
    question: str
    regions: Any
    style: Any
    missing_frame: Any
    time_sentence: bool
    start: _Seconds | None
    end: _Seconds | None
    fps: Annotated[float, Field(gt=0)]
    max_frames: _Count
    frames: _Count | None
    max_pixels: _Count
    image_max_pixels: _Count

    @field_validator("path")
    @classmethod
    def _is_a_path(cls, path: Any) -> Any:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ValueError(f"expected the path of a video or an image, got {shown(path)}")
        return path


@dataclass(frozen=True)
class RegionPrompt:
    """One question about regions of a video or an image.

    Example:
        >>> prompt = RegionPrompt(
        ...     "kitchen.mp4",
        ...     "Where does <obj_1> go?",
        ...     [{"id": "obj_1", "time": 0.5, "box": [40, 60, 120, 200]}],
        ... )
        >>> inputs = prompt.inputs(processor).to(model.device)  # transformers
        >>> reply = model.generate(**inputs, max_new_tokens=64)
        >>> chat_model.chat(**prompt.chat())  # the host's ChatModel, with template: rgpt4d_...
        >>> client.chat.completions.create(model="m", messages=prompt.openai_messages())  # its API server, vLLM, ...

    Attributes:
        path: Path of a video or an image; the file's name tells which one, or for a GIF whether it moves.
        question: Text that names the regions as <obj_1>, <obj_2>, ...
        regions: Regions as in a dataset's `regions` column; `video` and `image` may be left out. Boxes, points
            and masks, bool (H, W), may be arrays or tensors.
        style: `p4d.regions.style`.
        missing_frame: `p4d.regions.missing_frame`.
        time_sentence: Say the video's length, as `p4d.tpe: text` does. Not for `chat` with a recipe that has it, whose
            template says so itself.
        start: Seconds at which the shown part of the video begins, None: its beginning.
        end: Seconds at which it ends, None: its end.
        fps: Frames per second that are shown; the host's `video_fps`.
        max_frames: At most; the host's `video_maxlen`.
        frames: This many, spread over the clip, in place of `fps` and `max_frames`; `p4d.frames`.
        max_pixels: Frames are scaled down to this area; the host's `video_max_pixels`.
        image_max_pixels: The same limit for images; the host's `image_max_pixels`.

    Raises:
        RegionError: on construction, if question and regions do not fit; later, if a region does not fit its frame.
        P4DConfigError: an unknown style, or another value that is none of those above.
    """

    path: str
    question: str
    regions: Sequence[Mapping[str, Any]] = ()
    _: KW_ONLY
    style: str = "som"
    missing_frame: str = "error"
    time_sentence: bool = False
    start: float | None = None
    end: float | None = None
    fps: float = 2.0
    max_frames: int = 128
    frames: int | None = None
    max_pixels: int = 256 * 256
    image_max_pixels: int = 768 * 768

    def __post_init__(self) -> None:
        problems: list[str] = []
        if check(_Arguments, {field.name: getattr(self, field.name) for field in fields(self)}, "", problems) is None:
            raise P4DConfigError("RegionPrompt: " + "; ".join(problems))
        self.styled  # noqa: B018 - what is wrong is said here, not at first use

    @functools.cached_property
    def styled(self) -> StyledRecord:
        """Message, images and videos, for the `rgpt4d_<name>` templates."""
        options = parse_region_options({"style": self.style, "missing_frame": self.missing_frame})
        images, videos = ([self.path], []) if self._is_image else ([], [Clip(self.path, self.start, self.end)])
        if self._is_image and (self.start is not None or self.end is not None):
            raise RegionError(f"start, end: {self.path} is an image, which has no time")
        regions = parse_regions(_plain(self.regions), len(videos), len(images))
        check_mentions([self.question], regions)
        placeholder = "<image>" if self._is_image else "<video>"
        styled = apply_style(
            [{"role": "user", "content": placeholder + self.question}], images, videos, regions, options
        )
        if not self.time_sentence:
            return styled
        return replace(styled, messages=with_time_sentences(styled.messages, videos, PLACEHOLDERS))

    @functools.cached_property
    def clip(self) -> ShownClip | None:
        """The video's frames with their marks; None for an image."""
        clip = decode_clip(self.styled.videos[0]) if self.styled.videos else None
        return None if clip is None else show_clip(clip, self._sampling)

    @functools.cached_property
    def images(self) -> list[Image.Image]:
        """The images with their marks: the question's image, or in style `som_image` the key frame."""
        stills = map(decode_image_entry, self.styled.images)
        return [show_still(still, self._sampling) for still in stills if still is not None]

    def inputs(self, processor: Any, **kwargs: Any) -> Any:
        """Tensors of one sample for `generate` of a plain transformers model, whose processor has a chat template."""
        messages = [{"role": "user", "content": self._parts()}]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        clips = [self.clip] if self.clip is not None else []
        counts = [(len(self.images), len(clips))]
        return processed(processor, [text], self.images, clips, counts, return_tensors="pt", **kwargs)

    def chat(self) -> dict[str, Any]:
        """Arguments of `ChatModel.chat` of the host, whose template must be an `rgpt4d_<name>` one.

        The host samples and resizes by the model's own `video_fps`, `video_maxlen` and `video_max_pixels`.
        """
        arguments = {"images": self.styled.images, "videos": self.styled.videos}
        return {"messages": [dict(message) for message in self.styled.messages]} | {
            key: value for key, value in arguments.items() if value
        }

    def openai_messages(self) -> list[dict[str, Any]]:
        """Messages for an OpenAI-compatible server, every marked frame inline as a PNG.

        A server that is sent frames takes them for images, so a model with its own timestamps does not see any; say
        `time_sentence=True` to put the clip's length into words.
        """
        images = iter(self.images)
        content: list[dict[str, Any]] = []
        for part in self._parts():
            if part["type"] == "text":
                content.append(part)
            else:
                pictures = self.clip.frames if self.clip and part["type"] == "video" else [next(images)]
                content += [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in pictures]
        return [{"role": "user", "content": content}]

    def _parts(self) -> list[dict[str, Any]]:
        """Returns the message as content parts: the images and the video it begins with, then its text."""
        content = self.styled.messages[0]["content"]
        parts: list[dict[str, Any]] = []
        while found := re.match("<(image|video)>", content):
            parts.append({"type": found[1]})
            content = content[found.end() :]
        return [*parts, {"type": "text", "text": content}]

    @property
    def _is_image(self) -> bool:
        kind = mimetypes.guess_type(self.path)[0] or ""
        if kind == "image/gif" and os.path.isfile(self.path):
            with open_image(self.path) as picture:
                return getattr(picture, "n_frames", 1) == 1
        return kind.startswith("image/")

    @property
    def _sampling(self) -> Sampling:
        return Sampling(self.fps, self.max_frames, self.frames, self.max_pixels, self.image_max_pixels)


def _plain(value: Any) -> Any:
    """Returns regions with plain lists and numbers for arrays, tensors and numpy's numbers."""
    if isinstance(value, Mapping):
        return {key: item if key == "mask" else _plain(item) for key, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str | bytes) and not hasattr(value, "tolist"):
        return [_plain(item) for item in value]
    return value.tolist() if hasattr(value, "tolist") else value


def data_url(picture: Image.Image) -> str:
    """A picture as a PNG in a URL."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
