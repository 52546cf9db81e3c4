# SPDX-License-Identifier: Apache-2.0
"""Seconds that reading a clip takes in the first and in later epochs, with the host's own reader and with a cache.

    OMP_NUM_THREADS=1 python benchmarks/data_path.py

Clips of two kinds: short ones (the synthetic clips, and the real ones of the tests), and a video of five minutes in
720p. Reading is what the collator does for a clip: sampling, decoding, scaling, and the model's own processor. The
host makes the student's inputs alone, and is compared with the plugin making just these, as it does for a cached
teacher; a teacher that computes gets frames too, which the host's reader cannot give: those arms make more than it.
The arms take turns within a round; processor time is counted beside the time on the wall.
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


STUDENT, BOTH = "student's inputs", "and the teacher's frames"


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
        print("| clips | arm | makes | s a clip, median | x host | processor s, median | x host |")
        print("|---|---|---|---:|---:|---:|---:|")
        for kind, videos in (("short", short), ("5 minutes, 720p", [long])):
            report(kind, measure(parts, root / kind, videos, arguments.rounds))


def report(kind: str, seconds: dict[tuple[str, str], list[tuple[float, float]]]) -> None:
    """Prints the lines of one kind of clips; ratios are medians of those of the rounds."""
    base = seconds["host", STUDENT]
    for (arm, makes), values in seconds.items():
        cells = []
        for clock in (0, 1):
            ratio = statistics.median(value[clock] / host[clock] for value, host in zip(values, base))
            cells.append(f"{statistics.median(value[clock] for value in values):.3f} | {ratio:.2f}")
        print(f"| {kind} | {arm} | {makes} | {' | '.join(cells)} |", flush=True)


def measure(
    parts: HostParts, folder: Path, videos: list[Path], rounds: int
) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """Mean seconds a clip of each arm, by the wall and by the processor, round by round."""
    plain = with_recorder(parts.template, None)
    seconds: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        arms: dict[tuple[str, str], Callable[[str], Any]] = {
            ("host", STUDENT): lambda video: inputs(parts, parts.template, video)
        }
        for makes, make in ((STUDENT, inputs), (BOTH, both)):
            kept = with_recorder(parts.template, None, None, VideoArguments(cache=str(folder / f"{number} {makes}")))
            arms |= {
                ("no cache", makes): lambda video, make=make: make(parts, plain, video),
                ("first epoch", makes): lambda video, make=make, kept=kept: make(parts, kept, video),
                ("later epoch", makes): lambda video, make=make, kept=kept: make(parts, kept, video),
            }
        for arm, read in arms.items():
            start = time.perf_counter(), time.process_time()
            for video in videos:
                read(str(video))
            spent = time.perf_counter() - start[0], time.process_time() - start[1]
            seconds.setdefault(arm, []).append((spent[0] / len(videos), spent[1] / len(videos)))
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
