# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_glm46v`: GLM-4.6V by transformers' own name with timestamp positional encoding."""

from transformers import Glm46VConfig, Glm46VForConditionalGeneration, Glm46VProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedGridProcessor, TimestampedModel, TimestampedRunsProcessor


class RGPT4DGlm46VConfig(Glm46VConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_glm46v"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DGlm46VForConditionalGeneration(TimestampedModel, Glm46VForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DGlm46VConfig

    clip_inputs = ("pixel_values_videos", "pixel_values")  # LLaMA-Factory gives it clips as images


class RGPT4DGlm46VProcessor(TimestampedRunsProcessor, TimestampedGridProcessor, Glm46VProcessor):
    """The base's processor, which also returns `video_timestamps`."""
