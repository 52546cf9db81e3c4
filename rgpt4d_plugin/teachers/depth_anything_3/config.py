# SPDX-License-Identifier: Apache-2.0
"""Every size of a Depth Anything 3 network in one frozen record, checked when it is made.

Source of the released numbers: the package depth-anything-3 0.1.1.
"""

from dataclasses import dataclass
from typing import Literal


RELEASED_HOOKS = {12: (5, 7, 9, 11), 24: (11, 15, 19, 23), 40: (19, 27, 33, 39)}
"""Blocks that the head reads, by the number of blocks: SMALL and BASE, LARGE, GIANT."""


@dataclass(frozen=True)
class DepthAnything3Config:
    """An any-view transformer and the DualDPT head on it.

    Attributes:
        patch: Pixels of a token's side.
        dim: Channels of a token.
        mlp: Kind of the MLP: two layers with a GELU, or a gated unit (SwiGLU).
        position_side: Side of the stored table of positions, in tokens.
        alternate_from: First block with rotary positions, normed queries and attention to other views: from there on,
            odd blocks attend over the tokens of all views, even ones within each view.
        hooks: Blocks, counted from 0, that the head reads, shallowest first.
        feature_dim: Channels of the head's pyramid.
        layer_dims: Channels of the four reassembled maps, shallowest first.
        frames: Frames that are seen together, as views of `height` x `width` pixels.
    """

    patch: int
    dim: int
    blocks: int
    heads: int
    mlp: Literal["gelu", "swiglu"]
    mlp_hidden: int
    position_side: int
    alternate_from: int
    hooks: tuple[int, ...]
    feature_dim: int
    layer_dims: tuple[int, ...]
    frames: int = 16
    height: int = 224
    width: int = 224

    def __post_init__(self) -> None:
        sizes = (self.patch, self.dim, self.blocks, self.heads, self.mlp_hidden, self.position_side, self.frames)
        if min(*sizes, self.height, self.width) < 1:
            raise ValueError(f"All sizes must be positive, found {self}.")
        if self.dim % (4 * self.heads):
            raise ValueError(f"dim {self.dim} must be a multiple of 4 x heads {self.heads}, for the rotary positions.")
        if not 1 <= self.alternate_from < self.blocks:
            raise ValueError(f"alternate_from must be in 1..{self.blocks - 1}, found {self.alternate_from}.")
        if len(self.layer_dims) != 4 or any(dim % 4 for dim in self.layer_dims) or self.feature_dim % 8:
            raise ValueError(
                "The head needs four layer_dims that are multiples of 4 and a feature_dim that is one of 8, found "
                f"{self.layer_dims} and {self.feature_dim}."
            )
        hooks = self.hooks
        if len(hooks) != 4 or list(hooks) != sorted(set(hooks)) or not 0 <= hooks[0] <= hooks[-1] < self.blocks:
            raise ValueError(f"hooks must be four ascending blocks in 0..{self.blocks - 1}, found {hooks}.")
        if self.height % self.patch or self.width % self.patch:
            raise ValueError(f"Height and width {self.height, self.width} must be multiples of patch {self.patch}.")

    @property
    def grid(self) -> tuple[int, int]:
        """Tokens (h, w) of one view."""
        return self.height // self.patch, self.width // self.patch
