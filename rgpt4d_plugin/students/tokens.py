# SPDX-License-Identifier: Apache-2.0
"""Positions of a clip's tokens in a batch."""

from dataclasses import dataclass

import torch


Grid = tuple[int, int, int]
"""Tokens per axis (t, h, w)."""


@dataclass(frozen=True)
class ClipTokens:
    """The positions of the tokens of one clip in a batch."""

    index: torch.Tensor
    """(t*h*w,) int64: row * length + column in the padded (B, L) batch, in row-major t, h, w order."""
    grid: Grid
    """After the merging of patches by the student."""
