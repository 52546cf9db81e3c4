# SPDX-License-Identifier: Apache-2.0
"""R4D-Bench: questions on marked regions of a video, four or five options. A benchmark, with no training split.

The published folder (nvidia/R4D-Bench): `test.json`; videos under `videos/`, and under `clipped/` once its own script
has cut them; the images with the marks under `images/`. Prompt and order of the input are those of 4D-RGPT's
evaluation, with 16 frames.
"""

from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.convert.files import find_media, is_media, nothing_found, read_list
from rgpt4d_plugin.convert.records import (
    IMAGE,
    LETTERS,
    VIDEO,
    BadRecord,
    Dataset,
    LeftOut,
    Record,
    Row,
    exchange,
    gold_letter,
    take,
)
from rgpt4d_plugin.eval_hooks.benchmarks import r4d_bench


NOTE = (
    "Items without a valid answer are left out; the official score counts each of them as wrong, so divide by all "
    "entries, not by the records."
)


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`r4d_bench` from test.json."""
    file = src / "test.json"
    if not file.is_file():
        raise nothing_found(src, "R4D-Bench", ("test.json",))
    media = ("images", "videos")
    return [
        Dataset(
            "r4d_bench", (file,), read_list, lambda row: records(row, src), src, media, training=False, notes=[NOTE]
        )
    ]


def records(row: Row, src: Path) -> list[Record]:
    """The item with its gold letter: image first, then the clip, or the full video where there is no clip."""
    item = row.value
    options = [_text(option, f"options[{i}]") for i, option in enumerate(take(item, "options", list))]
    if not 2 <= len(options) <= len(LETTERS):
        raise BadRecord("wrong type", "options", f"expected two or more options, found {shortened(options)}")
    if "answer" not in item:
        raise BadRecord("missing field", "answer", "missing")
    # The answer may be the integer 0, which is as good as any other.
    gold = _text(item["answer"], "answer")
    letter, remarks = gold_letter(gold, options) if gold else (None, ())
    if letter is None:
        raise LeftOut("no valid answer", "answer", f"{item['answer']!r} is not among {item['options']}")

    path = src / take(item, "video", str)
    if not is_media(src, item["video"], "video"):
        path = find_media(src, [item["video"], take(item, "source", str)], "video")
        remarks = (*remarks, "full video, because there is no clip")
    mark = item.get("som_image")
    if not isinstance(mark, str | None):
        raise BadRecord("wrong type", "som_image", f"expected a path or nothing, found {shortened(mark)}")
    # Upstream speaks of a first image whenever the field has a path, even where the file is missing. A prompt about
    # an image that the model is not shown would be wrong.
    images = [src / mark] if mark and is_media(src, mark, "som_image") else []
    if mark and not images:
        remarks = (*remarks, "set-of-mark image missing: asked without it")
    messages = exchange(IMAGE * len(images) + VIDEO + prompt(item, options, marked=bool(images)), letter)
    name, kind = str(take(item, "id", (str, int))), take(item, "task", str)
    more = {"benchmark": take(item, "benchmark", str)}
    return [Record(name, kind, messages, [path], images, more, remarks)]


def prompt(item: dict[str, Any], options: list[str], marked: bool) -> str:
    """The prompt of 4D-RGPT's evaluation; `marked`: the image with the marks is shown."""
    question = take(item, "question" if item.get("question") else "question_raw", str)
    return r4d_bench.question_text(question, options, marked)


def _text(value: Any, name: str) -> str:
    """An option or the answer as upstream compares them: numbers as text, nothing as the empty text."""
    if not isinstance(value, str | int | float | None):
        raise BadRecord("wrong type", name, f"expected a text, a number or null, found {shortened(value)}")
    return "" if value is None else str(value)
