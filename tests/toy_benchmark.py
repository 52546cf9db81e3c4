# SPDX-License-Identifier: Apache-2.0
"""A benchmark small enough to score by hand, for what works with any benchmark."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkData, Item, Medium, Score


class Toy(Benchmark):
    """Items are `{"id", "kind", "video", "question", "options": [...], "answer": index or None}`."""

    name = "toy"
    title = "Toy-Bench"
    hub = "nobody/toy"
    vlmevalkit = "Toy"
    revisions = {12: "toy 12", 40: "toy 40"}
    fields = {"id": int, "kind": str, "video": str}
    styles = ("direct", "polite")
    columns = ("Overall", "left", "right", "Mean of kinds")
    rules = {"Mean of kinds": "categories"}
    notes = ("A toy.",)

    def read(self, folder: Path) -> Sequence[Item]:
        return json.loads((folder / "items.json").read_text())

    def files(self, item: Item, folder: Path) -> Iterable[Path]:
        return ()

    def key(self, item: Item) -> str:
        return f"toy/{item['id']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        return [Medium("video", Path(folder) / item["video"])]

    def prompt(self, item: Item, style: str | None = None) -> str:
        return item["question"] + (" Please!" if style == "polite" else "")

    def options(self, item: Item) -> dict[str, Any]:
        return dict(zip("ABCD", item["options"]))

    def gold(self, item: Item) -> str | None:
        return None if item["answer"] is None else "ABCD"[item["answer"]]

    def category(self, item: Item) -> str:
        return item["kind"]

    def columns_of(self, item: Item) -> tuple[str, ...]:
        return ("Overall", item["kind"], "Mean of kinds")

    def group(self, item: Item) -> str:
        return item["video"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        gold = self.gold(item)
        letter = next(iter(re.findall(r"[A-D]", reply)), None)
        strict = reply.strip() if reply.strip() in self.options(item) else None
        how = "letter" if strict else "unread" if reply.strip() else "empty"
        official = 1 / len(item["options"]) if letter is None else float(letter == gold)
        extra = {"lenient": float(reply.strip().upper()[:1] == gold)}
        return Score(
            official, float(strict is not None and strict == gold), strict, how, letter, letter is None, extra
        )

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        means = super().aggregate(items, scores)
        groups = self.by_column(items, scores)
        present = [means[kind] for kind in ("left", "right") if groups[kind]]
        return means | {"Overall": round(means["Overall"], 2), "Mean of kinds": mean(present)}


def toy_items(n: int = 12) -> list[dict[str, Any]]:
    """Three neighbours share a video; every fourth is "right"; the answer goes round; the seventh has none."""
    return [
        {
            "id": i,
            "kind": "right" if i % 4 == 3 else "left",
            "video": f"clip{i // 3}.mp4",
            "question": f"Question {i} <b>?",
            "options": ["up & down", 0, "left", "right"],
            "answer": None if i == 6 else i % 4,
        }
        for i in range(n)
    ]


def write_toy(folder: Path, items: Sequence[Mapping[str, Any]]) -> BenchmarkData:
    """Writes the folder, and loads it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "items.json").write_text(json.dumps(list(items)))
    return Toy().load(folder)
