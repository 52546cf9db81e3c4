# SPDX-License-Identifier: Apache-2.0
"""STI-Bench: sizes, distances, speeds and poses in videos of three kinds of scenes, five options (arXiv 2503.23765).

Published as `qa.parquet` and `video.zip`, whose files are in `video/`, or beside the questions. The prompt and the
reader are those of the authors' script for open models, which shows the full video, at 30 frames, and states the time
window in words only, with up to 512 tokens for the reply; the 4D-RGPT release takes 16 frames and 16 tokens.

Most options are numbers, and fine-tuned models often answer with one. `Score.columns["numeric"]` is not upstream's:
the letter where the official reader finds one, else the only option that a number in the reply equals.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.eval_hooks import answers
from rgpt4d_plugin.eval_hooks.benchmarks.base import PAPER, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, find, read_parquet
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score
from rgpt4d_plugin.files import is_file, parse_json


TASKS = (
    "Dimensional Measurement",
    "Spatial Relation",
    "3D Video Grounding",
    "Displacement & Path Length",
    "Speed & Acceleration",
    "Ego-Centric Orientation",
    "Trajectory Description",
    "Pose Estimation",
)
SCENES = ("indoor", "desktop", "outdoor")

_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE | re.MULTILINE)
    for pattern in (
        r"\(([A-E])\)",
        r"Ans\s*=\s*['\"]?([A-E])['\"]?",
        # Neither of the next two asks where the word ends: "Answer: apple" is an A.
        r"Answer\s*[:=]\s*([A-E])",
        r"Option\s+([A-E])",
        r"\b([A-E])\s*(?:is|was)\s*correct",
        r"\b([A-E])[.)]\s*$",
    )
)


def read_official(reply: str) -> str | None:
    """The letter that the published scorer compares with the gold one.

    The first of six patterns that fits, in upper case; without any, the last character of the reply if it is an
    upper-case A to E, whatever it is the end of.
    """
    for pattern in _PATTERNS:
        if found := pattern.search(reply):
            return found[1].upper()
    end = reply.strip()[-1:]
    return end if end and end in "ABCDE" else None


def scene_of(file: str) -> str:
    """The scene, from the name of a video file, as upstream derives it where the data do not say."""
    stem = file.split(".")[0]
    if "camera" in file:
        return "outdoor"
    if file.startswith("scene"):
        return "indoor"
    return "desktop" if stem.isdigit() and len(stem) == 6 else "unknown"


class STIBench(Benchmark):
    """The benchmark that this module describes."""

    name = "sti_bench"
    title = "STI-Bench"
    hub = "MINT-SJTU/STI-Bench"
    vlmevalkit = "STI-Bench_{frames}"
    hub_files = ("qa.parquet", "video.zip")
    revisions = {2064: "test (2,064 items)"}
    fields = {
        "Video": str,
        "ID": (str, int),
        "Task": str,
        "Question": str,
        "Candidates": (str, Mapping),
        "Answer": str,
        "time_start": (int, float),
        "time_end": (int, float),
    }
    columns = ("Overall", *TASKS, *SCENES)
    of_no_item = float("nan")
    readings = {
        "numeric": "Numeric: as official, and a reply without a letter may name the value of exactly one option; this "
        "is not the published score."
    }
    published = (
        Published("NVILA-Lite-8B", PAPER, {"Overall": 33.8}, (2064,), 16),
        Published("4D-RGPT-8B", PAPER, {"Overall": 37.6}, (2064,), 16),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        return read_parquet(find(folder, ("qa.parquet",), self.title), list(self.fields))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        options = self.options(item)
        if "".join(options) != "ABCDE"[: len(options)] or len(options) < 2:
            yield "wrong options", f"expected letters from A to E, found {', '.join(options) or 'none'}"
        if item["Answer"] not in options:
            yield "answers that are no option", f"{item['Answer']!r}"

    def key(self, item: Item) -> str:
        """Video and ID, by which upstream knows what is done."""
        return f"{item['Video']}/{item['ID']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        """The full video; the time window is in the prompt only."""
        inside = below(folder / "video", item["Video"], "Video")
        beside = folder / item["Video"]
        return [Medium("video", beside if is_file(beside) and not is_file(inside) else inside)]

    def prompt(self, item: Item, style: str | None = None) -> str:
        self.style(style)
        window = f"From {item['time_start']} s to {item['time_end']} s. {item['Question']}"
        lines = [f"({letter}) {option}" for letter, option in self.options(item).items()]
        return "\n".join([window, *lines, "Please output only the option letter!"])

    def options(self, item: Item) -> dict[str, Any]:
        """`Candidates`, which some revisions have as JSON in a text."""
        candidates = item["Candidates"]
        if isinstance(candidates, str):
            try:
                candidates = parse_json(candidates)
            except ValueError as err:
                raise BenchmarkDataError(f"`Candidates`: {shortened(candidates)} is not JSON ({err}).") from err
        if not isinstance(candidates, Mapping):
            raise BenchmarkDataError(f"`Candidates`: expected letters and texts, found {shortened(candidates)}.")
        return dict(candidates)

    def gold(self, item: Item) -> str:
        return item["Answer"]

    def category(self, item: Item) -> str:
        return item["Task"]

    def columns_of(self, item: Item) -> tuple[str, ...]:
        scene = item.get("scene") or item.get("Scene") or scene_of(item["Video"])
        return ("Overall", item["Task"], scene)

    def group(self, item: Item) -> str:
        return item["Video"]

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings, and `columns["numeric"]`; the strict one accepts the value of an option too."""
        self.style(style)
        options, gold = self.options(item), self.gold(item)
        letter, value = read_official(reply), answers.match_value(reply, options)
        reading = answers.read_choice(reply, options)
        strict, how = reading.letter, reading.how
        if how == "unread" and value:
            strict, how = value, "value"
        return Score(
            official=float(letter == gold),
            strict=float(strict == gold),
            parsed=strict,
            how=how,
            official_parsed=letter,
            columns={"numeric": float((letter or value) == gold)},
        )
