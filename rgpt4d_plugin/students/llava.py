# SPDX-License-Identifier: Apache-2.0
"""The shared part of the LLaVA video models: their pixels, and a 2 x 2 pooling of every frame's patches.

Images are shown whole and in tiles; their tokens form no grid.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgpt4d_plugin.students.base import RowMedia
from rgpt4d_plugin.students.square import SquareFamily, pictures, split_clips


@dataclass(frozen=True)
class LlavaVideoFamily(SquareFamily):
    """Base class of LLaVA-NeXT-Video, LLaVA-OneVision and Video-LLaVA."""

    def visible_box(self, width: int, height: int, processor: Any) -> tuple[float, float, float, float]:
        video = processor.video_processor
        if not video.do_center_crop:
            return 0, 0, width, height
        # The shorter edge is scaled to `size`, and then `crop_size` is cut out of the middle.
        scale = video.size["shortest_edge"] / min(width, height)
        seen_width = min(width, video.crop_size["width"] / scale)
        seen_height = min(height, video.crop_size["height"] / scale)
        left, top = (width - seen_width) / 2, (height - seen_height) / 2
        return left, top, left + seen_width, top + seen_height

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels = inputs.get("pixel_values_videos")  # (clips, frames, 3, H, W)
        if pixels is None:
            return []
        is_frame = ~pixels[:, :, 0, 0, 0].isnan()  # of LLaVA-OneVision's clips, shorter ones are filled up
        return split_clips(pictures(pixels[is_frame], processor.video_processor), rows)

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels = inputs.get("pixel_values")  # (images, tiles, 3, H, W): the whole image, then its tiles
        return [] if pixels is None else list(pictures(pixels[:, 0], processor.image_processor))
