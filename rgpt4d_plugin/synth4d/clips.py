# SPDX-License-Identifier: Apache-2.0
"""Synthetic clips on disk: mp4 files, their exact ground truth, and a dataset that LLaMA-Factory reads as it is.

Layout of a folder written by `write_clips`:

    dataset_info.json            registers the datasets below
    synth4d.json                 question and answer records, columns as in the host's mllm_video_demo
    synth4d_heldout.json         the same for clips that are never trained on
    synth4d_regions.json         questions about <obj_1> and <obj_2>, with boxes
    synth4d_regions_heldout.json the same for clips that are never trained on
    videos/clip_00000.mp4        H.264, constant frame rate
    ground_truth/clip_00000.npz  maps of `Clip4D` plus the list of its bodies as JSON text
    settings.json                how the folder was made; written last, so its presence means "complete"
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any

import av
import numpy as np

from rgpt4d_plugin.files import (
    only_writer,
    parse_json,
    read_registry,
    registry_entry,
    replacing,
    write_json,
    write_whole,
)
from rgpt4d_plugin.synth4d.balls import sample_scene
from rgpt4d_plugin.synth4d.questions import Question, ask, ask_regions
from rgpt4d_plugin.synth4d.render import Clip4D, render


DATASET = "synth4d"
HELD_OUT = "synth4d_heldout"
REGIONS = "synth4d_regions"
REGIONS_HELD_OUT = "synth4d_regions_heldout"
MAPS = ("depth", "flow_2d_backward", "motion", "camray", "instance", "timestamps", "intrinsics", "poses")
"""Of every clip's ground truth."""


@dataclass(frozen=True)
class ClipSettings:
    """How a folder of clips is made.

    Attributes:
        seed: Clip i is drawn from (seed, i), so a longer run begins with the same clips.
        held_out: Share of the clips, taken from the end, whose questions go to `synth4d_heldout`.
        height: Pixel rows, even because of 4:2:0 chroma, as is `width`.
        fps: Frames per second; at 2, the host's default `video_fps`, the host keeps every frame.
        questions_per_clip: Questions drawn for a training clip, or None for all that apply; held-out clips keep all.
        crf: H.264 quality, 0 (lossless) to 51; the noise of 10 is about 4 levels of 255.
    """

    count: int = 48
    seed: int = 0
    held_out: float = 0.25
    frames: int = 16
    height: int = 64
    width: int = 64
    fps: float = 2.0
    questions_per_clip: int | None = None
    crf: int = 10

    def __post_init__(self) -> None:
        for name, low, high in (("count", 1, 10**6), ("frames", 2, 10**4), ("seed", 0, 2**63), ("fps", 0.01, 1000)):
            if not low <= getattr(self, name) <= high:  # neither is NaN
                raise ValueError(f"{name} must be from {low} to {high}, found {getattr(self, name)}.")
        found = f"{self.height} x {self.width}"
        if any(side % 2 or not 16 <= side <= 2048 for side in (self.height, self.width)):
            raise ValueError(f"Height and width must be even, for 4:2:0 video, and from 16 to 2048, found {found}.")
        if self.frames * self.height * self.width > 2**27:
            raise ValueError(f"A clip may have {2**27:,} pixels in all, found {self.frames} frames of {found}.")
        if max(self.height, self.width) > 3 * min(self.height, self.width):
            raise ValueError(f"The longer side may be at most 3 times the shorter, found {found}.")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must be in [0, 1), found {self.held_out}.")
        if self.questions_per_clip is not None and self.questions_per_clip < 1:
            raise ValueError(f"questions_per_clip must be None or at least 1, found {self.questions_per_clip}.")


def write_clips(out_dir: str | PathLike, count: int = 48, seed: int = 0, **settings) -> Path:
    """Writes clips, ground truth and the dataset, and returns the folder, the host's `dataset_dir`.

    A folder already made with the same `ClipSettings` is left as it is.
    """
    out = Path(out_dir)
    chosen = ClipSettings(count=count, seed=seed, **settings)
    if settings_of(out) != asdict(chosen):
        out.mkdir(parents=True, exist_ok=True)
        with only_writer(out):
            _write(out, chosen)
    return out


def _write(out: Path, chosen: ClipSettings) -> None:
    done = out / "settings.json"
    registry = out / "dataset_info.json"
    registered = read_registry(registry)  # a damaged one is better found before the work than after
    done.unlink(missing_ok=True)
    for folder in ("videos", "ground_truth"):
        (out / folder).mkdir(parents=True, exist_ok=True)

    datasets: dict[str, list[dict]] = {DATASET: [], REGIONS: [], HELD_OUT: [], REGIONS_HELD_OUT: []}
    first_held_out = chosen.count - round(chosen.count * chosen.held_out)
    for index in range(chosen.count):
        rng = np.random.default_rng((chosen.seed, index))
        clip = make_clip(rng, chosen)
        video = f"videos/clip_{index:05d}.mp4"
        write_whole(out / video, encode_mp4(clip.frames, chosen.fps, chosen.crf), durable=False)
        save_ground_truth(out / f"ground_truth/clip_{index:05d}.npz", clip)
        questions = ask(clip, rng)
        is_train = index < first_held_out
        if is_train and chosen.questions_per_clip is not None:
            kept = rng.permutation(len(questions))[: chosen.questions_per_clip]
            questions = [questions[i] for i in sorted(kept)]
        about_regions, regions = ask_regions(clip, rng)
        plain, regional = (DATASET, REGIONS) if is_train else (HELD_OUT, REGIONS_HELD_OUT)
        datasets[plain] += [_record(question, video) for question in questions]
        datasets[regional] += [_record(question, video) | {"regions": regions} for question in about_regions]

    ours = list(datasets)
    datasets = {name: records for name, records in datasets.items() if records}
    for name, records in datasets.items():
        write_json(out / f"{name}.json", records)
    others = {name: entry for name, entry in registered.items() if name not in ours}
    write_json(registry, others | {name: _dataset_entry(name) for name in datasets})
    write_json(done, asdict(chosen))


def settings_of(folder: Path) -> Any:
    """Returns how a folder was made; None if it is not complete, or its settings were not written to their end."""
    try:
        return parse_json((folder / "settings.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def make_clip(rng: np.random.Generator, settings: ClipSettings) -> Clip4D:
    """Draw and render one clip; the ray grid has one ray per 8 x 8 pixels."""
    scene = sample_scene(rng, settings.height, settings.width, settings.frames / settings.fps)
    grid = (settings.height // 8, settings.width // 8)
    return render(scene, settings.frames, settings.height, settings.width, settings.fps, grid)


def encode_mp4(frames: np.ndarray, fps: float, crf: int = 10) -> bytes:
    """H.264 file of RGB frames uint8 (T, H, W, 3) at a constant rate."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        rate = Fraction(fps).limit_denominator(1001)  # exact for every usual rate, 29.97 included
        # x264's macroblock tree reads memory that it has not written, for frames this small: the bytes differ by run.
        options = {"crf": str(crf), "preset": "veryfast", "x264-params": "mbtree=0"}
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1  # bytes must not depend on the machine's core count
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def decode_mp4(source: bytes | str | PathLike) -> np.ndarray:
    """Returns all frames of a video file or its bytes, RGB uint8 (T, H, W, 3)."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def save_ground_truth(path: str | PathLike, clip: Clip4D, maps: Sequence[str] = MAPS, **more: np.ndarray) -> None:
    """Writes maps of a clip, its bodies as JSON text (sizes in m, velocity in m/s), and what else is given as one .npz
    file."""
    bodies = [
        {
            "colour": body.colour,
            "shape": body.shape,
            "size": body.size.tolist(),
            "centre": body.centre.tolist(),
            "velocity": body.velocity.tolist(),
            "acceleration": body.acceleration.tolist(),
            "attitude": body.attitude.tolist(),
            "turn": body.turn.tolist(),
        }
        for body in clip.scene.bodies
    ]
    arrays = {"bodies": np.array(json.dumps(bodies))} | {name: getattr(clip, name) for name in maps} | more
    # As numpy.savez_compressed, but with the same bytes each time, and in two thirds of the time for one more percent.
    with replacing(Path(path), "wb", durable=False) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue(), zipfile.ZIP_DEFLATED, 1)


def _record(question: Question, video: str) -> dict:
    return {
        "messages": [
            {"content": f"<video>{question.text}", "role": "user"},
            {"content": question.answer, "role": "assistant"},
        ],
        "videos": [video],
        "kind": question.kind,
    }


def _dataset_entry(name: str) -> dict:
    """Returns the entry of the host's own mllm_video_demo, for another file."""
    formatting = "rgpt4d" if name in (REGIONS, REGIONS_HELD_OUT) else "sharegpt"
    return registry_entry(f"{name}.json", formatting, ("messages", "videos"))
