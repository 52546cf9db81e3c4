# SPDX-License-Identifier: Apache-2.0
"""VSTI-Bench's training questions on camera and objects in ScanNet videos.

The published files (Journey9ni/VLM-3R-DATA, `vstibench_train/*.json`) are conversations that contain the benchmark's
own prompt. Records of the generator before that formatting are read as well; they get the same prompt here. The videos
are not published: `video` is their path below the folder, as in `scannet/videos/scene0191_00.mp4`.

Files from before 2026-07-13 have wrong answers for camera_displacement, camera_obj_abs_dist and camera_obj_rel_dist
(an erratum of the authors). Nothing in a record says when it was made, so the summary has the files' SHA-256.
"""

import json
import re
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

from rgpt4d_plugin.convert.files import annotation_files, find_media, nothing_found, read_list
from rgpt4d_plugin.convert.records import VIDEO, BadRecord, Dataset, Record, Row, conversation, exchange, take
from rgpt4d_plugin.eval_hooks.benchmarks import vsti_bench


# Question types without the `_v1` to `_v3` that most of them have in the training files.
CHOICE = (
    "obj_obj_relative_pos_nf",
    "obj_obj_relative_pos_ud",
    "obj_obj_relative_pos_lr",
    "camera_obj_rel_dist",
    "camera_movement_direction",
)
NUMERIC = vsti_bench.NUMERIC
NOTE = (
    "Files from before 2026-07-13 have wrong answers for camera_displacement, camera_obj_abs_dist and "
    "camera_obj_rel_dist, and do not say so: make sure that yours are newer (SHA-256 in the summary)."
)
_WITHDRAWN = "erratum_dropped_items.json"


def datasets(src: Path, out: Path) -> list[Dataset]:
    """`vsti_train` from all files of `vstibench_train/`, or of the folder itself."""
    inside = src / "vstibench_train"
    folder = inside if inside.is_dir() else src
    files = [path for path in annotation_files(folder) if path.name != _WITHDRAWN]
    if not files:
        raise nothing_found(src, "VSTI-Bench's training data", ("vstibench_train/*.json", "*.json"))
    withdrawn = _withdrawn(folder / _WITHDRAWN)
    return [Dataset("vsti_train", files, read_list, lambda row: records(row, src, withdrawn), src, notes=[NOTE])]


def _withdrawn(path: Path) -> frozenset[str]:
    """Ids that the erratum took back; its list comes with the corrected files."""
    if not path.is_file():
        return frozenset()
    try:
        return frozenset(item["id"] for item in json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, KeyError) as err:
        raise ValueError(f"{path} is not the erratum's list of ids ({err!r}): download it again.") from err


def records(row: Row, src: Path, withdrawn: frozenset[str] = frozenset()) -> list[Record]:
    """One record, from either form."""
    entry = row.value
    kind = base_type(take(entry, "question_type", str))
    if "conversations" in entry:
        name = str(take(entry, "id", (str, int)))
        if name in withdrawn:
            problem = f"{name} is on the list {_WITHDRAWN} beside this file, so the file is older: download it again"
            raise BadRecord("withdrawn by the erratum", "id", problem)
        messages, video = conversation(entry["conversations"], "conversations"), "video"
        question, reply = (message["content"] for message in messages[:2])
        letters = re.findall(r"^([A-Z])\.", question, re.MULTILINE)
        _check_answer(kind, reply.strip(), letters, "conversations[1].value")
    elif "ground_truth" in entry:
        name, video = f"{row.file.stem}/{row.number}", "video_path"
        messages = exchange(f"{VIDEO}\n{prompt(entry)}", answer(entry))
    else:
        problem = f"neither `conversations` nor `ground_truth`; there are {', '.join(entry)}"
        raise BadRecord("unknown form", "(record)", problem)
    return [Record(name, entry["question_type"], messages, [find_media(src, [take(entry, video, str)], video)])]


def base_type(kind: str) -> str:
    """The question type without its version."""
    base = re.sub(r"_v\d+$", "", kind)
    if base not in CHOICE + NUMERIC:
        problem = f"{kind!r} is none of VSTI-Bench's types ({', '.join(CHOICE + NUMERIC)}); is it VSI-Bench's?"
        raise BadRecord("unknown question type", "question_type", problem)
    return base


def prompt(entry: dict[str, Any]) -> str:
    """The benchmark's prompt for a record of the generator."""
    # By type, not by fields: displacements come with options and a letter too, but are asked for their value.
    numeric = base_type(entry["question_type"]) in NUMERIC
    return vsti_bench.question_text(take(entry, "question", str), None if numeric else _options(entry))


def answer(entry: dict[str, Any]) -> str:
    """The letter, or the number as it was recorded."""
    kind = base_type(entry["question_type"])
    name = "ground_truth" if kind in NUMERIC else "mc_answer"
    value = str(take(entry, name, (str, int, float)))
    letters = [] if kind in NUMERIC else [option.split(".")[0] for option in _options(entry)]
    _check_answer(kind, value, letters, name)
    return value


def _check_answer(kind: str, value: str, letters: list[str], name: str) -> None:
    if kind in CHOICE and value not in letters:
        problem = f"{shortened(value)} is none of the options' letters ({', '.join(letters) or 'no options'})"
        raise BadRecord("answer is not an option", name, problem)
    if kind in NUMERIC and not re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", value, re.IGNORECASE):
        raise BadRecord("answer is not a number", name, f"expected a number, found {shortened(value)}")


def _options(entry: dict[str, Any]) -> list[str]:
    options = take(entry, "options", list)
    if len(options) < 2 or not all(isinstance(option, str) for option in options):
        raise BadRecord("wrong type", "options", f"expected texts such as 'A. chair', found {shortened(options)}")
    return options
