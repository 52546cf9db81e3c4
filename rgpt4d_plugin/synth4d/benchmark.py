# SPDX-License-Identifier: Apache-2.0
"""The benchmark on disk: clips with exact ground truth, training conversations, and held-out questions.

Layout of a folder written by `write_benchmark`:

    dataset_info.json         registers the datasets below, which are lists of the host's records
    synth4d_train_many.json   all questions of a clip as turns of one conversation
    synth4d_train_one.json    one question of a clip, drawn by the seed
    synth4d_test_many.json    as the first, for the held-out clips
    clips/00000.mp4, .npz     training clips and their ground truth, side by side
    test/questions.json       held-out questions, which the benchmark `synth4d` of `rgpt4d eval` reads
    test/scenes.json          states of the held-out clips' objects
    test/clips/               as above
    settings.json             how the folder was made; written last, so its presence means "complete"
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from rgpt4d_plugin.files import only_writer, read_registry, registry_entry, write_json, write_whole
from rgpt4d_plugin.synth4d.clips import encode_mp4, save_ground_truth
from rgpt4d_plugin.synth4d.render import Clip4D, render
from rgpt4d_plugin.synth4d.tasks import CATEGORIES, Question, Track, ask, balanced
from rgpt4d_plugin.synth4d.worlds import draw_scene


_TRAIN, _TEST = 0, 1  # seeds of the two splits
_TASKS = {column: task for task, column in CATEGORIES.items()}


@dataclass(frozen=True)
class Preset:
    """What the clips of a preset are like.

    Attributes:
        train: Clips.
        test: Held-out clips.
        frames: Of a clip.
        sizes: (height, width) in pixels, of which one is drawn.
        intervals: Seconds between two frames, of which one is drawn.
        objects: Numbers of objects, of which one is drawn.
    """

    train: int
    test: int
    frames: int
    sizes: tuple[tuple[int, int], ...]
    intervals: tuple[float, ...]
    objects: tuple[int, ...]


PRESETS = {
    "tiny": Preset(7000, 1500, 8, ((48, 48),), (0.5, 1.0), (2, 3)),
    "small": Preset(4000, 800, 16, ((112, 112),), (0.25, 0.5, 1.0), (2, 3, 4, 5, 6)),
    "gpu": Preset(8000, 1000, 16, ((224, 224),), (0.25, 0.5, 1.0), (2, 3, 4, 5, 6)),
}


def write_benchmark(
    out: str | PathLike,
    preset: str,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    workers: int | None = None,
) -> Path:
    """Writes clips, training conversations and held-out questions; returns the folder, the host's `dataset_dir`.

    Args:
        out: The folder.
        preset: One of `PRESETS`.
        train: Training clips, instead of the preset's.
        test: Held-out clips, instead of the preset's.
        seed: Clip i of a split is drawn from (seed, split, i), whatever the number of workers.
        workers: Processes that render, by default one per core.
    """
    chosen, root = PRESETS[preset], Path(out)
    root.mkdir(parents=True, exist_ok=True)
    with only_writer(root):
        registered = read_registry(root / "dataset_info.json")
        settings = root / "settings.json"
        settings.unlink(missing_ok=True)
        counts = {_TRAIN: chosen.train if train is None else train, _TEST: chosen.test if test is None else test}
        for split, folder in ((_TRAIN, root), (_TEST, root / "test")):
            (folder / "clips").mkdir(parents=True, exist_ok=True)
            scenes = list(_render_all(folder / "clips", chosen, (seed, split), counts[split], workers))
            kept = _questions(scenes, np.random.default_rng((seed, split)))
            if split == _TRAIN:
                _write_conversations(root, "synth4d_train", "clips", kept, seed)
            else:
                _write_conversations(root, "synth4d_test", "test/clips", kept, seed)
                write_json(folder / "questions.json", _items(kept))
                write_json(folder / "scenes.json", {scene["clip"]: scene for scene in scenes})
        names = [f"synth4d_{split}_{number}" for split in ("train", "test") for number in ("many", "one")]
        ours = {name: registry_entry(f"{name}.json", "sharegpt", ("messages", "videos")) for name in names}
        write_json(root / "dataset_info.json", registered | ours)
        write_json(settings, {"preset": preset, "seed": seed, "train": counts[_TRAIN], "test": counts[_TEST]})
    return root


def _render_all(
    folder: Path, preset: Preset, seed: tuple[int, int], count: int, workers: int | None
) -> Iterator[dict[str, Any]]:
    write = partial(_write_clip, folder, preset, seed)
    workers = workers or len(os.sched_getaffinity(0))
    if workers == 1:
        yield from map(write, range(count))
        return
    with ProcessPoolExecutor(workers, get_context("forkserver")) as pool:
        yield from pool.map(write, range(count), chunksize=16)


def _write_clip(folder: Path, preset: Preset, seed: tuple[int, int], index: int) -> dict[str, Any]:
    rng = np.random.default_rng((*seed, index))
    height, width = preset.sizes[rng.integers(len(preset.sizes))]
    interval = float(rng.choice(preset.intervals))
    seconds = interval * (preset.frames - 1)
    scene = draw_scene(rng, (height, width), seconds, preset.objects)
    clip = render(scene, preset.frames, height, width, 1 / interval, (height // 8, width // 8))
    name = f"{index:05d}"
    write_whole(folder / f"{name}.mp4", encode_mp4(clip.frames, 1 / interval), durable=False)
    save_ground_truth(folder / f"{name}.npz", clip)
    return {"clip": name, "interval": interval, "objects": list(_states(clip))}


def _states(clip: Clip4D) -> Iterator[dict[str, Any]]:
    for index, ball in enumerate(clip.scene.bodies):
        ways = ball.centre + clip.timestamps[:, None] * ball.velocity
        centres = np.einsum("tij,ti->tj", clip.poses[:, :3, :3], ways - clip.poses[:, :3, 3])
        seen = (clip.instance == index).sum(axis=(1, 2))
        yield {
            "colour": ball.colour,
            "moves": ball.moves,
            "pixels": seen.tolist(),
            "ways": ways.round(4).tolist(),
            "centres": centres.round(4).tolist(),
        }


def _questions(scenes: list[dict[str, Any]], rng: np.random.Generator) -> dict[str, list[tuple[dict, Question]]]:
    """Clip -> the questions that are asked about it, with its scene."""
    asked = [(scene, question) for scene in scenes for question in ask(_tracks(scene), rng)]
    kept: dict[str, list[tuple[dict, Question]]] = defaultdict(list)
    for index in balanced([(scene["interval"], question) for scene, question in asked], rng):
        scene, question = asked[index]
        kept[scene["clip"]].append((scene, question))
    return kept


def _tracks(scene: dict[str, Any]) -> list[Track]:
    least = 12
    return [
        Track(np.array(o["centres"]), np.array(o["ways"]), o["moves"], min(o["pixels"][0], o["pixels"][-1]) >= least)
        for o in scene["objects"]
    ]


def _worded(scene: dict[str, Any], question: Question) -> tuple[str, str]:
    """Text and answer of a question whose objects are named by their colours."""
    colours = [scene["objects"][index]["colour"] for index in question.objects]
    return question.text.format(*(f"the {colour} object" for colour in colours)), question.answer.format(*colours)


def _write_conversations(
    root: Path, name: str, folder: str, kept: dict[str, list[tuple[dict, Question]]], seed: int
) -> None:
    many, one = [], []
    rng = np.random.default_rng((seed, 2))
    for clip, questions in kept.items():
        turns = [_worded(*questions[index]) for index in rng.permutation(len(questions))]
        many.append(_record(f"{folder}/{clip}.mp4", turns))
        one.append(_record(f"{folder}/{clip}.mp4", turns[:1]))
    write_json(root / f"{name}_many.json", many)
    write_json(root / f"{name}_one.json", one)


def _record(video: str, turns: list[tuple[str, str]]) -> dict[str, Any]:
    messages = []
    for number, (text, answer) in enumerate(turns):
        messages.append({"role": "user", "content": text if number else f"<video>{text}"})
        messages.append({"role": "assistant", "content": answer})
    return {"messages": messages, "videos": [video]}


def _items(kept: dict[str, list[tuple[dict, Question]]]) -> list[dict[str, Any]]:
    items = []
    for clip, questions in kept.items():
        for number, (scene, question) in enumerate(questions):
            text, answer = _worded(scene, question)
            colours = [scene["objects"][index]["colour"] for index in question.objects]
            items.append(
                {
                    "id": f"{clip}_{number:02d}",
                    "task": _TASKS[question.kind.split("/")[0]],
                    "kind": question.kind,
                    "video": f"clips/{clip}.mp4",
                    "question": text,
                    "options": [option.format(*colours) for option in question.answers],
                    "answer": answer,
                    "regions": [],
                    "interval": scene["interval"],
                }
            )
    return items
