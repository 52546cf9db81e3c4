# SPDX-License-Identifier: Apache-2.0
"""The host's argument parser with a `p4d:` block: overrides, coercion, and refusals before anything is loaded.

No model, dataset or teacher of these recipes exists: whatever is refused, or parsed, is so without a look at them.
"""

import copy
import importlib
import json
import sys

import pytest
import yaml
from llamafactory.hparams import get_ray_args, get_train_args

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.patches import command_line_uses_p4d


@pytest.fixture
def recipe(tmp_path):
    """A recipe with a block that parses."""
    checkpoint = tmp_path / "l4p.ckpt"
    checkpoint.touch()
    return {
        "model_name_or_path": "no/such-model",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",  # galore, apollo and badam want it
        "dataset": "no_such_dataset",
        "template": "qwen2_vl",
        "output_dir": str(tmp_path / "out"),
        "report_to": "none",
        "p4d": {"teacher": {"checkpoint": str(checkpoint)}, "loss": {"depth": 0.1, "flow": 0.2}},
    }


@pytest.fixture
def command_line(monkeypatch, tmp_path):
    """Sets sys.argv to a recipe file and overrides, as the host's launcher leaves it."""

    def set_arguments(recipe, *overrides):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(recipe))
        monkeypatch.setattr(sys, "argv", ["llamafactory-cli", str(path), *overrides])

    return set_arguments


def refused(recipe):
    """Message of the P4DConfigError that parsing raises."""
    with pytest.raises(P4DConfigError) as caught:
        get_train_args(recipe)
    return str(caught.value)


# What is parsed


def test_the_block_is_attached_and_the_callers_recipe_kept(recipe):
    before = copy.deepcopy(recipe)
    *_, finetuning_args, _ = get_train_args(recipe)

    assert recipe == before
    assert finetuning_args.p4d.loss.depth == 0.1
    assert "p4d" not in finetuning_args.to_dict()  # what the host reports to trackers stays what it is
    *_, finetuning_args, _ = get_train_args({key: value for key, value in recipe.items() if key != "p4d"})
    assert not hasattr(finetuning_args, "p4d")


def test_overrides_on_the_command_line(recipe, command_line):
    command_line(recipe, "p4d.loss.depth=0.5", "p4d.decoder.learning_rate=1e-4", "p4d.hooks=[1,2]", "learning_rate=1")
    _, _, training_args, finetuning_args, _ = get_train_args()

    p4d = finetuning_args.p4d
    assert p4d.loss.depth == 0.5
    assert p4d.loss.flow == 0.2  # its neighbour stays
    assert p4d.decoder.learning_rate == 1e-4
    assert p4d.hooks == [1, 2]
    assert training_args.learning_rate == 1


def test_an_override_may_bring_the_whole_block(recipe, command_line):
    del recipe["p4d"]
    command_line(recipe, "p4d.preset=none")
    assert get_train_args()[3].p4d.loss.active == {}


def test_text_is_read_as_the_number_it_spells(recipe, command_line):
    recipe["p4d"] |= {"frames": "16", "hooks": ["3", 1], "logging": {"weighted": "True"}}
    recipe["p4d"]["loss"]["latent"] = "1e-4"
    command_line(recipe, "p4d.loss.flow='0.25'")
    p4d = get_train_args()[3].p4d

    assert (p4d.frames, p4d.hooks, p4d.logging.weighted) == (16, [3, 1], True)
    assert (p4d.loss.latent, p4d.loss.flow) == (1e-4, 0.25)


def test_the_checkpoint_may_lie_in_the_home_folder(recipe, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe["p4d"]["teacher"]["checkpoint"] = "~/l4p.ckpt"
    assert get_train_args(recipe)[3].p4d.teacher.checkpoint == str(tmp_path / "l4p.ckpt")


@pytest.mark.parametrize("off", ["off", False])
def test_off_makes_a_recipe_its_baseline(recipe, command_line, off):
    plain = get_train_args({key: value for key, value in recipe.items() if key != "p4d"})
    switched_off = get_train_args({**recipe, "p4d": off, "p4d_eval": off})
    assert not hasattr(switched_off[3], "p4d")
    assert [vars(switched_off[i]) for i in (0, 1, 3)] == [vars(plain[i]) for i in (0, 1, 3)]
    assert switched_off[2].to_dict() == plain[2].to_dict()

    command_line(recipe, "p4d=off")
    assert not hasattr(get_train_args()[3], "p4d") and not command_line_uses_p4d()
    command_line(recipe)
    assert hasattr(get_train_args()[3], "p4d") and command_line_uses_p4d()


# What is refused


def test_unknown_keys_are_named_with_the_nearest_known_one(recipe, command_line):
    recipe["p4d"] |= {"techer": {}, "decoder": {"layer": 2}, "zzz": 1}
    command_line(recipe, "p4d.loss.dept=0.5")
    message = refused(None)
    for expected in (
        "4 problem(s)",
        "p4d.techer: unknown key; did you mean 'teacher'?",
        "p4d.decoder.layer: unknown key; did you mean 'layers'?",
        "p4d.loss.dept: unknown key; did you mean 'depth'?",
        "p4d.zzz: unknown key; known keys: preset, teacher, frames, tpe, tpe_scale, tpe_base, hooks, decoder, loss, ",
    ):
        assert expected in message


def test_an_empty_block_says_what_is_missing(recipe, command_line):
    command_line({**recipe, "p4d": None})
    assert "p4d.teacher.checkpoint: missing" in refused(None)


@pytest.mark.parametrize("stage", ["pt", "rm", "dpo", "kto"])
def test_other_stages(recipe, stage):
    assert f"stage: {stage!r}: `p4d:` works with stage: sft only" in refused({**recipe, "stage": stage})


@pytest.mark.parametrize("key", ["use_hyper_parallel", "use_unsloth", "use_kt", "use_badam"])
def test_host_options_that_bypass_the_trainer(recipe, key):
    assert f"{key}: true: not supported together with `p4d:`; remove it" in refused({**recipe, key: True})


def test_a_template_that_does_not_exist(recipe):
    message = refused({**recipe, "template": "rgpt4d_qwen2vl"})
    assert "no template 'rgpt4d_qwen2vl'; did you mean 'rgpt4d_qwen2_vl'?" in message


@pytest.mark.parametrize("name", ["galore", "apollo"])
def test_layerwise_optimisers(recipe, name):
    message = refused({**recipe, f"use_{name}": True, f"{name}_layerwise": True})
    assert "builds its own optimiser per weight and leaves the decoder out" in message


def test_all_refused_options_are_listed_at_once(recipe):
    message = refused({**recipe, "stage": "dpo", "use_unsloth": True, "use_hyper_parallel": True})
    assert "3 problem(s)" in message
    assert all(key in message for key in ("stage: 'dpo'", "use_unsloth", "use_hyper_parallel"))


@pytest.mark.parametrize("key", ["video_maxlen", "video_fps"])
def test_frames_and_the_hosts_sampling_keys(recipe, key):
    recipe["p4d"]["frames"] = 16
    assert f"p4d.frames: 16 and {key}: 8 both choose the frames of a clip; remove one" in refused({**recipe, key: 8})


@pytest.mark.parametrize("variable", ["USE_MCA", "USE_MEGATRON_BRIDGE"])
def test_back_ends_with_a_parser_of_their_own(recipe, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    message = refused(recipe)
    assert f"({variable})" in message and f"unset {variable} or remove `p4d:`" in message


def test_ray_is_refused_by_the_first_function_that_sees_the_recipe(recipe, monkeypatch):
    monkeypatch.setenv("USE_RAY", "1")
    with pytest.raises(P4DConfigError, match=r"back end Ray \(USE_RAY\): unset USE_RAY or remove `p4d:`"):
        get_ray_args(recipe)
    del recipe["p4d"]
    assert get_ray_args(recipe).use_ray


def deepspeed_config(tmp_path, **extra):
    path = tmp_path / "deepspeed.json"
    path.write_text(json.dumps({"train_batch_size": "auto", "zero_optimization": {"stage": 0}, **extra}))
    return str(path)


def test_decoder_learning_rate_and_an_optimizer_in_the_deepspeed_config(recipe, tmp_path):
    optimizer = {"type": "AdamW", "params": {"lr": "auto"}}
    recipe["deepspeed"] = deepspeed_config(tmp_path, optimizer=optimizer)
    recipe["p4d"]["decoder"] = {"learning_rate": 1e-3}
    message = refused(recipe)
    assert "p4d.decoder.learning_rate: the DeepSpeed config brings its own optimizer" in message
    assert "remove `optimizer` from that file or the key from `p4d:`" in message

    # Either alone is fine: what stops these is the host, which wants torchrun for DeepSpeed.
    del recipe["p4d"]["decoder"]
    with pytest.raises(ValueError, match="FORCE_TORCHRUN=1"):
        get_train_args(recipe)
    recipe["p4d"]["decoder"] = {"learning_rate": 1e-3}
    recipe["deepspeed"] = deepspeed_config(tmp_path)
    with pytest.raises(ValueError, match="FORCE_TORCHRUN=1"):
        get_train_args(recipe)


# The host's v1 tree


@pytest.fixture
def get_v1_args(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["llamafactory-cli"])
    return importlib.import_module("llamafactory.v1.config.arg_parser").get_args


def test_the_v1_tree_refuses_the_block(get_v1_args, recipe, command_line):
    remedy = "does not work with the host's v1 tree: unset USE_V1 or remove `p4d:`"
    with pytest.raises(P4DConfigError, match=remedy):
        get_v1_args({"model": "none", "p4d": None})
    command_line(recipe)
    with pytest.raises(P4DConfigError, match=remedy):
        get_v1_args()
    command_line({"model": "none"}, "p4d.loss.depth=0.5")
    with pytest.raises(P4DConfigError, match=remedy):
        get_v1_args()


def test_the_v1_tree_without_a_block_is_the_hosts(get_v1_args, recipe, command_line):
    assert get_v1_args({"model": "none"})[0].model == "none"
    command_line({"model": "from file"})
    assert get_v1_args()[0].model == "from file"
    command_line(recipe)
    assert get_v1_args({"model": "given"})[0].model == "given"  # the command line is not looked at


def test_batches_that_one_process_deals_out(recipe):
    assert "accelerator_config.dispatch_batches: true" in refused(
        {**recipe, "accelerator_config": {"dispatch_batches": True}}
    )
