# SPDX-License-Identifier: Apache-2.0
"""Gemma 4: every frame is a run of <|video|> behind the text of its time, in a grid of the frame's own shape.

A frame is scaled to as many pixels as its share of tokens allows, whatever its size, and 3 x 3 patches are averaged
into one token. The positions of the patches, which go into the model too, say how many there are along each side.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rgpt4d_plugin.students.base import Grid, RowMedia, StudentFamily, unscaled


@dataclass(frozen=True)
class Gemma4Family(StudentFamily):
    """Gemma 4, with the frames of all clips of a batch in one row, as `template.gemma4` puts them."""

    def video_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        if "video_position_ids" not in inputs:
            return []
        positions = inputs["video_position_ids"].flatten(0, 1)  # (frames of all clips, patches, 2)
        firsts = np.cumsum([0, *(frames for row in rows for frames in row.frames)]).tolist()
        return [
            (stop - first, *_tokens(positions[first], processor.video_processor))
            for first, stop in itertools.pairwise(firsts)
        ]

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        return [(1, *_tokens(image, processor.image_processor)) for image in inputs.get("image_position_ids", ())]

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        if "pixel_values_videos" not in inputs:
            return []
        pixels, positions = (inputs[key].flatten(0, 1) for key in ("pixel_values_videos", "video_position_ids"))
        found = [_picture(*frame, processor.video_processor) for frame in zip(pixels, positions, strict=True)]
        left = iter(found)
        return [np.stack(list(itertools.islice(left, frames))) for row in rows for frames in row.frames]

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels, positions = inputs.get("pixel_values", ()), inputs.get("image_position_ids", ())
        return [_picture(*image, processor.image_processor) for image in zip(pixels, positions, strict=True)]


def _sides(positions: torch.Tensor) -> tuple[int, int]:
    """Patches along the sides (rows, columns) of a picture, by the (x, y) of its patches; -1 is padding."""
    columns, rows = (positions.amax(0) + 1).tolist()
    return rows, columns


def _tokens(positions: torch.Tensor, processor: Any) -> tuple[int, int]:
    rows, columns = _sides(positions)
    return rows // processor.pooling_kernel_size, columns // processor.pooling_kernel_size


def _picture(pixels: torch.Tensor, positions: torch.Tensor, processor: Any) -> np.ndarray:
    """Patches (patches, patch * patch * 3) back to a picture (H, W, 3) uint8."""
    rows, columns = _sides(positions)
    patch = processor.patch_size
    patches = pixels[: rows * columns].view(-1, patch, patch, 3).permute(0, 3, 1, 2)
    patches = unscaled(patches, processor).view(rows, columns, 3, patch, patch)
    return patches.permute(0, 3, 1, 4, 2).reshape(rows * patch, columns * patch, 3).numpy()


FAMILIES = (
    Gemma4Family(
        name="Gemma 4",
        model_types=("gemma4",),
        templates=("gemma4", "gemma4n"),
        plugins=("Gemma4Plugin",),
        image_token="<|image|>",
        clip_token="<|video|>",
        reader="rgpt4d_plugin.template.gemma4:Gemma4Reader",
        public_models=(
            "Gemma-4-26B-A4B-Thinking",
            "Gemma-4-31B-Thinking",
            "Gemma-4-E2B-Thinking",
            "Gemma-4-E4B-Thinking",
        ),
        bidirectional_images=True,
    ),
)
