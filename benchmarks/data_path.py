# SPDX-License-Identifier: Apache-2.0
"""Seconds that reading a clip takes in the first and in later epochs, with the host's own reader and with a cache.

    OMP_NUM_THREADS=1 python benchmarks/data_path.py

Clips of two kinds: short ones (the synthetic clips, and the real ones of the tests), and a video of five minutes in
720p. The arms take turns within a round. Reading is what the collator does for a clip: sampling, decoding, scaling,
and the model's own processor; for the plugin's arms the teacher's frames too, which the host's does not make.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rgpt4d_plugin.arguments import VideoArguments
from rgpt4d_plugin.template.plugin_classes import with_recorder
from tests.harness import DATA, make_assets
from tests.host_parts import HostParts, host_parts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--fps", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        assets = make_assets(root / "assets")
        parts = host_parts(assets.recipe(root / "out", video_maxlen=16))
        short = [*sorted((root / "assets" / "clips").glob("*.mp4")), *sorted((DATA / "clips").glob("*.mp4"))]
        long = write_long(root / "long.mp4", arguments.seconds, arguments.fps)
        print("| clips | arm | s a clip, median | x host, median of rounds |\n|---|---|---:|---:|")
        for kind, videos in (("short", short), ("5 minutes, 720p", [long])):
            report(kind, measure(parts, root / kind, videos, arguments.rounds))


def report(kind: str, seconds: dict[str, list[float]]) -> None:
    """Prints the lines of one kind of clips."""
    for arm, values in seconds.items():
        ratio = statistics.median(value / host for value, host in zip(values, seconds["host"]))
        print(f"| {kind} | {arm} | {statistics.median(values):.4f} | {ratio:.2f} |", flush=True)


def measure(parts: HostParts, folder: Path, videos: list[Path], rounds: int) -> dict[str, list[float]]:
    """Mean seconds a clip of each arm, round by round."""
    plain = with_recorder(parts.template, None)
    seconds: dict[str, list[float]] = {arm: [] for arm in ("host", "no cache", "first epoch", "later epoch")}
    for number in range(rounds):
        kept = with_recorder(parts.template, None, None, VideoArguments(cache=str(folder / str(number))))
        arms: dict[str, Callable[[str], Any]] = {
            "host": lambda video: inputs(parts, parts.template, video),
            "no cache": lambda video: both(parts, plain, video),
            "first epoch": lambda video, kept=kept: both(parts, kept, video),
            "later epoch": lambda video, kept=kept: both(parts, kept, video),
        }
        for arm, read in arms.items():
            start = time.perf_counter()
            for video in videos:
                read(str(video))
            seconds[arm].append((time.perf_counter() - start) / len(videos))
    return seconds


def inputs(parts: HostParts, template: Any, video: str) -> Any:
    """The model's inputs of a clip."""
    return template.mm_plugin.get_mm_inputs([], [video], [], [0], [1], [0], [[]], parts.processor)


def both(parts: HostParts, template: Any, video: str) -> Any:
    """The same, and the teacher's frames."""
    seen: list[Any] = []
    with template.mm_plugin.recording(seen.append):
        found = inputs(parts, template, video)
    return found, parts.run.teacher_frames(seen[0], parts.processor)


def write_long(path: Path, seconds: int, fps: int) -> Path:
    """A video of moving stripes with noise, 1280 x 720."""
    noise = np.random.default_rng(0).integers(0, 60, (720, 2560, 3), np.uint8)
    ramp = (np.arange(2560) // 8 % 180).astype(np.uint8)
    canvas = noise + ramp[None, :, None]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"preset": "ultrafast", "crf": "28"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(seconds * fps):
            at = number * 4 % 1280
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(canvas[:, at : at + 1280]), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


if __name__ == "__main__":
    main()
