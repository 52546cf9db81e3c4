# SPDX-License-Identifier: Apache-2.0
"""R4D-Bench (marked regions), VLM4D (motion) and VSTI-Bench (camera, distances): questions about videos.

lmms-eval reads a dataset before any function of a task, and the answers of R4D-Bench and VLM4D are numbers in one
record and texts in the next, which no table holds. So the tasks load a placeholder, and `process_docs` reads the
benchmark's own files: below the folder that VIDEO_4D names, or from the Hub.
"""

import json
import math
import os
import re
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from huggingface_hub import snapshot_download
from huggingface_hub.constants import HF_HOME
from PIL import Image


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
HUBS = {"r4d_bench": "nvidia/R4D-Bench", "vlm4d": "shijiezhou/VLM4D", "vsti_bench": "Journey9ni/vstibench"}


def folder_of(name):
    """VIDEO_4D/<the dataset's name>, or a download, whose archives are unpacked."""
    hub = HUBS[name]
    if root := os.environ.get("VIDEO_4D"):
        return Path(root) / hub.split("/")[1]
    folder = Path(snapshot_download(hub, repo_type="dataset", local_dir=Path(HF_HOME) / "video_4d" / name))
    for archive in folder.rglob("*.zip"):
        done = archive.with_suffix(".unpacked")
        if not done.exists():
            shutil.unpack_archive(archive, archive.parent)
            done.touch()
    return folder


def documents(name, style, placeholder):
    """The questions in their published order, in place of the dataset that lmms-eval has loaded."""
    from datasets import Dataset  # lmms-eval has it

    folder = folder_of(name)
    return Dataset.from_list(
        [
            {"name": name, **doc, "visuals": json.dumps([(kind, str(folder / path)) for kind, path in doc["visuals"]])}
            for doc in QUESTIONS[name](folder, style)
        ]
    )


# R4D-Bench: https://huggingface.co/datasets/nvidia/R4D-Bench (4D-RGPT, arXiv 2512.17012)

R4D_TASKS = {
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
R4D_MARKS = (
    "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled <obj_1>, "
    "<obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions."
)
R4D_PHRASES = (
    *(f"The {adjective}answer is" for adjective in ("best ", "correct ", "")),
    *(f"The {adjective} option is" for adjective in ("best", "correct")),
    *("Best answer:", "Best option:", "Answer:"),
)


def r4d_questions(folder, style):
    """Yields documents; a clip that was not cut is asked on the full video."""
    for item in json.loads((folder / "test.json").read_text(encoding="utf-8")):
        options = ["" if option is None else str(option) for option in item["options"]]
        answer = "" if item["answer"] is None else str(item["answer"])
        marks = item.get("som_image")
        clip = item["video"] if (folder / item["video"]).is_file() else item["source"]
        lines = "\n".join(f"({letter}) {option}" for letter, option in zip(LETTERS, options))
        question = item.get("question") or item["question_raw"]
        asked = [question, f"Options:\n{lines}", "Answer with only the letter of the correct option."]
        column = R4D_TASKS[item["task"]]
        yield {
            "key": f"{item.get('benchmark', '')}/{item['id']}",
            "group": item["source"],
            "columns": ["Avg", "Sta" if column in ("VG", "DM", "SR") else "Dyn", column],
            "visuals": [("image", marks)] * bool(marks and (folder / marks).is_file()) + [("video", clip)],
            "prompt": "\n\n".join([R4D_MARKS, *asked] if marks else asked),
            "target": LETTERS[options.index(answer)] if answer and answer in options else "",
            "options": len(options),
        }


def r4d_score(doc, reply):
    """The release draws a random letter where it reads none; its expected value makes a run repeatable."""
    valid = LETTERS[: doc["options"]]
    for phrase in R4D_PHRASES:
        reply = reply.replace(phrase, "")
    found = re.search(rf"\(([{valid}])\)", reply) or re.search(rf"\b([{valid}])\b", reply)
    if not doc["target"]:
        return 0.0
    return float(found[1] == doc["target"]) if found else 1 / doc["options"]


# VLM4D: https://huggingface.co/datasets/shijiezhou/VLM4D (ICCV 2025, arXiv 2508.02095)

VLM4D_ASKS = {
    "direct": "Do not generate any intermediate reasoning process. "
    "Answer directly with the option letter from the given choices.",
    "cot": "Answer the given multiple-choice question step by step. "
    "Begin by explaining your reasoning process clearly. "
    "In the last sentence of your response, you must conclude by stating the final answer using the following format: "
    "'Therefore, the final answer is: $LETTER' (without quotes), where $LETTER must be only one of the "
    "options (A or B or C or D). Think step by step before answering.",
}


def vlm4d_questions(folder, style):
    """Yields documents of both splits."""
    for split in ("real", "synthetic"):
        path = next(folder.glob(f"**/{split}_mc.json"))
        for item in json.loads(path.read_text(encoding="utf-8")):
            answer, number = str(item["answer"]), int(item["id"].split("_")[-1])
            if split == "real":  # the first 922 videos are from outside the action
                column = "Exo-centric" if number <= 922 else "Ego-centric"
            else:
                negative = answer.strip().lower()
                column = "False positive" if negative == "no" or negative.startswith("no ") else "Directional"
            lines = "".join(f"{letter}: {value}\n" for letter, value in item["choices"].items())
            video = re.search(r"videos_(?:real|synthetic)/.+", item["video"])[0]
            yield {
                "key": f"{split}_mc/{item['id']}",
                "group": video,
                "columns": [column, split.capitalize(), "Overall"],
                "visuals": [("video", video)],
                "prompt": f"\nQuestion: {item['question']}\n{lines}\n{VLM4D_ASKS[style]}",
                "target": next((key for key, value in item["choices"].items() if str(value) == answer), ""),
                "options": len(item["choices"]),
            }


def vlm4d_score(doc, reply):
    """The rule of the 4D-RGPT release; the paper's own verdicts are a judge model's."""
    valid = LETTERS[: doc["options"]]
    found = (
        re.match(rf"([{valid}])\b", reply)
        or re.search(rf"answer\s*(?:is)?\s*[:\-]?\s*([{valid}])\b", reply, re.IGNORECASE)
        or re.search(rf"\b([{valid}])\b", reply)
    )
    return float(bool(found) and found[1].upper() == doc["target"])


# VSTI-Bench: https://huggingface.co/datasets/Journey9ni/vstibench (VLM-3R, arXiv 2505.20279)

VSTI_NUMERIC = ("camera_obj_abs_dist", "camera_displacement")
VSTI_CHOICE = (
    *(f"obj_obj_relative_pos_{axis}" for axis in ("nf", "ud", "lr")),
    *(f"camera_obj_rel_dist_v{version}" for version in (1, 2, 3)),
    "camera_movement_direction",
)


def vsti_questions(folder, style):
    """Yields documents; they have no ids but their rows."""
    path = folder / "test.json"
    tables = sorted(map(str, folder.glob("**/test*.parquet")))
    if path.is_file():
        items = json.loads(path.read_text(encoding="utf-8"))
    else:
        items = [row for table in tables for row in pd.read_parquet(table).to_dict("records")]
    for row, item in enumerate(items):
        numeric = item["question_type"] in VSTI_NUMERIC  # a displacement has options too
        asked = ["These are frames of a video.", item["question"]]
        if numeric:
            asked.append("Please answer the question using a single word or phrase.")
        else:
            asked += ["Options:", *item["options"], "Answer with the option's letter from the given choices directly."]
        yield {
            "key": str(row),
            "group": item.get("scene_name") or item["video_path"],
            "columns": ["Overall", item["question_type"]],
            "visuals": [("video", item["video_path"])],
            "prompt": "\n".join(asked),
            "target": str(item["ground_truth" if numeric else "mc_answer"]),
            "options": 0 if numeric else len(item["options"]),
        }


def vsti_score(doc, reply):
    """Right or wrong for letters; for values the mean relative accuracy of VSI-Bench."""
    answer = reply.split(" ")[0].rstrip(".").strip()
    if doc["options"]:
        return float(answer.lower() == doc["target"].lower())
    try:
        error = abs(float(answer) - float(doc["target"])) / float(doc["target"])
    except (ValueError, ZeroDivisionError):
        return 0.0
    return float(np.mean(error <= 1 - np.linspace(0.5, 0.95, 10)))


# All

QUESTIONS = {"r4d_bench": r4d_questions, "vlm4d": vlm4d_questions, "vsti_bench": vsti_questions}
SCORES = {"r4d_bench": r4d_score, "vlm4d": vlm4d_score, "vsti_bench": vsti_score}
COLUMNS = {
    "r4d_bench": ("Avg", "Sta", "Dyn", *R4D_TASKS.values()),
    "vlm4d": ("Ego-centric", "Exo-centric", "Real", "Directional", "False positive", "Synthetic", "Overall"),
    "vsti_bench": ("Overall", *VSTI_NUMERIC, *VSTI_CHOICE),
}


def doc_to_visual(doc):
    """Images as pictures and videos as paths, in the order in which a model gets them."""
    return [Image.open(path).convert("RGB") if kind == "image" else path for kind, path in json.loads(doc["visuals"])]


def score_of(name, doc, reply):
    """The score of a reply in percent."""
    return 100 * SCORES[name](doc, reply.strip())


def values_of(doc, score):
    """What a question's score adds to every column that it counts in."""
    return {column: {"score": score, "group": doc["group"], "type": doc["columns"][-1]} for column in doc["columns"]}


def process_results(doc, results):
    """The values of a question for lmms-eval."""
    return values_of(doc, score_of(doc["name"], doc, results[0]))


def aggregate(by_type, values):
    """The mean; over the question types, where a benchmark weighs each of them alike."""
    types = {}
    for value in values:
        types.setdefault(value["type"] if by_type else "", []).append(value["score"])
    return math.fsum(math.fsum(scores) / len(scores) for scores in types.values()) / len(types)


def aggregation(name, column):
    """How the values of a column become one."""
    return partial(aggregate, (name, column) == ("vsti_bench", "Overall"))


def columns_of(name, docs, scores):
    """Every column that the questions count in."""
    values = {}
    for doc, score in zip(docs, scores, strict=True):
        for column, value in values_of(doc, score).items():
            values.setdefault(column, []).append(value)
    return {column: aggregation(name, column)(own) for column, own in values.items()}


def metrics(name):
    """The benchmark's `metric_list`."""
    return [
        {"metric": column, "aggregation": aggregation(name, column), "higher_is_better": True}
        for column in COLUMNS[name]
    ]


r4d_bench = partial(documents, "r4d_bench", "direct")
vlm4d = partial(documents, "vlm4d", "direct")
vlm4d_cot = partial(documents, "vlm4d", "cot")
vsti_bench = partial(documents, "vsti_bench", "direct")

r4d_bench_metrics = metrics("r4d_bench")
vlm4d_metrics = metrics("vlm4d")
vsti_bench_metrics = metrics("vsti_bench")
