# SPDX-License-Identifier: Apache-2.0
"""Tables for leaderboards: what other tools read from them is what was scored."""

import json

import pandas
import pytest

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.replies import Reply
from rgpt4d_plugin.eval_hooks.scoring import Result, score_replies
from tests.benchmark_folders import write_folder


def table(path):
    """Reads a table as VLMEvalKit does."""
    return pandas.read_csv(path, sep="\t")


@pytest.fixture
def run(tmp_path):
    """A run on VSI-Bench: right, wrong and odd replies."""
    write_folder("vsi_bench", tmp_path / "data", 20)
    benchmark, data = get("vsi_bench"), get("vsi_bench").load(tmp_path / "data")
    odd = ['"A"\tB\n\n\x00=1+1', "\ud800", "", "4 of them", "C"]
    replies = {}
    for number, item in enumerate(data.items[:-1]):
        text = odd[number // 3 % 5] if number % 3 else benchmark.gold(item)
        replies[benchmark.key(item)] = Reply(benchmark.key(item), text)
    settings = {"frames": 32, "engine": {"model": "saves/my model"}}
    score_replies(benchmark, data, replies, settings=settings).write(tmp_path / "run/vsi_bench")
    return tmp_path / "run"


def test_a_line_per_question_and_the_columns(run, tmp_path, capsys):
    assert main(["eval", "export", str(run), "--out", str(tmp_path / "out")]) == 0
    names = ["my_model_VSI-Bench_32frame.tsv", "my_model_VSI-Bench_32frame_acc.tsv", "setup.json"]
    assert capsys.readouterr().out.split() == [str(tmp_path / "out" / name) for name in names]
    result = Result.read(run / "vsi_bench")
    lines = table(tmp_path / "out" / names[0])
    assert list(lines["index"]) == [int(row.key) for row in result.rows] == list(range(10, 30))
    assert list(lines["answer"]) == [row.gold for row in result.rows]
    assert json.loads(lines["candidates"][1])[0] == "A. stove" and lines["prediction"][0] == result.rows[0].reply
    assert set(lines["question_type"]) >= {"object_rel_direction_easy", "object_counting"}

    # The official overall from the table alone, as EASI takes it: the mean of eight, directions one of them.
    lines["score"] = lines["hit"].fillna(lines["MRA:.5:.95:.05"])
    types = lines.groupby("question_type")["score"].mean()
    directions = types[[name for name in types.index if "_direction_" in name]]
    overall = pandas.concat([types.drop(directions.index), pandas.Series([directions.mean()])]).mean()
    columns = table(tmp_path / "out" / names[1]).set_index("reading")
    assert columns.loc["official", "Overall"] == pytest.approx(100 * overall)
    assert columns.loc["strict", "Overall"] == result.columns["strict"]["Overall"].value

    setup = json.loads((tmp_path / "out/setup.json").read_text())["VSI-Bench_32frame"]
    assert setup["settings"]["frames"] == 32 and setup["items"] == 20 and setup["counts"]["missing"] == 1


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_has_a_table(name, tmp_path):
    write_folder(name, tmp_path / "data", 4)
    benchmark, data = get(name), get(name).load(tmp_path / "data")
    replies = {benchmark.key(item): Reply(benchmark.key(item), "A") for item in data.items}
    score_replies(benchmark, data, replies, replicates=10).write(tmp_path / "run" / name)
    assert main(["eval", "export", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 0
    (path,) = (path for path in (tmp_path / "out").glob("model_*.tsv") if not path.name.endswith("_acc.tsv"))
    lines = table(path)
    assert len(lines) == len(data.items) == lines["index"].nunique() and set(lines["prediction"]) == {"A"}


def test_a_folder_without_results_is_said(tmp_path, capsys):
    assert main(["eval", "export", str(tmp_path), "--out", str(tmp_path / "out")]) == 1
    assert "no results (*/result.json) in this folder" in capsys.readouterr().err
