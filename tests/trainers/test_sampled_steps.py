# SPDX-License-Identifier: Apache-2.0
"""Steps that draw maps and tiles, through the host: what is logged, and what a resumed run draws."""

import json

import pytest

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill.draw import draw
from rgpt4d_plugin.trainers.setup import GRADIENT_KEYS
from tests.harness import LOG_KEYS, logs, train_here


MAP_TERMS = ("depth", "flow", "motion", "camray")
SGD = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 0, "save_strategy": "steps"}


def sampled(assets, **loss):
    block = assets.p4d(logging={"gradients": True})
    return block | {"loss": block["loss"] | {"per_step": {"maps": 1, "crop": 0.5}, **loss}}


@pytest.mark.slow
def test_only_what_was_drawn_is_logged(assets, tmp_path):
    recipe = assets.recipe(tmp_path / "out", p4d=sampled(assets), max_steps=4, logging_steps=1, seed=7, plot_loss=True)
    train_here(recipe)
    lines = logs(tmp_path / "out")
    assert len(lines) == 4
    maps = set()
    for step, line in enumerate(lines):
        (term,) = set(MAP_TERMS) - draw(MAP_TERMS, 1, 0.5, 7, step).left_out
        expected = {"loss_latent", LOG_KEYS[term]}
        assert {key for key in line if key in LOG_KEYS.values()} == expected
        assert {key for key in line if key.startswith("p4d_grad_")} == {"p4d_grad_latent", GRADIENT_KEYS[term]}
        assert all(line[key] > 0 for key in line if key.startswith("p4d_grad_"))
        total = line["loss_sft"] + 0.1 * line["loss_latent"] + 0.1 * 4 * line[LOG_KEYS[term]]
        assert line["loss"] == pytest.approx(total, rel=1e-5)
        maps.add(term)
    assert len(maps) > 1
    assert (tmp_path / "out/training_p4d_terms.png").stat().st_size > 5000


@pytest.mark.slow
def test_a_log_of_several_steps_averages_a_term_over_those_that_drew_it(assets, tmp_path):
    """With a learning rate of 0 and one batch, every step has the same values."""
    still = {"learning_rate": 0.0, "max_steps": 6, "seed": 7, "max_samples": 1}
    loss = {"per_step": {"maps": 1}}
    train_here(assets.recipe(tmp_path / "all", p4d=sampled(assets, **loss), logging_steps=6, **still))
    train_here(assets.recipe(tmp_path / "full", p4d=assets.p4d(), logging_steps=6, **still))
    (line,), (full,) = logs(tmp_path / "all"), logs(tmp_path / "full")
    drawn = [key for key in LOG_KEYS.values() if key in line]
    assert len(drawn) > 2
    for key in drawn:
        assert line[key] == pytest.approx(full[key], rel=1e-5)
    assert "p4d_grad_latent" not in full


@pytest.mark.slow
def test_a_resumed_run_draws_as_an_uninterrupted_one(assets, tmp_path):
    options = {"p4d": sampled(assets), "max_steps": 4, "logging_steps": 1, "save_steps": 2, **SGD}
    train_here(assets.recipe(tmp_path / "whole", **options))
    checkpoint = str(tmp_path / "whole/checkpoint-2")
    train_here(assets.recipe(tmp_path / "rest", **options, resume_from_checkpoint=checkpoint))
    for one, other in zip(logs(tmp_path / "whole")[2:], logs(tmp_path / "rest")[-2:], strict=True):
        shared = [key for key in one if key.startswith(("loss", "p4d_"))]
        assert shared == [key for key in other if key.startswith(("loss", "p4d_"))]
        for key in shared:
            assert other[key] == pytest.approx(one[key], rel=1e-6)


@pytest.mark.slow
def test_accumulated_micro_batches_share_a_draw(assets, tmp_path):
    """Invariant 2: a step of two micro-batches is a step of one batch of two."""
    options = {"max_steps": 2, "logging_steps": 1, "seed": 7, **SGD}
    recipe = assets.recipe(tmp_path / "one", p4d=sampled(assets), **options, per_device_train_batch_size=2)
    train_here(recipe)
    recipe = assets.recipe(tmp_path / "two", p4d=sampled(assets), **options, gradient_accumulation_steps=2)
    train_here(recipe | {"per_device_train_batch_size": 1})
    for one, two in zip(logs(tmp_path / "one"), logs(tmp_path / "two"), strict=True):
        keys = [key for key in one if key.startswith(("loss_", "p4d_grad")) and key != "loss_sft"]
        assert len(keys) == 4
        for key in keys:
            assert two[key] == pytest.approx(one[key], rel=1e-4)


@pytest.mark.slow
def test_evaluation_compares_everything(assets, tmp_path):
    extra = {"eval_dataset": "synth4d", "max_samples": 2, "eval_strategy": "steps", "eval_steps": 1}
    recipe = assets.recipe(tmp_path / "out", p4d=sampled(assets), max_steps=1, **extra)
    train_here(recipe)
    history = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
    lines = [line for line in history if "eval_loss" in line]
    assert lines and all(f"eval_{key}" in line for line in lines for key in LOG_KEYS.values())
    assert not any(key.startswith("eval_p4d_grad") for line in lines for key in line)


@pytest.mark.parametrize(
    ("loss", "complaint"),
    [
        ({"per_step": {"crop": 0.3}}, "p4d.loss.per_step.crop: expected 1, 0.5 or 0.25, got 0.3"),
        ({"per_step": {"maps": 0}}, "p4d.loss.per_step.maps: expected a value >= 1, got 0"),
        ({"per_step": {"map": 1}}, "p4d.loss.per_step.map: unknown key; did you mean 'maps'?"),
        ({"map_size": "third"}, "p4d.loss.map_size: expected one of 'native', 'half', 'quarter', got 'third'"),
        # Camera rays alone: that head has neither tiles nor smaller maps.
        ({"depth": 0, "flow": 0, "motion": 0, "per_step": {"crop": 0.5}}, "computes the maps of camray as a whole"),
        ({"depth": 0, "flow": 0, "motion": 0, "map_size": "half"}, "gives camray in one size; remove it"),
    ],
)
def test_refused(assets, tmp_path, loss, complaint):
    block = assets.p4d()
    block["loss"] = block["loss"] | loss
    with pytest.raises(P4DConfigError) as caught:
        train_here(assets.recipe(tmp_path / "out", p4d=block))
    assert complaint in str(caught.value)
