# SPDX-License-Identifier: Apache-2.0
"""NVILA-Lite, 4D-RGPT's own base: every frame is a run of <vila/video>, a square of tokens, and a newline follows.

A token stands for 3 x 3 patches. Where their number is no multiple of three, the last row and column see less: of the
released models' 32 patches along a side two in place of three. The grid is taken to be even all the same, as 4D-RGPT's
training does, which is off by a third of a token at most.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rgpt4d_plugin.students.base import Grid, RowMedia
from rgpt4d_plugin.students.square import SquareFamily, pictures, split_clips


SYSTEM = "You are a helpful assistant"
"""What VILA says where a conversation has no system message; without a full stop, unlike Qwen."""


@dataclass(frozen=True)
class NVILAFamily(SquareFamily):
    """The model type of the plugin, see `modeling.modeling_nvila`."""

    def side(self, processor: Any) -> int:
        return processor.side

    def image_grids(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[Grid]:
        side = self.side(processor)
        counts = inputs["image_tiles"].tolist() if "image_tiles" in inputs else []
        return [(1, side, side) if tiles == 1 else (1, 1, tiles * side**2) for tiles in counts]

    def frames(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        if "pixel_values_videos" not in inputs:
            return []
        return split_clips(pictures(inputs["pixel_values_videos"], processor.video_processor), rows)

    def images(self, inputs: dict[str, Any], processor: Any, rows: Sequence[RowMedia]) -> list[np.ndarray]:
        if "pixel_values" not in inputs:
            return []
        # Of several tiles the last one is the whole image.
        last = inputs["image_tiles"].cumsum(0) - 1
        return list(pictures(inputs["pixel_values"][last], processor.image_processor))


FAMILIES = (
    NVILAFamily(
        name="NVILA-Lite",
        model_types=("nvila",),
        templates=("rgpt4d_nvila",),
        plugins=("NVILAPlugin",),
        image_token="<image>",
        clip_token="<vila/video>",
        reader="rgpt4d_plugin.template.square:SquareReader",
        composite="llava_next_video",
        # Not `single_image_is_tiled`: the plugin reads from the tokens how an image is shown, however many there are.
    ),
)
