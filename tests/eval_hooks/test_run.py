# SPDX-License-Identifier: Apache-2.0
"""Benchmarks on a finished model: by a recipe that only evaluates, and by `rgpt4d eval run`; killed and resumed."""

import json
import shutil

import pytest

from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError, parse_p4d_eval
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS
from rgpt4d_plugin.eval_hooks.engines.host import HostEngine
from rgpt4d_plugin.eval_hooks.engines.load import load_host_engine
from rgpt4d_plugin.eval_hooks.replies import ReplyFile, ReplyFileError
from rgpt4d_plugin.eval_hooks.run import metrics_of, run_benchmarks, run_with_engine, run_with_host
from rgpt4d_plugin.eval_hooks.scoring import Result
from tests.benchmark_folders import put, write_folder
from tests.harness import train_here
from tests.host_parts import host_parts


SMALL = {"frames": 4, "max_new_tokens": 2, "batch_size": 2, "workers": 0}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("benchmarks")
    for name in BENCHMARKS:
        write_folder(name, root / name, items=6 if name == "r4d_bench" else 2)
    return {name: str(root / name) for name in BENCHMARKS}


@pytest.fixture
def recipe(assets, folders):
    """What evaluates R4D-Bench."""
    return {
        "model_name_or_path": str(assets.student),
        "template": "qwen2_vl",
        "infer_dtype": "float32",
        "p4d_eval": {"benchmarks": {"r4d_bench": folders["r4d_bench"]}, **SMALL},
    }


@pytest.fixture
def asked(monkeypatch):
    """Keys of the questions that engines are asked during the test."""
    keys = []
    ask = HostEngine.ask
    monkeypatch.setattr(HostEngine, "ask", lambda self, qs: (keys.extend(q.key for q in qs), ask(self, qs))[1])
    return keys


def replies_of(out, benchmark="r4d_bench"):
    return ReplyFile.read(out / benchmark / "replies.jsonl").replies


@pytest.mark.slow
def test_every_benchmark_in_one_run(recipe, folders, tmp_path):
    recipe["p4d_eval"] = {"benchmarks": folders, **SMALL}
    results = run_with_host(recipe, tmp_path / "out", progress=False)

    evaluation = parse_p4d_eval(recipe["p4d_eval"], {})
    assert [result.benchmark for result in results] == list(BENCHMARKS)
    for result, questionnaire in zip(results, evaluation.questionnaires, strict=True):
        assert result.items == len(questionnaire.questions) > 1
        assert result.counts["missing"] == result.counts["error"] == 0
        assert Result.read(tmp_path / "out" / result.benchmark).columns == result.columns
        engine = result.settings["engine"]
        assert (engine["model"], engine["template"]) == (recipe["model_name_or_path"], "qwen2_vl")
        assert engine["decoding"]["do_sample"] is False and engine["versions"]["llamafactory"]
    assert set(metrics_of(evaluation.questionnaires, results)) == set(evaluation.keys)


@pytest.mark.slow
def test_a_recipe_that_only_evaluates(assets, recipe, tmp_path, asked):
    """Through the host's own `train` command: no dataset, no training, the same replies."""
    run_with_host(recipe, tmp_path / "run", progress=False)
    out = tmp_path / "out"
    evaluating = {**recipe, "stage": "sft", "do_predict": True, "output_dir": str(out), "report_to": "none"}
    del asked[:]
    train_here(evaluating)

    assert len(asked) == 6
    assert replies_of(out) == replies_of(tmp_path / "run")
    result = Result.read(out / "r4d_bench")
    assert result.settings == Result.read(tmp_path / "run/r4d_bench").settings
    saved = json.loads((out / "eval_results.json").read_text())
    assert saved["eval_r4d_avg"] == result.columns["official"]["Avg"].value
    assert (out / "report.html").is_file() and not list(out.glob("*.safetensors"))

    train_here({**evaluating, "dataset": "of the training recipe", "do_predict": False, "do_eval": True})
    assert len(asked) == 6  # all replies were there


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(recipe, tmp_path, asked):
    (whole,) = run_with_host(recipe, tmp_path / "whole", progress=False)
    engine = load_host_engine(recipe, batch_size=2, workers=0)
    evaluation = parse_p4d_eval(recipe["p4d_eval"], recipe)

    class Killed(Exception):
        pass

    class Dying:
        description = engine.description

        def ask(self, questions):
            for number, answer in enumerate(engine.ask(questions)):
                if number == 3:
                    raise Killed
                yield answer

    out = tmp_path / "killed"
    with pytest.raises(Killed):
        run_benchmarks(evaluation.questionnaires, Dying(), out, progress=False)
    path = out / "r4d_bench/replies.jsonl"
    assert len(ReplyFile.read(path).done) == 3 and not (out / "r4d_bench/result.json").exists()
    with path.open("ab") as file:
        file.write(b'{"key": "vlm4d/1", "te')

    del asked[:]
    (resumed,) = run_with_host(recipe, out, progress=False)
    assert len(asked) == 3
    assert replies_of(out) == replies_of(tmp_path / "whole")
    assert (resumed.columns, resumed.rows) == (whole.columns, whole.rows)


@pytest.mark.slow
def test_replies_of_another_model_are_not_continued(assets, recipe, tmp_path):
    student = tmp_path / "student"
    shutil.copytree(assets.student, student)
    recipe["model_name_or_path"] = str(student)
    run_with_host(recipe, tmp_path / "out", progress=False)
    config = json.loads((student / "generation_config.json").read_text())
    (student / "generation_config.json").write_text(json.dumps({**config, "top_k": 3}))
    with pytest.raises(ReplyFileError, match="engine.weights: '.*' before, '.*' now"):
        run_with_host(recipe, tmp_path / "out", progress=False)


@pytest.mark.slow
def test_a_broken_video_is_a_counted_failure_and_asked_again(recipe, folders, tmp_path, asked):
    folder = tmp_path / "r4d_bench"
    shutil.copytree(folders["r4d_bench"], folder)
    recipe["p4d_eval"]["benchmarks"] = {"r4d_bench": str(folder)}
    video = folder / "videos/vlm4d/clip_2.mp4"
    content = video.read_bytes()
    put(video, content[:300])
    out = tmp_path / "out"
    (result,) = run_with_host(recipe, out, progress=False)
    assert result.items == 6 and 0 < result.counts["error"] < 6
    failed = [key for key, reply in replies_of(out).items() if reply.error]
    assert all(str(video) in replies_of(out)[key].error for key in failed)
    assert "failed count" in result.answered

    put(video, content)
    del asked[:]
    (mended,) = run_with_host(recipe, out, progress=False)
    assert asked == failed and mended.counts["error"] == 0


@pytest.mark.slow
def test_a_training_recipe_will_do(assets, folders, tmp_path):
    block = {"benchmarks": {"r4d_bench": folders["r4d_bench"]}, "every": 5, "limit": 2, **SMALL}
    recipe = assets.recipe(tmp_path / "train", p4d_eval={**block, "out": str(tmp_path / "out")}, video_maxlen=None)
    (result,) = run_with_host({**recipe, "p4d": assets.p4d(frames=8)}, progress=False)
    assert (result.items, result.limit) == (2, 2) and (tmp_path / "out/r4d_bench/result.json").is_file()
    assert not (tmp_path / "train").exists()


def test_looking_at_a_recipe_needs_no_benchmark(assets, tmp_path):
    """`rgpt4d preview` of a recipe that chooses its best model by a benchmark."""
    recipe = assets.recipe(tmp_path / "out", p4d=None, p4d_eval={"benchmarks": {"r4d_bench": "nowhere"}, "every": 1})
    recipe |= {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
    recipe |= {"load_best_model_at_end": True, "metric_for_best_model": "eval_r4d_avg"}
    assert host_parts(recipe).records("synth4d", 1)


@pytest.mark.slow
def test_an_engine_that_is_there_already(recipe, tmp_path):
    engine = load_host_engine(recipe)
    (result,) = run_with_engine(recipe["p4d_eval"], engine, tmp_path / "out", progress=False)
    assert result.items == 6


def test_what_is_wrong_is_said_before_a_model_is_loaded(recipe, tmp_path):
    recipe["model_name_or_path"] = str(tmp_path / "nowhere")
    with pytest.raises(EvalConfigError, match="p4d_eval.out: missing"):
        run_with_host(recipe)
    del recipe["p4d_eval"]["benchmarks"]
    with pytest.raises(EvalConfigError, match="p4d_eval.benchmarks: expected a mapping"):
        run_with_host(recipe, tmp_path / "out")


def test_a_model_that_is_not_there_is_named(recipe, tmp_path):
    recipe["model_name_or_path"] = str(tmp_path / "nowhere")
    with pytest.raises(OSError, match=f"model_name_or_path: {tmp_path}/nowhere: Failed to load tokenizer.*folder"):
        load_host_engine(recipe)
