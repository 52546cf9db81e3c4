# SPDX-License-Identifier: Apache-2.0
"""What the collator hands to the distiller: the clips of a batch, as frames and as token positions."""

from dataclasses import dataclass, field, replace

import torch


@dataclass(frozen=True)
class ClipTokens:
    """Where one clip's tokens stand in the batch."""

    index: torch.Tensor
    """(t*h*w,) int64: row * length + column in the padded (B, L) batch, in row-major t, h, w order."""
    grid: tuple[int, int, int]
    """Tokens per axis (t, h, w), after the student's merging."""


@dataclass(frozen=True)
class DistillBatch:
    """The clips of one batch. Moves with the batch: the data loader and the Trainer call `to` and `pin_memory`."""

    tokens: list[ClipTokens] = field(default_factory=list)
    frames: list[torch.Tensor] = field(default_factory=list)
    """Per clip (T, 3, H, W) uint8 RGB, the frames that the student saw, at the teacher's input size."""
    timestamps: list[list[float]] = field(default_factory=list)
    """Per clip T seconds from the start of the file."""
    left_out: int = 0
    """Clips of the batch whose tokens `cutoff_len` cut; they are not distilled."""

    def __len__(self) -> int:
        """Number of clips that are distilled."""
        return len(self.tokens)

    def before(self, end: int) -> "DistillBatch":
        """The clips whose tokens stand before a place of the batch, row * length + column."""
        kept = sum(bool(tokens.index[0] < end) for tokens in self.tokens)
        return replace(self, tokens=self.tokens[:kept], frames=self.frames[:kept], timestamps=self.timestamps[:kept])

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "DistillBatch":
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> "DistillBatch":
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function) -> "DistillBatch":
        return replace(
            self,
            tokens=[replace(tokens, index=function(tokens.index)) for tokens in self.tokens],
            frames=[function(frames) for frames in self.frames],
        )
