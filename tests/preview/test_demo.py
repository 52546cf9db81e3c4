# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d demo`: which recipes it takes, and that it overwrites nothing of others."""

import pytest
import yaml

from rgpt4d_plugin.cli import main


def recipe(folder, **keys):
    paths = {
        "model_name_or_path": str(folder / "student"),
        "dataset_dir": str(folder / "clips"),
        "output_dir": str(folder / "run"),
        "p4d": {"teacher": {"checkpoint": str(folder / "teacher.safetensors")}},
    }
    return paths | {"max_steps": 2} | keys


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (recipe, "is there already, and is not the demo's: it would be overwritten"),
        (lambda folder: recipe(folder, p4d="full"), "p4d.teacher.checkpoint: missing; the demo is made for"),
        (lambda folder: recipe(folder, p4d={"teacher": ["a"]}), "p4d.teacher.checkpoint: missing"),
        (lambda folder: recipe(folder, max_steps=None), "max_steps: missing"),
        (lambda folder: ["a"], "expected keys and values"),
        (lambda folder: "just words", "demo.yaml"),
    ],
)
def test_recipes_that_are_none_of_the_demo_s(content, message, tmp_path, capsys):
    (tmp_path / "teacher.safetensors").write_bytes(b"the weights of somebody's teacher")
    (tmp_path / "demo.yaml").write_text(yaml.safe_dump(content(tmp_path)))
    assert main(["demo", str(tmp_path / "demo.yaml")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("rgpt4d demo: ") and message in error and "Traceback" not in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["demo.yaml", "teacher.safetensors"]
    assert (tmp_path / "teacher.safetensors").read_bytes() == b"the weights of somebody's teacher"
