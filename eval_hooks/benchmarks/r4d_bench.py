# SPDX-License-Identifier: Apache-2.0
"""R4D-Bench: questions on marked regions of a video, four or five options (4D-RGPT, arXiv 2512.17012).

Published as `test.json`, with videos under `videos/`, and under `clipped/` once the dataset's own script has cut them,
and images with the marks under `images/`. Prompt, reader and columns are those of the 4D-RGPT release, which takes
16 frames; older scripts of it took 32.
"""

import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import CARD, LETTERS, PAPER, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_json
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score
from rgpt4d_plugin.files import is_file


CATEGORIES = {
    "3D Video Grounding": "VG",
    "Dimensional Measurement": "DM",
    "Spatial Relation": "SR",
    "Rotational": "R",
    "Counting": "C",
    "Translational": "T",
    "False Positives": "FP",
    "Speed & Acceleration": "SA",
    "Displacement & Path Length": "DP",
}
"""Task -> column."""

STATIC = ("VG", "DM", "SR")
"""The split is by task, as in the release's reports; the dataset card's is by source benchmark."""

MARKS = (
    "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled <obj_1>, "
    "<obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions."
)
PHRASES = (
    "The best answer is",
    "The correct answer is",
    "The answer is",
    "The best option is",
    "The correct option is",
    "Best answer:",
    "Best option:",
    "Answer:",
)
"""Deleted from a reply, in this order, wherever they stand."""


def question_text(question: str, options: Sequence[str], marked: bool) -> str:
    """The prompt of the 4D-RGPT release; `marked`: an image with the marks of the `<obj_N>` comes first."""
    lines = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options))
    parts = [question, f"Options:\n{lines}", "Answer with only the letter of the correct option."]
    return "\n\n".join([MARKS, *parts] if marked else parts)


def read_official(reply: str, options: int, rng: random.Random | None = None) -> str | None:
    """The letter, of so many options, that the published scorer reads: the first in parentheses, else as a word.

    Where there is none `rng` draws one, as upstream does; without it such a reply has no letter.
    """
    valid = LETTERS[:options]
    text = reply.strip()
    for phrase in PHRASES:
        text = text.replace(phrase, "")
    for pattern in (rf"\(([{valid}])\)", rf"\b([{valid}])\b") if valid else ():
        if found := re.search(pattern, text):
            return found[1]
    return rng.choice(list(valid)) if rng and valid else None


_CURATED = "the paper's test set was curated again after its publication"


def _card(model: str, *values: float) -> Published:
    columns = dict(zip(("Avg", "Sta", "Dyn", *CATEGORIES.values()), values, strict=True))
    return Published(model, CARD, columns, (1419,), 16)


class R4DBench(Benchmark):
    """The benchmark that this module describes."""

    name = "r4d_bench"
    title = "R4D-Bench"
    hub = "nvidia/R4D-Bench"
    vlmevalkit = "R4D-Bench_{frames}"
    revisions = {1419: "re-curated test set (1,419 items)"}
    # Options and answers are texts, whole numbers or nothing; 0 is an answer as good as any.
    fields = {
        "id": (str, int),
        "task": str,
        "video": str,
        "source": str,
        "options": list,
        "answer": (str, int, float, type(None)),
    }
    columns = ("Avg", "Sta", "Dyn", *CATEGORIES.values())
    abbreviations = {
        "Avg": "all questions",
        "Sta": "static: VG, DM, SR",
        "Dyn": "dynamic: the others",
        **{column: task for task, column in CATEGORIES.items()},
    }
    published = (
        _card("NVILA-Lite-8B", 39.0, 33.0, 40.8, 35.9, 30.1, 39.0, 43.4, 35.7, 45.2, 24.4, 56.8, 12.5),
        _card("4D-RGPT-8B", 46.2, 41.0, 47.8, 44.7, 37.7, 46.3, 50.9, 46.5, 46.6, 49.6, 59.5, 45.8),
        Published("NVILA-Lite-8B", PAPER, {"Avg": 37.9, "Sta": 29.1, "Dyn": 41.3}, (), 16, conditions=_CURATED),
        Published("4D-RGPT-8B", PAPER, {"Avg": 42.2, "Sta": 32.9, "Dyn": 45.7}, (), 16, conditions=_CURATED),
        Published("GPT-4o", PAPER, {"Avg": 42.8}, (), "frames not said", conditions=_CURATED),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        return read_json(*find(folder, ("test.json",), self.title))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if not 2 <= len(item["options"]) <= len(LETTERS):
            yield "wrong numbers of options", f"{len(item['options'])}"
        if not (question := item.get("question") or item.get("question_raw")):
            yield "empty questions", "neither `question` nor `question_raw`"
        elif not isinstance(question, str):
            yield "questions that are no text", shortened(question)
        if item["task"] not in CATEGORIES:
            yield "unknown tasks", f"{item['task']!r} (known: {', '.join(CATEGORIES)})"

    def remarks(self, item: Item, folder: Path) -> Iterable[str]:
        if self.gold(item) is None:
            yield "the answer is empty or not among the options; counts, and scores 0"
        if not is_file(below(folder, item["video"], "video")):
            yield "no clip, asked on the full video (run the dataset's own script to cut the clips)"
        if item.get("som_image") and not is_file(below(folder, item["som_image"], "som_image")):
            yield "the image with the marks is missing; asked without it, in the same words, as upstream"

    def key(self, item: Item) -> str:
        """Source benchmark and id: the ids are of the source benchmarks."""
        return f"{item.get('benchmark', '')}/{item['id']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        """The image with the marks if there is one, then the clip, or the full video where no clip was cut."""
        media = []
        if item.get("som_image"):
            marks = below(folder, item["som_image"], "som_image")
            media += [Medium("image", marks)] if is_file(marks) else []
        clip = below(folder, item["video"], "video")
        return [*media, Medium("video", clip if is_file(clip) else below(folder, item["source"], "source"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """The prompt speaks of a first image whenever the item names one, even if its file is missing, as upstream."""
        self.style(style)
        question = item.get("question") or item.get("question_raw") or ""
        return question_text(question, list(self.options(item).values()), bool(item.get("som_image")))

    def options(self, item: Item) -> dict[str, Any]:
        """Returns the options as texts; nothing is the empty text."""
        return {letter: _text(option) for letter, option in zip(LETTERS, item["options"])}

    def gold(self, item: Item) -> str | None:
        """The letter of the first option that is the answer."""
        answer = _text(item["answer"])
        if not answer:
            return None
        return next((letter for letter, option in self.options(item).items() if option == answer), None)

    def category(self, item: Item) -> str:
        """The task's column; the task itself if it has none."""
        return CATEGORIES.get(item["task"], item["task"])

    def columns_of(self, item: Item) -> tuple[str, ...]:
        category = self.category(item)
        if category not in self.columns:
            return ("Avg",)
        return ("Avg", "Sta" if category in STATIC else "Dyn", category)

    def group(self, item: Item) -> str:
        return item.get("source") or item["video"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings; officially a reply without a letter is worth a random one, on average."""
        self.style(style)
        gold, count = self.gold(item), len(item["options"])
        letter = read_official(reply, count)
        if letter is None and count:
            return self._choice(item, reply, 1 / count if gold else 0.0, None, fallback=True)
        return self._choice(item, reply, float(gold is not None and letter == gold), letter)

    def drawn(self, item: Item, reply: str, rng: random.Random, style: str | None = None) -> float:
        """Draws as upstream does, for items without a right answer too."""
        self.style(style)
        letter = read_official(reply, len(item["options"]), rng)
        return float(letter is not None and letter == self.gold(item))


def _text(value: Any) -> str:
    """An option or the answer as upstream compares them."""
    if not isinstance(value, str | int | float | None):
        raise BenchmarkDataError(f"`options` and `answer`: expected texts, numbers or null, found {value!r}.")
    return "" if value is None else str(value)
