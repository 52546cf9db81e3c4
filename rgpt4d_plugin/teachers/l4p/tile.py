# SPDX-License-Identifier: Apache-2.0
"""A tile of a head's map, equal to that tile of the whole map, for less.

The deeper levels of the pyramid are computed whole: each of their entries sees nearly all of the frame. Only the last
fusion stage and the output layers, four fifths of the head's work, run on a part. Which part is worked out backwards,
one axis at a time: what an interval of a layer's output reads of its input. What zero padding spoils at edges inside
the map is cut off again behind each layer.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from rgpt4d_plugin.teachers.base import MapView
from rgpt4d_plugin.teachers.l4p.dpt import DPTHead, FusionStage


_FUSE_REACH = 5
"""Entries that `layer1_rn` (1) and the four convolutions of `refinenet1` read to either side."""


@dataclass(frozen=True)
class Interval:
    """Entries start..stop of an axis of `size` entries."""

    start: int
    stop: int
    size: int

    def grown(self, by: int) -> "Interval":
        """With the neighbors that convolutions of that reach read."""
        return Interval(max(0, self.start - by), min(self.size, self.stop + by), self.size)

    def before_resize(self, size: int) -> "Interval":
        """What a linear resize with aligned corners, from `size` entries to this axis, reads for this interval."""
        if size == self.size:
            return self
        last = max(1, self.size - 1)
        return Interval(self.start * (size - 1) // last, min(size, (self.stop - 1) * (size - 1) // last + 2), size)

    def within(self, outer: "Interval") -> slice:
        """Where it lies in a tensor that holds `outer` alone."""
        return slice(self.start - outer.start, self.stop - outer.start)


@lru_cache(maxsize=256)
def _weights(source: Interval, target: Interval, device: torch.device, dtype: torch.dtype) -> Tensor:
    """(target entries, source entries) of the resize; cached, so that no step waits for a copy."""
    with torch.inference_mode(False):
        place = torch.arange(target.start, target.stop, dtype=torch.float64, device="cpu")
        place = place * ((source.size - 1) / max(1, target.size - 1))
        entry = torch.arange(source.start, source.stop, dtype=torch.float64, device="cpu")
        return (1 - (place[:, None] - entry).abs()).clamp(min=0).to(device, dtype)


def resize_interval(x: Tensor, dim: int, source: Interval, target: Interval) -> Tensor:
    """Linear resize with aligned corners along one of the last two axes of x, which holds `source` of it."""
    if source.size == target.size:
        return x.narrow(dim, target.start - source.start, target.stop - target.start)
    weights = _weights(source, target, x.device, x.dtype)
    return x @ weights.T if dim == -1 else weights @ x


@dataclass(frozen=True)
class TileAxis:
    """What a tile takes along one axis, from the map back to the first level of the pyramid."""

    out: Interval
    head2: Interval
    head1: Interval
    upsampled: Interval
    fused: Interval
    level: Interval

    @classmethod
    def of(cls, tile: slice, out: int, upsampled: int, level: int) -> "TileAxis":
        """The intervals for a tile of an axis that has so many entries at each of the three resolutions."""
        wanted = Interval(tile.start, tile.stop, out)
        head2 = wanted.grown(1)
        head1 = head2.before_resize(upsampled)
        before = head1.grown(1)
        fused = before.before_resize(level)
        return cls(wanted, head2, head1, before, fused, fused.grown(_FUSE_REACH))


def compute_tile(head: DPTHead, level: Tensor, below: Tensor, view: MapView) -> Tensor:
    """Raw tile (B, channels, T, rows, columns).

    Args:
        head: The head.
        level: Its first level before `layer1_rn`, (B, C, T, h, w).
        below: What `refinenet2` gives, (B, C, T, h, w).
        view: Size of the map, and the tile.
    """
    stage = head.scratch["refinenet1"]
    assert view.tile is not None and isinstance(stage, FusionStage)
    here = (level.shape[3], level.shape[4])
    up = here if view.size == "quarter" else (here[0] * stage.factor[1], here[1] * stage.factor[2])
    out = (head.size[1], head.size[2]) if view.size == "native" else up
    rows, columns = (TileAxis.of(*sizes) for sizes in zip(view.tile.slices(*out), out, up, here))

    part = (..., slice(rows.level.start, rows.level.stop), slice(columns.level.start, columns.level.stop))
    x = stage.fuse(head.scratch["layer1_rn"](level[part]), below[part])
    x = x[..., rows.fused.within(rows.level), columns.fused.within(columns.level)]
    x = resize_interval(x, -1, columns.fused, columns.upsampled)
    x = stage.out_conv(resize_interval(x, -2, rows.fused, rows.upsampled))
    x = head.head1(x)[..., rows.head1.within(rows.upsampled), columns.head1.within(columns.upsampled)]
    x = resize_interval(x, -1, columns.head1, columns.head2)
    x = head.head2(resize_interval(x, -2, rows.head1, rows.head2))
    return x[..., rows.out.within(rows.head2), columns.out.within(columns.head2)]
