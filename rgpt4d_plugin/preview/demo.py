# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d demo`: the whole product in small, offline, on a CPU: assets, training through the host, pictures."""

import filecmp
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from rgpt4d_plugin import recipes
from rgpt4d_plugin.recipe import read_recipe
from rgpt4d_plugin.synth4d import HELD_OUT, TINY_TEACHER, write_clips
from rgpt4d_plugin.synth4d.tiny_model import build_tiny_student


# What the demo builds, or reads after the run.
_NEEDED = ("model_name_or_path", "dataset_dir", "output_dir", "max_steps", "p4d.teacher.checkpoint")


def run_demo(recipe_path: str | None) -> None:
    """Builds what the recipe names, trains with `llamafactory-cli`, prints the terms and draws the maps.

    With `p4d.teacher.cache` in the recipe, `rgpt4d cache-teacher` makes it before.

    Args:
        recipe_path: None: the package's own `demo_cpu.yaml`, of which the folder `demo` gets a copy.

    Raises:
        FileNotFoundError: There is no such recipe.
        ValueError: It is no recipe of the demo, or its files would take the place of others.
        RuntimeError: The training, or the caching before it, failed; its own output says why.
    """
    if recipe_path is None:
        recipe_path = str(recipes.copy(["demo_cpu"], "demo")[-1])
    recipe = read_recipe(recipe_path)
    for key in _NEEDED:
        found: Any = recipe
        for part in key.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        if found is None:
            raise ValueError(f"{recipe_path}: {key}: missing; the demo is made for recipes like recipes/demo_cpu.yaml")
    _build_assets(recipe)

    cache = recipe["p4d"]["teacher"].get("cache")
    if cache is not None:
        _run("rgpt4d", "cache-teacher", recipe_path, "--out", str(cache))
    _run("llamafactory-cli", "train", recipe_path)

    output = Path(recipe["output_dir"])
    sheet = _draw_maps(recipe, output)
    _print_terms(output)  # last: the host talks much while it loads models
    print(f"\nLoss curves:  {output}/training_p4d_terms.png and training_loss*.png")
    print(f"Maps:         {sheet}")


def _run(*command: str) -> None:
    """Runs a command of this environment; raises RuntimeError if it fails."""
    print(f"\n$ {shlex.join(command)}\n", flush=True)
    # Threads of networks this small only wait for each other.
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    program = str(Path(sys.executable).with_name(command[0]))
    if subprocess.run([program, *command[1:]], env=environment).returncode:
        raise RuntimeError(f"`{shlex.join(command)}` failed; see its output above")


def _build_assets(recipe: dict[str, Any]) -> None:
    """Puts the tiny student, the clips and the shipped teacher at the recipe's paths; keeps those that are there."""
    teacher = Path(recipe["p4d"]["teacher"]["checkpoint"])
    if teacher.exists() and not filecmp.cmp(teacher, TINY_TEACHER, shallow=False):
        raise ValueError(
            f"p4d.teacher.checkpoint: {teacher} is there already, and is not the demo's: it would be overwritten. "
            "Move it away, or use recipes/demo_cpu.yaml"
        )
    student = Path(recipe["model_name_or_path"])
    if not (student / "model.safetensors").exists():
        build_tiny_student(student, family="qwen2_5_vl", seed=0, merge=1)  # as many tokens as the teacher has
    write_clips(recipe["dataset_dir"], count=48, seed=0, held_out=0.125)
    teacher.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(TINY_TEACHER, teacher)
    print(f"student {student}, teacher {teacher}, clips {recipe['dataset_dir']}")


def _print_terms(output: Path) -> None:
    """Prints a table of the loss terms in the first and the last logging window."""
    lines = [json.loads(line) for line in (output / "trainer_log.jsonl").read_text().splitlines()]
    first, *_, last = [line for line in lines if "loss_sft" in line]
    print(f"\n{'term':<14}{'step ' + str(first['current_steps']):>12}{'step ' + str(last['current_steps']):>12}")
    for key in first:
        if key.startswith("loss"):
            print(f"{key:<14}{first[key]:>12.4f}{last[key]:>12.4f}")


def _draw_maps(recipe: dict[str, Any], output: Path) -> Path:
    """Contact sheet of a held-out clip, before and after."""
    from rgpt4d_plugin.preview.map_figure import save_contact_sheet
    from rgpt4d_plugin.preview.student_maps import clip_maps

    checkpoint = output / f"checkpoint-{recipe['max_steps']}"
    sheet = output / "maps_held_out.png"
    before, after = (clip_maps(recipe, HELD_OUT, record=0, checkpoint=folder) for folder in (None, str(checkpoint)))
    save_contact_sheet(before, after, str(sheet))
    return sheet
