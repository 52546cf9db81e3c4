# SPDX-License-Identifier: Apache-2.0
"""The DualDPT head of Depth Anything 3: one pyramid of features, fused twice, into depth and into rays.

Written from a description (names, shapes, data flow) of the package depth-anything-3 0.1.1; module names are those of
its checkpoints. Legend: B views of all windows, h w tokens of a view, C channels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config


_LEVELS = 4
_LAST_DIM = 32
_RAY_CHANNELS = 7
"""Three of the direction, three of the origin, one of the confidence."""
_RAY_MODULES = ("output_conv1_aux.3", "output_conv2_aux.3.0", "output_conv2_aux.3.2", "output_conv2_aux.3.5")
"""Layers of the rays; the checkpoints have the same for every level of the pyramid, but the last one alone counts."""


def _conv3(channels_in: int, channels_out: int, bias: bool = True, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3, padding=1, bias=bias, stride=stride)


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.conv2 = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionStage(nn.Module):
    """Adds one pyramid level to the result from below and upsamples."""

    def __init__(self, channels: int, deepest: bool) -> None:
        super().__init__()
        if not deepest:
            self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv2d(channels, channels, kernel_size=1)

    def forward(self, level: Tensor, below: Tensor | None, size: tuple[int, int]) -> Tensor:
        x = level if below is None else below + self.resConfUnit1(level)
        return self.out_conv(_resize(self.resConfUnit2(x), size))


class DualDPTHead(nn.Module):
    """Four token features in; depth, rays and their confidences out."""

    def __init__(self, config: DepthAnything3Config) -> None:
        super().__init__()
        self.patch = config.patch
        width, half = config.feature_dim, config.feature_dim // 2
        one, two, three, four = config.layer_dims
        self.norm = nn.LayerNorm(2 * config.dim)
        self.projects = nn.ModuleList(nn.Conv2d(2 * config.dim, dim, kernel_size=1) for dim in config.layer_dims)
        self.resize_layers = nn.ModuleList(
            [
                nn.ConvTranspose2d(one, one, kernel_size=4, stride=4),
                nn.ConvTranspose2d(two, two, kernel_size=2, stride=2),
                nn.Identity(),
                _conv3(four, four, stride=2),
            ]
        )
        self.scratch = nn.ModuleDict()
        for level, dim in enumerate(config.layer_dims, start=1):
            self.scratch[f"layer{level}_rn"] = _conv3(dim, width, bias=False)
            for chain in ("", "_aux"):
                self.scratch[f"refinenet{level}{chain}"] = FusionStage(width, deepest=level == _LEVELS)
        self.scratch["output_conv1"] = _conv3(width, half)
        self.scratch["output_conv2"] = nn.Sequential(
            _conv3(half, _LAST_DIM), nn.ReLU(), nn.Conv2d(_LAST_DIM, 2, kernel_size=1)
        )
        widths = (width, half, width, half, width, half)
        neck = nn.Sequential(*(_conv3(before, after) for before, after in zip(widths[:-1], widths[1:])))
        output = {
            "0": _conv3(half, _LAST_DIM),
            "2": nn.LayerNorm(_LAST_DIM),
            "5": nn.Conv2d(_LAST_DIM, _RAY_CHANNELS, kernel_size=1),
        }
        self.scratch["output_conv1_aux"] = nn.ModuleDict({"3": neck})
        self.scratch["output_conv2_aux"] = nn.ModuleDict({"3": nn.ModuleDict(output)})

    def forward(self, features: Sequence[Tensor], grid: tuple[int, int], rays: bool) -> tuple[Tensor, Tensor | None]:
        """Outputs of the last convolutions, in float32.

        Args:
            features: Those at the four hooks, (B, h*w, 2C), shallowest first.
            grid: (h, w).
            rays: Whether the rays are wanted.

        Returns:
            (B, 2, h*patch, w*patch): log depth and the confidence's logit; and None or (B, 7, 8h, 8w): direction,
            origin and the confidence's logit.
        """
        levels = []
        for level, (tokens, project, enlarge) in enumerate(zip(features, self.projects, self.resize_layers), start=1):
            x = project(self.norm(tokens).transpose(1, 2).unflatten(2, grid))
            levels.append(self.scratch[f"layer{level}_rn"](enlarge(with_positions(x, grid))))

        x = self.scratch["output_conv1"](self._fuse(levels, ""))
        x = _resize(x, (grid[0] * self.patch, grid[1] * self.patch))
        depth = self.scratch["output_conv2"](with_positions(x, grid)).float()
        if not rays:
            return depth, None

        neck, first, norm, last = (self.scratch.get_submodule(name) for name in _RAY_MODULES)
        x = first(with_positions(neck(self._fuse(levels, "_aux")), grid))
        x = F.relu(norm(x.movedim(1, -1)).movedim(-1, 1))
        return depth, last(x).float()

    def _fuse(self, levels: Sequence[Tensor], chain: str) -> Tensor:
        """The pyramid from the deepest level up, (B, width, 8h, 8w)."""
        height, width = levels[0].shape[2:]
        sizes = [(2 * height, 2 * width), *(tuple(level.shape[2:]) for level in levels[:-1])]
        x = self.scratch[f"refinenet{_LEVELS}{chain}"](levels[-1], None, sizes[-1])
        for level in range(_LEVELS - 1, 0, -1):
            x = self.scratch[f"refinenet{level}{chain}"](levels[level - 1], x, sizes[level - 1])
        return x


def with_positions(x: Tensor, grid: tuple[int, int]) -> Tensor:
    """A map (B, C, H', W') plus a tenth of the sines and cosines of where its pixels lie.

    Half of the channels are for the column, half for the row. Coordinates run over a rectangle of the view's own
    shape whose half diagonal is 1.
    """
    channels = x.shape[1] // 4
    frequencies = 1 / 100 ** (torch.arange(channels, device=x.device).float() / channels)
    ratio = grid[1] / grid[0]
    half_height = 1 / (ratio**2 + 1) ** 0.5
    parts = []
    for size, span in ((x.shape[3], ratio * half_height), (x.shape[2], half_height)):
        end = span * (size - 1) / size
        angles = torch.linspace(-end, end, size, device=x.device) * frequencies[:, None]
        parts.append(0.1 * torch.cat([angles.sin(), angles.cos()]))
    columns, rows = (part.to(x.dtype) for part in parts)
    by_column, by_row = x.chunk(2, dim=1)
    return torch.cat([by_column + columns[:, None, :], by_row + rows[:, :, None]], dim=1)
