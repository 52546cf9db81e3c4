# SPDX-License-Identifier: Apache-2.0
"""The runner, with a stand-in for `llamafactory-cli`: what is started, resumed, refused and kept."""

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from rgpt4d_plugin.evidence import run as runner
from rgpt4d_plugin.evidence.arms import PRESETS, Run
from rgpt4d_plugin.files import write_json


# Writes what a training leaves, and notes that it was started; an arm "fails" where the test says so.
_STAND_IN = """#!{python}
import json, os, pathlib, sys, yaml
recipe = yaml.safe_load(open(sys.argv[2]))
output = pathlib.Path(recipe["output_dir"])
root = pathlib.Path(recipe["dataset_dir"]).parent
with open(root / "started", "a") as file:
    file.write(f"{{output.parent.name}} {{len(list(output.glob('checkpoint-*')))}}\\n")
if os.environ.get("FAIL") == output.parent.name:
    sys.exit("out of memory")
output.mkdir(parents=True, exist_ok=True)
steps = recipe["max_steps"]
tokens = pathlib.Path(recipe["tokenized_path"])
tokens.mkdir(parents=True, exist_ok=True)
(tokens / "rgpt4d_settings.json").write_text("{{}}")
(output / "trainer_log.jsonl").write_text(json.dumps({{"current_steps": steps, "loss": 0.5, "loss_sft": 0.5}}) + "\\n")
for step in (recipe["p4d_eval"]["every"], steps):
    folder = output / "p4d_eval" / f"step-{{step}}" / "synth4d"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{{"key": "a", "official": 1.0}}, {{"key": "b", "official": 0.0}}, {{"key": "c", "official": 1.0}}]
    (folder / "scores.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
"""


@pytest.fixture
def root(tmp_path, monkeypatch):
    """An experiment whose data is there and whose trainings are the stand-in."""
    command = tmp_path / "bin" / "llamafactory-cli"
    command.parent.mkdir()
    command.write_text(_STAND_IN.format(python=sys.executable))
    command.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(command.with_name("python")))
    root = tmp_path / "evidence"

    def prepare(folder, preset, runs):
        (folder / "data" / "asked").mkdir(parents=True, exist_ok=True)
        kinds = {"a": "T/heading", "b": "T/heading", "c": "FP/moving"}
        write_json(folder / "data" / "asked" / "questions.json", [{"id": k, "kind": v} for k, v in kinds.items()])

    monkeypatch.setattr("rgpt4d_plugin.evidence.data.prepare", prepare)
    return root


def _started(root: Path) -> list[str]:
    return (root / "started").read_text().split("\n")[:-1]


def test_every_run_leaves_a_result(root):
    runner.run_experiment(root, "tiny", [Run("sft", "one", 1), Run("explicit", "one", 1)])
    result = json.loads((root / "runs" / "one-explicit-1" / "result.json").read_text())
    assert [point["accuracy"] for point in result["curve"]] == 2 * [{"FP/moving": 100.0, "T/heading": 50.0}]
    assert result["curve"][-1]["step"] == PRESETS["tiny"].steps
    assert result["losses"] == [{"current_steps": PRESETS["tiny"].steps, "loss": 0.5, "loss_sft": 0.5}]


def test_what_is_finished_is_not_started_again(root):
    first, second = Run("sft", "one", 1), Run("sft", "one", 2)
    runner.run_experiment(root, "tiny", [first])
    runner.run_experiment(root, "tiny", [first, second])
    assert _started(root) == ["one-sft-1 0", "one-sft-2 0"]


def test_killed_run_goes_on_from_its_checkpoint_or_begins_anew(root):
    for name, left in (("one-sft-1", "checkpoint-5"), ("one-sft-2", "p4d_eval")):
        (root / "runs" / name / "train" / left).mkdir(parents=True)
        (root / "runs" / name / "train" / "trainer_log.jsonl").write_text('{"current_steps": 5}\n{"curr')
    runner.run_experiment(root, "tiny", [Run("sft", "one", 1), Run("sft", "one", 2)])
    assert _started(root) == ["one-sft-1 1", "one-sft-2 0"]


def test_failure_says_where_the_output_is(root, monkeypatch):
    monkeypatch.setenv("FAIL", "one-explicit-1")
    runs = [Run("sft", "one", 1), Run("explicit", "one", 1), Run("sft", "one", 2)]
    with pytest.raises(runner.RunError, match=r"one-explicit-1/output\.log"):
        runner.run_experiment(root, "tiny", runs)
    assert "out of memory" in (root / "runs" / "one-explicit-1" / "output.log").read_text()
    assert (root / "runs" / "one-sft-1" / "result.json").exists()
    assert not (root / "runs" / "one-explicit-1" / "result.json").exists()


def test_folder_belongs_to_one_preset(root):
    runner.run_experiment(root, "tiny", [Run("sft", "one", 1)])
    with pytest.raises(ValueError, match="other settings"):
        runner.run_experiment(root, "gpu", [Run("sft", "one", 1)])


def test_runs_of_a_seed_differ_in_their_loss_alone(root):
    """Same weights, records, order and steps: what the recipes of two arms do not share is what is compared."""
    runner.run_experiment(root, "tiny", [Run(arm, "one", 1) for arm in ("sft", "explicit", "pixels")])
    recipes = []
    for arm in ("sft", "explicit", "pixels"):
        recipe = yaml.safe_load((root / "runs" / f"one-{arm}-1" / "recipe.yaml").read_text())
        del recipe["output_dir"], recipe["p4d"]["loss"], recipe["p4d"]["teacher"]["files"]
        recipes.append(recipe)
    assert recipes[0] == recipes[1] == recipes[2]


def test_unfinished_tokens_are_removed(root):
    tokens = root / "tokenized" / "train_one_1"
    tokens.mkdir(parents=True)
    (tokens / "half.arrow").write_bytes(b"")
    runner.run_experiment(root, "tiny", [Run("sft", "one", 1)])
    assert os.listdir(tokens) == ["rgpt4d_settings.json"]


def test_a_strong_base_is_trained_before_what_starts_from_it(root):
    runner.run_experiment(root, "tiny", [Run("explicit", "strong", 2), Run("sft", "strong", 2)], jobs=3)
    assert _started(root)[0] == "long-sft-1 0"
    base, recipe = (
        yaml.safe_load((root / "runs" / name / "recipe.yaml").read_text())
        for name in ("long-sft-1", "strong-explicit-2")
    )
    assert recipe["model_name_or_path"] == str(root / "runs" / "long-sft-1" / "train")
    assert base["max_steps"] == 4 * recipe["max_steps"] == 4 * PRESETS["tiny"].steps


def test_tokens_are_written_by_one_run(root):
    """The others that read them wait for it."""
    runner.run_experiment(root, "tiny", [Run(arm, "one", 1) for arm in ("sft", "explicit", "pixels")], jobs=3)
    assert _started(root)[0] == "one-sft-1 0"
    assert len(_started(root)) == 3
