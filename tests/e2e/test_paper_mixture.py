# SPDX-License-Identifier: Apache-2.0
"""The release's recipe on its own mixture: four sources in small, converted by the command, trained as one."""

import re
import shutil
from pathlib import Path

import pytest
import yaml

from rgpt4d_plugin.cli import main
from tests import source_folders as sources
from tests.harness import DATA, logs, train_here


pytestmark = pytest.mark.slow


RECIPE = Path(__file__).parents[2] / "recipes/4drgpt_p4d.yaml"


def test_the_recipes_own_commands_and_mixture(assets, tmp_path, monkeypatch):
    data = tmp_path / "data"
    sources.vsti_folder(data / "VLM-3R-DATA", [sources.vsti_formatted()])
    sources.write(data / "Wolf/annotations/robotics_annotations.json", {"a.mp4": "A robot lifts a pen."})
    sources.write(data / "Wolf/videos/a.mp4")
    sources.write(data / "RoboFAC/training_qa.json", [sources.robofac_entry("PickCube-v1/drop/a.mp4")])
    sources.write(data / "RoboFAC/simulation_data/PickCube-v1/drop/a.mp4")
    sources.sat_file(data / "SAT/SAT_train.parquet", [sources.sat_row()])
    for placeholder in data.rglob("*.mp4"):
        shutil.copy(DATA / "clips/4.mp4", placeholder)

    monkeypatch.chdir(tmp_path)
    text = RECIPE.read_text()
    commands = re.findall(r"^###   rgpt4d (convert .*)$", text, re.M)
    assert [main(command.split()) for command in commands] == [0, 0, 0, 0]

    recipe = yaml.safe_load(text)
    of_the_recipe = {
        key: recipe[key]
        for key in ("dataset", "dataset_dir", "media_dir", "mix_strategy", "template", "overwrite_cache")
    }
    block = assets.p4d(frames=recipe["p4d"]["frames"], regions=recipe["p4d"]["regions"])
    train_here(assets.recipe(tmp_path / "out", **of_the_recipe, video_maxlen=None, max_steps=4, p4d=block))
    lines = logs(tmp_path / "out")
    # Shuffling is off: three datasets of one video each, and one of two images.
    assert [line["p4d_videos"] for line in lines] == [1, 1, 1, 0]
