# SPDX-License-Identifier: Apache-2.0
"""Small folders in the published form of each source that `rgpt4d convert` reads, and what it writes of them."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.benchmark_items import R4D


def write(path: Path, value=None) -> Path:
    """A JSON file, or an empty media file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("" if value is None else json.dumps(value))
    return path


VLM4D_REAL = [
    {
        "id": "validation_3",
        "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_real/davis/baseball.mp4",
        "question_type": "multiple-choice",
        "question": "How many times does the batter hit the ball to the left?",
        "choices": {"A": 1, "B": 2, "C": 3, "D": 0},
        "answer": 1,
    },
    {
        "id": "validation_4",
        "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_real/davis/baseball.mp4",
        "question_type": "multiple-choice",
        "question": "How many times does the batter hit the ball to the right?",
        "choices": {"A": 1, "B": 3, "C": 2, "D": 0},
        "answer": 0,
    },
    {
        "id": "validation_633",
        "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_real/davis/seasnake.mp4",
        "question_type": "multiple-choice",
        "question": "What direction is the seasnake moving towards?",
        "choices": {"A": "not sure", "B": "not moving", "C": "away from the camera", "D": "away from the camera"},
        "answer": "away from the camera",
    },
    {
        "id": "validation_947",
        "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_real/ego4d/clip_010.mp4",
        "question_type": "multiple-choice",
        "question": "How did the worker move the log closer to themselves?",
        "choices": {"A": "By dragging it", "B": "By rolling it. ", "C": "By lifting it", "D": "By using a machine."},
        "answer": "By rolling it. ",
    },
]

VLM4D_SYNTHETIC = [
    {
        "id": "validation_3",
        "video": "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/videos_synthetic/synth_002.mp4",
        "question_type": "multiple-choice",
        "question": "Which direction did the compost truck rotate?",
        "choices": {
            "A": "no compost truck there",
            "B": "clockwise",
            "C": "counter-clockwise",
            "D": "not moving",
        },
        "answer": "clockwise",
    },
]


def vlm4d_folder(src: Path, questions: str = "QA") -> Path:
    write(src / questions / "real_mc.json", VLM4D_REAL)
    write(src / questions / "synthetic_mc.json", VLM4D_SYNTHETIC)
    for item in VLM4D_REAL + VLM4D_SYNTHETIC:
        write(src / item["video"].split("/main/")[1])
    return src


def r4d_item(**change) -> dict:
    return R4D | change


def r4d_folder(src: Path, items: list[dict]) -> Path:
    write(src / "test.json", items)
    for path in ("videos/vlm4d/a.mp4", "clipped/vlm4d/a.mp4", "images/vlm4d/7.png", "videos/stibench/b.mp4"):
        write(src / path)
    return src


def vsti_formatted(**change) -> dict:
    return {
        "id": "5e5a7b3e-0d5c-4d43-9f34-3d1c3a0a8f10",
        "data_source": "scannet",
        "scene_name": "scene0191_00",
        "question_type": "camera_obj_rel_dist_v3",
        "video": "scannet/videos/scene0191_00.mp4",
        "conversations": [
            {
                "from": "human",
                "value": "<image>\nThese are frames of a video.\nWhich of these is the closest?\nOptions:\nA. chair\n"
                "B. table\nAnswer with the option's letter from the given choices directly.",
            },
            {"from": "gpt", "value": "B"},
        ],
    } | change


def vsti_raw(**change) -> dict:
    return {
        "dataset": "scannet",
        "scene_name": "scene0191_00",
        "video_path": "scannet/videos/scene0191_00.mp4",
        "frame_indices": [0, 9],
        "question_type": "camera_movement_direction_v1",
        "question": "Which way did the camera move between frame 1 and frame 9 of 32?",
        "options": ["A. Forward", "B. Left", "C. Right", "D. Backward"],
        "ground_truth": "Right",
        "mc_answer": "C",
    } | change


def vsti_folder(src: Path, *files: list[dict], folder: str = "vstibench_train") -> Path:
    for number, entries in enumerate(files):
        write(src / folder / f"qa_{number}.json", entries)
    write(src / "scannet/videos/scene0191_00.mp4")
    return src


def robofac_entry(video: str, question: str = "<video>\nWhat went wrong?") -> dict:
    conversations = [{"from": "human", "value": question}, {"from": "assistant", "value": "It slipped."}]
    return {"id": "09936392", "video": video, "conversations": conversations}


def encoded(shade: int, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (48, 32), (shade, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def sat_row(shades=(1, 2), **change) -> dict:
    return {
        "image_bytes": [encoded(shade) for shade in shades],
        "question": "Which way did the camera move? ",
        "answers": ["rotated left in the first frame", "rotated right", "did not move"],
        "question_type": "ego_movement",
        "correct_answer": "rotated left in the first frame",
    } | change


def sat_file(path: Path, rows: list[dict], decoded: bool = False) -> Path:
    """As bytes, or as `datasets` stores its Image type."""
    image = pa.struct({"bytes": pa.binary(), "path": pa.string()}) if decoded else pa.binary()
    if decoded:
        rows = [row | {"image_bytes": [{"bytes": data, "path": None} for data in row["image_bytes"]]} for row in rows]
    texts = {name: pa.string() for name in ("question", "question_type", "correct_answer")}
    schema = pa.schema({"image_bytes": pa.list_(image), "answers": pa.list_(pa.string()), **texts})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), path)
    return path


def records(out: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def summary(out: Path, name: str) -> dict:
    return json.loads((out / f"{name}.summary.json").read_text())
