# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_qwen2_5_vl`: Qwen2.5-VL with timestamp positional encoding."""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration, Qwen2_5_VLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel


class RGPT4DQwen2_5_VLConfig(Qwen2_5_VLConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_qwen2_5_vl"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DQwen2_5_VLForConditionalGeneration(TimestampedModel, Qwen2_5_VLForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DQwen2_5_VLConfig


class RGPT4DQwen2_5_VLProcessor(TimestampedGridProcessor, Qwen2_5_VLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
