# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_glm4v`: GLM-4.1V with timestamp positional encoding."""

from transformers import Glm4vConfig, Glm4vForConditionalGeneration, Glm4vProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel, TimestampedRunsProcessor


class RGPT4DGlm4vConfig(Glm4vConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_glm4v"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DGlm4vForConditionalGeneration(TimestampedModel, Glm4vForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DGlm4vConfig

    clip_inputs = ("pixel_values_videos", "pixel_values")  # LLaMA-Factory gives it clips as images


class RGPT4DGlm4vProcessor(TimestampedRunsProcessor, TimestampedGridProcessor, Glm4vProcessor):
    """The base's processor, which also returns `video_timestamps`."""
