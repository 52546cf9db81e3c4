# SPDX-License-Identifier: Apache-2.0
"""Two processes against one: DDP (through the real command line), ZeRO-2 and ZeRO-3 (invariants 2 and 6)."""

import json

import pytest

from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.e2e.launch import deepspeed_config, run_together, ways
from tests.harness import LOG_KEYS, largest_relative_difference, logs, succeeded, train_cli, train_here, weights
from tests.training import PLAIN_SGD, gradients


pytestmark = [pytest.mark.slow, pytest.mark.distributed]


@pytest.fixture(scope="module")
def one_process(assets, tmp_path_factory):
    """A step over two clips of different shape in one process."""
    output = tmp_path_factory.mktemp("one") / "out"
    train_here(assets.recipe(output, per_device_train_batch_size=2, **PLAIN_SGD))
    return output


@pytest.mark.parametrize("way", ["ddp", "zero2", "zero3"])
def test_two_processes_give_the_gradients_of_one(assets, tmp_path, one_process, way):
    recipe = assets.recipe(tmp_path / "out", **PLAIN_SGD, **ways(tmp_path)[way])
    if way == "ddp":
        succeeded(train_cli(recipe, processes=2))
    else:
        run_together(tmp_path, recipe)

    one, two = logs(one_process)[0], logs(tmp_path / "out")[0]
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert two[key] == pytest.approx(one[key], rel=1e-5), key
    assert largest_relative_difference(gradients(assets, one_process), gradients(assets, tmp_path / "out")) < 1e-5
    # What is saved is the plain model, whoever gathered it.
    assert weights(tmp_path / "out").keys() == weights(one_process).keys()


VIDEO_ON_ONE = 20
"""Steps in which one of two processes sees videos, and the other none."""


@pytest.fixture(scope="module")
def runs(assets, tmp_path_factory):
    """Runs whose two processes see different kinds of records."""
    root = tmp_path_factory.mktemp("runs")
    records = json.loads((assets.clips / "synth4d.json").read_text())
    text_only = {"messages": [{"content": "How many?", "role": "user"}, {"content": "yes", "role": "assistant"}]}
    text_only["videos"] = []
    info = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    # Processes take turns: the first gets every other record.
    datasets = {"mixed": [records[0], text_only] * 2, "three": records[:3]}
    for name, chosen in datasets.items():
        (root / f"{name}.json").write_text(json.dumps(chosen))
    (root / "dataset_info.json").write_text(
        json.dumps({name: {**info, "file_name": f"{name}.json"} for name in datasets})
    )

    def run(name, **keys):
        mixed = {"dataset": "mixed", "dataset_dir": str(root), "ddp_backend": "gloo", "max_steps": VIDEO_ON_ONE}
        return assets.recipe(root / name, **mixed | keys)

    evaluation = {"eval_dataset": "three", "eval_strategy": "steps", "eval_steps": 1, "max_steps": 1}
    evaluation["per_device_eval_batch_size"] = 2
    stream = {"streaming": True, "buffer_size": 1, "dataloader_num_workers": 1, "max_steps": 2}
    saving = {"save_strategy": "steps", "save_steps": VIDEO_ON_ONE - 1}
    zero3 = {"deepspeed": deepspeed_config(root, 3), "finetuning_type": "lora", **saving}
    still = PLAIN_SGD | {"learning_rate": 0.0, "save_strategy": "no"}
    run_together(
        root,
        run("search", ddp_find_unused_parameters=True, use_reentrant_gc=False),
        run("no_search", ddp_find_unused_parameters=False),
        run("lora", finetuning_type="lora"),
        run("evaluated", **still | evaluation),
        run("stream", **stream),
        run("zero3", **zero3),
        run("zero3_resumed", **zero3, resume_from_checkpoint=str(root / f"zero3/checkpoint-{VIDEO_ON_ONE - 1}")),
    )
    train_here(run("evaluated_by_one", **still | evaluation, ddp_backend=None))
    return root


@pytest.mark.parametrize("name", ["search", "no_search", "lora", "zero3"])
def test_a_rank_without_video_takes_part(runs, name):
    """Invariant 6: one rank sees text only; nothing hangs, and the other rank's clip weighs as much as ever."""
    lines = logs(runs / name)
    assert len(lines) == VIDEO_ON_ONE
    for line in lines:
        assert line["p4d_videos"] == 0.5  # one clip in two micro-batches
        assert line["loss"] == pytest.approx(
            line["loss_sft"] + 0.1 * sum(line[key] for key in LOG_KEYS.values()), rel=1e-4
        )


def test_resuming_from_zero3s_own_shards(runs):
    assert (runs / f"zero3/checkpoint-{VIDEO_ON_ONE - 1}" / DECODER_FILE).exists()
    assert logs(runs / "zero3_resumed")[-1]["loss"] == pytest.approx(logs(runs / "zero3")[-1]["loss"], rel=1e-6)


def test_an_evaluation_counts_no_clip_twice(runs):
    """Of three records two processes evaluate four: one fills up the last batch."""

    def evaluated(name):
        lines = map(json.loads, (runs / name / "trainer_log.jsonl").read_text().splitlines())
        return next(line for line in lines if "eval_loss" in line)

    one, two = evaluated("evaluated_by_one"), evaluated("evaluated")
    for key in (f"eval_{key}" for key in LOG_KEYS.values()):
        assert two[key] == pytest.approx(one[key], rel=1e-5), key


def test_every_process_reads_its_part_of_a_stream(runs):
    assert [line["p4d_videos"] for line in logs(runs / "stream")] == [0.5, 0.5]
    for one, two in zip(logs(runs / "search"), logs(runs / "stream")):
        assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
