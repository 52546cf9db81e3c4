# SPDX-License-Identifier: Apache-2.0
"""Mixtures of experts on two ZeRO-3 processes whose batches differ: some have no token on one of them."""

import json

import pytest
import torch
from transformers import AutoModelForImageTextToText

from tests.e2e.launch import deepspeed_config, run_together
from tests.harness import LOG_KEYS, largest_relative_difference, logs, train_here
from tests.host_parts import host_parts
from tests.tiny_models import TEMPLATES, build_tiny_student


pytestmark = [pytest.mark.slow, pytest.mark.distributed]

STEPS = 20
FAMILIES = ("qwen3_vl_moe", "glm4v_moe")
"""Qwen3.5 is refused under ZeRO-3."""


@pytest.fixture(scope="module")
def runs(assets, tmp_path_factory):
    """(a step's records in one process, and in two: a video for the first and text for the second) of each family."""
    root = tmp_path_factory.mktemp("experts")
    records = json.loads((assets.clips / "synth4d.json").read_text())
    text_only = {"messages": [{"content": "How many?", "role": "user"}, {"content": "yes", "role": "assistant"}]}
    (root / "mixed.json").write_text(json.dumps([records[0], text_only | {"videos": []}]))
    info = json.loads((assets.clips / "dataset_info.json").read_text())["synth4d"]
    (root / "dataset_info.json").write_text(json.dumps({"mixed": {**info, "file_name": "mixed.json"}}))

    def recipe(family, name, **keys):
        return assets.recipe(
            root / f"{family}-{name}",
            model_name_or_path=str(root / family),
            template=f"rgpt4d_{TEMPLATES[family]}",
            p4d=assets.p4d(tpe="add"),
            dataset="mixed",
            dataset_dir=str(root),
            max_steps=STEPS,
            learning_rate=1e-4,
            **keys,
        )

    zero3 = {"deepspeed": deepspeed_config(root, 3)}
    for family in FAMILIES:
        build_tiny_student(root / family, family, hidden=32, layers=2, vision_hidden=32)
        train_here(recipe(family, "one", per_device_train_batch_size=2))
    run_together(root, *(recipe(family, "two", **zero3) for family in FAMILIES))
    return {family: (recipe(family, "one"), recipe(family, "two")) for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_zero3_trains_as_one_process_does(runs, family):
    one, two = (logs(recipe["output_dir"]) for recipe in runs[family])
    assert len(one) == len(two) == STEPS
    for step, (alone, shared) in enumerate(zip(one, two)):
        for key in ("loss", "loss_sft", *LOG_KEYS.values()):
            assert shared[key] == pytest.approx(alone[key], rel=1e-4), (step, key)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_zero3_saves_loads_as_what_one_process_saves(runs, family):
    """The experts too, which lie turned in the files of some."""
    one, two = (
        AutoModelForImageTextToText.from_pretrained(recipe["output_dir"]).state_dict() for recipe in runs[family]
    )
    for name in [name for name in one if name.endswith("k_proj.bias")]:  # whose gradient is all rounding (GLM)
        del one[name], two[name]
    assert largest_relative_difference(one, two) < 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_the_text_leaves_an_expert_without_a_token(runs, family):
    """What the runs above are about."""
    parts = host_parts(runs[family][0])
    used = set()
    experts = [module for name, module in parts.model.named_modules() if name.endswith("mlp.experts")]
    handles = [
        module.register_forward_pre_hook(lambda _, given: used.update(given[1].flatten().tolist()))
        for module in experts
    ]
    ids = parts.encode(parts.run_template, "How many?")["input_ids"]
    with torch.no_grad():
        parts.model(input_ids=torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    assert 0 < len(used) < experts[0].num_experts
