# SPDX-License-Identifier: Apache-2.0
"""What the runs read: weights, clips, questions, and the controls' files.

    student/                  random weights
    data/                     as `rgpt4d synth --preset` writes it; `train_one_<seed>.json`, `train_many.json`
    targets/<kind>/<clip>.npz the ground-truth files of a control

The controls are files and not modes of the product: the very code that reads a clip's depth, flow and motion reads the
clip's colours, or another clip's maps.
"""

from collections.abc import Iterable
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


_PIXEL_FLOW = 16.0
"""Flow that stands for a colour's whole range, in pixels of a 224 x 224 frame: as large as motions are."""


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
    """The held-out questions of the preset's kinds, as a folder of the benchmark."""
    folder = data / "asked"
    if (folder / "questions.json").exists():
        return
    folder.mkdir(exist_ok=True)
    if not (folder / "clips").exists():
        (folder / "clips").symlink_to(Path("..", "test", "clips"), target_is_directory=True)
    write_json(
        folder / "questions.json", [item for items in _questions(data / "test", preset).values() for item in items]
    )


def write_baselines(root: Path, preset: Preset) -> None:
    """Writes `baselines.json`: what is right without seeing what is asked for, by kind and for all questions.

    The benchmark's own baselines, of the kinds that are asked, each of which counts as a category.
    """
    data = root / "data"
    with TemporaryDirectory() as name:
        for folder, copy in ((data, Path(name)), (data / "test", Path(name, "test"))):
            copy.mkdir(exist_ok=True)
            items = [item for items in _questions(folder, preset).values() for item in items]
            write_json(copy / "questions.json", [{**item, "category": item["kind"]} for item in items])
            (copy / "scenes.json").symlink_to(folder.resolve() / "scenes.json")
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


def _write_dataset(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    write_json(folder / f"{name}.json", records)
    register(folder, name, registry_entry(f"{name}.json", "sharegpt", ("messages", "videos")))


def _write_targets(folder: Path, kind: str, clips: list[Path]) -> None:
    done = folder / "done.json"
    if done.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    for index, clip in enumerate(clips):
        # Half way round, so that neither a clip nor its neighbour is its own.
        source = clip if kind == "pixels" else clips[(index + len(clips) // 2) % len(clips)]
        with np.load(source) as arrays, np.load(clip) as own:
            maps = {name: arrays[name] for name in ("depth", "flow_2d_backward", "motion")}
            if kind == "pixels":
                maps = colours_as_maps(decode_mp4(clip.with_suffix(".mp4")), maps)
            np.savez_compressed(folder / clip.name, timestamps=own["timestamps"], **maps)
    write_json(done, len(clips))


def colours_as_maps(frames: np.ndarray, maps: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Frames (T, H, W, 3) uint8 in the form of depth, flow and motion, of the same shapes and about the same spread.

    Red takes depth's place, on its logarithm's scale; green and blue that of the flow; bright pixels that of motion.
    """
    red, green, blue = np.moveaxis(frames.astype(np.float32) / 255, -1, 0)
    depth = np.log(maps["depth"])
    side = maps["flow_2d_backward"].shape[-1]
    flow = (np.stack([green, blue], axis=1) - 0.5) * _PIXEL_FLOW * side / 224
    share = maps["motion"].mean()
    return {
        "depth": np.exp(depth.mean() + depth.std() * (red - red.mean()) / max(red.std(), 1e-3)).astype(np.float32),
        "flow_2d_backward": flow.astype(np.float32),
        "motion": frames.mean(axis=-1) > np.quantile(frames.mean(axis=-1), 1 - share),
    }
