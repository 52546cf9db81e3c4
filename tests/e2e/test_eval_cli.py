# SPDX-License-Identifier: Apache-2.0
"""Evaluation through the real command line: the recipe that users run, and several processes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rgpt4d_plugin.eval_hooks.replies import ReplyFile
from rgpt4d_plugin.eval_hooks.run import run_with_host
from rgpt4d_plugin.eval_hooks.scoring import Result
from tests.benchmark_folders import put, write_folder
from tests.e2e.launch import FSDP1, FSDP2, SHARDED, run_together, ways
from tests.harness import logs, succeeded, train_here, weights


pytestmark = pytest.mark.slow


RECIPE = Path(__file__).parents[2] / "recipes/eval_r4d.yaml"

SMALL = {"frames": 4, "max_new_tokens": 2, "workers": 0}


@pytest.fixture(scope="module")
def r4d(tmp_path_factory):
    """Five questions, one with a broken video: processes get unequal shares of what can be read."""
    folder = tmp_path_factory.mktemp("benchmarks") / "r4d_bench"
    write_folder("r4d_bench", folder, items=5)
    video = folder / "videos/vlm4d/clip_1.mp4"
    put(video, video.read_bytes()[:300])
    return folder


def test_the_recipe_that_users_run(assets, tmp_path, r4d):
    changes = {
        "model_name_or_path": assets.student,
        "adapter_name_or_path": "null",
        "output_dir": tmp_path / "out",
        "p4d_eval.benchmarks.r4d_bench": r4d,
        "p4d_eval.frames": 4,
        "p4d_eval.max_new_tokens": 2,
    }
    scripts = Path(sys.executable).parent
    succeeded(
        subprocess.run(
            [scripts / "llamafactory-cli", "train", RECIPE, *(f"{key}={value}" for key, value in changes.items())],
            env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=300,
        )
    )
    result = Result.read(tmp_path / "out/r4d_bench")
    assert result.items == 5 and result.counts["error"] > 0 and result.settings["frames"] == 4
    assert "R4D-Bench" in (tmp_path / "out/report.md").read_text()


@pytest.mark.distributed
def test_two_processes_answer_as_one(assets, tmp_path, r4d):
    """DDP, evaluating only."""
    block = {"benchmarks": {"r4d_bench": str(r4d)}, **SMALL}
    model = {"model_name_or_path": str(assets.student), "template": "qwen2_vl"}
    run_with_host({**model, "infer_dtype": "float32", "p4d_eval": block}, tmp_path / "one", progress=False)
    recipe = {**model, "stage": "sft", "do_predict": True, "report_to": "none", "ddp_backend": "gloo"}
    recipe |= {"output_dir": str(tmp_path / "two"), "infer_dtype": "float32", "p4d_eval": block}
    run_together(tmp_path, recipe)

    one, two = (ReplyFile.read(tmp_path / run / "r4d_bench/replies.jsonl") for run in ("one", "two"))
    assert two.replies == one.replies and two.settings == one.settings
    assert any(reply.error for reply in one.replies.values())


@pytest.mark.distributed
def test_fsdp_evaluates(assets, tmp_path, r4d):
    """Both versions while training, with the decoder among the shards; the first one without training too."""
    block = {"benchmarks": {"r4d_bench": str(r4d)}, **SMALL}
    model = {"model_name_or_path": str(assets.student), "template": "qwen2_vl", "infer_dtype": "float32"}
    run_with_host({**model, "p4d_eval": block}, tmp_path / "one", progress=False)

    def training(name, keys):
        still = {"learning_rate": 0.0, "max_steps": 2, "p4d_eval": {**block, "every": 1}}
        return assets.recipe(tmp_path / name, **still) | keys | SHARDED

    def evaluating(name, keys):
        recipe = {**model, "stage": "sft", "do_predict": True, "report_to": "none", "p4d_eval": block}
        return {**recipe, **keys, "output_dir": str(tmp_path / name)}

    run_together(
        tmp_path,
        training("fsdp2", FSDP2),
        training("fsdp1", FSDP1),
        evaluating("only1", FSDP1),
        evaluating("only2", FSDP2) | {"raises": ["EvalConfigError", "version 2 shards a model together with its"]},
    )
    one = ReplyFile.read(tmp_path / "one/r4d_bench/replies.jsonl").replies
    runs = [f"{name}/p4d_eval/{step}" for name in ("fsdp2", "fsdp1") for step in ("step-1", "step-2", "final")]
    for run in (*runs, "only1"):
        assert ReplyFile.read(tmp_path / run / "r4d_bench/replies.jsonl").replies == one, run
    for name in ("fsdp2", "fsdp1"):
        assert len(logs(tmp_path / name)) == 2


@pytest.mark.distributed
def test_zero3_evaluates_and_trains_on(assets, tmp_path, r4d):
    """Weights in shards: every process takes part in every forward, and training goes on as if nothing had been."""
    block = {"benchmarks": {"r4d_bench": str(r4d)}, **SMALL, "every": 1}
    still = {"learning_rate": 0.0, "max_steps": 1, "p4d": None}
    train_here(assets.recipe(tmp_path / "one", **still, p4d_eval=block))
    recipe = assets.recipe(tmp_path / "two", **{**still, "max_steps": 2}, p4d_eval=block, **ways(tmp_path)["zero3"])
    run_together(tmp_path, recipe)

    runs = ("one/p4d_eval/step-1", "two/p4d_eval/step-1", "two/p4d_eval/step-2", "two/p4d_eval/final")
    one, *others = (ReplyFile.read(tmp_path / run / "r4d_bench/replies.jsonl").replies for run in runs)
    assert all(other == one for other in others)
    assert len(logs(tmp_path / "two")) == 2
    assert weights(tmp_path / "two").keys() == weights(tmp_path / "one").keys()
