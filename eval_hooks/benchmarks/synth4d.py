# SPDX-License-Identifier: Apache-2.0
"""synth4d: questions about rendered clips whose answers follow from the scene, in R4D-Bench's nine categories.

Not downloaded but made: `rgpt4d synth --preset` writes the folder `test`, with `questions.json` and `clips/`.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks import r4d_bench
from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_json
from rgpt4d_plugin.eval_hooks.benchmarks.r4d_bench import CATEGORIES
from rgpt4d_plugin.eval_hooks.benchmarks.records import Item, Medium, Problem, Score


class Synth4D(Benchmark):
    """The benchmark that this module describes."""

    name = "synth4d"
    title = "synth4d"
    hub = "rgpt4d synth"
    revisions = {}
    fields = {"id": str, "task": str, "kind": str, "video": str, "question": str, "options": list, "answer": str}
    styles = ("word", "letter")
    columns = ("Avg", *CATEGORIES.values())
    abbreviations = {"Avg": "all questions", **{column: task for task, column in CATEGORIES.items()}}

    def read(self, folder: Path) -> Sequence[Item]:
        return read_json(*find(folder, ("questions.json",), self.title))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if item["task"] not in CATEGORIES:
            yield "unknown tasks", f"{item['task']!r} (known: {', '.join(CATEGORIES)})"
        if self.gold(item) is None:
            yield "answers that are no option", f"{item['answer']!r} is not among {item['options']}"

    def key(self, item: Item) -> str:
        return item["id"]

    def media(self, item: Item, folder: Path) -> list[Medium]:
        return [Medium("video", below(folder, item["video"], "video"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """The question alone, or with its options in R4D-Bench's words."""
        if self.style(style) == "word":
            return item["question"]
        return r4d_bench.question_text(item["question"], item["options"], marked=False)

    def options(self, item: Item) -> dict[str, Any]:
        return dict(zip(LETTERS, item["options"]))

    def gold(self, item: Item) -> str | None:
        """The letter of the answer."""
        return next((letter for letter, option in self.options(item).items() if option == item["answer"]), None)

    def category(self, item: Item) -> str:
        """The task's column."""
        return CATEGORIES[item["task"]]

    def group(self, item: Item) -> str:
        return item["video"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Officially a letter is read as R4D-Bench reads it, without a random one; a word must be the option's."""
        if self.style(style) == "word":
            said = reply.strip().rstrip(".").lower()
            letter = next((key for key, option in self.options(item).items() if option.lower() == said), None)
        else:
            letter = r4d_bench.read_official(reply, len(item["options"]))
        return self._choice(item, reply, float(letter is not None and letter == self.gold(item)), letter)
