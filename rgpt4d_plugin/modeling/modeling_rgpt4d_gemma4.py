# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_gemma4`: Gemma 4 with timestamp positional encoding."""

from typing import Any

from transformers import Gemma4Config, Gemma4ForConditionalGeneration, Gemma4Processor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor


class RGPT4DGemma4Config(Gemma4Config):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_gemma4"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DGemma4ForConditionalGeneration(TimestampedModel, Gemma4ForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DGemma4Config


class RGPT4DGemma4Processor(TimestampedProcessor, Gemma4Processor):
    """The base's processor, which also returns `video_timestamps`."""

    def clip_layouts(self, inputs: Any, clips: list[list[float]]) -> list[tuple[list[float], int | None]]:
        pooled = self.video_processor.pooling_kernel_size**2
        patches = [int((clip[0][..., 0] >= 0).sum()) for clip in inputs["video_position_ids"]]
        return [(seconds, count // pooled) for seconds, count in zip(clips, patches, strict=True)]
