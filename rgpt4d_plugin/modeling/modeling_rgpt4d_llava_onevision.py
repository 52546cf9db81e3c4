# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_llava_onevision`: LLaVA-OneVision with timestamp positional encoding."""

from transformers import LlavaOnevisionConfig, LlavaOnevisionForConditionalGeneration, LlavaOnevisionProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor


class RGPT4DLlavaOnevisionConfig(LlavaOnevisionConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_llava_onevision"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DLlavaOnevisionForConditionalGeneration(TimestampedModel, LlavaOnevisionForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DLlavaOnevisionConfig


class RGPT4DLlavaOnevisionProcessor(TimestampedProcessor, LlavaOnevisionProcessor):
    """The base's processor, which also returns `video_timestamps`."""

    trailing = 1  # a newline embedding ends the clip
