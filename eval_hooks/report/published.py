# SPDX-License-Identifier: Apache-2.0
"""Published numbers to lay beside a run, each with what it was measured on, and why a run may not be compared with it.

All are percentages under the published scorer. None was measured here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rgpt4d_plugin.eval_hooks.scoring import Result


@dataclass(frozen=True)
class Published:
    """One row of a published table.

    Attributes:
        model: name in the source.
        source: where the numbers stand.
        columns: official column -> percent; those that the source gives.
        items: sizes of the data that these columns are complete in; empty if they are not those of a known revision.
        frames: of each video; a text where the source has a rule of its own; None for images.
        style: prompt style, by this package's name.
        conditions: what else differs from this package's official reading and greedy decoding; "" if nothing.
    """

    model: str
    source: str
    columns: Mapping[str, float]
    items: tuple[int, ...]
    frames: int | str | None
    style: str
    conditions: str = ""

    def incomparable(self, result: Result) -> list[str]:
        """Why a run must not be compared with this; empty if it may."""
        reasons = []
        if self.items and result.available not in self.items:
            reasons.append(f"another revision: {self.items[0]:,} items, not {result.available:,}")
        if result.items != result.available:
            reasons.append(f"the run answers a sample of {result.items:,} items")
        if self.frames is not None:
            frames = result.settings.get("frames")
            if isinstance(self.frames, str):
                reasons.append(self.frames)
            elif frames is None:
                reasons.append(f"{self.frames} frames; those of the run are not known")
            elif frames != self.frames:
                reasons.append(f"{self.frames} frames, not {frames}")
        if self.style != result.style:
            reasons.append(f'prompt style "{self.style}", not "{result.style}"')
        if self.conditions:
            reasons.append(self.conditions)
        return reasons


def published(benchmark: str) -> Sequence[Published]:
    """The rows for a benchmark, in the order in which they are shown; empty if none is known."""
    return _ROWS.get(benchmark, ())


def _row(names: str, *values: float) -> dict[str, float]:
    return dict(zip(names.split(), values, strict=True))


_CARD = "model card of 4D-RGPT-8B"
_PAPER = "4D-RGPT paper, arXiv 2512.17012"
_R4D = "Avg Sta Dyn VG DM SR R C T FP SA DP"
_VSTI = (
    "Overall camera_obj_abs_dist camera_displacement camera_obj_rel_dist_v1 camera_obj_rel_dist_v2 "
    "camera_obj_rel_dist_v3 obj_obj_relative_pos_ud obj_obj_relative_pos_nf obj_obj_relative_pos_lr "
    "camera_movement_direction"
)
_OLD_R4D = "the paper's test set was curated again after its publication"
_JUDGE = "temperature 1.0, read by a language model and verified by hand"
_UNSAID = "prompt and reader are not said"


def _vlm4d(model: str, style: str, frames: str, overall: float, real: float, synthetic: float) -> Published:
    columns = {"Overall": overall, "Real": real, "Synthetic": synthetic}
    return Published(model, "VLM4D, released verdicts", columns, (1816,), frames, style, _JUDGE)


def _omnispatial(model: str, value: float) -> Published:
    source, conditions = "OmniSpatial, leaderboard", "five sampled replies an item"
    return Published(model, source, {"Overall": value}, (1533,), None, "manual_cot+re", conditions)


def _mmsi(model: str, value: float) -> Published:
    source, conditions = "MMSI-Bench, dataset card", "decoding is not said"
    return Published(model, source, {"Avg": value}, (1000,), None, "direct", conditions)


_ROWS: dict[str, tuple[Published, ...]] = {
    "r4d_bench": (
        Published(
            "NVILA-Lite-8B",
            _CARD,
            _row(_R4D, 39.0, 33.0, 40.8, 35.9, 30.1, 39.0, 43.4, 35.7, 45.2, 24.4, 56.8, 12.5),
            (1419,),
            16,
            "direct",
        ),
        Published(
            "4D-RGPT-8B",
            _CARD,
            _row(_R4D, 46.2, 41.0, 47.8, 44.7, 37.7, 46.3, 50.9, 46.5, 46.6, 49.6, 59.5, 45.8),
            (1419,),
            16,
            "direct",
        ),
        Published("NVILA-Lite-8B", _PAPER, _row("Avg Sta Dyn", 37.9, 29.1, 41.3), (), 16, "direct", _OLD_R4D),
        Published("4D-RGPT-8B", _PAPER, _row("Avg Sta Dyn", 42.2, 32.9, 45.7), (), 16, "direct", _OLD_R4D),
        Published("GPT-4o", _PAPER, {"Avg": 42.8}, (), "frames not said", "direct", _OLD_R4D),
    ),
    "sti_bench": (
        Published("NVILA-Lite-8B", _PAPER, {"Overall": 33.8}, (2064,), 16, "direct"),
        Published("4D-RGPT-8B", _PAPER, {"Overall": 37.6}, (2064,), 16, "direct"),
    ),
    "vlm4d": (
        Published("NVILA-Lite-8B", _PAPER, {"Real": 46.5}, (1816, 1371), 16, "direct", _UNSAID),
        Published("4D-RGPT-8B", _PAPER, {"Real": 52.7}, (1816, 1371), 16, "direct", _UNSAID),
        _vlm4d("Qwen2.5-VL-7B", "direct", "1 fps, at most 64 frames", 44.49, 43.33, 48.09),
        _vlm4d("Qwen2.5-VL-72B", "direct", "1 fps, at most 64 frames", 51.16, 49.96, 54.83),
        _vlm4d("GPT-4o", "direct", "32 frames", 54.63, 56.16, 49.89),
        _vlm4d("Qwen2.5-VL-7B", "cot", "1 fps, at most 64 frames", 43.83, 43.25, 45.62),
        _vlm4d("Qwen2.5-VL-72B", "cot", "1 fps, at most 64 frames", 52.97, 53.10, 52.58),
        _vlm4d("GPT-4o", "cot", "32 frames", 57.49, 59.96, 49.89),
        _vlm4d("Gemini-2.5-Pro", "cot", "frames not said", 61.95, 63.46, 57.30),
    ),
    "vsti_bench": (
        Published(
            "NVILA-Lite-8B",
            "third-party reproduction",
            _row(_VSTI, 50.22, 22.3, 1.9, 52.7, 61.7, 66.0, 77.3, 65.6, 55.2, 49.2),
            (5736,),
            16,
            "direct",
        ),
        Published(
            "4D-RGPT-8B",
            "third-party reproduction",
            _row(_VSTI, 62.30, 44.3, 23.6, 71.4, 75.3, 76.6, 90.7, 69.1, 56.5, 53.2),
            (5736,),
            16,
            "direct",
        ),
        Published("NVILA-Lite-8B", _PAPER, {"Overall": 45.2}, (6042,), 16, "direct"),
        Published("4D-RGPT-8B", _PAPER, {"Overall": 59.1}, (6042,), 16, "direct"),
    ),
    "omnispatial": (
        _omnispatial("human", 92.6),
        _omnispatial("o3", 56.3),
        _omnispatial("Gemini-2.5-Pro", 55.2),
        _omnispatial("Gemini-2.5-Flash-Thinking", 53.2),
    ),
    "mmsi_bench": (
        _mmsi("human", 97.2),
        _mmsi("o3", 41.0),
        _mmsi("Qwen2.5-VL-72B", 30.7),
        _mmsi("NVILA-15B", 30.5),
        _mmsi("GPT-4o", 30.3),
        _mmsi("NVILA-8B", 28.1),
        _mmsi("Qwen2.5-VL-7B", 25.9),
        _mmsi("random letters", 25.0),
        _mmsi("GPT-4o without images", 22.7),
    ),
}
