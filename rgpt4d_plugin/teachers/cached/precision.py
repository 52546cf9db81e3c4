# SPDX-License-Identifier: Apache-2.0
"""How latents and maps are kept: in fewer bits or at a lower resolution, and what that costs, measured.

Latents have channels of very different size, so int8 and fp8 take one factor per window and channel.
"""

import math
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from rgpt4d_plugin.teachers.cached.identity import LatentPrecision, MapResolution
from rgpt4d_plugin.validation import Checked


_SCALED = {"fp8": (torch.float8_e4m3fn, 448.0), "int8": (torch.int8, 127.0)}
"""Dtype, and the largest value that is used of it."""

_DIVISOR = {"native": 1, "half": 2, "quarter": 4}


def encode_latents(latents: Tensor, kind: LatentPrecision) -> dict[str, Tensor]:
    """Latents (W, N, C) as the tensors that are stored, by the end of their names."""
    if kind == "bf16":
        return {"": latents.to(torch.bfloat16)}
    dtype, largest = _SCALED[kind]
    scale = latents.float().abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / largest  # (W, 1, C)
    scaled = latents.float() / scale
    return {"": (scaled.round() if kind == "int8" else scaled).to(dtype), ".scale": scale}


def decode_latents(stored: Mapping[str, Tensor], dtype: torch.dtype) -> Tensor:
    """The latents (W, N, C) again."""
    values = stored[""]
    return (values.float() * stored[".scale"]).to(dtype) if ".scale" in stored else values.to(dtype)


def encode_map(maps: Tensor, kind: MapResolution) -> dict[str, Tensor]:
    """A term's maps (W, C, T, H, W') in float16, averaged over cells of 1, 2 or 4 pixels a side."""
    divisor = _DIVISOR[kind]
    if divisor > 1:
        size = [math.ceil(side / divisor) for side in maps.shape[-2:]]
        maps = interpolate(maps.float().flatten(0, 2)[:, None], size, mode="area")[:, 0].unflatten(0, maps.shape[:3])
    return {"": maps.to(torch.float16)}


def decode_map(stored: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
    """The maps again, float32, brought to `size` (height, width) by bilinear interpolation."""
    maps = stored[""].float()
    if tuple(maps.shape[-2:]) == size:
        return maps
    return interpolate(maps.flatten(0, 2)[:, None], size, mode="bilinear")[:, 0].unflatten(0, maps.shape[:3])


class Error(Checked):
    """How far stored values are from the computed ones, as sums over elements."""

    count: int = 0
    squares: float = 0.0
    """Sum of squared values."""
    errors: float = 0.0
    """Sum of squared differences."""
    largest: float = 0.0
    """Largest difference."""

    @classmethod
    def between(cls, computed: Tensor, stored: Tensor) -> Self:
        """Compares two tensors."""
        computed, difference = computed.double(), (computed.double() - stored.double()).abs()
        return cls(
            count=computed.numel(),
            squares=float(computed.square().sum()),
            errors=float(difference.square().sum()),
            largest=float(difference.max()),
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            count=self.count + other.count,
            squares=self.squares + other.squares,
            errors=self.errors + other.errors,
            largest=max(self.largest, other.largest),
        )

    @property
    def rms(self) -> float:
        """Root of the mean squared difference, in the unit of the values."""
        return math.sqrt(self.errors / max(1, self.count))

    @property
    def relative(self) -> float:
        """The same as a share of the values' own root mean square."""
        return math.sqrt(self.errors / self.squares) if self.squares else 0.0
