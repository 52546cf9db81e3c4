# SPDX-License-Identifier: Apache-2.0
"""OmniSpatial: dynamic reasoning, interaction, logic and perspective on single images (arXiv 2506.03135).

Published as an archive of `data.json` and a folder of images per task type; re-hosts hold the same questions in
parquet files. The prompt is the authors', word for word, in the form of their script for open models, where everything
is one user turn; the default style is theirs, too. They sample five replies a question, of up to 8,192 tokens, and
pool them; here each question is asked once. Style `manual_cot+re` is what lmms-eval's `omnispatial` asks. For styles
that end in `+direct`, `Score.columns["lmms_eval"]` is the reading of its variant for direct answers, which looks
behind a closed thought and into an answer tag.

Every reply in which the official reader finds nothing counts as an A: with luck, as a right one. `Score.fallback` says
which.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import LETTERS, LMMS_EVAL, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import below, encoded, find, read_json, read_parquet
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score


TYPES = {
    "Dynamic_Reasoning": ("Manipulation", "Motion_Analysis"),
    "Spatial_Interaction": ("Traffic_Analysis", "Localization", "Geospatial_Strategy"),
    "Complex_Logic": ("Pattern_Recognition", "Geometric_Reasoning"),
    "Perspective_Taking": ("Egocentric", "Allocentric", "Hypothetical"),
}
"""Task type -> its sub-types."""

_QUESTION = (
    "2. **Question** - a natural-language query about spatial relationships between objects in the image.{end}\n"
    "3. **Options** - ≥2 answer candidates, each tagged by a capital letter (A, B, C, D…).\n"
)
_OPENING = (
    "\nYou are a spatial-reasoning assistant.\n\nTask\n-----\nYou will receive  \n"
    "1. **Image** - a single RGB frame depicting a scene.{end}\n" + _QUESTION
)
_CLOSING = (
    "Always ground your answer in the visual evidence; do not hallucinate unseen objects.\n"
    "If uncertain, pick the most plausible option—never refuse or reply “insufficient information.”\n"
)
_GUIDELINES = (
    "\nGuidelines\n----------\nPlease follow these steps to analyze the image and answer the question:\n"
    "1. First, carefully observe the image and identify all relevant objects and their spatial relationships.\n"
    "2. Next, break down the question into key components that need to be addressed.\n"
    "3. Think through the spatial reasoning step-by-step to arrive at your answer. It may be necessary to transfer "
    "perspective to better understand the scene.\n"
    "4. Finally, select the most appropriate option (A, B, C, or D) based on your analysis.\n\n"
)
# Two of the three published texts have blanks at the ends of two lines.
SYSTEM = {
    "manual_cot": _OPENING.format(end="  ") + _GUIDELINES + _CLOSING,
    "zeroshot_cot": _OPENING.format(end="") + "\nThink step by step and provide the answer.\n" + _CLOSING,
    "none": _OPENING.format(end="  ") + "\nBased on the image and question, provide your answer.\n" + _CLOSING,
}
FORMAT = {
    "re": "\nEnd your answer with a separate line formatted exactly as:\n\nAnswer: X\nwhere X ∈ {A, B, C, D}.\n",
    "json": (
        "\nYou need to respond with the answer in JSON format:\n\n```json\n{\n"
        '    "analysis": "The analysis of the image and question",\n    "answer": "A"\n}\n```\n'
    ),
    "direct": "\nNote: You only need to respond with A, B, C, or D without providing any additional information.\n",
}
"""How to answer, which is also how the reply is read. A fourth published form needs a judge model."""


def question_text(question: str, options: Sequence[str], system: str = "manual_cot", form: str = "re") -> str:
    """The authors' prompt for open models, by keys of `SYSTEM` and `FORMAT`."""
    lines = "".join(f"\n{letter}. {option}" for letter, option in zip(LETTERS, options))
    return f"{SYSTEM[system]}\n{FORMAT[form]}\n\n{question}{lines}"


def read_official(reply: str, form: str = "re") -> tuple[str, bool]:
    """The letter that the published scorer compares with the gold one, case and all, and whether it is a default.

    By the key of `FORMAT`: "re": the last "Answer: X", which matches but never scores in lower case, else A; "json":
    first character of the object's `answer`, else A; "direct": the first character, whatever it is.
    """
    if form == "direct":
        return reply.strip().upper()[:1], False
    if form == "re":
        found = re.findall(r"Answer\s*:\s*([A-D])\b", reply, re.IGNORECASE)
        return (found[-1], False) if found else ("A", True)
    try:
        answer = json.loads(reply.strip().removeprefix("```json").removesuffix("```").strip())
    except (ValueError, RecursionError):
        return "A", True
    if not isinstance(answer, dict) or not isinstance(answer.get("answer"), str):
        return "A", True
    return answer["answer"].strip().upper()[:1], False


def read_lmms_eval(reply: str) -> str:
    """Returns what lmms-eval's variant for direct answers compares with the gold letter."""
    for tag in ("think", "thought"):
        reply = re.sub(rf"^.*?</{tag}>", "", reply, flags=re.DOTALL)
    tagged = re.search(r"<answer>(.*?)</answer>", reply, re.DOTALL | re.IGNORECASE)
    return (tagged[1] if tagged else reply).strip().upper()[:1]


def _leaderboard(model: str, value: float) -> Published:
    source, conditions = "OmniSpatial, leaderboard", "five sampled replies an item"
    return Published(model, source, {"Overall": value}, (1533,), None, "manual_cot+re", conditions)


class OmniSpatial(Benchmark):
    """The benchmark that this module describes."""

    name = "omnispatial"
    title = "OmniSpatial"
    hub = "qizekun/OmniSpatial"
    vlmevalkit = "OmniSpatialBench_{style}"
    hub_files = ("OmniSpatial-test.zip",)
    revisions = {1533: "test (1,533 items)"}
    fields = {"id": (str, int), "question": str, "options": list, "task_type": str, "sub_task_type": str}
    notes = (
        "The official reading takes a reply without an answer for an A; the paper pools five samples a question.",
    )
    max_new_tokens = 8192
    styles = tuple(f"{system}+{form}" for system, form in product(SYSTEM, FORMAT))
    columns = ("Overall", *(name for kind, finer in TYPES.items() for name in (kind, *finer)))
    kind = "image"
    readings = {"lmms_eval": LMMS_EVAL}
    published = (
        _leaderboard("human", 92.6),
        _leaderboard("o3", 56.3),
        _leaderboard("Gemini-2.5-Pro", 55.2),
        _leaderboard("Gemini-2.5-Flash-Thinking", 53.2),
    )

    def root(self, folder: Path) -> Path:
        """The folder of `data.json`; the archive brings one of its own."""
        inside = folder / "OmniSpatial-test"
        return inside if (inside / "data.json").is_file() else folder

    def read(self, folder: Path) -> Sequence[Item]:
        """`data.json`, or the parquet files of a re-host."""
        paths = find(folder, ("data.json", "data/test-*.parquet", "test-*.parquet", "*.parquet"), self.title)
        if paths[0].suffix == ".json":
            return read_json(paths[0])
        return read_parquet(paths, list(self.fields), heavy=("image",))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if not 2 <= len(item["options"]) <= len(LETTERS):
            yield "wrong numbers of options", f"{len(item['options'])}"
        elif self.gold(item) not in self.options(item):
            yield "answers that are no option", f"{item.get('gt', item.get('answer'))!r} of {item['options']!r}"
        if item["sub_task_type"] not in TYPES.get(item["task_type"], ()):
            yield "unknown task types", f"{item['task_type']}, {item['sub_task_type']}"

    def files(self, item: Item, folder: Path) -> Iterable[Path]:
        """The image, unless it is in the parquet file."""
        return () if "image" in item else super().files(item, folder)

    def token_limit(self, style: str | None = None) -> int:
        return 16 if self.style(style).endswith("+direct") else self.max_new_tokens

    def key(self, item: Item) -> str:
        """Task type and id: ids come again in other types."""
        return f"{item['task_type']}/{item['id']}"

    def media(self, item: Item, folder: Path) -> list[Medium]:
        if "image" in item:
            return [Medium("image", data=encoded(item["image"], f"OmniSpatial, item {self.key(item)}"))]
        if "image_path" in item:
            return [Medium("image", below(folder, item["image_path"], "image_path"))]
        return [Medium("image", below(folder, f"{self.group(item)}.png", "id"))]

    def prompt(self, item: Item, style: str | None = None) -> str:
        system, form = self.style(style).split("+")
        return question_text(item["question"], item["options"], system, form)

    def options(self, item: Item) -> dict[str, Any]:
        return dict(zip(LETTERS, item["options"]))

    def gold(self, item: Item) -> str | None:
        """The letter: `gt` of one re-host, else `answer`, an index from 0."""
        if "gt" in item:
            return item["gt"]
        place = item.get("answer")
        if not isinstance(place, int) or isinstance(place, bool):
            raise BenchmarkDataError(f"`answer`: expected an index from 0 on, found {place!r}.")
        return LETTERS[place] if 0 <= place < len(LETTERS) else None

    def category(self, item: Item) -> str:
        return item["sub_task_type"]

    def columns_of(self, item: Item) -> tuple[str, ...]:
        return ("Overall", item["task_type"], item["sub_task_type"])

    def group(self, item: Item) -> str:
        """The image: the task type and the part of the id before the underscore."""
        return f"{item['task_type']}/{str(item['id']).split('_')[0]}"

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings; the official one goes by the style."""
        form, gold = self.style(style).split("+")[1], self.gold(item)
        letter, default = read_official(reply, form)
        columns: Mapping[str, float] = {"lmms_eval": float(read_lmms_eval(reply) == gold)} if form == "direct" else {}
        parsed = None if default else letter or None
        return self._choice(item, reply, float(letter == gold), parsed, fallback=default, columns=columns)

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent; upstream divides by the number of items and a millionth."""
        return {
            name: sum(values) / (len(values) + 1e-6) * 100 for name, values in self.by_column(items, scores).items()
        }
