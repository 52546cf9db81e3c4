# SPDX-License-Identifier: Apache-2.0
"""DSR-Bench: how distances, directions, orientations and speeds change in videos, as seen from somewhere
(CVPR 2026, arXiv 2512.20557).

The authors publish `benchmark.parquet` without the videos, which here lie in `videos/<id>.mp4`. EASI has a copy with
them: `DSRBench.tsv`, and an archive that unpacks to `raw_data/dsr-bench/`. The prompt is EASI's, which is that of
Video-MME in VLMEvalKit, as is the reader that the authors' evaluation takes. "Avg" is the mean over questions, as EASI
has it; whether the paper's is that or the mean over types is not said.
"""

import ast
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_parquet, read_tsv
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score


_WHAT = ("dis", "dir", "ori", "spd", "spd_comp", "dir_pred")
TYPES = (*(f"abs_{what}" for what in _WHAT), *(f"rel_{what}" for what in _WHAT), "non_temp")
"""Seen from where something was at one moment (`abs`) or from where it goes (`rel`); `non_temp` follow no template."""

INTRODUCTION = (
    "\nThese are the frames of a video. Select the best answer to the following multiple-choice question based on the "
    "video. Respond with only the letter (A, B, C, or D) of the correct option.\n"
)

_ANNOUNCED = re.compile(
    r"The (?:best|correct) (?:answer|option) is|The answer(?: is)?|Best (?:answer|option):|Answer:|Option:"
)


def read_official(reply: str) -> str | None:
    """The letter that Video-MME's rule reads: the first A, B, C or D in upper case, be it in a word or an article.

    Announcements as "The answer is" are taken out first, as the A of "Answer:" is none.
    """
    found = re.search("[ABCD]", _ANNOUNCED.sub("", reply.strip()))
    return found and found[0]


def _listed(item: Item) -> list[str]:
    """The options, "A. ..." each; EASI's table has the list as text, be it JSON or Python."""
    options = item["options"]
    if isinstance(options, str):
        try:
            options = ast.literal_eval(options)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as err:
            raise BenchmarkDataError(f"`options` is no list ({err}).") from err
    if not isinstance(options, list) or not all(isinstance(option, str) for option in options):
        raise BenchmarkDataError(f"`options`: expected a list of texts, found {item['options']!r:.80}.")
    return options


PAPER = "DSR Suite paper, arXiv 2512.20557"


class DSRBench(Benchmark):
    """The benchmark that this module describes."""

    name = "dsr_bench"
    title = "DSR-Bench"
    hub = "lmms-lab-si/EASI-Leaderboard-Data"
    hub_files = ("DSRBench.tsv", "raw_data/dsr-bench.zip")
    vlmevalkit = "DSRBench_{frames}"
    revisions = {1484: "test set (1,484 items)"}
    fields = {"question": str, "options": (list, str), "answer": str}
    frames = 32
    columns = ("Avg", *TYPES)
    published = tuple(
        Published(model, PAPER, {"Avg": value}, (1484,), None, conditions="frames and what is averaged are not said")
        for model, value in (
            ("Qwen2.5-VL-7B, DSR-Train, GSM", 58.9),
            ("VG-LLM", 38.4),
            ("Gemini-2.5-Pro", 31.7),
            ("VLM-3R", 31.4),
            ("GPT-5", 30.8),
            ("Qwen2.5-VL-7B", 23.5),
        )
    )

    def read(self, folder: Path) -> Sequence[Item]:
        """EASI's table, else the authors', whose rows get the `index` that they have there: from 0 on."""
        paths = find(folder, ("DSRBench.tsv", "benchmark.parquet"), self.title)
        if paths[0].suffix == ".tsv":
            return read_tsv(paths[0])
        rows = read_parquet(paths, ("question", "options", "answer", "type"))
        return [{"index": str(number), **row} for number, row in enumerate(rows)]

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        options = self.options(item)
        if "".join(options) != LETTERS[: len(options)] or not 2 <= len(options) <= 4:
            yield "wrong options", f"expected 2 to 4 that begin with their letters, found {item['options']!r:.80}"
        elif self.gold(item) not in options:
            yield "answers that are no option", f"{item['answer']!r} is not among {list(options)}"
        if self.category(item) not in TYPES:
            yield "unknown question types", repr(self.category(item))

    def key(self, item: Item) -> str:
        return str(item["index"])

    def media(self, item: Item, folder: Path) -> list[Medium]:
        place = "raw_data/dsr-bench" if "task_type" in item else "videos"
        return [Medium("video", below(folder, f"{place}/{self.group(item).removesuffix('.mp4')}.mp4", "video"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        self.style(style)
        listed = "\n".join(_listed(item))
        return f"{INTRODUCTION}Question: {item['question']}\n{listed}\nAnswer: "

    def options(self, item: Item) -> dict[str, Any]:
        """What follows the letters; an option that begins with none stands under its own text."""
        listed = _listed(item)
        found = [re.match(r"([A-Z])[.:)]\s*(.*)", option, re.S) for option in listed]
        return {hit[1] if hit else option: hit and hit[2] for hit, option in zip(found, listed)}

    def gold(self, item: Item) -> str:
        return item["answer"].strip()[:1]

    def category(self, item: Item) -> str:
        return str(item["task_type"] if "task_type" in item else item.get("type"))

    def group(self, item: Item) -> str:
        """The video: `video` in EASI's table, `videoID` in the authors'."""
        video = item.get("video") or item.get("videoID")
        if not isinstance(video, str):
            raise BenchmarkDataError("neither `video` nor `videoID`.")
        return video

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings."""
        self.style(style)
        letter = read_official(reply)
        return self._choice(item, reply, float(letter == self.gold(item)), letter)
