# SPDX-License-Identifier: Apache-2.0
"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: the grid is in `video_grid_thw`, merged by the vision tower's spatial merge.

Layouts: Qwen2-VL and Qwen2.5-VL put a clip's tokens in one run; Qwen3-VL puts each temporal step in a run of its own,
behind the text of its timestamp. Qwen2.5-VL's tower computes in window order and restores row-major order itself.
"""

from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.base import StudentFamily


@dataclass(frozen=True)
class QwenVLFamily(StudentFamily):
    """One family for the three generations: what differs between them is not seen here."""

    def frames_per_step(self, processor: Any) -> int:
        return processor.video_processor.temporal_patch_size

    def video_grids(self, inputs: dict[str, Any], processor: Any) -> list[tuple[int, int, int]]:
        grids = inputs.get("video_grid_thw")
        if grids is None:
            return []
        merge = processor.video_processor.merge_size
        return [(t, h // merge, w // merge) for t, h, w in grids.tolist()]


FAMILIES = (
    QwenVLFamily("Qwen2-VL", ("qwen2_vl",), ("qwen2_vl",)),
    QwenVLFamily("Qwen2.5-VL", ("qwen2_5_vl",), ("qwen2_vl",)),
    QwenVLFamily("Qwen3-VL", ("qwen3_vl",), ("qwen3_vl", "qwen3_vl_nothink")),
)
