# SPDX-License-Identifier: Apache-2.0
"""Two processes through the real command line: DDP, ZeRO-2 and ZeRO-3 against one process (invariants 2 and 6)."""

import json

import pytest

from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from rgpt4d_plugin.trainers.run import LOG_KEYS
from tests.harness import largest_relative_difference, logs, succeeded, train_cli, train_here, weights
from tests.host.test_training import PLAIN_SGD, gradients


pytestmark = pytest.mark.distributed

DEEPSPEED = {
    "train_batch_size": "auto",
    "train_micro_batch_size_per_gpu": "auto",
    "gradient_accumulation_steps": "auto",
    "gradient_clipping": "auto",
    # Both because DeepSpeed has no compiled CPU optimiser here.
    "zero_allow_untested_optimizer": True,
    "zero_force_ds_cpu_optimizer": False,
}


def deepspeed_config(tmp_path, stage):
    zero = {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True} if stage == 3 else {"stage": stage}
    path = tmp_path / f"ds_z{stage}.json"
    path.write_text(json.dumps({**DEEPSPEED, "zero_optimization": zero}))
    return str(path)


def ways(tmp_path):
    return {
        "ddp": {"ddp_backend": "gloo"},
        "zero2": {"deepspeed": deepspeed_config(tmp_path, 2)},
        "zero3": {"deepspeed": deepspeed_config(tmp_path, 3)},
    }


@pytest.fixture(scope="module")
def one_process(assets, tmp_path_factory):
    """A step over two clips of different shape in one process."""
    output = tmp_path_factory.mktemp("one") / "out"
    train_here(assets.recipe(output, per_device_train_batch_size=2, **PLAIN_SGD))
    return output


@pytest.mark.parametrize("way", ["ddp", "zero2", "zero3"])
def test_two_processes_give_the_gradients_of_one(assets, tmp_path, one_process, way):
    recipe = assets.recipe(tmp_path / "out", **PLAIN_SGD, **ways(tmp_path)[way])
    succeeded(train_cli(recipe, processes=2))

    one, two = logs(one_process)[0], logs(tmp_path / "out")[0]
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert two[key] == pytest.approx(one[key], rel=1e-5), key
    assert largest_relative_difference(gradients(assets, one_process), gradients(assets, tmp_path / "out")) < 1e-5
    # What is saved is the plain model, whoever gathered it.
    assert weights(tmp_path / "out").keys() == weights(one_process).keys()


@pytest.mark.parametrize("way", ["ddp", "zero3"])
def test_a_rank_without_video_takes_part(assets, tmp_path, way):
    """Invariant 6: one rank sees text only; nothing hangs, and the other rank's clip weighs as much as ever."""
    records = json.loads((assets.clips / "synth4d.json").read_text())
    text_only = {"messages": [{"content": "How many?", "role": "user"}, {"content": "yes", "role": "assistant"}]}
    mixed = [records[0], {**text_only, "videos": []}] * 2
    (tmp_path / "mixed.json").write_text(json.dumps(mixed))
    info = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    (tmp_path / "dataset_info.json").write_text(json.dumps({"mixed": {**info, "file_name": "mixed.json"}}))

    recipe = assets.recipe(tmp_path / "out", finetuning_type="lora", **ways(tmp_path)[way])
    recipe |= {"dataset": "mixed", "dataset_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 1}
    succeeded(train_cli(recipe, processes=2))

    for line in logs(tmp_path / "out"):
        assert line["p4d_videos"] == 0.5  # one clip in two micro-batches
        assert line["loss"] == pytest.approx(
            line["loss_sft"] + 0.1 * sum(line[key] for key in LOG_KEYS.values()), rel=1e-4
        )
    if way == "zero3":  # resume from DeepSpeed's own shards, the decoder in them
        assert (tmp_path / "out/checkpoint-1" / DECODER_FILE).exists()
        again = {**recipe, "output_dir": str(tmp_path / "again")}
        again["resume_from_checkpoint"] = str(tmp_path / "out/checkpoint-1")
        succeeded(train_cli(again, processes=2))
        assert logs(tmp_path / "again")[-1]["loss"] == pytest.approx(logs(tmp_path / "out")[-1]["loss"], rel=1e-6)
