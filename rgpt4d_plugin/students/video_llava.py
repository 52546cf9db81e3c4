# SPDX-License-Identifier: Apache-2.0
"""Video-LLaVA: a clip's tokens are one run of <video>; every frame is a class token and then a square of tokens.

As in LLaVA-NeXT-Video the middle square is cut out of a frame. Images are one square each, without the class token.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.llava import LlavaVideoFamily
from rgpt4d_plugin.students.square import pictures


@dataclass(frozen=True)
class VideoLlavaFamily(LlavaVideoFamily):
    """Every patch is a token."""

    def side(self, processor: Any) -> int:
        return processor.video_processor.crop_size["height"] // processor.patch_size

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        side = self.side(processor)
        grid = (1, side, side) if processor.vision_feature_select_strategy == "default" else (1, 1, side * side + 1)
        return [grid] * len(inputs.get("pixel_values_images", ()))

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels = inputs.get("pixel_values_images")
        return [] if pixels is None else list(pictures(pixels, processor.image_processor))


FAMILIES = (
    VideoLlavaFamily(
        name="Video-LLaVA",
        model_types=("video_llava",),
        templates=("video_llava",),
        plugins=("VideoLlavaPlugin",),
        image_token="<image>",
        clip_token="<video>",
        reader="rgpt4d_plugin.template.llava:LlavaVideoReader",
        public_models=("Video-LLaVA-7B-Chat",),
        tokens_before_step=1,
    ),
)
