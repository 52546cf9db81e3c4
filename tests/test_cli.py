# SPDX-License-Identifier: Apache-2.0
"""The `rgpt4d` command: its messages and exit codes, without a traceback."""

import pytest

from rgpt4d_plugin import cli
from rgpt4d_plugin.cli import main
from rgpt4d_plugin.recipe import read_recipe


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["synth", "--out", "x", "--size", "0", "64"],
            "argument --size: expected a whole number, at least 16, at most",
        ),
        (["synth", "--out", "x", "--size", "-64", "64"], "got '-64'"),
        (["synth", "--out", "x", "--size", "100000", "100000"], "at most 2048; got '100000'"),
        (
            ["synth", "--out", "x", "--fps", "nan"],
            "argument --fps: expected a number above 0, at most 1000; got 'nan'",
        ),
        (["synth", "--out", "x", "--fps", "inf"], "got 'inf'"),
        (["synth", "--out", "x", "--seed", "-1"], "argument --seed: expected a whole number, at least 0; got '-1'"),
        (["synth", "--out", "x", "--count", "two"], "got 'two'"),
        (
            ["preview", "x.yaml", "--out", "x", "--n", "0"],
            "argument --n: expected a whole number, at least 1; got '0'",
        ),
        (
            ["eval", "score", "--benchmark", "vlm4d", "--data", "x", "--replies", "x", "--out", "x", "--frames", "-1"],
            "argument --frames: expected a whole number, at least 1; got '-1'",
        ),
        (["convert", "wolff", "--src", "x", "--out", "x"], "invalid choice: 'wolff'"),
        (["preview", "x.yaml", "--out", "x", "--nn", "3"], "unrecognized arguments: --nn"),
    ],
)
def test_wrong_command_lines(options, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(options)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "message", "code"),
    [
        (ValueError("a.json, record 3"), "rgpt4d synth: a.json, record 3\n", 1),
        (RecursionError("maximum depth"), "nested too deeply to be read (maximum depth)", 1),
        (MemoryError("Unable to allocate 74.5 GiB"), "not enough memory: Unable to allocate 74.5 GiB", 1),
        (MemoryError(), "not enough memory: an allocation failed", 1),
        (KeyboardInterrupt(), "rgpt4d synth: interrupted\n", 130),
    ],
)
def test_errors_are_one_line(error, message, code, capsys, monkeypatch):
    def fail(arguments):
        raise error

    monkeypatch.setattr(cli, "_synth", fail)
    assert main(["synth", "--out", "x"]) == code
    found = capsys.readouterr()
    assert message in found.err and found.err.count("\n") == 1 and not found.out


def test_overrides(tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("a: 1\np4d: {frames: 8, loss: {depth: 0.1}}\n")
    found = read_recipe(recipe, ["p4d.loss.depth=0.2", "b.c=[1, 2]", "p4d.frames=16"])
    assert found == {"a": 1, "p4d": {"frames": 16, "loss": {"depth": 0.2}}, "b": {"c": [1, 2]}}


@pytest.mark.parametrize("override", ["a={b", "a=${x", "a=" + "[" * 3000])
def test_an_override_that_is_not_yaml(override, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("a: 1\n")
    with pytest.raises(ValueError, match="recipe.yaml with b=1 a=.*: ") as error:
        read_recipe(recipe, ["b=1", override])
    assert override in str(error.value)
