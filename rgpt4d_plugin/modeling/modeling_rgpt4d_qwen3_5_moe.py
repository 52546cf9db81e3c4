# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_qwen3_5_moe`: Qwen3.5 with a mixture of experts with timestamp positional encoding."""

from transformers import Qwen3_5MoeConfig, Qwen3_5MoeForConditionalGeneration, Qwen3VLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel


class RGPT4DQwen3_5MoeConfig(Qwen3_5MoeConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_qwen3_5_moe"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DQwen3_5MoeForConditionalGeneration(TimestampedModel, Qwen3_5MoeForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DQwen3_5MoeConfig


class RGPT4DQwen3_5MoeProcessor(TimestampedGridProcessor, Qwen3VLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
