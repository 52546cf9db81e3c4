# SPDX-License-Identifier: Apache-2.0
"""What the runs read: weights, clips, questions, and the controls' files.

    student/                  random weights
    data/                     as `rgpt4d synth --preset` writes it; `train_one_<seed>.json`, `train_many.json`
    targets/<kind>/<clip>.npz the ground-truth files of a control

The controls are files and not modes of the product: the very code that reads a clip's depth, flow and motion reads the
clip's colours, or another clip's maps.
"""

from collections.abc import Iterable
from itertools import zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from rgpt4d_plugin.evidence.arms import ALL, ARMS, Preset, Run
from rgpt4d_plugin.files import read_json, register, registry_entry, write_json
from rgpt4d_plugin.synth4d.baselines import baselines
from rgpt4d_plugin.synth4d.benchmark import write_benchmark
from rgpt4d_plugin.synth4d.clips import decode_mp4
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student
from rgpt4d_plugin.synth4d.wording import conversation


def prepare(root: Path, preset: Preset, runs: Iterable[Run]) -> None:
    """Makes what is not there yet; every part is made whole or again."""
    runs = list(runs)
    if not (root / "student" / "model.safetensors").exists():
        build_tiny_student(root / "student", "qwen2_5_vl", 0, **preset.student)
    # Objects are named by their colours, and answers are words: a mark or a letter would be one more thing to learn.
    data = write_benchmark(
        root / "data", preset.benchmark, train=preset.train, test=preset.test, refer="colour", style="word"
    )
    _write_asked(data, preset)
    if not (root / "baselines.json").exists():
        write_baselines(root, preset)
    for seed in sorted({run.seed for run in runs if run.regime == "one"}):
        _write_dataset(data, f"train_one_{seed}", one_question_each(_questions(data, preset), seed))
    _write_dataset(data, "train_many", all_questions(_questions(data, preset)))
    clips = sorted((data / "clips").glob("*.npz"))
    for kind in sorted({ARMS[run.arm].targets for run in runs} - {"clip"}):
        _write_targets(root / "targets" / kind, kind, clips)


def _questions(folder: Path, preset: Preset) -> dict[str, list[dict[str, Any]]]:
    """Clip -> its questions of the preset's kinds."""
    asked: dict[str, list[dict[str, Any]]] = {}
    for item in read_json(folder / "questions.json", "delete the folder, it will be made again"):
        if item["kind"] in preset.kinds:
            asked.setdefault(item["clip"], []).append(item)
    return asked


def _write_asked(data: Path, preset: Preset) -> None:
    """Of each of the preset's kinds so many held-out questions, as a folder of the benchmark."""
    folder = data / "asked"
    if (folder / "questions.json").exists():
        return
    folder.mkdir(exist_ok=True)
    if not (folder / "clips").exists():
        (folder / "clips").symlink_to(Path("..", "test", "clips"), target_is_directory=True)
    write_json(folder / "questions.json", asked_questions(_questions(data / "test", preset), preset.asked))


def write_baselines(root: Path, preset: Preset) -> None:
    """Writes `baselines.json`: what is right without seeing what is asked for, by kind and for all questions.

    The benchmark's own baselines, of the kinds that are asked, each of which counts as a category.
    """
    data = root / "data"
    with TemporaryDirectory() as name:
        for asked, scenes, copy in ((data, data, Path(name)), (data / "asked", data / "test", Path(name, "test"))):
            copy.mkdir(exist_ok=True)
            items = [item for items in _questions(asked, preset).values() for item in items]
            write_json(copy / "questions.json", [{**item, "category": item["kind"]} for item in items])
            (copy / "scenes.json").symlink_to(scenes.resolve() / "scenes.json")
        found = baselines(name)
    write_json(root / "baselines.json", {name: {ALL: values.pop("Avg"), **values} for name, values in found.items()})


def one_question_each(asked: dict[str, list[dict[str, Any]]], seed: int) -> list[dict[str, Any]]:
    """A record of one question for each clip, drawn by the seed: every kind that it has is as likely."""
    rng = np.random.default_rng((seed, 3))
    records = []
    for clip, items in asked.items():
        kind = rng.choice(sorted({item["kind"] for item in items}))
        same = [item for item in items if item["kind"] == kind]
        records.append(conversation(f"clips/{clip}.mp4", [same[int(rng.integers(len(same)))]], []))
    return records


def all_questions(asked: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A record of all questions for each clip, in random order."""
    rng = np.random.default_rng(4)
    return [
        conversation(f"clips/{clip}.mp4", [items[int(index)] for index in rng.permutation(len(items))], [])
        for clip, items in asked.items()
    ]


def asked_questions(asked: dict[str, list[dict[str, Any]]], limit: int) -> list[dict[str, Any]]:
    """At most `limit` questions of each kind, as many with one answer as with another as long as there are some."""
    turns: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for items in asked.values():
        for item in items:
            turns.setdefault((item["kind"], item["reply"]), []).append(item)
    chosen: dict[str, list[dict[str, Any]]] = {kind: [] for kind, _ in sorted(turns)}
    for turn in zip_longest(*(turns[key] for key in sorted(turns))):
        for item in turn:
            if item is not None and len(chosen[item["kind"]]) < limit:
                chosen[item["kind"]].append(item)
    return [item for items in chosen.values() for item in items]


def _write_dataset(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    write_json(folder / f"{name}.json", records)
    register(folder, name, registry_entry(f"{name}.json", "sharegpt", ("messages", "videos")))


def _write_targets(folder: Path, kind: str, clips: list[Path]) -> None:
    done = folder / "done.json"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    speed = _typical_speed(clips) if kind == "pixels" else 0.0
    for index, clip in enumerate(clips):
        # Half way round, so that neither a clip nor its neighbour is its own.
        source = clip if kind == "pixels" else clips[(index + len(clips) // 2) % len(clips)]
        with np.load(source) as arrays, np.load(clip) as own:
            maps = {name: arrays[name] for name in ("depth", "flow_2d_backward", "motion")}
            if kind == "pixels":
                maps = colours_as_maps(decode_mp4(clip.with_suffix(".mp4")), maps, speed)
            np.savez_compressed(folder / clip.name, timestamps=own["timestamps"], **maps)
    write_json(done, len(clips))


def _typical_speed(clips: Iterable[Path]) -> float:
    """Root of the mean squared flow along x and y where something moves, in pixels of the clips."""
    squares, count = 0.0, 0
    for clip in clips:
        with np.load(clip) as arrays:
            flow, moving = arrays["flow_2d_backward"], arrays["motion"]
        moves = np.moveaxis(flow, 1, -1)[moving]
        squares, count = squares + float((moves.astype(np.float64) ** 2).sum()), count + moves.size
    return (squares / count) ** 0.5


def colours_as_maps(frames: np.ndarray, maps: dict[str, np.ndarray], speed: float) -> dict[str, np.ndarray]:
    """Frames (T, H, W, 3) uint8 in the form of depth, flow and motion, of the same shapes and spread.

    Red takes depth's place, on its logarithm's scale; green and blue the flow's, whose root of the mean square is
    `speed` where a pixel counts as moving; these are the bright ones, as many as move in the clip.
    """
    red, green, blue = np.moveaxis(frames.astype(np.float32) / 255, -1, 0)
    depth = np.log(maps["depth"])
    share = maps["motion"].mean()
    bright = frames.mean(axis=-1) > np.quantile(frames.mean(axis=-1), 1 - share)
    flow = np.stack([green, blue], axis=1) - np.array([green.mean(), blue.mean()], np.float32)[:, None, None]
    counted = np.moveaxis(flow, 1, -1)[bright if bright.any() else ...]
    flow *= speed / max(np.sqrt((counted**2).mean()), 1e-3)
    return {
        "depth": np.exp(depth.mean() + depth.std() * (red - red.mean()) / max(red.std(), 1e-3)).astype(np.float32),
        "flow_2d_backward": flow.astype(np.float32),
        "motion": bright,
    }
