# SPDX-License-Identifier: Apache-2.0
"""Every recipe, and the README's and the page of all keys, is one that host and plugin accept."""

import re
from pathlib import Path

import pytest
import yaml

from rgpt4d_plugin.arguments import PRESETS, parse_p4d
from rgpt4d_plugin.curation.recipe import Filters, read_curation
from rgpt4d_plugin.eval_hooks.arguments import parse_p4d_eval, schedule
from tests.benchmark_folders import write_folder
from tests.host_parts import HOST_KEYS


ROOT = Path(__file__).parents[1]
CURATE = ROOT / "recipes/curate.yaml"
RECIPES = sorted({*ROOT.glob("recipes/**/*.yaml")} - {CURATE})


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "l4p.ckpt"
    path.touch()
    return str(path)


def with_checkpoint(block, path):
    """Returns the block with a teacher that exists: recipes name a path that the user fills."""
    teacher = block.get("teacher", {})
    key = "depth_anything_3" if teacher.get("type") == "composite" else "checkpoint"
    return {**block, "teacher": {**teacher, key: path}}


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_recipe(path, checkpoint, tmp_path):
    recipe = yaml.safe_load(path.read_text())
    block, evaluation = recipe.pop("p4d", None), recipe.pop("p4d_eval", None)
    assert recipe.keys() <= HOST_KEYS
    assert block or evaluation
    if block is not None:
        assert parse_p4d(with_checkpoint(block, checkpoint), recipe).loss.active
    if evaluation is not None:
        folders = {name: str(tmp_path / name) for name in evaluation["benchmarks"]}
        for name, folder in folders.items():
            write_folder(name, Path(folder))
        assert schedule(recipe, parse_p4d_eval({**evaluation, "benchmarks": folders}, recipe)) == recipe
    if recipe.get("deepspeed"):
        assert (ROOT / recipe["deepspeed"]).is_file()


def test_recipe_of_a_curation():
    """It is one that `rgpt4d curate` accepts, and it writes out defaults as they are."""
    recipe = read_curation(str(CURATE))
    assert recipe.filters == Filters()
    assert recipe.models.keys() == {"vlm", "grounding", "tracking"}


def test_release_recipe_states_the_preset(checkpoint):
    """What the recipe writes out is what `preset: release` would set, so that its comment is true."""
    block = yaml.safe_load((ROOT / "recipes/4drgpt_p4d.yaml").read_text())["p4d"]
    assert block["loss"] == PRESETS["release"]["loss"]
    assert parse_p4d(with_checkpoint(block, checkpoint)).decoder.layers == PRESETS["release"]["decoder"]["layers"]


def test_readme(checkpoint):
    """The recipe with P4D differs from the one without by the block alone, and both are good ones."""
    (diff,) = re.findall(r"```diff\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    plain, distilled = (
        yaml.safe_load("\n".join(line[1:] for line in diff.splitlines() if line[0] in marks)) for marks in (" -", " +")
    )
    assert plain.keys() <= HOST_KEYS
    assert {key for key in distilled if distilled[key] != plain.get(key)} == {"p4d", "output_dir"}
    parse_p4d(with_checkpoint(distilled["p4d"], checkpoint))
