# SPDX-License-Identifier: Apache-2.0
"""Writes what a real training run needs, with random weights: student, teacher, clips, recipe. Nothing is downloaded.

    python benchmarks/random_run.py --out /tmp/run               # Qwen2.5-VL-7B and the released L4P, on a GPU: 19 GB
    python benchmarks/random_run.py --out /tmp/run --size tiny   # both tiny, on a CPU
    llamafactory-cli train /tmp/run/recipe.yaml

The recipe is 30 steps of LoRA in bfloat16 with `p4d:`; `p4d=off` or `p4d.loss.per_step.maps=1` on the command line
gives the other arms. The student has its family's small tokenizer of `rgpt4d_plugin.synth4d`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any


ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT / "benchmarks"))

import torch  # noqa: E402
import yaml  # noqa: E402
from step_overhead import make_teacher, student_config, teacher_config  # noqa: E402
from transformers import AutoModelForImageTextToText  # noqa: E402

from rgpt4d_plugin.synth4d.clips import write_clips  # noqa: E402
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student, save_student  # noqa: E402
from rgpt4d_plugin.synth4d.tiny_qwen import build_qwen  # noqa: E402
from rgpt4d_plugin.synth4d.tiny_sizes import StudentSizes  # noqa: E402
from rgpt4d_plugin.synth4d.tiny_tokenizer import token_ids  # noqa: E402
from rgpt4d_plugin.teachers.l4p.checkpoint import save_l4p  # noqa: E402


def write_student(folder: Path, size: str, device: str) -> None:
    """A student with random weights, as a `model_name_or_path`."""
    if size == "tiny":
        build_tiny_student(folder)
        return
    small, processor = build_qwen("qwen2_5_vl", StudentSizes(patch=14, merge=2))
    config = student_config(size)
    for name in ("image", "video", "vision_start", "vision_end"):
        setattr(config, f"{name}_token_id", getattr(small, f"{name}_token_id"))
    config.text_config.update(token_ids(processor.tokenizer))
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    save_student(folder, model, processor)


def recipe(out: Path, size: str, device: str, steps: int) -> dict[str, Any]:
    """The training run."""
    return {
        "model_name_or_path": str(out / "student"),
        "flash_attn": "auto",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_target": "all",
        "dataset": "synth4d",
        "dataset_dir": str(out / "clips"),
        "template": "qwen2_vl",
        "cutoff_len": 4096,
        "video_max_pixels": 200704,
        "overwrite_cache": True,
        "dataloader_num_workers": 4 if size == "7b" else 0,
        "output_dir": str(out / "trained"),
        "overwrite_output_dir": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "per_device_train_batch_size": 1,
        "learning_rate": 1e-5,
        "max_steps": steps,
        "bf16": device == "cuda",
        "p4d": {
            "preset": "release",
            "teacher": {"type": "l4p", "checkpoint": str(out / "teacher.safetensors"), "dtype": "bfloat16"},
            "frames": 16,
            "logging": {"gradients": True},
        },
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--size", choices=["7b", "tiny"], default="7b")
    parser.add_argument("--steps", type=int, default=30)
    args = parser.parse_args(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.size == "7b" and device == "cpu":
        parser.error("--size 7b: torch finds no GPU here; --size tiny runs on a CPU")
    args.out.mkdir(parents=True, exist_ok=True)
    write_student(args.out / "student", args.size, device)
    teacher = make_teacher(teacher_config("released" if args.size == "7b" else "tiny"), device, torch.bfloat16)
    save_l4p(teacher, args.out / "teacher.safetensors")
    pixels = 448 if args.size == "7b" else 64
    write_clips(args.out / "clips", count=8, frames=16, height=pixels, width=pixels)
    chosen = recipe(args.out, args.size, device, args.steps)
    (args.out / "recipe.yaml").write_text(yaml.safe_dump(chosen, sort_keys=False), encoding="utf-8")
    print(args.out / "recipe.yaml")


if __name__ == "__main__":
    main()
