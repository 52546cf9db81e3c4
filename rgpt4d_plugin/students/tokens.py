# SPDX-License-Identifier: Apache-2.0
"""Positions of a clip's tokens in a batch."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ClipTokens:
    """Where one clip's tokens stand in the batch."""

    index: torch.Tensor
    """(t*h*w,) int64: row * length + column in the padded (B, L) batch, in row-major t, h, w order."""
    grid: tuple[int, int, int]
    """Tokens per axis (t, h, w), after the student's merging."""
