# SPDX-License-Identifier: Apache-2.0
"""VSTI-Bench: camera and objects in ScanNet videos, letters or measured values (VLM-3R, arXiv 2505.20279).

Published as `test.json` or parquet, with the videos at `video_path` below the folder. There are two revisions, which
cannot be compared: 6,042 items before the erratum of 2026-07-13, which mended the camera positions, and 5,736 after
it. Questions name frames by number, of 32: with 16, as 4D-RGPT is measured, the words do not match what a model sees.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks import answers
from rgpt4d_plugin.eval_hooks.benchmarks.base import PAPER, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_json, read_parquet
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score
from rgpt4d_plugin.eval_hooks.metrics import mean, mean_relative_accuracy


CHOICE = (
    "obj_obj_relative_pos_nf",
    "obj_obj_relative_pos_ud",
    "obj_obj_relative_pos_lr",
    "camera_obj_rel_dist_v1",
    "camera_obj_rel_dist_v2",
    "camera_obj_rel_dist_v3",
    "camera_movement_direction",
)
NUMERIC = ("camera_obj_abs_dist", "camera_displacement", "camera_obj_dist_change")
"""The last one is in the scorer, but not in the published test set."""

INTRODUCTION = "These are frames of a video."
LETTER = "Answer with the option's letter from the given choices directly."
NUMBER = {
    "direct": "Please answer the question using a single word or phrase.",
    "api": "Do not response anything other than a single number!",
}


def question_text(question: str, options: Sequence[str] | None, style: str = "direct") -> str:
    """The benchmark's prompt: options as stored, None for a numeric question, which "api" asks in other words."""
    if options is None:
        return "\n".join([INTRODUCTION, question, NUMBER[style]])
    return "\n".join([INTRODUCTION, question, "Options:", *options, LETTER])


def read_official(reply: str) -> str:
    """Returns what the published scorer takes for the answer: all before a blank, without full stops at its end.

    Only a blank divides: a line break or a tab does not.
    """
    return reply.strip().split(" ")[0].rstrip(".").strip()


def number_of(value: Any) -> float | None:
    """A number as Python reads it, which takes "1_000", "nan" and "１" too; None for anything else."""
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _reproduced(model: str, *values: float) -> Published:
    columns = dict(zip(("Overall", *NUMERIC[:2], *CHOICE), values, strict=True))
    return Published(model, "third-party reproduction", columns, (5736,), 16)


class VSTIBench(Benchmark):
    """The benchmark that this module describes.

    Attributes:
        choice, numeric: The question types.
        letter: Field with the right letter.
    """

    choice: tuple[str, ...] = CHOICE
    numeric: tuple[str, ...] = NUMERIC
    letter: str = "mc_answer"
    name = "vsti_bench"
    title = "VSTI-Bench"
    hub = "Journey9ni/vstibench"
    vlmevalkit = "VSTI-Bench_{frames}"
    revisions = {
        6042: "before the erratum of 2026-07-13 (6,042 items)",
        5736: "after the erratum of 2026-07-13 (5,736 items)",
    }
    fields = {"video_path": str, "question_type": str, "question": str}
    notes = ("Questions name frames by number, of 32: with other numbers of frames the words do not match.",)
    styles = ("direct", "api")
    columns = ("Overall", *NUMERIC[:2], *CHOICE)
    of_no_item = float("nan")
    rules = {"Overall": "categories"}
    published = (
        _reproduced("NVILA-Lite-8B", 50.22, 22.3, 1.9, 65.6, 77.3, 55.2, 52.7, 61.7, 66.0, 49.2),
        _reproduced("4D-RGPT-8B", 62.30, 44.3, 23.6, 69.1, 90.7, 56.5, 71.4, 75.3, 76.6, 53.2),
        Published("NVILA-Lite-8B", PAPER, {"Overall": 45.2}, (6042,), 16),
        Published("4D-RGPT-8B", PAPER, {"Overall": 59.1}, (6042,), 16),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        """`test.json`, or parquet. Items are named by their `row`, which is added here: none have ids."""
        paths = find(folder, ("test.json", "test*.parquet", "data/test*.parquet"), self.title)
        if paths[0].suffix == ".json":
            items = read_json(paths[0])
            return [{**item, "row": row} if isinstance(item, Mapping) else item for row, item in enumerate(items)]
        return [item.changed(row=row) for row, item in enumerate(read_parquet(paths, list(self.fields)))]

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if not self._numeric(item):
            options = self.options(item)
            if len(options) < 2:
                yield "wrong options", f"expected two or more, found {item.get('options')!r}"
            if self.gold(item) not in options:
                yield "answers that are no option", f"{item.get(self.letter)!r} is not among {list(options)}"

    def remarks(self, item: Item, folder: Path) -> Iterable[str]:
        if not self._numeric(item):
            return
        gold = number_of(item.get("ground_truth"))
        if gold is None:
            yield "the right value is no number; counts, and scores 0"
        elif not math.isfinite(gold):
            yield "the right value is not finite; counts, and scores 0"
        elif gold == 0:
            yield "the right value is 0, which no relative error can be taken of; counts, and scores 0"
        elif gold < 0:
            yield "the right value is negative; every number is then officially right"

    def key(self, item: Item) -> str:
        """The row; for an item that `load` did not read, its content."""
        if "row" in item:
            return str(item["row"])
        return f"{item['video_path']}/{item['question_type']}/{item['question']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        return [Medium("video", below(folder, item["video_path"], "video_path"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """Asks by type, not by fields: displacements have options and a letter too, but are asked for their value."""
        options = None if self._numeric(item) else _options(item)
        return question_text(item["question"], options, self.style(style))

    def options(self, item: Item) -> dict[str, Any] | None:
        """Letter -> text of options that are stored as "A. text"."""
        if self._numeric(item):
            return None
        return {letter: text for letter, _, text in (re.split(r"(\.\s*)", o, maxsplit=1) for o in _options(item))}

    def gold(self, item: Item) -> str | None:
        """The letter, or the value as it was published."""
        value = item.get("ground_truth" if self._numeric(item) else self.letter)
        return None if value is None else str(value)

    def category(self, item: Item) -> str:
        return item["question_type"]

    def group(self, item: Item) -> str:
        """The scene, of which there is one video."""
        return item.get("scene_name") or item["video_path"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings: right or wrong for letters, the mean relative accuracy for values."""
        self.style(style)
        answer, gold = read_official(reply), self.gold(item)
        if not self._numeric(item):
            official = float(gold is not None and answer.lower() == gold.lower())
            return self._choice(item, reply, official, answer or None)
        number, reading = number_of(answer), answers.read_number(reply)
        return Score(
            official=mean_relative_accuracy(number, number_of(gold)),
            strict=mean_relative_accuracy(reading.value, number_of(gold)),
            parsed=None if reading.value is None else f"{reading.value:.15g}",
            how=reading.how,
            official_parsed=None if number is None else answer,
        )

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent.

        "Overall" is the unweighted mean of the types that are there: versions of a type are types of their own, so
        relative distance and relative position weigh three ninths each.
        """
        means = super().aggregate(items, scores)
        means["Overall"] = mean([m for name, m in means.items() if name != "Overall" and not math.isnan(m)])
        return means

    def _numeric(self, item: Item) -> bool:
        kind = item["question_type"]
        if kind not in self.choice + self.numeric:
            raise BenchmarkDataError(f"`question_type`: {kind!r} is none of {', '.join(self.choice + self.numeric)}.")
        return kind in self.numeric


def _options(item: Item) -> list[str]:
    options = item.get("options")
    if not isinstance(options, list) or not all(isinstance(o, str) and re.match(r"[A-Z]\.", o) for o in options):
        raise BenchmarkDataError(f"`options`: expected texts such as 'A. chair', found {options!r}.")
    return options
