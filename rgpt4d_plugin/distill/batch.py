# SPDX-License-Identifier: Apache-2.0
"""The collator's part of a batch for the distiller: the clips of a batch, as keys, frames and token positions."""

from dataclasses import dataclass, field, replace

import torch

from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.teachers.base import ClipKey, StoredMap


@dataclass(frozen=True)
class DistillBatch:
    """The clips of one batch. Moves with the batch: the data loader and the Trainer call `to` and `pin_memory`."""

    tokens: list[ClipTokens] = field(default_factory=list)
    keys: list[ClipKey] = field(default_factory=list)
    """Per clip its file and frame times, by which a teacher can look up what it has stored."""
    frames: list[torch.Tensor] | None = field(default_factory=list)
    """Per clip (T, 3, H, W) uint8 RGB, the frames that the student saw, at the teacher's input size; None for a
    teacher that needs none."""
    stored: list[dict[str, StoredMap]] = field(default_factory=list)
    """Per clip the maps of its windows that were read from files, by term; empty for a teacher that computes all."""
    left_out: int = 0
    """Clips of the batch that are not distilled, since not all of their tokens are in it."""

    def __len__(self) -> int:
        """Number of clips that are distilled."""
        return len(self.tokens)

    @property
    def timestamps(self) -> list[list[float]]:
        """Per clip T seconds from the start of the file."""
        return [list(key.timestamps) for key in self.keys]

    def before(self, end: int) -> "DistillBatch":
        """The clips whose tokens stand before a place of the batch, row * length + column."""
        kept = sum(bool(tokens.index[0] < end) for tokens in self.tokens)
        frames = None if self.frames is None else self.frames[:kept]
        return replace(
            self, tokens=self.tokens[:kept], keys=self.keys[:kept], frames=frames, stored=self.stored[:kept]
        )

    def to(self, device: torch.device | str, non_blocking: bool = False) -> "DistillBatch":
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self, device: torch.device | str | None = None) -> "DistillBatch":
        return self._map(lambda tensor: tensor.pin_memory())

    def _map(self, function) -> "DistillBatch":
        return replace(
            self,
            tokens=[replace(tokens, index=function(tokens.index)) for tokens in self.tokens],
            frames=None if self.frames is None else [function(frames) for frames in self.frames],
            stored=[{term: found.map(function) for term, found in maps.items()} for maps in self.stored],
        )
