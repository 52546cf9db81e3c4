# SPDX-License-Identifier: Apache-2.0
"""Runs the host on tiny assets: recipes, the real command line, and in-process training."""

import functools
import json
import os
import re
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from rgpt4d_plugin.synth4d.clips import write_clips
from rgpt4d_plugin.terms import TERMS
from tests.tiny_models import build_tiny_student, write_random_teacher


DATA = Path(__file__).parent / "data"

LOG_KEYS = {term: TERMS[term].log_key for term in ("latent", "depth", "flow", "motion", "camray")}
"""Logged name of each term of L4P, all of which `Assets.p4d` turns on."""
ALL_LOG_KEYS = ("loss_sft", *LOG_KEYS.values(), "p4d_videos")


@dataclass(frozen=True)
class Assets:
    """Paths of what a run needs."""

    root: Path
    student: Path
    teacher: Path
    clips: Path

    def recipe(self, output: Path, **overrides: Any) -> dict[str, Any]:
        """A recipe of two steps; `p4d=None` leaves the block out, other keys replace the defaults."""
        recipe = {
            "model_name_or_path": str(self.student),
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "full",
            "dataset": "synth4d",
            "dataset_dir": str(self.clips),
            "template": "qwen2_vl",
            "cutoff_len": 2048,
            "video_maxlen": 8,
            "output_dir": str(output),
            "overwrite_output_dir": True,
            "disable_shuffling": True,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "per_device_train_batch_size": 1,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "max_steps": 2,
            "seed": 3,
            "p4d": self.p4d(),
        }
        recipe.update(overrides)
        return {key: value for key, value in recipe.items() if value is not None}

    def p4d(self, **overrides: Any) -> dict[str, Any]:
        """A block with every term on, at weights that let each be felt."""
        return {
            "teacher": {"checkpoint": str(self.teacher), "dtype": "float32"},
            "decoder": {"layers": 2, "hidden_size": 32},
            "loss": {"latent": 0.1, "depth": 0.1, "flow": 0.1, "motion": 0.1, "camray": 0.1},
            **overrides,
        }


def make_assets(root: Path) -> Assets:
    """Builds a tiny student, a random teacher and clips of two shapes below `root`."""
    student = build_tiny_student(root / "student", hidden=32, layers=2, vision_hidden=32)
    write_random_teacher(root / "teacher.safetensors", side=32)
    clips = write_clips(root / "clips", count=3, seed=5, frames=12, held_out=0.0, questions_per_clip=1)
    wide = write_clips(
        root / "wide", count=3, seed=6, frames=7, height=48, width=80, held_out=0.0, questions_per_clip=1
    )
    # Shapes and lengths alternate, so that every batch is padded. Every answer is one word, so that the host's own
    # loss, a mean over a batch's tokens, is the same however a step is cut up.
    records = []
    for pair in zip(*(json.loads((folder / "synth4d.json").read_text()) for folder in (clips, wide)), strict=True):
        for record, folder in zip(pair, (clips, wide), strict=True):
            record["messages"][1]["content"] = "yes"
            record["videos"] = [str(folder / video) for video in record["videos"]]
            records.append(record)
    (clips / "synth4d.json").write_text(json.dumps(records))
    return Assets(root, student, root / "teacher.safetensors", clips)


def train_here(recipe: dict[str, Any]) -> None:
    """Runs the host's training in this process, plugin active as in every process of the environment."""
    from llamafactory.train.tuner import run_exp

    run_exp(dict(recipe))


def train_cli(
    recipe: dict[str, Any], *overrides: str, processes: int | None = None, **environment: str
) -> subprocess.CompletedProcess:
    """Runs `llamafactory-cli train` on a recipe file; under torchrun when `processes` is given.

    Such a run is repeated once, with a warning in the report, if a process aborted at its exit (`aborted_at_exit`).
    """
    path = Path(recipe["output_dir"]).with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(recipe))
    scripts = Path(sys.executable).parent
    env = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}", **environment}
    if processes:
        env |= {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": str(processes)}
    command = [str(scripts / "llamafactory-cli"), "train", str(path), *overrides]
    run = functools.partial(subprocess.run, command, env=env, capture_output=True, text=True, timeout=600)
    result = run()
    if processes and aborted_at_exit(result):
        warnings.warn(f"{path.name}: a process aborted in a C++ destructor; the run was repeated once", stacklevel=2)
        result = run()
    return result


def aborted_at_exit(result: subprocess.CompletedProcess) -> bool:
    """Whether a process of a torchrun ended by SIGABRT in the destructor of a C++ thread.

    Seen on a busy machine, without the plugin as well: after its last line of Python a process of a gloo group aborts,
    and torchrun calls the run a failure.
    """
    by_abort = result.returncode in (-6, 134) or re.search(r"exitcode\s*: (-6|134)\b", result.stderr)
    return bool(by_abort and result.returncode and "terminate called without an active exception" in result.stderr)


def succeeded(result: subprocess.CompletedProcess) -> subprocess.CompletedProcess:
    """Asserts exit code 0, showing the end of the output otherwise."""
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    return result


def logs(output: Path) -> list[dict[str, Any]]:
    """Lines of trainer_log.jsonl that belong to training steps."""
    lines = [json.loads(line) for line in (Path(output) / "trainer_log.jsonl").read_text().splitlines()]
    return [line for line in lines if "loss" in line]


def weights(folder: Path, name: str = "model.safetensors") -> dict[str, torch.Tensor]:
    """Tensors of a saved model or adapter."""
    return load_file(Path(folder) / name)


def largest_relative_difference(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Largest |a - b| over the norm of a, tensor by tensor; both must have the same names."""
    assert a.keys() == b.keys()
    return max(((a[k].double() - b[k].double()).norm() / (a[k].double().norm() + 1e-12)).item() for k in a)
