# SPDX-License-Identifier: Apache-2.0
"""VSI-Bench: counting, sizes, distances, directions and routes in indoor videos (arXiv 2412.14171).

Published as `test.jsonl`, before November 2025 as parquet, with archives that unpack to `<dataset>/<scene>.mp4`.
`pruned_ids.txt` names the questions that can be answered without the video; the others are VSI-Bench-Debiased
(arXiv 2511.04655). VSTI-Bench took over the prompts and the scorer. Frames are a choice of each paper's; 32, as on
EASI's leaderboard, are the convention here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_lines, read_parquet
from rgpt4d_plugin.eval_hooks.benchmarks.records import Item, Medium, Published, Score
from rgpt4d_plugin.eval_hooks.benchmarks.vsti_bench import INTRODUCTION, LETTER, VSTIBench
from rgpt4d_plugin.eval_hooks.metrics import mean


NUMERIC = ("object_counting", "object_abs_distance", "object_size_estimation", "room_size_estimation")
DIRECTIONS = ("object_rel_direction_easy", "object_rel_direction_medium", "object_rel_direction_hard")
CHOICE = ("object_rel_distance", *DIRECTIONS, "route_planning", "obj_appearance_order")
FAMILIES = (*NUMERIC, "object_rel_distance", "object_rel_direction", "route_planning", "obj_appearance_order")

EASI_NUMBER = "Answer briefly and directly in one float number."
GEOVR = "GeoVR paper, arXiv 2606.05833"


class VSIBench(VSTIBench):
    """The benchmark that this module describes. In style "easi" its questions are asked in EASI's words."""

    choice = CHOICE
    numeric = NUMERIC
    letter = "ground_truth"
    name = "vsi_bench"
    title = "VSI-Bench"
    hub = "nyu-visionx/VSI-Bench"
    vlmevalkit = "VSI-Bench_{frames}"
    hub_files = ("test*", "pruned_ids.txt", "*.zip")
    revisions = {5130: "test set (5,130 items)"}
    fields = {"id": int, "dataset": str, "scene_name": str, "question_type": str, "question": str}
    notes = ()
    frames = 32
    styles = ("direct", "api", "easi")
    columns = ("Overall", *FAMILIES, "Debiased")
    rules = {"Overall": "families", "Debiased": "families", "object_rel_direction": "categories"}
    published = (
        Published("Qwen3-VL-2B", GEOVR, {"Overall": 50.3}, (5130,), 32),
        Published("GeoVR-2B", GEOVR, {"Overall": 69.1}, (5130,), 32),
        Published("GeoVR-4B", GEOVR, {"Overall": 69.6}, (5130,), 32),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        """The questions; where `pruned_ids.txt` is there too, each says whether it is `pruned`."""
        paths = find(folder, ("test.jsonl", "test.parquet", "test-*.parquet"), self.title)
        if paths[0].suffix == ".jsonl":
            items: Sequence[Item] = read_lines(paths[0])
        else:
            items = [dict(row) for row in read_parquet(paths, list(self.fields))]
        listed = folder / "pruned_ids.txt"
        if not listed.is_file():
            return items
        pruned = set(listed.read_text(encoding="utf-8").split())
        return [
            {**item, "pruned": str(item.get("id")) in pruned} if isinstance(item, Mapping) else item for item in items
        ]

    def key(self, item: Item) -> str:
        return str(item["id"])

    def media(self, item: Item, folder: Path) -> list[Medium]:
        path = f"{item['dataset']}/{item['scene_name']}.mp4"
        return [Medium("video", below(folder, path, "dataset, scene_name"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        if self.style(style) != "easi":
            return super().prompt(item, style)
        asked = [EASI_NUMBER] if self._numeric(item) else [*item["options"], LETTER]
        return "\n".join([INTRODUCTION, item["question"], *asked])

    def category(self, item: Item) -> str:
        """The question type; those of directions as "object_rel_direction/easy", members of a family."""
        kind = item["question_type"]
        return kind.replace("object_rel_direction_", "object_rel_direction/") if kind in DIRECTIONS else kind

    def columns_of(self, item: Item) -> tuple[str, ...]:
        category = self.category(item)
        groups = dict.fromkeys(("Overall", category.partition("/")[0], category))
        return (*groups, "Debiased") if item.get("pruned") is False else tuple(groups)

    def group(self, item: Item) -> str:
        return f"{item['dataset']}/{item['scene_name']}"

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent.

        "Overall" is the mean of the eight families, and that of directions the mean of its three levels. "Debiased"
        is "Overall" of the questions that are not pruned.
        """
        parts: dict[str, dict[str, dict[str, list[float]]]] = {name: {} for name in self.columns}
        for item, score in zip(items, scores, strict=True):
            category = self.category(item)
            for name in self.columns_of(item):
                families = parts.setdefault(name, {})
                own = families.setdefault(category.partition("/")[0], {}).setdefault(category, [])
                own.append(float(score.official if isinstance(score, Score) else score))
        return {
            name: 100 * mean([mean([mean(own) for own in family.values()]) for family in families.values()])
            if families
            else self.of_no_item
            for name, families in parts.items()
        }
