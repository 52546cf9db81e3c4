# SPDX-License-Identifier: Apache-2.0
"""FSDP 1 and 2 in two processes: gradients, checkpoints and resuming.

On CPUs, where the host has no FSDP: `launch.py` lifts the checks that keep it to GPUs. One thing is left out even so,
because torch crashes there: whole models gathered by FSDP 1.
"""

import pytest
import torch
from accelerate.utils.fsdp_utils import merge_fsdp_weights
from transformers import AutoModelForImageTextToText

from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.e2e.launch import FSDP, FSDP1, FSDP2, FULL, SHARDED, run_together
from tests.harness import LOG_KEYS, largest_relative_difference, logs, train_here, weights
from tests.training import PLAIN_SGD


pytestmark = [pytest.mark.slow, pytest.mark.distributed]

LORA = {"finetuning_type": "lora"}
SAVING = {"save_strategy": "steps", "save_steps": 1}


@pytest.fixture(scope="module")
def runs(assets, tmp_path_factory):
    """All runs of this file."""
    root = tmp_path_factory.mktemp("fsdp")

    def run(name, *parts, resume=None, **more):
        recipe = assets.recipe(root / name, **more)
        for part in parts:
            recipe |= part
        return recipe | ({"resume_from_checkpoint": str(root / resume / "checkpoint-1")} if resume else {})

    flat = {"fsdp_config": {"version": 1, "sync_module_states": False, "use_orig_params": False}}
    train_here(run("one", PLAIN_SGD, per_device_train_batch_size=2))
    run_together(
        root,
        run("full2", FSDP2, FULL, SAVING),
        run("full2_resumed", FSDP2, SAVING, resume="full2"),
        run("whole_lora2", FSDP2, LORA, SAVING, max_steps=1),
        run("whole_lora2_resumed", FSDP2, LORA, resume="whole_lora2")
        | {"raises": ["P4DConfigError", "fsdp_state_dict_type: SHARDED_STATE_DICT"]},
        run("gradients2", FSDP2, SHARDED, PLAIN_SGD),
        run("lora2", FSDP2, LORA, SAVING),
        run("lora2_resumed", FSDP2, LORA, SAVING, resume="lora2"),
        run("gradients1", FSDP1, PLAIN_SGD),
        run("lora1", FSDP1, LORA, SAVING),
        run("lora1_resumed", FSDP1, LORA, SAVING, resume="lora1"),
        run("flat", FSDP, flat) | {"raises": ["P4DConfigError", "use_orig_params: false"]},
    )
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_gradients_are_those_of_one_process(runs, tmp_path, version):
    one, two = (logs(runs / name)[0] for name in ("one", f"gradients{version}"))
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert two[key] == pytest.approx(one[key], rel=1e-5), key

    # A step of SGD at rate 1: weights that agree after it had gradients that agree. Shards hold the names of the
    # module tree, not those of the release.
    one, two = (runs / name / "checkpoint-1" for name in ("one", f"gradients{version}"))
    expected = AutoModelForImageTextToText.from_pretrained(one, dtype=torch.float32).state_dict()
    merge_fsdp_weights(str(two / "pytorch_model_fsdp_0"), str(tmp_path))
    found = weights(tmp_path)
    decoder = {name: found.pop(name) for name in list(found) if name.startswith("p4d_decoder.")}
    assert largest_relative_difference(expected, found) < 1e-6
    assert largest_relative_difference(weights(one, DECODER_FILE), weights(two, DECODER_FILE)) < 1e-6
    # What `accelerate merge-weights` makes of FSDP 2's shards is the plain model.
    assert bool(decoder) == (version == 1)


def test_resuming_is_bit_equal_from_whole_weights(runs):
    whole, again = (runs / name / "checkpoint-2" for name in ("full2", "full2_resumed"))
    for name in ("model.safetensors", DECODER_FILE):
        assert (whole / name).read_bytes() == (again / name).read_bytes()


@pytest.mark.parametrize("kind", ["lora2", "lora1"])
def test_resuming_from_shards_goes_on_from_the_saved_weights(runs, kind):
    """Without the optimiser's moments: accelerate 1.11 does not read them back from shards, whoever trains."""
    whole, again = (logs(runs / name)[-1] for name in (kind, f"{kind}_resumed"))
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert again[key] == whole[key], key


def test_what_is_saved_is_the_plain_model_or_adapter(runs):
    assert weights(runs / "full2").keys() == weights(runs / "one").keys()
    adapter = weights(runs / "whole_lora2", "adapter_model.safetensors")
    assert adapter and all("lora_" in name for name in adapter)
