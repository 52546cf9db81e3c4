# SPDX-License-Identifier: Apache-2.0
"""The video ViT of L4P: tubelet tokens, pre-norm blocks, and the features after each block.

Module names equal those of the official checkpoint (L4P, NVlabs/L4P commit 8701a4b), so that weights load by name.
"""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rgpt4d_plugin.teachers.l4p.config import L4PConfig


@lru_cache(maxsize=8)
def position_table(tokens: int, dim: int, device: torch.device) -> Tensor:
    """Sine/cosine table over the flattened token index, (N, C) in float32.

    One axis for the whole t, h, w grid. It is cached rather than a buffer: it is not in the checkpoint, and a buffer
    would lose its float32 precision when the model is cast.
    """
    # Leave inference mode, or a table cached inside it could not be used in a later training step.
    with torch.inference_mode(False):
        position = torch.arange(tokens, dtype=torch.float64, device="cpu")[:, None]
        column = torch.arange(dim, dtype=torch.float64, device="cpu")
        angle = position / 10000 ** (2 * (column / 2).floor() / dim)
        table = torch.where(column % 2 == 0, angle.sin(), angle.cos())
        return table.to(torch.float32).to(device)


class Attention(nn.Module):
    """Self-attention over all tokens of a window, (B, N, C) to (B, N, C)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        # The checkpoint has a query and a value bias only: a key bias would shift all scores of a query alike, which
        # the softmax removes.
        bias = torch.cat((self.q_bias, torch.zeros_like(self.q_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias)
        query, key, value = qkv.view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(query, key, value)
        return self.proj(x.transpose(1, 2).reshape(batch, tokens, dim))


class MLP(nn.Module):
    """Two linear layers with the exact (erf) GELU between them."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.fc2 = nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Pre-norm transformer block, (B, N, C) to (B, N, C)."""

    def __init__(self, config: L4PConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=config.eps)
        self.attn = Attention(config.dim, config.heads)
        self.norm2 = nn.LayerNorm(config.dim, eps=config.eps)
        self.mlp = MLP(config.dim, config.mlp_hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Clip (B, 3, T, H, W) to tokens (B, N, C), t slowest, then h, then w."""

    def __init__(self, config: L4PConfig) -> None:
        super().__init__()
        self.proj = nn.Conv3d(3, config.dim, kernel_size=config.patch, stride=config.patch)

    def forward(self, clip: Tensor) -> Tensor:
        return self.proj(clip).flatten(2).transpose(1, 2)


class VideoEncoder(nn.Module):
    """Clip to the list of token features.

    Entry 0 is the patch embedding plus position table, entry k the output of block k counted from 1. The last entry,
    and only it, has passed the final LayerNorm; the released heads read earlier entries.
    """

    def __init__(self, config: L4PConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim, eps=config.eps)

    def forward(self, clip: Tensor, wanted: set[int]) -> dict[int, Tensor]:
        """Features (B, N, C) of the wanted indices; blocks after the highest one do not run.

        Args:
            clip: Normalised video (B, 3, T, H, W).
            wanted: Indices in 0..blocks.
        """
        x = self.patch_embed(clip)
        # Added in float32 and rounded once, which keeps neighbouring positions apart in bfloat16.
        x = (x.float() + position_table(x.shape[1], x.shape[2], x.device)).to(x.dtype)
        features = {0: x} if 0 in wanted else {}
        for index, block in enumerate(self.blocks[: max(wanted)], start=1):
            x = block(x)
            if index in wanted:
                features[index] = self.norm(x) if index == len(self.blocks) else x
        return features
