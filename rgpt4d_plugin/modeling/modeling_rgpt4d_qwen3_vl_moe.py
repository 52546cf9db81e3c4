# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_qwen3_vl_moe`: Qwen3-VL with a mixture of experts with timestamp positional encoding."""

from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration, Qwen3VLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel


class RGPT4DQwen3VLMoeConfig(Qwen3VLMoeConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_qwen3_vl_moe"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DQwen3VLMoeForConditionalGeneration(TimestampedModel, Qwen3VLMoeForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DQwen3VLMoeConfig


class RGPT4DQwen3VLMoeProcessor(TimestampedGridProcessor, Qwen3VLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
