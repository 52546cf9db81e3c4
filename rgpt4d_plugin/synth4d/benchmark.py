# SPDX-License-Identifier: Apache-2.0
"""The benchmark on disk: clips with exact ground truth, training conversations, and held-out questions.

Layout of a folder written by `write_benchmark`:

    dataset_info.json         registers the datasets below, which are lists of the host's records
    synth4d_train_many.json   all questions of a clip as turns of one conversation
    synth4d_train_one.json    one question of a clip, drawn by the seed
    synth4d_test_many.json    the same for the held-out clips, ..._one.json too
    questions.json            the training questions, one by one: what the benchmark's would be
    scenes.json               states of the training clips' objects
    clips/00000.mp4, .npz     training clips and their ground truth, side by side
    test/questions.json       held-out questions, which the benchmark `synth4d` of `rgpt4d eval` reads
    test/scenes.json          states of the held-out clips' objects
    test/clips/               held-out clips and their ground truth
    test/marks/00000.png      first frames with marks, where objects are referred to by these
    settings.json             how the folder was made; written last, so its presence means "complete"
"""

import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain
from multiprocessing import get_context, parent_process
from os import PathLike
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
from tqdm import tqdm

from rgpt4d_plugin.files import only_writer, read_registry, registry_entry, write_json, write_whole
from rgpt4d_plugin.synth4d.clips import MAPS, encode_mp4, save_ground_truth, settings_of
from rgpt4d_plugin.synth4d.questions import first_frame_regions
from rgpt4d_plugin.synth4d.render import Clip4D, follow, render
from rgpt4d_plugin.synth4d.tasks import Question, ask, ask_colours, balanced, tracks_of
from rgpt4d_plugin.synth4d.wording import Names, Refer, Style, conversation, worded
from rgpt4d_plugin.synth4d.worlds import World, draw_scene


_TRACKS = 64  # points of a held-out clip that are followed, half of them on objects


@dataclass(frozen=True)
class Preset:
    """What a benchmark is like.

    Attributes:
        train: Clips.
        test: Held-out clips.
        frames: Of a clip.
        sizes: (height, width) in pixels, of which one is drawn.
        intervals: Seconds between two frames, of which one is drawn.
        world: What scenes may hold.
        refer: How objects are referred to.
        style: How questions are answered.
    """

    train: int
    test: int
    frames: int
    sizes: tuple[tuple[int, int], ...]
    intervals: tuple[float, ...]
    world: World = World()
    refer: Refer = "mark"
    style: Style = "letter"


PRESETS = {
    "tiny": Preset(
        7000,
        1500,
        8,
        ((48, 48),),
        (0.5, 1.0),
        World((2, 3), ("ball", "box"), (0.4, 0.55), ("static",), walls=False),
        "colour",
        "word",
    ),
    "simple": Preset(
        2500,
        400,
        4,
        ((48, 48),),
        (0.5, 1.0),
        World((1, 2), ("ball", "disc"), (0.4, 0.65), ("static",), False, 1.3, levels=(2, 3), profiles=("even",)),
        "colour",
        "word",
    ),
    "small": Preset(4000, 1000, 16, ((112, 112), (96, 128), (128, 96), (80, 144)), (0.25, 0.5, 1.0)),
    "gpu": Preset(4000, 1000, 16, ((224, 224), (192, 256), (256, 192), (160, 288)), (0.25, 0.5, 1.0)),
}


@dataclass(frozen=True)
class _Settings:
    """How a folder was made."""

    preset: str
    train: int
    test: int
    seed: int
    refer: Refer
    style: Style


def write_benchmark(
    out: str | PathLike,
    preset: str,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
    workers: int | None = None,
    refer: Refer | None = None,
    style: Style | None = None,
) -> Path:
    """Writes clips, training conversations and held-out questions; returns the folder, the host's `dataset_dir`.

    A folder that was made in the same way is left as it is. What is written does not depend on the number of workers.

    Args:
        out: The folder.
        preset: One of `PRESETS`, which says what is not said here.
        train: Training clips.
        test: Held-out clips.
        seed: Clip i of a split is drawn from (seed, split, i), so a longer run begins with the same clips.
        workers: Processes that render, by default one per core.
        refer: How questions refer to objects.
        style: How they are answered.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset must be one of {', '.join(PRESETS)}, found {preset!r}.")
    given = {"train": train, "test": test, "refer": refer, "style": style}
    chosen = replace(PRESETS[preset], **{name: value for name, value in given.items() if value is not None})
    if min(chosen.train, chosen.test, seed + 1) < 1:
        raise ValueError(f"Clips must be 1 or more, the seed 0 or more; found {chosen.train}, {chosen.test}, {seed}.")
    settings = _Settings(preset, chosen.train, chosen.test, seed, chosen.refer, chosen.style)
    root = Path(out)
    done = root / "settings.json"
    if settings_of(root) != asdict(settings):
        root.mkdir(parents=True, exist_ok=True)
        with only_writer(root):
            registry = root / "dataset_info.json"
            registered = read_registry(registry)  # a damaged one is better found before the work than after
            done.unlink(missing_ok=True)
            workers = workers or len(os.sched_getaffinity(0))
            for split, (name, count, below) in enumerate(
                (("train", chosen.train, ""), ("test", chosen.test, "test/"))
            ):
                _write_split(root, name, below, chosen, (seed, split), count, workers)
                for number in ("many", "one"):
                    dataset = f"synth4d_{name}_{number}"
                    registered[dataset] = _entry(dataset, chosen.refer)
            write_json(registry, registered)
            write_json(done, asdict(settings))
    return root


@dataclass(frozen=True)
class _Drawn:
    """A clip that was written.

    Attributes:
        name: Of its files, without their endings.
        interval: Seconds between two frames.
        state: What the objects and the camera do, for `scenes.json`.
        questions: All that can be asked.
        regions: Of the objects that have marks.
        names: Of the objects.
    """

    name: str
    interval: float
    state: dict[str, Any]
    questions: list[Question]
    regions: list[dict[str, Any]]
    names: Names


def _entry(dataset: str, refer: Refer) -> dict[str, Any]:
    if refer == "mark":
        return registry_entry(f"{dataset}.json", "rgpt4d", ("messages", "videos", "regions"))
    return registry_entry(f"{dataset}.json", "sharegpt", ("messages", "videos"))


def _write_split(
    root: Path, name: str, below: str, preset: Preset, seed: tuple[int, int], count: int, workers: int
) -> None:
    folder = root / below
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    if below and preset.refer == "mark":
        (folder / "marks").mkdir(exist_ok=True)
    clips = _render_all(partial(_write_clip, folder, bool(below), preset, seed), count, workers)
    drawn = list(tqdm(clips, name, count, unit="clip", leave=False, disable=None))
    rng = np.random.default_rng((*seed, count))
    asked = [(clip, question) for clip in drawn for question in clip.questions]
    items: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for index in balanced([(clip.interval, question) for clip, question in asked], rng):
        clip, question = asked[index]
        item = worded(question, clip.questions, clip.names, preset.style, rng)
        media = {"video": f"clips/{clip.name}.mp4"} | ({"marks": f"marks/{clip.name}.png"} if clip.regions else {})
        identity = {"id": f"{clip.name}_{len(items[clip.name]):02d}", "clip": clip.name, "interval": clip.interval}
        items[clip.name].append(identity | media | item)
    many, one = [], []
    for clip in drawn:
        if clip.name in items:
            shuffled = [items[clip.name][index] for index in rng.permutation(len(items[clip.name]))]
            video = f"{below}clips/{clip.name}.mp4"
            many.append(conversation(video, shuffled, clip.regions))
            kinds = {item["kind"]: item for item in shuffled}  # as likely as each other, however many of one there are
            one.append(conversation(video, [kinds[rng.choice(sorted(kinds))]], clip.regions))
    write_json(root / f"synth4d_{name}_many.json", many)
    write_json(root / f"synth4d_{name}_one.json", one)
    write_json(folder / "questions.json", list(chain.from_iterable(items.values())))
    # One clip a line: indented, as `write_json` does, tables of numbers would be a line a number.
    lines = ",\n".join(json.dumps(clip.state) for clip in drawn)
    write_whole(folder / "scenes.json", f"[\n{lines}\n]\n")


def _render_all(write: Callable[[int], _Drawn], count: int, workers: int) -> Iterator[_Drawn]:
    if workers == 1:
        yield from map(write, range(count))
        return
    # One thread each; and glibc keeps a clip's memory for the next, as it takes time to ask the system for it anew.
    settings = {"OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": f"{2**28}", "MALLOC_TRIM_THRESHOLD_": f"{2**29}"}
    with ProcessPoolExecutor(min(workers, count), get_context("spawn"), _end_with_parent) as pool:
        with _environment(settings):  # the processes are started by what follows
            drawn = pool.map(write, range(count), chunksize=8)
        yield from drawn


def _end_with_parent() -> None:
    """Ends this process when the one that started it does, if that was killed too: it would wait for work for ever."""

    def wait() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=wait, daemon=True).start()


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update({name: value for name, value in values.items() if name not in before})
    try:
        yield
    finally:
        for name in values.keys() - before.keys():
            del os.environ[name]


def _write_clip(folder: Path, held_out: bool, preset: Preset, seed: tuple[int, int], index: int) -> _Drawn:
    rng = np.random.default_rng((*seed, index))
    height, width = preset.sizes[rng.integers(len(preset.sizes))]
    interval = float(rng.choice(preset.intervals))
    seconds = interval * (preset.frames - 1)
    scene, ways, camera = draw_scene(rng, (height, width), seconds, preset.world)
    clip = render(scene, preset.frames, height, width, 1 / interval, (height // 8, width // 8))
    name = f"{index:05d}"
    video = folder / f"clips/{name}.mp4"
    write_whole(video, encode_mp4(clip.frames, 1 / interval), durable=False)
    _save(video.with_suffix(".npz"), clip, held_out, rng)
    tracks = tracks_of(clip, ways)
    questions = [q for q in ask(tracks, seconds, rng) if preset.style == "letter" or not q.measured]
    names, regions = Names.of_colours([body.colour for body in scene.bodies]), []
    if preset.refer == "mark":
        marked = rng.permutation([index for index, track in enumerate(tracks) if track.seen])[:2].tolist()
        names = Names.of_marks(marked)
        regions = first_frame_regions(clip, marked)
        questions = [question for question in questions if set(question.objects) <= set(marked)]
        questions += ask_colours(clip, marked)
        if held_out and regions:
            from rgpt4d_plugin.regions.prompt import RegionPrompt  # brings torch along, which nothing else here needs

            text = "".join(f"<{region['id']}>" for region in regions)
            still = RegionPrompt(str(video), text, regions, style="som_image").images[0]
            still.save(folder / f"marks/{name}.png")
    state = {"clip": name, "interval": interval, "size": [height, width], "camera": camera}
    state["objects"] = [
        {
            "colour": body.colour,
            "shape": body.shape,
            "radius": round(body.radius, 4),
            "moves": body.moves,
            "turn": track.turn,
            "way": {"heading": track.way.heading, "level": track.way.level, "profile": track.way.profile},
            "centres": track.centres.round(4).tolist(),
            "places": track.places.round(4).tolist(),
        }
        for body, track in zip(scene.bodies, tracks)
    ]
    return _Drawn(name, interval, state, questions, regions, names)


def _save(path: Path, clip: Clip4D, held_out: bool, rng: np.random.Generator) -> None:
    """Writes the ground truth: for training what teachers take, for a held-out clip all there is."""
    if not held_out:
        save_ground_truth(path, clip)
        return
    half = _TRACKS // 2
    shown = np.argwhere(clip.instance >= 0)
    everywhere = rng.integers(0, clip.instance.shape, (half, 3))
    queries = np.concatenate([shown[rng.integers(len(shown), size=half)], everywhere])
    tracks, visible = follow(clip, queries)
    more = {"track_queries": queries, "tracks": tracks, "track_visible": visible}
    save_ground_truth(path, clip, (*MAPS, "flow_2d_forward"), **more)
