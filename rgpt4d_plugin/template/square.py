# SPDX-License-Identifier: Apache-2.0
"""Readers for host plugins that give every frame the same tokens: tokens are counted from number and size of frames.

The host decodes a clip and runs the image processor to count tokens while it tokenizes a dataset. `ClipReader` gives
it blank frames then.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from llamafactory.extras.constants import IMAGE_PLACEHOLDER, VIDEO_PLACEHOLDER
from PIL import Image

from rgpt4d_plugin.students import RowMedia, get_family
from rgpt4d_plugin.template.clip_reader import ClipReader, reading_with


def video_options(processor: Any) -> dict[str, Any]:
    """Returns the arguments of `_regularize_videos` in the host's plugins, with their defaults."""
    return {
        "image_max_pixels": getattr(processor, "video_max_pixels", 256 * 256),
        "image_min_pixels": getattr(processor, "video_min_pixels", 16 * 16),
        "video_fps": getattr(processor, "video_fps", 2.0),
        "video_maxlen": getattr(processor, "video_maxlen", 128),
    }


def image_options(processor: Any) -> dict[str, Any]:
    """Returns the arguments of `_regularize_images` in the host's plugins, with their defaults."""
    return {
        "image_max_pixels": getattr(processor, "image_max_pixels", 768 * 768),
        "image_min_pixels": getattr(processor, "image_min_pixels", 32 * 32),
    }


def clips_of(plugin: Any, videos: list, processor: Any) -> list[list[Image.Image]]:
    """Returns the frames of each clip, as a host plugin reads them."""
    return plugin._regularize_videos(videos, **video_options(processor))["videos"] if videos else []


class SquareReader(ClipReader):
    """Mixin in front of a host plugin class, see `students.square`."""

    pairs_frames = False

    def counted(self, videos: list, processor: Any) -> tuple[list[int], dict[str, Any]]:
        with reading_with(counting=True):
            return [len(frames) for frames in clips_of(self, videos, processor)], {}


class SharedTokenReader(SquareReader):
    """A reader for families that write clips as rows of images, see `students.shared_token`.

    The pixels of a batch must be in the order of its tokens. The host (0.9.5) puts all images before all clips.
    """

    model_type: str

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        expanded = super().process_messages(messages, images, videos, audios, processor)
        self._p4d_check_order(messages, expanded, images, videos, processor)
        return expanded

    def _p4d_check_order(self, messages: list, expanded: list, images: list, videos: list, processor: Any) -> None:
        """Raises ValueError if images and clips of a record cannot be told apart by their tokens."""
        if not (images and videos and self.expand_mm_tokens):
            return
        frames = iter(self.counted(videos, processor)[0])
        family, tokenizer = get_family(self.model_type), processor.tokenizer
        for message, written in zip(messages, expanded, strict=True):
            asked = re.findall(f"{IMAGE_PLACEHOLDER}|{VIDEO_PLACEHOLDER}", message["content"])
            row = RowMedia(
                asked.count(IMAGE_PLACEHOLDER), tuple(next(frames) for found in asked if found == VIDEO_PLACEHOLDER)
            )
            found = family.media(tokenizer.encode(written["content"], add_special_tokens=False), row, tokenizer)
            if [medium.is_clip for medium in found] != [found == VIDEO_PLACEHOLDER for found in asked]:
                raise ValueError(
                    f"the images and videos of a record cannot be told apart in {message['content']!r}, because of "
                    f"the text around them or because a video has one frame only: {family.name} has one token for both"
                )

    def get_mm_inputs(
        self,
        images: list,
        videos: list,
        audios: list,
        imglens: list[int],
        vidlens: list[int],
        audlens: list[int],
        batch_ids: list[list[int]],
        processor: Any,
    ) -> dict[str, Any]:
        self._validate_input(processor, images, videos, audios)
        inputs = self._get_mm_inputs(images, videos, audios, processor)
        tiles, frames = self._p4d_sizes(inputs, len(images), len(videos))
        if images and videos:
            blocks = inputs["pixel_values"].split([*tiles, *frames])
            order = self._p4d_order(frames, imglens, vidlens, batch_ids, processor)
            inputs["pixel_values"] = torch.cat([blocks[index] for index in order])
        return inputs

    def _p4d_sizes(self, inputs: dict[str, Any], images: int, videos: int) -> tuple[list[int], list[int]]:
        """Takes the notes of the host out of the inputs: number of tiles of each image, of frames of each clip."""
        raise NotImplementedError

    def _p4d_order(
        self,
        frames: Sequence[int],
        imglens: Sequence[int],
        vidlens: Sequence[int],
        batch_ids: Sequence[Sequence[int]],
        processor: Any,
    ) -> list[int]:
        """Returns the numbers of the media, images first, in the order of their tokens; those without tokens come
        last."""
        family = get_family(self.model_type)
        image, clip = iter(range(sum(imglens))), iter(range(sum(imglens), sum(imglens) + sum(vidlens)))
        ends = np.cumsum([0, *vidlens])
        order = []
        for row, ids in enumerate(batch_ids):
            media = RowMedia(imglens[row], tuple(frames[ends[row] : ends[row + 1]]))
            mine = iter([next(image) for _ in range(media.images)]), iter([next(clip) for _ in media.frames])
            for medium in family.media(ids, media, processor.tokenizer):
                order.append(next(mine[medium.is_clip]))
            order += [*mine[0], *mine[1]]
        return order
