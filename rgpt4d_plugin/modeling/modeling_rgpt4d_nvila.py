# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_nvila`: NVILA-Lite with timestamp positional encoding, which is what 4D-RGPT-8B is."""

from huggingface_hub.dataclasses import strict

# Relative: save_pretrained copies the files beside the weights, where the plugin need not be installed.
from .modeling_nvila import NVILAConfig, NVILAForConditionalGeneration
from .processing_nvila import NVILAProcessor
from .timestamp_encoding import TimestampedModel, TimestampedProcessor


@strict
class RGPT4DNVILAConfig(NVILAConfig):
    """The base's configuration and that of the encoding, see `timestamp_encoding`."""

    model_type = "rgpt4d_nvila"
    _auto_class = "AutoConfig"

    tpe_scale: float = 1.0
    tpe_base: float = 10000.0


class RGPT4DNVILAForConditionalGeneration(TimestampedModel, NVILAForConditionalGeneration):
    """The base, with an encoding of time added to its video tokens."""

    config_class = RGPT4DNVILAConfig


class RGPT4DNVILAProcessor(TimestampedProcessor, NVILAProcessor):
    """The base's processor, which also returns `video_timestamps`."""
