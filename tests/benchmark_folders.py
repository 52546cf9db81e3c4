# SPDX-License-Identifier: Apache-2.0
"""Small folders in each benchmark's published layout, with real videos and images, for tests that start from files."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from rgpt4d_plugin.synth4d.clips import encode_mp4


FRAMES, HEIGHT, WIDTH, FPS = 16, 64, 64, 4.0
_IMAGE_TYPE = pa.struct({"bytes": pa.binary(), "path": pa.string()})  # as the `datasets` library stores images
_DIRECTIONS = ("left", "right", "towards the camera", "not moving")
_HUB = "https://huggingface.co/datasets/shijiezhou/VLM4D/resolve/main/"


@cache
def video(number: int) -> bytes:
    """An mp4 file of a bright square that moves to the right over a grey of its own."""
    frames = np.full((FRAMES, HEIGHT, WIDTH, 3), 40 + number * 13 % 100, np.uint8)
    for index, frame in enumerate(frames):
        frame[24:40, 2 * index : 2 * index + 16] = (230, 60 + number * 40 % 180, 40)
    return encode_mp4(frames, FPS)


@cache
def image(number: int) -> bytes:
    """A png file of two colours."""
    pixels = np.full((HEIGHT, WIDTH, 3), (number * 37 % 256, 90, 160), np.uint8)
    pixels[16:48, 8:32] = (250, number * 53 % 256, 20)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bomb() -> bytes:
    """A png file of 60,000 x 60,000 pixels, as far as its header says."""
    content = bytearray(image(0))
    content[16:24] = struct.pack(">II", 60_000, 60_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\nshowpage\n%%EOF\n"
"""An image that Pillow has an external program draw."""


def put(path: Path, content: bytes | Any) -> Path:
    """A file of these bytes, or of this value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode())
    return path


def write_folder(name: str, path: Path, items: int = 6, layout: str = "published") -> list[dict[str, Any]]:
    """Writes a benchmark's folder.

    Args:
        name: The benchmark's name, as for `benchmarks.get`.
        path: The folder, made if need be.
        items: Number of questions; two neighbours share a video (an image, for OmniSpatial).
        layout: "published"; or "rehost" (SAT, OmniSpatial) for the parquet files that lmms-eval uses, "tsv"
            (MMSI-Bench) and "parquet" (VSI-Bench, DSR-Bench) for the other published file.

    Returns:
        The questions as published.
    """
    return _WRITERS[name, layout](path, items)


def _r4d_bench(path: Path, items: int) -> list[dict[str, Any]]:
    # They differ in what is there: the clip or only the full video, the image with the marks or none.
    tasks = (
        "3D Video Grounding",
        "Counting",
        "Translational",
        "Rotational",
        "Speed & Acceleration",
        "False Positives",
        "Dimensional Measurement",
        "Spatial Relation",
        "Displacement & Path Length",
    )
    entries = []
    for i in range(items):
        benchmark = "stibench" if i % 3 == 0 else "vlm4d"
        source = f"videos/{benchmark}/clip_{i // 2}.mp4"
        clip = f"clipped/{benchmark}/clip_{i // 2}_{i}.mp4" if i % 2 else source
        put(path / source, video(i // 2))
        if clip != source and i % 4 == 1:
            put(path / clip, video(i // 2))
        marks = f"images/{benchmark}/{i}.png" if i % 5 != 4 else None
        if marks:
            put(path / marks, image(i))
        counting = tasks[i % 9] == "Counting"
        options = [2, 0, "three", None] if counting else [*_DIRECTIONS, "away"][: 5 if i % 3 == 0 else 4]
        entry = {
            "id": i if i % 2 else f"q{i}",
            "benchmark": benchmark,
            "task": tasks[i % 9],
            "video": clip,
            "source": source,
            "som_image": marks,
            "question": f"What does <obj_1> do in clip {i // 2}, seen for the {i}th time?",
            "question_raw": f"What does the square do in clip {i // 2}, seen for the {i}th time?",
            "options": options,
            "answer": 0 if counting else options[i % len(options)],
        }
        entries.append(entry)
    put(path / "test.json", entries)
    return entries


def _sti_bench(path: Path, items: int) -> list[dict[str, Any]]:
    tasks = ("Dimensional Measurement", "Spatial Relation", "Ego-Centric Orientation", "Pose Estimation")
    names = ("scene0000_00.mp4", "segment_camera_1.mp4", "000123.mp4", "elsewhere.mp4")
    rows = []
    for i in range(items):
        file = names[i // 2 % 4]
        put(path / "video" / file, video(i // 2 % 4))
        values = _DIRECTIONS + ("away",) if i % 2 else tuple(f"{0.5 * (k + 1) + i:.2f} m" for k in range(5))
        rows.append(
            {
                "Video": file,
                "ID": i,
                "Task": tasks[i % 4],
                "Question": f"How far does the square move, question {i}?",
                "Candidates": json.dumps(dict(zip("ABCDE", values))),
                "Answer": "ABCDE"[i % 5],
                "time_start": 0.5 * (i % 2),
                "time_end": 3.0,
                "Source": "synthetic",
            }
        )
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path / "qa.parquet")
    return rows


def _vlm4d(path: Path, items: int) -> list[dict[str, Any]]:
    real, synthetic = [], []
    for i in range(items):
        entries, place = (synthetic, "videos_synthetic/synth") if i % 2 else (real, "videos_real/davis/clip")
        file = f"{place}_{i // 4:03}.mp4"
        put(path / file, video(i // 4))
        counting = i % 4 == 2
        choices = dict(
            zip("ABCD", (1, 2, 0, "no square there") if counting else (*_DIRECTIONS[:3], "no square there"))
        )
        # The last real question has a number beyond 922: these are the egocentric ones.
        number = 930 + i if entries is real and i >= items - 2 else len(entries) + 1
        entries.append(
            {
                "id": f"validation_{number}",
                "video": _HUB + file,
                "question_type": "multiple-choice",
                "question": f"Which way does the square move, question {i}?",
                "choices": choices,
                "answer": 0 if counting else choices["D" if i % 4 == 3 else "B"],
            }
        )
    put(path / "QA" / "real_mc.json", real)
    put(path / "QA" / "synthetic_mc.json", synthetic)
    return real + synthetic


def _vsti_bench(path: Path, items: int) -> list[dict[str, Any]]:
    types = {
        "camera_obj_rel_dist_v1": 4,
        "camera_displacement": 0,
        "obj_obj_relative_pos_lr": 2,
        "camera_obj_abs_dist": 0,
        "camera_movement_direction": 4,
        "camera_obj_rel_dist_v2": 3,
        "camera_obj_rel_dist_v3": 2,
        "obj_obj_relative_pos_nf": 2,
        "obj_obj_relative_pos_ud": 2,
    }
    entries = []
    for i in range(items):
        kind, count = list(types.items())[i % 9]
        file = f"scannet/videos/scene{i // 2:04}_00.mp4"
        put(path / file, video(i // 2))
        # A displacement comes with options and a letter too, but is asked for its value.
        options = [f"{letter}. {text}" for letter, text in zip("ABCD", ("chair", "table", "lamp", "door"))]
        entries.append(
            {
                "video_path": file,
                "question_type": kind,
                "question": f"What of frame {i + 1} of 32?",
                "options": options[: count or 4],
                "ground_truth": options[i % count][3:] if count else str(1.5 + i),
                "mc_answer": "ABCD"[i % (count or 4)],
            }
        )
    put(path / "test.json", entries)
    return entries


def _vsi_items(path: Path, items: int) -> list[dict[str, Any]]:
    types = {
        "object_counting": 0,
        "object_rel_direction_easy": 2,
        "object_rel_distance": 4,
        "object_abs_distance": 0,
        "object_rel_direction_medium": 3,
        "object_size_estimation": 0,
        "object_rel_direction_hard": 4,
        "room_size_estimation": 0,
        "route_planning": 3,
        "obj_appearance_order": 4,
    }
    entries = []
    for i in range(items):
        kind, count = list(types.items())[i % 10]
        dataset, scene = ("arkitscenes", "scannet", "scannetpp")[i // 2 % 3], f"scene{i // 2:04}"
        put(path / dataset / f"{scene}.mp4", video(i // 2))
        options = [f"{letter}. {text}" for letter, text in zip("ABCD", ("stove", "table", "lamp", "door"))]
        entries.append(
            {
                "id": 10 + i,
                "dataset": dataset,
                "scene_name": scene,
                "question_type": kind,
                "question": f"What of question {i}?",
                "ground_truth": "ABCD"[i % count] if count else str(1 + i),
                "options": options[:count] or None,
            }
        )
    return entries


def _vsi_bench(path: Path, items: int) -> list[dict[str, Any]]:
    entries = _vsi_items(path, items)
    put(path / "test.jsonl", "".join(json.dumps(entry) + "\n" for entry in entries).encode())
    put(path / "pruned_ids.txt", "".join(f"{entry['id']}\n" for entry in entries[::3]).encode())
    return entries


def _vsi_bench_parquet(path: Path, items: int) -> list[dict[str, Any]]:
    entries = _vsi_items(path, items)
    pq.write_table(pa.Table.from_pylist(entries), path / "test-00000-of-00001.parquet")
    return entries


def _dsr_rows(items: int) -> list[dict[str, Any]]:
    types = ("abs_dis", "rel_dir", "non_temp", "rel_spd_comp")
    return [
        {
            "question": f"Between 1.0s and {2 + i}.0s, how does it change?",
            "options": [f"{letter}. {text}" for letter, text in zip("ABCD", ("more", "less, more", "less", "not"))],
            "answer": "ABCD"[i % 4],
            "type": types[i % 4],
            "videoID": f"clip{i // 2}",
        }
        for i in range(items)
    ]


def _dsr_bench(path: Path, items: int) -> list[dict[str, Any]]:
    rows = []
    for i, row in enumerate(_dsr_rows(items)):
        name = f"{row['videoID']}.mp4"
        put(path / "raw_data/dsr-bench" / name, video(i // 2))
        options = json.dumps(row["options"])
        texts = {"question": row["question"], "options": options, "answer": row["answer"]}
        rows.append({"index": str(i), "video": name, **texts, "task_type": row["type"]})
    put(path / "DSRBench.tsv", _tsv(rows))
    return rows


def _dsr_bench_parquet(path: Path, items: int) -> list[dict[str, Any]]:
    rows = _dsr_rows(items)
    for i, row in enumerate(rows):
        put(path / "videos" / f"{row['videoID']}.mp4", video(i // 2))
    pq.write_table(pa.Table.from_pylist(rows), path / "benchmark.parquet")
    return rows


def _sat_rows(items: int) -> list[dict[str, Any]]:
    types = ("ego_movement", "obj_movement", "action_consequence", "goal_aim", "perspective")
    return [
        {
            "image_bytes": [image(2 * i + k) for k in range(1 + i % 2)],
            "question": f"Which way did the camera move in pair {i}? ",
            "answers": ["rotated left in the first frame", "rotated right"],
            "question_type": types[i % 5],
            "correct_answer": "rotated left in the first frame" if i % 3 else "rotated right",
        }
        for i in range(items)
    ]


def _sat(path: Path, items: int) -> list[dict[str, Any]]:
    path.mkdir(parents=True, exist_ok=True)
    rows = _sat_rows(items)
    pq.write_table(pa.Table.from_pylist(rows), path / "SAT_test.parquet", row_group_size=4)
    return rows


def _sat_rehost(path: Path, items: int) -> list[dict[str, Any]]:
    rows = []
    for row in _sat_rows(items):
        answer = row.pop("correct_answer")
        images = [{"bytes": data, "path": None} for data in row["image_bytes"]]
        rows.append(row | {"image_bytes": images, "correct_answer_idx": row["answers"].index(answer)})
    (path / "data").mkdir(parents=True, exist_ok=True)
    texts = {"question": pa.string(), "answers": pa.list_(pa.string()), "question_type": pa.string()}
    schema = pa.schema({"image_bytes": pa.list_(_IMAGE_TYPE), **texts, "correct_answer_idx": pa.int64()})
    pq.write_table(pa.Table.from_pylist(rows, schema), path / "data/test-00000-of-00001.parquet", row_group_size=4)
    return rows


def _omnispatial_entries(items: int) -> list[dict[str, Any]]:
    types = (
        ("Dynamic_Reasoning", "Motion_Analysis"),
        ("Spatial_Interaction", "Localization"),
        ("Complex_Logic", "Geometric_Reasoning"),
        ("Perspective_Taking", "Allocentric"),
    )
    entries = []
    for i in range(items):
        kind, finer = types[i // 2 % 4]
        entries.append(
            {
                "id": f"{i // 8}_{i % 2}",
                "question": f"Where is the rectangle, question {i}?",
                "options": list(_DIRECTIONS[: 2 + i % 3]),
                "answer": i % (2 + i % 3),
                "task_type": kind,
                "sub_task_type": finer,
            }
        )
    return entries


def _omnispatial(path: Path, items: int) -> list[dict[str, Any]]:
    entries = _omnispatial_entries(items)
    for number, entry in enumerate(entries):
        put(path / entry["task_type"] / f"{entry['id'].split('_')[0]}.png", image(number // 2))
    put(path / "data.json", entries)
    return entries


def _omnispatial_rehost(path: Path, items: int) -> list[dict[str, Any]]:
    entries = [
        entry | {"image": {"bytes": image(number // 2), "path": None}}
        for number, entry in enumerate(_omnispatial_entries(items))
    ]
    (path / "data").mkdir(parents=True, exist_ok=True)
    texts = {name: pa.string() for name in ("id", "question", "task_type", "sub_task_type")}
    schema = pa.schema({"image": _IMAGE_TYPE, **texts, "options": pa.list_(pa.string()), "answer": pa.int64()})
    pq.write_table(pa.Table.from_pylist(entries, schema), path / "data/test-00000-of-00001.parquet")
    return entries


def _mmsi_rows(items: int) -> list[dict[str, Any]]:
    types = ("Positional Relationship (Cam.–Obj.)", "Motion (Cam.)", "Attribute (Appr.)", "MSR")
    return [
        {
            "id": i,
            "images": [image(i + k) for k in range(2 + (i % 4 == 3))],
            # Some rows have hyphens where most have dashes.
            "question_type": types[i % 4].replace("–", "-" if i % 8 == 4 else "–"),
            "question": f"Where is the rectangle, pair {i}?\nOptions: A: Left, far, B: Right, C: Above, D: Below",
            "answer": "ABCD"[i % 4],
            "thought": "It is where it is.",
        }
        for i in range(items)
    ]


def _mmsi_bench(path: Path, items: int) -> list[dict[str, Any]]:
    rows = _mmsi_rows(items)
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path / "MMSI_Bench.parquet", row_group_size=4)
    return rows


def _tsv(rows: list[dict[str, Any]]) -> bytes:
    def cell(value: Any) -> str:
        text = str(value)
        return f'"{text.replace(chr(34), chr(34) * 2)}"' if any(sign in text for sign in '"\n\t') else text

    lines = ["\t".join(rows[0]), *("\t".join(map(cell, row.values())) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def _mmsi_bench_tsv(path: Path, items: int) -> list[dict[str, Any]]:
    rows = []
    for row in _mmsi_rows(items):
        images = json.dumps([base64.b64encode(data).decode() for data in row["images"]])
        texts = {"question": row["question"], "answer": row["answer"]}
        rows.append({"index": str(row["id"]), "category": row["question_type"], "image": images, **texts})
    put(path / "MMSI_bench.tsv", _tsv(rows))
    return rows


def _synth4d(path: Path, items: int) -> list[dict[str, Any]]:
    # With marks and without, and a question that only shows whether marks are read.
    categories = ("T", "Probe", "VG", "DM", "SR", "R", "C", "FP", "SA", "DP")
    entries = []
    for i in range(items):
        options = list(_DIRECTIONS[: 2 + i % 3])
        listed = "".join(f"\n({letter}) {option}" for letter, option in zip("ABCD", options))
        question = f"What does <obj_1> do in clip {i // 2}, seen for the {i}th time?"
        entry = {
            "id": f"{i // 2:05}_{i % 2}",
            "category": categories[i % 10],
            "video": f"clips/{i // 2:05}.mp4",
            "question": question,
            "prompt": f"{question}\n\nOptions:{listed}",
            "options": options,
            "answer": options[i % len(options)],
            "style": "letter",
        }
        put(path / entry["video"], video(i // 2))
        if i % 3:
            entry["marks"] = f"marks/{i // 2:05}.png"
            put(path / entry["marks"], image(i // 2))
        entries.append(entry)
    put(path / "questions.json", entries)
    return entries


_WRITERS: dict[tuple[str, str], Callable[[Path, int], list[dict[str, Any]]]] = {
    ("r4d_bench", "published"): _r4d_bench,
    ("sti_bench", "published"): _sti_bench,
    ("vlm4d", "published"): _vlm4d,
    ("vsti_bench", "published"): _vsti_bench,
    ("vsi_bench", "published"): _vsi_bench,
    ("vsi_bench", "parquet"): _vsi_bench_parquet,
    ("dsr_bench", "published"): _dsr_bench,
    ("dsr_bench", "parquet"): _dsr_bench_parquet,
    ("sat", "published"): _sat,
    ("sat", "rehost"): _sat_rehost,
    ("omnispatial", "published"): _omnispatial,
    ("omnispatial", "rehost"): _omnispatial_rehost,
    ("mmsi_bench", "published"): _mmsi_bench,
    ("synth4d", "published"): _synth4d,
    ("mmsi_bench", "tsv"): _mmsi_bench_tsv,
}
LAYOUTS = tuple(_WRITERS)
