# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_internvl`: InternVL with timestamp positional encoding."""

import re

import torch
from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor, runs_of


class RGPT4DInternVLConfig(InternVLConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_internvl"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DInternVLForConditionalGeneration(TimestampedModel, InternVLForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DInternVLConfig

    clip_input = "pixel_values"  # frames come as images do


class RGPT4DInternVLProcessor(TimestampedProcessor, InternVLProcessor):
    """The base's processor, which also returns `video_timestamps`."""

    def clip_tokens(
        self, row: torch.Tensor, text: str, layouts: list[tuple[list[float], int | None]]
    ) -> list[torch.Tensor]:
        # Images and frames have the same token: an image is one run of it, a clip one run a frame, as the text says.
        runs = iter(runs_of(row, self.image_token_id))
        clips = iter(layouts)
        places = []
        for found in re.findall(f"{re.escape(self.image_token)}|{re.escape(self.video_token)}", text):
            if found == self.video_token:
                times, _ = next(clips)
                places.append(torch.cat([next(runs) for _ in times]))
            else:
                next(runs)
        return places
