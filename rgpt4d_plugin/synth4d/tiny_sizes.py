# SPDX-License-Identifier: Apache-2.0
"""Sizes of the tiny students."""

from dataclasses import dataclass


@dataclass(frozen=True)
class StudentSizes:
    """Sizes of a tiny student.

    Attributes:
        heads: Attention heads of the language model; hidden / heads must be a multiple of 8 for the three rotary axes.
        vision_layers: At least 2.
        patch: Pixels of a patch's side.
        merge: Patches along a side which become one token (Qwen-VL; two in the other families).
        temporal_patch: Frames which become one patch (Qwen-VL; one in the other families).
        image: Pixels of the side of the square that every frame becomes (not Qwen-VL, which keeps its shape).
        initializer_range: Standard deviation of the weights. The usual 0.02 suits widths of thousands: at width 64 the
            signal dies out in the layers and such a model learned nothing.
    """

    hidden: int = 64
    layers: int = 3
    heads: int = 4
    vision_hidden: int = 64
    vision_layers: int = 2
    vision_heads: int = 4
    patch: int = 8
    merge: int = 2
    temporal_patch: int = 2
    image: int = 64
    initializer_range: float = 0.1

    def __post_init__(self) -> None:
        if self.hidden % self.heads or self.hidden // self.heads % 8:
            raise ValueError(f"hidden / heads must be a multiple of 8, found {self.hidden} / {self.heads}.")
        if self.vision_hidden % self.vision_heads or self.vision_hidden // self.vision_heads % 4:
            found = f"{self.vision_hidden} / {self.vision_heads}"
            raise ValueError(f"vision_hidden / vision_heads must be a multiple of 4, found {found}.")
        if self.vision_layers < 2:
            raise ValueError(f"vision_layers must be at least 2, found {self.vision_layers}.")
