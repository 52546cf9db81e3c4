# SPDX-License-Identifier: Apache-2.0
"""The reader for Gemma 3: videos for a host plugin that knows images only."""

import re
from typing import Any

import torch
from llamafactory.extras.constants import VIDEO_PLACEHOLDER

from rgpt4d_plugin.template.square import SharedTokenReader, clips_of


class Gemma3Reader(SharedTokenReader):
    """A reader in front of the host's Gemma3Plugin. The frames of a clip are images, see `students.gemma3`."""

    model_type = "gemma3"
    # The host takes a plugin without a video token for one that refuses videos. There is none: tokens are images'.
    video_token = property(lambda self: VIDEO_PLACEHOLDER)

    def process_messages(self, messages: list, images: list, videos: list, audios: list, processor: Any) -> list:
        self._validate_input(processor, images, videos, audios)
        self._validate_messages(messages, images, videos, audios)
        if videos and getattr(processor, "image_do_pan_and_scan", False):
            raise ValueError("image_do_pan_and_scan: must be false for records with videos: a frame is shown whole")
        counts = iter(self.counted(videos, processor)[0])
        frame = processor.boi_token
        if self.expand_mm_tokens:
            frame = processor.full_image_sequence.strip("\n")

        def clip(_: re.Match) -> str:
            return "\n\n".join(["", *[frame] * next(counts), ""])

        written = [{**message, "content": re.sub(VIDEO_PLACEHOLDER, clip, message["content"])} for message in messages]
        expanded = super(SharedTokenReader, self).process_messages(written, images, [], audios, processor)
        self._p4d_check_order(messages, expanded, images, videos, processor)
        return expanded

    def _get_mm_inputs(
        self, images: list, videos: list, audios: list, processor: Any, **kwargs: Any
    ) -> dict[str, Any]:
        inputs = super()._get_mm_inputs(images, [], audios, processor, **kwargs)
        clips = clips_of(self, videos, processor)
        if clips:
            frames = processor.image_processor([frame for clip in clips for frame in clip], return_tensors="pt")
            pixels = [inputs["pixel_values"]] if images else []
            inputs["pixel_values"] = torch.cat([*pixels, frames["pixel_values"]])
            inputs["frames"] = [len(clip) for clip in clips]
        return inputs

    def get_mm_inputs(self, images: list, videos: list, audios: list, *rest: Any, **named: Any) -> dict[str, Any]:
        inputs = super().get_mm_inputs(images, videos, audios, *rest, **named)
        # The host's own step: an image's tokens see each other both ways.
        return inputs | self.host_class.get_mm_inputs(self, [], [], [], *rest, **named)

    def _p4d_sizes(self, inputs: dict[str, Any], images: int, videos: int) -> tuple[list[int], list[int]]:
        inputs.pop("num_crops", None)
        return [1] * images, inputs.pop("frames", [])
