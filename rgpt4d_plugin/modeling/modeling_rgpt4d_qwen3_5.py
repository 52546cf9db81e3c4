# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_qwen3_5`: Qwen3.5 with timestamp positional encoding."""

from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration, Qwen3VLProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel


class RGPT4DQwen3_5Config(Qwen3_5Config):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_qwen3_5"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DQwen3_5ForConditionalGeneration(TimestampedModel, Qwen3_5ForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DQwen3_5Config


class RGPT4DQwen3_5Processor(TimestampedGridProcessor, Qwen3VLProcessor):
    """The base's processor, which also returns `video_timestamps`."""
