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
    """Base class of LLaVA-NeXT-Video and LLaVA-OneVision."""

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels = inputs.get("pixel_values_videos")  # (clips, frames, 3, H, W)
        if pixels is None:
            return []
        return split_clips(pictures(pixels.flatten(0, 1), processor.video_processor), rows)

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels = inputs.get("pixel_values")  # (images, tiles, 3, H, W): the whole image, then its tiles
        return [] if pixels is None else list(pictures(pixels[:, 0], processor.image_processor))
