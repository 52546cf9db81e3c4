# SPDX-License-Identifier: Apache-2.0
"""A benchmark is one file and one line of the registry: commands, configuration, reports and documents follow."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.eval_hooks.arguments import parse_p4d_eval
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.scoring import READINGS
from tests.toy_benchmark import toy_items, write_toy


ROOT = Path(__file__).parents[3]


def test_one_line_of_the_registry_adds_a_benchmark(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(BENCHMARKS, "toy", "tests.toy_benchmark:Toy")
    write_toy(tmp_path / "data", toy_items(12))
    with pytest.raises(SystemExit):
        main(["eval", "score", "--help"])
    assert "synth4d, toy" in capsys.readouterr().out

    block = {"benchmarks": {"toy": str(tmp_path / "data")}, "max_new_tokens": 2}
    assert parse_p4d_eval(block, {}).questionnaires[0].benchmark.title == "Toy-Bench"

    lines = [{"key": f"toy/{i}", "reply": "A"} for i in range(12)]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = ("--data", f"{tmp_path / 'data'}", "--replies", f"{tmp_path / 'replies.jsonl'}", "--out", f"{tmp_path}")
    assert main(["eval", "score", "--benchmark", "toy", *run]) == 0
    assert main(["eval", "report", f"{tmp_path}", "--out", f"{tmp_path}"]) == 0
    assert "Toy-Bench" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_a_benchmark_declares_agrees(name):
    benchmark = get(name)
    assert benchmark.name == name and benchmark.kind in ("video", "image")
    assert {*benchmark.rules, *benchmark.abbreviations} <= set(benchmark.columns)
    assert not set(benchmark.readings) & set(READINGS)
    assert benchmark.title in (ROOT / "README.md").read_text() + "".join(
        path.read_text() for path in (ROOT / "docs").rglob("*.md")
    )


def test_the_names_are_known_without_importing_a_benchmark():
    code = "import sys; from rgpt4d_plugin.eval_hooks import benchmarks as b; "
    code += "print(len(b.BENCHMARKS), b.__name__ + '.base' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(BENCHMARKS)), "False"]


def test_an_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="unknown benchmark 'r4d' .known: r4d_bench, sti_bench"):
        get("r4d")
