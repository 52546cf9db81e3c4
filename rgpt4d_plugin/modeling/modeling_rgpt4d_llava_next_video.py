# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_llava_next_video`: LLaVA-NeXT-Video with timestamp positional encoding."""

from transformers import LlavaNextVideoConfig, LlavaNextVideoForConditionalGeneration, LlavaNextVideoProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor


class RGPT4DLlavaNextVideoConfig(LlavaNextVideoConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_llava_next_video"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DLlavaNextVideoForConditionalGeneration(TimestampedModel, LlavaNextVideoForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DLlavaNextVideoConfig


class RGPT4DLlavaNextVideoProcessor(TimestampedProcessor, LlavaNextVideoProcessor):
    """The base's processor, which also returns `video_timestamps`."""
