# SPDX-License-Identifier: Apache-2.0
"""Qwen2-VL to Qwen3.5: the grid is `video_grid_thw`, divided by the vision tower's spatial merge.

Qwen2-VL and Qwen2.5-VL put the tokens of a clip in one run. Qwen3-VL and Qwen3.5 put each temporal step in a run of
its own, after the text of its timestamp. The tower of Qwen2.5-VL computes in window order and restores row-major order
itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from rgpt4d_plugin.students.base import Grid, RowMedia, StudentFamily, unscaled


@dataclass(frozen=True)
class QwenVLFamily(StudentFamily):
    """One class for all generations: their differences concern processor and model alone."""

    def frames_per_step(self, processor: Any) -> int:
        return processor.video_processor.temporal_patch_size

    def video_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        return _token_grids(inputs.get("video_grid_thw"), processor.video_processor)

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        return _token_grids(inputs.get("image_grid_thw"), processor.image_processor)

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        pixels, grids = inputs.get("pixel_values_videos"), inputs.get("video_grid_thw")
        return _unpatchify(pixels, grids, processor.video_processor)

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        # The processor repeats an image to fill a temporal step.
        pixels, grids = inputs.get("pixel_values"), inputs.get("image_grid_thw")
        return [image[0] for image in _unpatchify(pixels, grids, processor.image_processor)]


def _token_grids(grids: torch.Tensor | None, processor: Any) -> list[Grid]:
    if grids is None:
        return []
    merge = processor.merge_size
    return [(t, h // merge, w // merge) for t, h, w in grids.tolist()]


def _unpatchify(pixels: torch.Tensor | None, grids: torch.Tensor | None, processor: Any) -> list[np.ndarray]:
    """Turns patches (patches of all clips, 3 * frames * patch * patch) back into clips (T, H, W, 3) uint8."""
    if pixels is None or grids is None:
        return []
    merge, patch, frames = processor.merge_size, processor.patch_size, processor.temporal_patch_size
    pixels = unscaled(pixels.view(len(pixels), 3, frames, patch, patch), processor)

    clips = []
    for part, (t, h, w) in zip(pixels.split(grids.prod(-1).tolist()), grids.tolist(), strict=True):
        # A token's patches lie together: (t, token row, token column, patch row, patch column) of (3, frames, y, x).
        part = part.view(t, h // merge, w // merge, merge, merge, 3, frames, patch, patch)
        part = part.permute(0, 6, 1, 3, 7, 2, 4, 8, 5)
        clips.append(part.reshape(t * frames, h * patch, w * patch, 3).numpy())
    return clips


_TOKENS = ("<|image_pad|>", "<|video_pad|>")


def _instruct(name: str, *sizes: int | str) -> tuple[str, ...]:
    return tuple(f"{name}-{size}B-Instruct" for size in sizes)


FAMILIES = (
    QwenVLFamily(
        "Qwen2-VL",
        ("qwen2_vl",),
        ("qwen2_vl",),
        ("Qwen2VLPlugin",),
        *_TOKENS,
        public_models=_instruct("Qwen2-VL", 2, 7, 72),
    ),
    QwenVLFamily(
        "Qwen2.5-VL",
        ("qwen2_5_vl",),
        ("qwen2_vl", "mimo_vl"),
        ("Qwen2VLPlugin",),
        *_TOKENS,
        public_models=_instruct("Qwen2.5-VL", 3, 7, 32, 72),
    ),
    QwenVLFamily(
        "Qwen3-VL",
        ("qwen3_vl", "qwen3_vl_moe"),
        ("qwen3_vl", "qwen3_vl_nothink"),
        ("Qwen3VLPlugin",),
        *_TOKENS,
        counts_each_clip=True,
        public_models=_instruct("Qwen3-VL", 2, 4, 8, 32, "30B-A3", "235B-A22"),
    ),
    QwenVLFamily(
        "Qwen3.5",
        ("qwen3_5", "qwen3_5_moe"),
        ("qwen3_5", "qwen3_5_nothink", "qwen3_6"),
        ("Qwen3VLPlugin",),
        *_TOKENS,
        counts_each_clip=True,
        # transformers 5.5 renames the language model's weights there as if it were alone, and leaves it random.
        loads_under_zero3=False,
        public_models=tuple(
            f"Qwen3.5-{size}B-Thinking" for size in (0.8, 2, 4, 9, 27, "35B-A3", "122B-A10", "397B-A17")
        ),
    ),
)
