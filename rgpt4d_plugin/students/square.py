# SPDX-License-Identifier: Apache-2.0
"""The shared part of families that scale a frame to a square of pixels, which becomes a square of tokens."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rgpt4d_plugin.students.base import Grid, RowMedia, StudentFamily, unscaled


@dataclass(frozen=True)
class SquareFamily(StudentFamily):
    """The grid of a clip is (number of frames, side, side), whatever the shape of the video."""

    @abstractmethod
    def side(self, processor: Any) -> int:
        """Returns the number of tokens along a side of a frame."""

    def video_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        side = self.side(processor)
        return [(frames, side, side) for row in rows for frames in row.frames]


def pictures(pixels: torch.Tensor, processor: Any) -> np.ndarray:
    """Turns a model's inputs (N, 3, H, W) back into pictures (N, H, W, 3) uint8; see `unscaled`."""
    return unscaled(pixels, processor).permute(0, 2, 3, 1).numpy()


def split_clips(frames: np.ndarray, rows: Sequence[RowMedia]) -> list[np.ndarray]:
    """Splits the frames of all clips, one after the other, into clips."""
    ends = np.cumsum([count for row in rows for count in row.frames])
    return np.split(frames, ends[:-1]) if len(ends) else []
