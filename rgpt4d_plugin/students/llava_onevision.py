# SPDX-License-Identifier: Apache-2.0
"""LLaVA-OneVision: the tokens of a clip are one run of <video>, a square of them for each frame, and one token more.

The last token is a newline; the model's images have one after every line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.llava import LlavaVideoFamily


@dataclass(frozen=True)
class LlavaOnevisionFamily(LlavaVideoFamily):
    """Bilinear pooling rounds an odd side up."""

    def side(self, processor: Any) -> int:
        return math.ceil(math.isqrt(processor.num_image_tokens) / 2)

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        if "image_sizes" not in inputs:
            return []
        height, width = inputs["pixel_values"].shape[-2:]
        alone = [count == 1 for count in inputs["batch_num_images"].tolist() for _ in range(count)]
        # Of several images in a record no tiles are made: each is shown whole, and ends with one newline.
        whole = processor.num_image_tokens + 1
        return [
            (1, 1, processor._get_number_of_features(*size, height, width) if tiled else whole)
            for size, tiled in zip(inputs["image_sizes"].tolist(), alone, strict=True)
        ]


FAMILIES = (
    LlavaOnevisionFamily(
        name="LLaVA-OneVision",
        model_types=("llava_onevision",),
        templates=("rgpt4d_llava_onevision",),
        plugins=("LlavaOnevisionPlugin",),
        image_token="<image>",
        clip_token="<video>",
        reader="rgpt4d_plugin.template.square:SquareReader",
        composite="llava_next_video",
        public_models=(
            ("LLaVA-OneVision-0.5B-Chat", "llava-hf/llava-onevision-qwen2-0.5b-ov-hf"),
            ("LLaVA-OneVision-7B-Chat", "llava-hf/llava-onevision-qwen2-7b-ov-hf"),
        ),
        tokens_after_clip=1,
        single_image_is_tiled=True,
    ),
)
