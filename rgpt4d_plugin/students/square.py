# SPDX-License-Identifier: Apache-2.0
"""Shared by families that scale every frame to one square of pixels, and make of it one square of tokens."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rgpt4d_plugin.students.base import RowMedia, StudentFamily


@dataclass(frozen=True)
class SquareFamily(StudentFamily):
    """A clip's grid is (its frames, side, side), whatever the shape of the video."""

    @abstractmethod
    def side(self, processor: Any) -> int:
        """Tokens along a side of a frame."""

    def video_grids(
        self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]
    ) -> list[tuple[int, int, int]]:
        side = self.side(processor)
        return [(frames, side, side) for row in rows for frames in row.frames]


def pictures(pixels: torch.Tensor, processor: Any) -> np.ndarray:
    """Undoes rescaling and normalisation: (N, 3, H, W) of the model's inputs to (N, H, W, 3) uint8.

    Args:
        pixels: as the model gets them.
        processor: the image or video processor that made them.
    """
    pixels = pixels.float()
    if processor.do_normalize:
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
        pixels = pixels * std + mean
    if processor.do_rescale:
        pixels = pixels / processor.rescale_factor
    return pixels.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def split_clips(frames: np.ndarray, rows: Sequence[RowMedia]) -> list[np.ndarray]:
    """Frames of all clips in a row, cut into clips."""
    ends = np.cumsum([count for row in rows for count in row.frames])
    return np.split(frames, ends[:-1]) if len(ends) else []
