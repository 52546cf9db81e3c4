# SPDX-License-Identifier: Apache-2.0
"""The any-view transformer of Depth Anything 3: a ViT whose later blocks look at one view and at all views in turn.

Written from a description (names, shapes, data flow) of the package depth-anything-3 0.1.1; module names are those of
its checkpoints. Legend: B batch, S views, h w tokens of a view, C channels.
"""

from collections.abc import Collection
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config


Rotation = tuple[Tensor, Tensor]
Reference = Literal["first", "saddle_balanced"]

_ROTARY_BASE = 100.0
_FEWEST_VIEWS_TO_CHOOSE = 3


class Attention(nn.Module):
    """Self-attention (B, N, C) to (B, N, C)."""

    def __init__(self, dim: int, heads: int, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.q_norm = nn.LayerNorm(dim // heads) if normed else nn.Identity()
        self.k_norm = nn.LayerNorm(dim // heads) if normed else nn.Identity()
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if rotation is not None:
            query, key = rotate(query, rotation), rotate(key, rotation)
        return self.proj(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))


class GeluMLP(nn.Module):
    """Two linear layers with the exact GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class SwiGLU(nn.Module):
    """A gated unit; gate and value are one layer."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.w12 = nn.Linear(dim, 2 * hidden)
        self.w3 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(gate) * value)


class LayerScale(nn.Module):
    """One learnt factor per channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    """Pre-norm transformer block, (B, N, C) to (B, N, C)."""

    def __init__(self, config: DepthAnything3Config, index: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = Attention(config.dim, config.heads, normed=index >= config.alternate_from)
        self.ls1 = LayerScale(config.dim)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.mlp = (GeluMLP if config.mlp == "gelu" else SwiGLU)(config.dim, config.mlp_hidden)
        self.ls2 = LayerScale(config.dim)

    def forward(self, x: Tensor, rotation: Rotation | None) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x), rotation))
        return x + self.ls2(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Views (B, 3, H, W) to tokens (B, h*w, C)."""

    def __init__(self, config: DepthAnything3Config) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.dim, kernel_size=config.patch, stride=config.patch)

    def forward(self, views: Tensor) -> Tensor:
        return self.proj(views).flatten(2).transpose(1, 2)


class AnyViewEncoder(nn.Module):
    """Views to token features.

    The feature of a block has 2C channels: the output of the last block before or at it that looked at each view for
    itself, and the block's own output, normed.
    """

    def __init__(self, config: DepthAnything3Config) -> None:
        super().__init__()
        self.config = config
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.camera_token = nn.Parameter(torch.zeros(1, 2, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + config.position_side**2, config.dim))
        self.blocks = nn.ModuleList(Block(config, index) for index in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)

    def forward(self, views: Tensor, hooks: Collection[int], reference: Reference) -> dict[int, Tensor]:
        """Features (B, S*h*w, 2C) after the blocks at the hooks; blocks after the highest one do not run.

        Args:
            views: Normalised (B, S, 3, H, W).
            hooks: Blocks, counted from 0.
            reference: The view in whose camera the world is described: the first one, or, where there are three or
                more, the one that is nearest to the middle of the views' statistics.
        """
        batch, count, _, height, width = views.shape
        grid = (height // self.config.patch, width // self.config.patch)
        start = self.config.alternate_from
        x = self.patch_embed(views.flatten(0, 1))
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)
        # Added in float32 and rounded once, which keeps neighboring positions apart in bfloat16.
        x = (x.float() + self.positions(grid)).to(x.dtype).unflatten(0, (batch, count))
        local = x
        within, across = rotations(grid, count, self.config.dim // self.config.heads, x.device)
        order, features = None, {}
        for index, block in enumerate(self.blocks[: max(hooks) + 1]):
            if index == start - 1 and reference == "saddle_balanced" and count >= _FEWEST_VIEWS_TO_CHOOSE:
                order = reference_first(balanced_view(x[:, :, 0].float()), count)
                x, local = reorder(x, order), reorder(local, order)
            if index == start:
                first, others = self.camera_token.expand(batch, -1, -1).split(1, dim=1)
                camera = torch.cat([first, others.expand(-1, count - 1, -1)], dim=1)
                x = torch.cat([camera[:, :, None], x[:, :, 1:]], dim=2)
            if index >= start and index % 2:
                x = block(x.flatten(1, 2), across).unflatten(1, (count, -1))
            else:
                x = block(x.flatten(0, 1), within if index >= start else None).unflatten(0, (batch, count))
                local = x
            if index in hooks:
                feature = torch.cat([local, self.norm(x)], dim=-1)[:, :, 1:]
                if order is not None:
                    feature = reorder(feature, order.argsort(dim=1))
                features[index] = feature.flatten(1, 2)
        return features

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """The table of positions (1, 1 + h*w, C) for a grid, in float32: the class token's, then the patches'."""
        side = self.config.position_side
        table = self.pos_embed.float()
        if grid == (side, side):
            return table
        # The network was trained with these factors, a tenth of a token above the sizes' own ratio.
        factors = tuple((size + 0.1) / side for size in grid)
        patches = table[:, 1:].transpose(1, 2).unflatten(2, (side, side))
        patches = F.interpolate(patches, scale_factor=factors, mode="bicubic")
        return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], dim=1)


def rotations(grid: tuple[int, int], views: int, channels: int, device: torch.device) -> tuple[Rotation, Rotation]:
    """Rotary factors of one view's tokens, and of all views' tokens.

    Within a view, patches are at (row, column) from (1, 1) on and the class token at (0, 0). Across views, where
    patches lie makes no difference: all are at (1, 1).

    Returns:
        Each a pair of factors (N, channels) for `rotate`, in float32.
    """
    rows, columns = (torch.arange(size, device=device) for size in grid)
    patches = F.pad(torch.cartesian_prod(rows, columns) + 1, (0, 0, 1, 0))
    flat = patches.clamp(max=1).repeat(views, 1)
    quarter = channels // 4
    frequencies = 1 / _ROTARY_BASE ** (torch.arange(quarter, device=device).float() / quarter)

    def factors(positions: Tensor) -> Rotation:
        angles = positions[:, :, None] * frequencies  # (N, 2, channels / 4)
        cosine, sine = angles.cos(), angles.sin()
        return torch.stack([cosine, cosine], 2).flatten(1), torch.stack([-sine, sine], 2).flatten(1)

    return factors(patches), factors(flat)


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Turns channels (..., N, C) pairwise: the first half of them by the row, the second by the column."""
    cosine, sine = rotation
    partner = x.unflatten(-1, (2, 2, -1)).flip(-2).flatten(-3)
    return (x * cosine + partner * sine).to(x.dtype)


def balanced_view(tokens: Tensor) -> Tensor:
    """Per batch item, the view whose class token is nearest to the middle of the views, (B,).

    Three statistics, each scaled to 0..1 over the views: mean cosine to the others, length, and variance of the unit
    vector; the sum of the distances to 0.5 decides.

    Args:
        tokens: Class tokens (B, S, C), S > 1.
    """
    length = tokens.norm(dim=-1, keepdim=True)
    unit = tokens / length
    cosines = unit @ unit.transpose(1, 2) - torch.eye(tokens.shape[1], device=tokens.device)
    statistics = torch.stack([cosines.sum(-1) / (tokens.shape[1] - 1), length[..., 0], unit.var(-1)])
    low, high = statistics.amin(-1, keepdim=True), statistics.amax(-1, keepdim=True)
    return ((statistics - low) / (high - low + 1e-8) - 0.5).abs().sum(0).argmin(-1)


def reference_first(reference: Tensor, views: int) -> Tensor:
    """The order of the views (B, S) that has the reference (B,) first and the others as they were."""
    place = torch.arange(views, device=reference.device).repeat(len(reference), 1)
    return place.scatter(1, reference[:, None], -1).argsort(dim=1)


def reorder(x: Tensor, order: Tensor) -> Tensor:
    """x (B, S, ...) with its views in the given order (B, S)."""
    return x[torch.arange(len(x), device=x.device)[:, None], order]
