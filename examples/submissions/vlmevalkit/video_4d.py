# SPDX-License-Identifier: Apache-2.0
"""R4D-Bench (marked regions), VLM4D (motion) and VSTI-Bench (camera, distances): questions about videos.

What is asked, and how a reply is scored, is in `utils/video_4d.py`. No judge: the published scorers are rules.
"""

import json
from pathlib import Path

import pandas as pd
from vlmeval.smp import dump, load
from vlmeval.smp.file import LMUDataRoot, get_intermediate_file_path

from .utils.video_4d import COLUMNS, QUESTIONS, columns_of, folder_of, score_of
from .video_base import VideoBaseDataset


TASKS = {
    "R4D-Bench": ("r4d_bench", "direct"),
    "VLM4D": ("vlm4d", "direct"),
    "VLM4D_CoT": ("vlm4d", "cot"),
    "VSTI-Bench": ("vsti_bench", "direct"),
}


class Video4D(VideoBaseDataset):
    """The datasets of `TASKS`."""

    TYPE = "Video-VQA"

    @classmethod
    def supported_datasets(cls):
        """Names that `--data` may have."""
        return list(TASKS)

    def prepare_dataset(self, dataset_name):
        """Writes the questions as a table; what a row was made of stands beside it as JSON, `doc`."""
        name, style = TASKS[dataset_name]
        folder, rows = folder_of(name), []
        for doc in QUESTIONS[name](folder, style):
            videos = [path for kind, path in doc["visuals"] if kind == "video"]
            rows.append({"video": videos[0].removesuffix(".mp4"), "question": doc["prompt"], "doc": json.dumps(doc)})
        table = Path(LMUDataRoot()) / f"{dataset_name}.tsv"
        table.parent.mkdir(parents=True, exist_ok=True)
        dump(pd.DataFrame(rows).reset_index(names="index"), str(table))
        return {"root": str(folder), "data_file": str(table)}

    def build_prompt(self, line, video_llm):
        """Images and videos in their order, a video as its frames where the model takes none; then the text."""
        line = self.data.iloc[line] if isinstance(line, int) else line
        message = []
        for kind, path in json.loads(line["doc"])["visuals"]:
            if kind == "video" and not video_llm:
                frames = self.save_video_frames(line["video"])
                message += [{"type": "image", "value": frame} for frame in frames]
            else:
                message.append({"type": kind, "value": str(Path(self.data_root) / path)})
        return [*message, {"type": "text", "value": line["question"]}]

    def evaluate(self, eval_file, **judge_kwargs):
        """The benchmark's columns in percent, also as `*_acc.csv`; the score of every question as `*_score.xlsx`."""
        name, _ = TASKS[self.dataset_name]
        data = load(eval_file)
        docs = [json.loads(doc) for doc in data["doc"]]
        data["score"] = [score_of(name, doc, str(reply)) for doc, reply in zip(docs, data["prediction"])]
        found = columns_of(name, docs, data["score"])
        columns = {column: found[column] for column in COLUMNS[name] if column in found}
        dump(data, get_intermediate_file_path(eval_file, "_score", "xlsx"))
        dump(pd.DataFrame([columns]), get_intermediate_file_path(eval_file, "_acc", "csv"))
        return columns
