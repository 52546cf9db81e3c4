# SPDX-License-Identifier: Apache-2.0
"""Benchmarks while training: part of the host's evaluations and of its choice of a model, and nothing else."""

import functools
import json
import random

import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from rgpt4d_plugin.eval_hooks import trainer as trainer_module
from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError
from rgpt4d_plugin.eval_hooks.replies import ReplyFile
from rgpt4d_plugin.eval_hooks.scoring import Result
from rgpt4d_plugin.patches.eval_block import KEY
from tests.benchmark_folders import write_folder
from tests.harness import train_here, weights


@pytest.fixture(scope="module")
def r4d(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks") / "r4d_bench"
    write_folder("r4d_bench", folder, items=4)
    return str(folder)


@pytest.fixture
def block(r4d):
    """A block that takes little time."""
    return {
        "benchmarks": {"r4d_bench": r4d},
        "limit": 3,
        "frames": 4,
        "max_new_tokens": 2,
        "batch_size": 2,
        "workers": 0,
    }


@pytest.fixture
def scripted(monkeypatch):
    """Lets a test say what R4D-Bench's average is, evaluation by evaluation; the questions are asked all the same."""
    metrics_of = trainer_module.metrics_of

    def script(*averages):
        values = iter(averages)
        monkeypatch.setattr(
            trainer_module,
            "metrics_of",
            lambda *args: {**metrics_of(*args), "eval_r4d_avg": next(values)},
        )

    return script


def log_lines(folder):
    return [json.loads(line) for line in (folder / "trainer_log.jsonl").read_text().splitlines()]


def history(folder):
    return json.loads((folder / "trainer_state.json").read_text())


@pytest.mark.slow
def test_columns_are_logged_and_replies_kept(assets, tmp_path, block):
    out = tmp_path / "out"
    train_here(assets.recipe(out, p4d=None, max_steps=3, plot_loss=True, p4d_eval={**block, "every": 2}))

    evaluated = [line for line in log_lines(out) if "eval_r4d_avg" in line]
    assert [line["current_steps"] for line in evaluated] == [2]  # the one after training is in eval_results.json
    result = Result.read(out / "p4d_eval/step-2/r4d_bench")
    assert evaluated[0]["eval_r4d_avg"] == result.columns["official"]["Avg"].value
    assert evaluated[0]["eval_r4d_avg_strict"] == result.columns["strict"]["Avg"].value
    assert result.items == 3 and result.counts["missing"] == result.counts["error"] == 0
    assert result.settings["engine"]["trained_steps"] == 2 and result.settings["frames"] == 4
    logged = next(entry for entry in history(out)["log_history"] if "eval_r4d_avg" in entry)
    assert logged["step"] == 2 and "eval_loss" not in logged and logged["eval_samples_per_second"] > 0

    # Step 3 was trained after the last evaluation, and so the end has one of its own.
    final = Result.read(out / "p4d_eval/final/r4d_bench")
    assert final.settings["engine"]["trained_steps"] == 3
    assert (
        json.loads((out / "eval_results.json").read_text())["eval_r4d_avg"] == final.columns["official"]["Avg"].value
    )
    assert "R4D-Bench" in (out / "p4d_eval/final/report.md").read_text()


@pytest.mark.slow
def test_without_every_there_is_one_evaluation_at_the_end(assets, tmp_path, block):
    out = tmp_path / "out"
    train_here(assets.recipe(out, p4d=None, max_steps=2, p4d_eval={**block, "out": str(tmp_path / "scores")}))

    assert not any("eval_r4d_avg" in line for line in log_lines(out))
    assert [path.name for path in (tmp_path / "scores").iterdir() if path.is_dir() and path.name != "pictures"] == [
        "final"
    ]
    assert "eval_r4d_avg" in json.loads((out / "eval_results.json").read_text())


@pytest.mark.slow
def test_generation_keeps_what_it_has_computed_under_gradient_checkpointing(assets, tmp_path, block, monkeypatch):
    lengths = []
    forward = Qwen2_5_VLForConditionalGeneration.forward

    def recording_forward(self, *args, **kwargs):
        if not self.training:
            lengths.append(kwargs["input_ids"].shape[1])
        return forward(self, *args, **kwargs)

    functools.update_wrapper(recording_forward, forward)
    monkeypatch.setattr(Qwen2_5_VLForConditionalGeneration, "forward", recording_forward)
    train_here(assets.recipe(tmp_path / "out", p4d=None, max_steps=1, p4d_eval={**block, "limit": 1, "every": 1}))
    assert len(lengths) == 2 and lengths[0] > 50 and lengths[1] == 1


@pytest.mark.slow
def test_weights_of_step_and_end_are_asked_once(assets, tmp_path, block, scripted):
    out = tmp_path / "out"
    scripted(50.0)  # a second evaluation would have no number
    train_here(assets.recipe(out, p4d=None, max_steps=2, p4d_eval={**block, "every": 2}))

    assert json.loads((out / "eval_results.json").read_text())["eval_r4d_avg"] == 50.0
    step, final = (ReplyFile.read(out / f"p4d_eval/{name}/r4d_bench/replies.jsonl") for name in ("step-2", "final"))
    assert step.replies == final.replies and step.settings == final.settings


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        pytest.param(
            {"p4d": None, "finetuning_type": "lora", "lora_rank": 4, "lora_dropout": 0.3}, id="lora, dropout"
        ),
        pytest.param({}, id="p4d"),
        pytest.param({"finetuning_type": "lora", "quantization_bit": 4, "quantization_type": "nf4"}, id="qlora"),
        pytest.param({"p4d": None, "eval_dataset": "synth4d", "eval_strategy": "steps", "eval_steps": 1}, id="loss"),
    ],
)
def test_evaluation_leaves_no_trace_in_the_weights(assets, tmp_path, block, way):
    """Bit for bit, with random numbers drawn after evaluations: dropout, and the shuffle of a second epoch."""
    draws = {"max_steps": 6, "per_device_train_batch_size": 2, "disable_shuffling": False, **way}
    train_here(assets.recipe(tmp_path / "without", **draws))
    train_here(assets.recipe(tmp_path / "with", **draws, p4d_eval={**block, "limit": 1, "every": 2}))

    name = "adapter_model.safetensors" if "finetuning_type" in way else "model.safetensors"
    before, after = ((tmp_path / run / name).read_bytes() for run in ("without", "with"))
    assert before == after
    losses = [[line["loss"] for line in log_lines(tmp_path / run) if "loss" in line] for run in ("without", "with")]
    assert losses[0] == losses[1] and len(losses[0]) == 6
    assert sum("eval_r4d_avg" in line for line in log_lines(tmp_path / "with")) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        pytest.param({"p4d": None}, id="full"),
        pytest.param({}, id="p4d"),
    ],
)
def test_the_best_model_is_chosen_by_a_benchmark(assets, tmp_path, block, scripted, way):
    out = tmp_path / "out"
    scripted(10.0, 30.0, 20.0, 25.0, 30.0)  # the last one is of the weights that are put back
    recipe = assets.recipe(out, max_steps=4, p4d_eval={**block, "limit": 1, "every": 1}, **way)
    recipe |= {
        "eval_strategy": "steps",
        "eval_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "load_best_model_at_end": True,
        "metric_for_best_model": "r4d_avg",
    }
    train_here(recipe)

    state = history(out)
    assert (state["best_metric"], state["best_global_step"]) == (30.0, 2)
    saved, best, last = (weights(folder) for folder in (out, out / "checkpoint-2", out / "checkpoint-4"))
    assert all(torch.equal(saved[key], best[key]) for key in best)
    assert not all(torch.equal(saved[key], last[key]) for key in last)


@pytest.mark.slow
def test_the_host_stops_early_by_a_benchmark(assets, tmp_path, block, scripted):
    out = tmp_path / "out"
    scripted(30.0, 20.0, 10.0, 30.0)
    recipe = assets.recipe(out, p4d=None, max_steps=6, p4d_eval={**block, "limit": 1, "every": 1})
    recipe |= {"eval_strategy": "steps", "eval_steps": 1, "metric_for_best_model": "eval_r4d_avg"}
    train_here({**recipe, "early_stopping_steps": 2})

    assert history(out)["global_step"] == 3


@pytest.mark.slow
def test_the_hosts_own_evaluation_goes_on_beside_it(assets, tmp_path, block):
    out = tmp_path / "out"
    recipe = assets.recipe(out, p4d=None, max_steps=2, p4d_eval={**block, "every": 2})
    train_here({**recipe, "eval_dataset": "synth4d", "eval_strategy": "steps", "eval_steps": 1})

    losses, averages = ([line for line in log_lines(out) if key in line] for key in ("eval_loss", "eval_r4d_avg"))
    assert [line["current_steps"] for line in losses] == [1, 2]
    assert [line["current_steps"] for line in averages] == [2]
    final = json.loads((out / "eval_results.json").read_text())
    assert final["eval_loss"] == losses[1]["eval_loss"] and final["eval_r4d_avg"] == averages[0]["eval_r4d_avg"]
    assert "Validation Loss" in (out / "README.md").read_text()


@pytest.mark.slow
def test_replies_of_an_earlier_training_are_not_taken_for_this_ones(assets, tmp_path, block):
    out = tmp_path / "out"
    for rate in (0.0, 0.5):
        recipe = assets.recipe(out, p4d=None, max_steps=1, learning_rate=rate, p4d_eval={**block, "every": 1})
        train_here(recipe)
        (tmp_path / f"{rate}.jsonl").write_bytes((out / "p4d_eval/step-1/r4d_bench/replies.jsonl").read_bytes())
    before, after = (ReplyFile.read(tmp_path / f"{rate}.jsonl").replies for rate in (0.0, 0.5))
    assert before.keys() == after.keys() and before != after


def test_random_numbers_are_put_back():
    import numpy as np

    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()

    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = numbers()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    with trainer_module._same_random_numbers(torch.device("cpu")):
        random.seed(7), np.random.seed(7), torch.manual_seed(7)
    assert numbers() == expected


@pytest.mark.slow
def test_without_the_block_the_trainer_is_the_hosts(assets, tmp_path, monkeypatch):
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

    built = []
    init = CustomSeq2SeqTrainer.__init__
    monkeypatch.setattr(
        CustomSeq2SeqTrainer, "__init__", lambda self, **kwargs: (built.append(type(self)), init(self, **kwargs))[1]
    )
    train_here(assets.recipe(tmp_path / "out", p4d=None, max_steps=1))
    assert built == [CustomSeq2SeqTrainer]


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"stage": "pt"}, "stage: 'pt': `p4d_eval:` works with stage: sft only"),
        ({"p4d_eval": {"benchmarks": {"r4d": "x"}}}, "unknown benchmark 'r4d'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_loaded(assets, tmp_path, block, monkeypatch, changes, found):
    from llamafactory.train.sft import workflow

    monkeypatch.setattr(workflow, "load_tokenizer", lambda *args: pytest.fail("something was loaded"))
    recipe = {**assets.recipe(tmp_path / "out", p4d=None), KEY: block, **changes}
    with pytest.raises(EvalConfigError, match=found):
        train_here(recipe)


@pytest.mark.parametrize("variable", ["USE_RAY", "USE_MCA"])
def test_other_back_ends_are_refused(assets, tmp_path, block, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with pytest.raises(EvalConfigError, match=f"back end .*: unset {variable} or remove `p4d_eval:`"):
        train_here({**assets.recipe(tmp_path / "out", p4d=None), KEY: block})
