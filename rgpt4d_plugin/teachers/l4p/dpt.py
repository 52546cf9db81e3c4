# SPDX-License-Identifier: Apache-2.0
"""The DPT head of L4P: four token features in, one dense map over the clip out. All convolutions are 3D.

Module names equal those of the official checkpoint (L4P, NVlabs/L4P commit 8701a4b), so that weights load by name.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from rgpt4d_plugin.teachers.base import WHOLE_MAP, MapView
from rgpt4d_plugin.teachers.l4p.config import L4PConfig, Size


def _conv3(channels_in: int, channels_out: int, bias: bool = True) -> nn.Conv3d:
    return nn.Conv3d(channels_in, channels_out, kernel_size=3, padding=1, bias=bias)


def _resampler(channels: int, log2_scale: Size) -> list[nn.Module]:
    """The layer that resamples a token grid by 2^log2_scale, or none if the scale is one."""
    if not any(log2_scale):
        return []
    stride = tuple(2 ** abs(scale) for scale in log2_scale)
    if max(log2_scale) > 0:
        return [nn.ConvTranspose3d(channels, channels, kernel_size=stride, stride=stride)]
    padding = tuple(step // 2 for step in stride)
    return [nn.Conv3d(channels, channels, tuple(2 * pad + 1 for pad in padding), stride=stride, padding=padding)]


def _resize(x: Tensor, size: Size) -> Tensor:
    """Trilinear resize of (B, C, T, H, W) with aligned corners, as the network was trained."""
    if tuple(x.shape[2:]) == tuple(size):
        return x
    return F.interpolate(x, size=size, mode="trilinear", align_corners=True)


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x)))); the skip carries x before its activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _conv3(channels, channels)
        self.conv2 = _conv3(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class FusionStage(nn.Module):
    """Adds one pyramid level to the result from below and upsamples."""

    def __init__(self, channels: int, factor: Size) -> None:
        super().__init__()
        self.factor = factor
        self.resConfUnit1 = ResidualUnit(channels)
        self.resConfUnit2 = ResidualUnit(channels)
        self.out_conv = nn.Conv3d(channels, channels, kernel_size=1)

    def forward(self, level: Tensor, below: Tensor | None, upsample: bool = True) -> Tensor:
        x = self.fuse(level, below)
        if upsample:
            t, h, w = (size * by for size, by in zip(x.shape[2:], self.factor))
            x = _resize(x, (t, h, w))
        return self.out_conv(x)

    def fuse(self, level: Tensor, below: Tensor | None) -> Tensor:
        # The deepest stage has nothing below it; its resConfUnit1 is in the checkpoint but never runs.
        return self.resConfUnit2(level if below is None else below + self.resConfUnit1(level))


class DPTHead(nn.Module):
    """One task's head: reassemble, project, fuse from the deepest level up, output."""

    def __init__(self, config: L4PConfig, task: str) -> None:
        super().__init__()
        head = config.tasks[task]
        half = config.feature_dim // 2
        self.grid = config.grid
        self.size = config.map_shape(task)[1:]
        self.activation = head.activation
        self.act_postprocess = nn.ModuleList(
            nn.Sequential(nn.Conv3d(config.dim, channels, kernel_size=1), *_resampler(channels, scale))
            for channels, scale in zip(config.layer_dims, head.actpost_scale_factors)
        )
        self.scratch = nn.ModuleDict()
        for level, (channels, factor) in enumerate(zip(config.layer_dims, head.fusion_scale_factors), start=1):
            self.scratch[f"layer{level}_rn"] = _conv3(channels, config.feature_dim, bias=False)
            self.scratch[f"refinenet{level}"] = FusionStage(config.feature_dim, factor)
        self.head1 = nn.Sequential(_conv3(config.feature_dim, half))
        self.head2 = nn.Sequential(
            _conv3(half, config.last_dim), nn.ReLU(), nn.Conv3d(config.last_dim, head.channels, kernel_size=1)
        )

    def forward(self, features: Sequence[Tensor], raw: bool = False, view: MapView = WHOLE_MAP) -> Tensor:
        """Map (B, channels, T, H', W') in float32, after the activation, or before it if `raw`.

        Args:
            features: The four hooked features (B, N, C), shallowest first.
            raw: Whether the activation is left out.
            view: What of the map is computed. "half" leaves out the last resize, "quarter" also the upsampling of
                `refinenet1`; the convolutions behind them then see another scale than they were trained for.
        """
        levels = []
        for level, (tokens, reassemble) in enumerate(zip(features, self.act_postprocess), start=1):
            x = reassemble(tokens.transpose(1, 2).unflatten(2, self.grid))  # (B, C, t, h, w)
            levels.append(x if view.tile and level == 1 else self.scratch[f"layer{level}_rn"](x))
        x = self.scratch["refinenet4"](levels[3], None)
        # An odd grid was rounded up by the stride of level 4. Upstream crops T and H here but not W; keep that, so
        # that a grid the original cannot run is refused (by the configuration) rather than given new maths.
        x = x[:, :, : levels[2].shape[2], : levels[2].shape[3]]
        for level in (3, 2):
            x = self.scratch[f"refinenet{level}"](levels[level - 1], x)
        if view.tile is None:
            x = self.head1(self.scratch["refinenet1"](levels[0], x, upsample=view.size != "quarter"))
            x = self.head2(_resize(x, self.size) if view.size == "native" else x)
        else:
            from rgpt4d_plugin.teachers.l4p.tile import compute_tile  # read only by runs that ask for tiles

            x = compute_tile(self, levels[0], x, view)
        x = x.float()
        return x.exp() if self.activation == "exp" and not raw else x
