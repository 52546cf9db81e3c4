# SPDX-License-Identifier: Apache-2.0
"""MMSI-Bench: positions, attributes and motion across two or more images (arXiv 2505.23764).

Published as a parquet file, and as `MMSI_bench.tsv` for the authors' VLMEvalKit; both embed the images, and the
options are part of the question's text. The official reading is that of the authors' code; lmms-eval's, which takes
letters of any case up to F and looks into braces, is `Score.columns["lmms_eval"]`. Up to 2,048 tokens, as lmms-eval.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import LMMS_EVAL, Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.files import encoded, find, read_parquet, read_tsv, text
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkDataError, Item, Medium, Problem, Published, Score
from rgpt4d_plugin.files import parse_json


TYPES = (
    "Positional Relationship (Cam.–Cam.)",
    "Positional Relationship (Cam.–Obj.)",
    "Positional Relationship (Cam.–Reg.)",
    "Positional Relationship (Obj.–Obj.)",
    "Positional Relationship (Obj.–Reg.)",
    "Positional Relationship (Reg.–Reg.)",
    "Attribute (Meas.)",
    "Attribute (Appr.)",
    "Motion (Cam.)",
    "Motion (Obj.)",
    "MSR",
)
"""With dashes; some rows have hyphens instead."""

INSTRUCTION = "Answer with the option's letter from the given choices directly. Enclose the option's letter within ``."


def read_official(reply: str) -> str | None:
    """The letter that the authors' code reads: in the first backticks if any, A to D, upper case, as a word.

    A letter before a white-space character and another letter is passed over: the article in "A bike", but also the
    letters of "B right" and of "B", a line break, and "right".
    """
    return _first_letter(reply, (r"``([^`]*)``", r"`([^`]*)`"), r"\b[A-D]\b(?!\s[a-zA-Z])", 0)


def read_lmms_eval(reply: str) -> str | None:
    """Reads the same with braces after the backticks, and letters A to F of any case."""
    found = _first_letter(
        reply, (r"``([^`]*)``", r"`([^`]*)`", r"\{([^}]*)\}"), r"\b[A-F]\b(?!\s[a-zA-Z])", re.IGNORECASE
    )
    return found and found.upper()


def _first_letter(reply: str, enclosures: Sequence[str], letter: str, flags: int) -> str | None:
    # Each enclosure is looked for inside what the one before it left.
    for enclosure in enclosures:
        if found := re.search(enclosure, reply):
            reply = found[1]
    found = re.search(letter, reply, flags)
    return found[0] if found else None


def listed_options(question: str) -> dict[str, str]:
    """Letter -> text of "Options: A: ..., B: ..."; empty where the text has no such list.

    The options may contain commas, so each one ends where the next letter begins.
    """
    head, mark, rest = question.rpartition("Options:")
    starts, place = [], 0
    for letter in "ABCD" if mark else "":
        found = re.compile(rf"(?:^|(?<=[\s,])){letter}\s*:\s*").search(rest, place)
        if not found:
            break
        starts.append((letter, found.start(), found.end()))
        place = found.end()
    ends = [start for _, start, _ in starts[1:]] + [len(rest)]
    return {letter: rest[start:end].strip().rstrip(",").strip() for (letter, _, start), end in zip(starts, ends)}


def _card(model: str, value: float) -> Published:
    source, conditions = "MMSI-Bench, dataset card", "decoding is not said"
    return Published(model, source, {"Avg": value}, (1000,), None, "direct", conditions)


class MMSIBench(Benchmark):
    """The benchmark that this module describes."""

    name = "mmsi_bench"
    title = "MMSI-Bench"
    hub = "RunsenXu/MMSI-Bench"
    vlmevalkit = "MMSIBench_wo_circular"
    hub_files = ("*.parquet",)
    revisions = {1000: "test (1,000 items)"}
    fields = {"question": str, "answer": str}
    max_new_tokens = 2048
    columns = ("Avg", *TYPES)
    kind = "image"
    embedded = True
    readings = {"lmms_eval": LMMS_EVAL}
    published = (
        _card("human", 97.2),
        _card("o3", 41.0),
        _card("Qwen2.5-VL-72B", 30.7),
        _card("NVILA-15B", 30.5),
        _card("GPT-4o", 30.3),
        _card("NVILA-8B", 28.1),
        _card("Qwen2.5-VL-7B", 25.9),
        _card("random letters", 25.0),
        _card("GPT-4o without images", 22.7),
    )

    def read(self, folder: Path) -> Sequence[Item]:
        """The parquet file, which leaves the images on the disk; else the TSV, which does not."""
        paths = find(folder, ("*.parquet", "data/test-*.parquet", "MMSI_bench.tsv"), self.title)
        if paths[0].suffix == ".tsv":
            return read_tsv(paths[0])
        return read_parquet(paths, ("id", "question_type", *self.fields), heavy=("images",))

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        if self.gold(item) not in tuple("ABCD"):
            yield "answers that are no letter from A to D", repr(item["answer"])
        if self.category(item) not in TYPES:
            yield "unknown question types", repr(self.category(item))

    def remarks(self, item: Item, folder: Path) -> Iterable[str]:
        if len(listed_options(item["question"])) < 4:
            yield "fewer than four options found in the text; the strict reading knows their letters only"

    def key(self, item: Item) -> str:
        """`id`, or `index` in the TSV."""
        for name in ("id", "index"):
            if item.get(name) is not None:
                return str(item[name])
        raise BenchmarkDataError("neither `id` nor `index`.")

    def media(self, item: Item, folder: Path) -> list[Medium]:
        where = f"MMSI-Bench, item {self.key(item)}"
        images = item.get("images")
        if images is None and "image" in item:
            try:
                images = [base64.b64decode(image, validate=True) for image in parse_json(item["image"])]
            except (ValueError, TypeError) as err:
                raise BenchmarkDataError(f"{where}: `image` is no JSON list of images in base64 ({err}).") from err
        if not images:
            raise BenchmarkDataError(f"{where}: there are no images.")
        return [Medium("image", data=encoded(image, where)) for image in images]

    def prompt(self, item: Item, style: str | None = None) -> str:
        """The options are in the question's text already."""
        self.style(style)
        return f"{text(item, 'question').strip()}\n{INSTRUCTION}"

    def options(self, item: Item) -> dict[str, Any]:
        """Reads them from the question's text; an option that is not found there has its letter for a text."""
        return dict(zip("ABCD", "ABCD")) | listed_options(text(item, "question"))

    def gold(self, item: Item) -> str:
        """`answer`, as upstream compares it, in upper case."""
        return item["answer"].strip().upper()

    def category(self, item: Item) -> str:
        """The type, with dashes."""
        kind = item["question_type"] if "question_type" in item else item.get("category", "")
        return str(kind).replace("-", "–").strip()

    def group(self, item: Item) -> str:
        """The question: images are its own."""
        return self.key(item)

    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings, and `columns["lmms_eval"]`."""
        self.style(style)
        gold, letter = self.gold(item), read_official(reply)
        columns = {"lmms_eval": float(read_lmms_eval(reply) == gold)}
        return self._choice(item, reply, float(letter == gold), letter, columns=columns)
