# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_video_llava`: Video-LLaVA with timestamp positional encoding."""

from transformers import VideoLlavaConfig, VideoLlavaForConditionalGeneration, VideoLlavaProcessor

# Relative: save_pretrained copies both files beside the weights, where the plugin need not be installed.
from .timestamp_encoding import TimestampedModel, TimestampedProcessor


class RGPT4DVideoLlavaConfig(VideoLlavaConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_video_llava"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DVideoLlavaForConditionalGeneration(TimestampedModel, VideoLlavaForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DVideoLlavaConfig


class RGPT4DVideoLlavaProcessor(TimestampedProcessor, VideoLlavaProcessor):
    """The base's processor, which also returns `video_timestamps`."""

    leading = 1  # a frame's class token
    hidden_options = ("video_metadata", "do_sample_frames")
