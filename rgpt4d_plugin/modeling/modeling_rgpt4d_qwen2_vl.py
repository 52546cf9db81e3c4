# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_qwen2_vl`: Qwen2-VL with timestamp positional encoding."""

from transformers import Qwen2VLConfig, Qwen2VLForConditionalGeneration, Qwen2VLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel


class RGPT4DQwen2VLConfig(Qwen2VLConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_qwen2_vl"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DQwen2VLForConditionalGeneration(TimestampedModel, Qwen2VLForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DQwen2VLConfig


class RGPT4DQwen2VLProcessor(TimestampedGridProcessor, Qwen2VLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
