# SPDX-License-Identifier: Apache-2.0
"""An epoch of cached distillation against one of plain SFT, on a CPU, through the host.

    OMP_NUM_THREADS=1 python benchmarks/cached_epoch.py --rounds 3

The arms take turns, and processor time is counted beside the time on the wall, so that what else the machine does
falls on all of them alike. The sizes are tiny; by default the student's step costs some eight times what the cached
terms do, as an 8B student's does (`flops.py`). Two clips a step: torch convolves a single small one more slowly.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml
from llamafactory.train.tuner import run_exp
from transformers import TrainerCallback

from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.synth4d import TINY_TEACHER, write_clips
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=384)
    parser.add_argument("--layers", type=int, default=6)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), arguments)
    print(
        "| arm | s an epoch, median | x sft | processor s, median | min..max | x sft |\n|---|---:|---:|---:|---:|---:|"
    )
    for arm, values in seconds.items():
        wall, cpu = zip(*values)
        ratios = [
            statistics.median(value[kind] / other[kind] for value, other in zip(values, seconds["sft"]))
            for kind in (0, 1)
        ]
        spread = f"{min(cpu):.1f}..{max(cpu):.1f}"
        print(
            f"| {arm} | {statistics.median(wall):.1f} | {ratios[0]:.2f} | {statistics.median(cpu):.1f} | {spread} | "
            f"{ratios[1]:.2f} |"
        )


class Clock(TrainerCallback):
    """Seconds of the training loop, by the wall and by the processor."""

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.seconds = time.perf_counter() - self.start[0], time.process_time() - self.start[1]


def measure(root: Path, arguments: argparse.Namespace) -> dict[str, list[tuple[float, float]]]:
    """Seconds of each arm's epochs, by the wall and by the processor."""
    student = build_tiny_student(
        root / "student", hidden=arguments.hidden, layers=arguments.layers, vision_hidden=128, merge=1
    )
    clips = write_clips(root / "clips", count=arguments.clips, seed=0, frames=16, held_out=0.0, questions_per_clip=1)
    loss = {"type": "smooth_l1", "latent": 1, "depth": 1, "flow": 1, "motion": 1, "camray": 1}
    p4d = {"teacher": {"checkpoint": str(TINY_TEACHER), "dtype": "float32"}, "frames": 16, "loss": loss}
    cached = {**p4d, "teacher": {**p4d["teacher"], "cache": str(root / "cache")}}
    latents = {**cached, "loss": {**loss, "depth": 0, "flow": 0, "motion": 0, "camray": 0}}
    sampled = {**cached, "loss": {**loss, "per_step": {"maps": 1, "crop": 0.25}}}
    recipe = {
        "model_name_or_path": str(student),
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "dataset": "synth4d",
        "dataset_dir": str(clips),
        "template": "qwen2_vl",
        "cutoff_len": 2048,
        "output_dir": str(root / "out"),
        "overwrite_output_dir": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "per_device_train_batch_size": 2,
        "num_train_epochs": 1,
        "learning_rate": 1e-4,
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump({**recipe, "p4d": p4d}))
    run_cache_teacher(root / "recipe.yaml", root / "cache", CacheOptions(workers=0))
    sft = {**recipe, "video_maxlen": 16, "video_fps": 16.0}
    arms: dict[str, dict[str, Any]] = {
        "sft": sft,
        "cached": {**recipe, "p4d": cached},
        "cached, latents only": {**recipe, "p4d": latents},
        "cached, sampled": {**recipe, "p4d": sampled},
        "online": {**recipe, "p4d": p4d},
    }
    seconds: dict[str, list[tuple[float, float]]] = {arm: [] for arm in arms}
    for _ in range(arguments.rounds):
        for arm, arm_recipe in arms.items():
            clock = Clock()
            run_exp(dict(arm_recipe), callbacks=[clock])
            seconds[arm].append(clock.seconds)
            print(arm, clock.seconds, file=sys.stderr)
    return seconds


if __name__ == "__main__":
    main()
