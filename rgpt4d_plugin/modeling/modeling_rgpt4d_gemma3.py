# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_gemma3`: Gemma 3 with timestamp positional encoding. It sees a video as one image a frame."""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor, runs_of, token_timestamps


class RGPT4DGemma3Config(Gemma3Config):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_gemma3"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DGemma3ForConditionalGeneration(TimestampedModel, Gemma3ForConditionalGeneration):
    """The base, with an encoding of time added to the tokens of frames."""

    config_class = RGPT4DGemma3Config

    clip_inputs = ("pixel_values",)  # frames come as images do


class RGPT4DGemma3Processor(TimestampedProcessor, Gemma3Processor):
    """The base's processor, which also returns `video_timestamps`."""

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        frame_times: Sequence[float | None] | None = None,
        **kwargs: Any,
    ) -> Any:
        """The base's call; see there.

        Args:
            images: stills, and the frames of videos.
            text: with a placeholder for each of them.
            videos: not taken.
            frame_times: for every image in order, seconds from the start of its video, or None for a still.
            **kwargs: the base's.

        Raises:
            ValueError: a video as such, or images without `frame_times`.
        """
        if videos is not None:
            raise ValueError("Gemma 3 takes no videos: give the frames as `images`, with their `frame_times`")
        if images is not None and frame_times is None:
            raise ValueError("images need `frame_times`: seconds of every frame of a video, None for a still")
        inputs = Gemma3Processor.__call__(self, images=images, text=text, **kwargs)
        rows = inputs["input_ids"]
        times = list(frame_times or [])
        stamps = []
        for row in map(torch.as_tensor, rows):
            runs = runs_of(row, self.image_token_id)
            here, times = times[: len(runs)], times[len(runs) :]
            timed = [(run, [seconds]) for run, seconds in zip(runs, here, strict=True) if seconds is not None]
            stamps.append(token_timestamps((1, len(row)), timed)[0])
        if times:
            raise ValueError(f"frame_times: {len(times)} more than there are images in the text")
        inputs["video_timestamps"] = self.contained(stamps, rows)
        return inputs
