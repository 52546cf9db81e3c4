# SPDX-License-Identifier: Apache-2.0
"""LLaVA-NeXT-Video: the tokens of a clip are one run of <video>, a square of them for each frame.

The model sees the middle square of a frame alone, and so does the teacher.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.llava import LlavaVideoFamily


@dataclass(frozen=True)
class LlavaNextVideoFamily(LlavaVideoFamily):
    """Average pooling drops the last row and column of an odd side."""

    def side(self, processor: Any) -> int:
        return processor.video_processor.crop_size["height"] // processor.patch_size // 2

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        if "image_sizes" not in inputs:
            return []
        height, width = inputs["pixel_values"].shape[-2:]
        # The class token is counted there, and left out by this strategy.
        left_out = int(processor.vision_feature_select_strategy == "default")
        return [
            (1, 1, processor._get_number_of_features(*size, height, width) - left_out)
            for size in inputs["image_sizes"].tolist()
        ]


FAMILIES = (
    LlavaNextVideoFamily(
        name="LLaVA-NeXT-Video",
        model_types=("llava_next_video",),
        templates=("llava_next_video", "llava_next_video_mistral", "llava_next_video_yi"),
        plugins=("LlavaNextVideoPlugin",),
        image_token="<image>",
        clip_token="<video>",
        reader="rgpt4d_plugin.template.llava:LlavaVideoReader",
        public_models=("LLaVA-NeXT-Video-7B-Chat", "LLaVA-NeXT-Video-34B-Chat"),
    ),
)
