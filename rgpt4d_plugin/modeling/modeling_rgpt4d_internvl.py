# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_internvl`: InternVL with timestamp positional encoding."""

from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedRunsProcessor


class RGPT4DInternVLConfig(InternVLConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_internvl"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DInternVLForConditionalGeneration(TimestampedModel, InternVLForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DInternVLConfig

    clip_inputs = ("pixel_values",)  # frames come as images do


class RGPT4DInternVLProcessor(TimestampedRunsProcessor, InternVLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
