# SPDX-License-Identifier: Apache-2.0
"""synth4d: questions about rendered clips, answered from the scene, in R4D-Bench's nine categories.

It is not downloaded but made: `rgpt4d synth --preset` writes the folder `test`, with `questions.json` and `clips/`.
How its questions refer to objects and are answered was decided then, so that they are those of the training data: with
letters as in R4D-Bench, or in an answer's own words.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_json
from rgpt4d_plugin.eval_hooks.benchmarks.r4d_bench import CATEGORIES, MARKS, STATIC, read_official
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Score
from rgpt4d_plugin.synth4d.tasks import PROBE


class Synth4D(Benchmark):
    """The benchmark that this module describes."""

    name = "synth4d"
    title = "synth4d"
    hub = ""
    revisions = {}
    fields = {
        "id": str,
        "category": str,
        "video": str,
        "prompt": str,
        "options": list,
        "answer": str,
        "style": str,
    }
    columns = ("Avg", "Sta", "Dyn", *CATEGORIES.values())
    abbreviations = {
        "Avg": "all questions",
        "Sta": "static: VG, DM, SR",
        "Dyn": "dynamic: the others",
        **{column: task for task, column in CATEGORIES.items()},
    }

    def fetch(self, folder: str | Path, revision: str | None = None) -> Path:
        raise BenchmarkDataError(f"{self.title} is not downloaded: {self.remedy}.")

    @property
    def remedy(self) -> str:
        return "write it with `rgpt4d synth --preset`"

    def read(self, folder: Path) -> Sequence[Item]:
        return read_json(*find(folder, ("questions.json",), self.title))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if item["category"] not in (*self.columns[3:], PROBE):
            yield "unknown categories", f"{item['category']!r} (known: {', '.join((*self.columns[3:], PROBE))})"
        if item["style"] not in ("word", "letter"):
            yield "unknown styles", f"{item['style']!r} (known: word, letter)"
        if self.gold(item) is None:
            yield "answers that are no option", f"{item['answer']!r} is not among {item['options']}"

    def key(self, item: Item) -> str:
        return item["id"]

    def media(self, item: Item, folder: Path) -> list[Medium]:
        """The first frame with the marks if objects are referred to by these, then the clip."""
        marks = [Medium("image", below(folder, item["marks"], "marks"))] if "marks" in item else []
        return [*marks, Medium("video", below(folder, item["video"], "video"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """As in the training data, where marks are shown in `p4d.regions.style: som_image`."""
        self.style(style)
        return f"{MARKS}\n\n{item['prompt']}" if "marks" in item else item["prompt"]

    def options(self, item: Item) -> dict[str, Any]:
        return dict(zip(LETTERS, item["options"]))

    def gold(self, item: Item) -> str | None:
        """The letter of the answer."""
        return next((letter for letter, option in self.options(item).items() if option == item["answer"]), None)

    def category(self, item: Item) -> str:
        return item["category"]

    def columns_of(self, item: Item) -> tuple[str, ...]:
        if item["category"] == PROBE:  # it counts in no other column
            return (PROBE,)
        return ("Avg", "Sta" if item["category"] in STATIC else "Dyn", item["category"])

    def group(self, item: Item) -> str:
        return item["video"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Officially a letter is read as R4D-Bench reads it, but none is drawn; a word must be an option, or nothing
        counts."""
        self.style(style)
        if item["style"] == "letter":
            letter = read_official(reply, len(item["options"]))
        else:
            said = reply.strip().rstrip(".").lower()
            letter = next((key for key, option in self.options(item).items() if option.lower() == said), None)
        return self._choice(item, reply, float(letter is not None and letter == self.gold(item)), letter)
