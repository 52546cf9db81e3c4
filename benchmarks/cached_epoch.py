# SPDX-License-Identifier: Apache-2.0
"""An epoch of cached distillation against one of plain SFT, on a CPU, through the host.

    OMP_NUM_THREADS=1 python benchmarks/cached_epoch.py --rounds 3

The arms take turns, so that what else the machine does falls on all of them. The sizes are tiny, with a student whose
step costs about seven times a forward of the teacher's heads, as an 8B student's does the real heads'.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml


sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rgpt4d_plugin.cache.command import CacheOptions, run_cache_teacher
from rgpt4d_plugin.synth4d import TINY_TEACHER, write_clips
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student
from tests.harness import train_here


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=8)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=12)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), arguments)
    base = seconds["sft"]
    print("| arm | s an epoch, median | min..max | x sft, median of rounds |\n|---|---:|---:|---:|")
    for arm, values in seconds.items():
        ratio = statistics.median(value / other for value, other in zip(values, base))
        print(f"| {arm} | {statistics.median(values):.1f} | {min(values):.1f}..{max(values):.1f} | {ratio:.2f} |")


def measure(root: Path, arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of each arm's epochs."""
    student = build_tiny_student(
        root / "student", hidden=arguments.hidden, layers=arguments.layers, vision_hidden=128, merge=1
    )
    clips = write_clips(root / "clips", count=arguments.clips, seed=0, frames=16, held_out=0.0, questions_per_clip=1)
    loss = {"type": "smooth_l1", "latent": 1, "depth": 1, "flow": 1, "motion": 1, "camray": 1}
    p4d = {"teacher": {"checkpoint": str(TINY_TEACHER), "dtype": "float32"}, "frames": 16, "loss": loss}
    cached = {**p4d, "teacher": {**p4d["teacher"], "cache": str(root / "cache")}}
    latents = {**cached, "loss": {**loss, "depth": 0, "flow": 0, "motion": 0, "camray": 0}}
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
        "per_device_train_batch_size": 1,
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
        "online": {**recipe, "p4d": p4d},
    }
    seconds: dict[str, list[float]] = {arm: [] for arm in arms}
    for _ in range(arguments.rounds):
        for arm, arm_recipe in arms.items():
            train_here(arm_recipe)
            seconds[arm].append(json.loads((root / "out" / "all_results.json").read_text())["train_runtime"])
            print(arm, round(seconds[arm][-1], 2), file=sys.stderr)
    return seconds


if __name__ == "__main__":
    main()
