# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_glm4v_moe`: GLM-4.5V and GLM-4.6V with timestamp positional encoding."""

from transformers import Glm4vMoeConfig, Glm4vMoeForConditionalGeneration, Glm4vProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel, TimestampedRunsProcessor


class RGPT4DGlm4vMoeConfig(Glm4vMoeConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_glm4v_moe"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DGlm4vMoeForConditionalGeneration(TimestampedModel, Glm4vMoeForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DGlm4vMoeConfig

    clip_inputs = ("pixel_values_videos", "pixel_values")  # LLaMA-Factory gives it clips as images


class RGPT4DGlm4vMoeProcessor(TimestampedRunsProcessor, TimestampedGridProcessor, Glm4vProcessor):
    """The base's processor, which also returns `video_timestamps`."""
