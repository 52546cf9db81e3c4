# SPDX-License-Identifier: Apache-2.0
"""Training through the host, in this process: the invariants of distillation and the ways to run it."""

import json
import math

import pytest
import torch

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill import LatentDecoder
from rgpt4d_plugin.teachers.depth_anything_3 import save_depth_anything_3
from rgpt4d_plugin.trainers import mixin
from rgpt4d_plugin.trainers.llamafactory import P4DSeq2SeqTrainer
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.harness import LOG_KEYS, largest_relative_difference, logs, train_here, weights
from tests.teachers.depth_anything_3 import seeded
from tests.training import PLAIN_SGD, gradients


ZERO_WEIGHTS = {"loss": dict.fromkeys(LOG_KEYS, 0)}


def depth_anything_3(assets, folder, **loss):
    """A `p4d:` block with a tiny random Depth Anything 3."""
    checkpoint = folder / "da3.safetensors"
    save_depth_anything_3(seeded.network(), checkpoint)
    return assets.p4d(
        teacher={"type": "depth_anything_3", "checkpoint": str(checkpoint), "dtype": "float32"},
        loss={"latent": 0.1, "depth": 0.1, "camray": 0.1, "flow": 0, "motion": 0, **loss},
    )


@pytest.mark.slow
def test_terms_are_logged_and_the_total_adds_up(assets, tmp_path, trainers):
    train_here(assets.recipe(tmp_path / "out", per_device_train_batch_size=2, plot_loss=True))

    assert len(trainers) == 1
    for line in logs(tmp_path / "out"):
        assert line["p4d_videos"] == 2
        terms = [line[key] for key in LOG_KEYS.values()]
        assert all(math.isfinite(term) and term > 0 for term in terms)
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(terms), rel=1e-5)
    history = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
    assert set(LOG_KEYS.values()) <= set(history[0])
    for name in ("training_loss.png", "training_loss_depth.png", "training_p4d_terms.png"):
        assert (tmp_path / "out" / name).stat().st_size > 5000


@pytest.mark.slow
def test_all_weights_zero_is_plain_sft(assets, tmp_path, trainers):
    """Invariant 1."""
    train_here(assets.recipe(tmp_path / "plain", p4d=None))
    train_here(assets.recipe(tmp_path / "zero", p4d=assets.p4d(**ZERO_WEIGHTS)))

    assert trainers == []  # not even the trainer is replaced
    assert [line["loss"] for line in logs(tmp_path / "zero")] == [line["loss"] for line in logs(tmp_path / "plain")]
    saved = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("plain", "zero")]
    assert saved[0] == saved[1]


@pytest.mark.slow
def test_plain_sft_sees_the_frames_of_the_block(assets, tmp_path):
    """What distillation is compared with: the same frames, without a term."""
    blocks = {"zero": assets.p4d(frames=4, **ZERO_WEIGHTS), "p4d": assets.p4d(frames=4), "host": None}
    for name, block in blocks.items():
        train_here(assets.recipe(tmp_path / name, p4d=block, max_steps=1, video_maxlen=None))

    first = logs(tmp_path / "zero")[0]["loss"]
    assert first == logs(tmp_path / "p4d")[0]["loss_sft"] != logs(tmp_path / "host")[0]["loss"]


@pytest.mark.slow
def test_the_first_sft_loss_is_that_of_plain_sft(assets, tmp_path):
    """The plugin draws no random number, decodes no frame otherwise and changes no batch."""
    train_here(assets.recipe(tmp_path / "plain", p4d=None, max_steps=1))
    train_here(assets.recipe(tmp_path / "p4d", max_steps=1))

    assert logs(tmp_path / "p4d")[0]["loss_sft"] == logs(tmp_path / "plain")[0]["loss"]


@pytest.mark.slow
def test_gradients_do_not_depend_on_accumulation(assets, tmp_path):
    """Invariant 2, in one process: batch 2 x accumulation 1 against batch 1 x accumulation 2."""
    train_here(assets.recipe(tmp_path / "batch", per_device_train_batch_size=2, **PLAIN_SGD))
    train_here(assets.recipe(tmp_path / "accumulate", gradient_accumulation_steps=2, **PLAIN_SGD))

    one, two = (gradients(assets, tmp_path / run) for run in ("batch", "accumulate"))
    assert largest_relative_difference(one, two) < 1e-5
    a, b = (logs(tmp_path / run)[0] for run in ("batch", "accumulate"))
    for key in ("loss", "loss_sft", *LOG_KEYS.values()):
        assert a[key] == pytest.approx(b[key], rel=1e-5), key


@pytest.mark.slow
def test_teacher_is_nowhere_in_the_training_state(assets, tmp_path, trainers):
    """Invariant 5, and: what is saved has the very names of a plain SFT model."""
    train_here(assets.recipe(tmp_path / "plain", p4d=None, max_steps=1))
    train_here(assets.recipe(tmp_path / "p4d", max_steps=1, save_strategy="steps", save_steps=1))

    (trainer,) = trainers
    teacher = trainer._p4d_distiller.teacher.model
    teacher_weights = {id(parameter) for parameter in teacher.parameters()}
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert not teacher_weights & optimised
    assert not teacher_weights & {id(parameter) for parameter in trainer.model.parameters()}
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in teacher.parameters())
    assert not teacher.training
    plain = weights(tmp_path / "plain").keys()
    assert weights(tmp_path / "p4d").keys() == plain
    assert weights(tmp_path / "p4d/checkpoint-1").keys() == plain
    assert not (tmp_path / "p4d" / DECODER_FILE).exists()


@pytest.mark.slow
def test_nothing_of_a_step_is_kept(assets, tmp_path, trainers):
    train_here(assets.recipe(tmp_path / "out", max_steps=1))

    tap = trainers[0]._p4d_tap
    assert tap._latents is None and tap._batch is None


@pytest.mark.slow
def test_resume_continues_the_same_trajectory(assets, tmp_path):
    """Invariant 7: bit-equal in float32 in one process."""
    recipe = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "lr_scheduler_type": "cosine"}
    train_here(assets.recipe(tmp_path / "whole", **recipe))
    resumed = assets.recipe(tmp_path / "resumed", **recipe)
    train_here({**resumed, "resume_from_checkpoint": str(tmp_path / "whole/checkpoint-2")})

    for name in ("model.safetensors", DECODER_FILE):
        whole, again = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "resumed"))
        assert whole.read_bytes() == again.read_bytes()
    assert logs(tmp_path / "resumed")[-1]["loss"] == logs(tmp_path / "whole")[-1]["loss"]


@pytest.mark.slow
def test_a_checkpoint_that_was_not_finished_is_refused_and_the_one_before_it_named(assets, tmp_path, monkeypatch):
    """The run ends, as by a kill, when the optimiser's state of its second checkpoint is due."""
    recipe = assets.recipe(tmp_path / "out", save_strategy="steps", save_steps=1, overwrite_output_dir=False)
    save = P4DSeq2SeqTrainer._save_optimizer_and_scheduler

    def killed_at_the_second(self, folder):
        if folder.endswith("-2"):
            raise KeyboardInterrupt
        save(self, folder)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(P4DSeq2SeqTrainer, "_save_optimizer_and_scheduler", killed_at_the_second)
        train_here(recipe)
    first = tmp_path / "out/checkpoint-1"
    for resume in (True, str(tmp_path / "out/checkpoint-2")):
        with pytest.raises(
            FileNotFoundError,
            match=f"cannot resume: .*checkpoint-2/trainer_state.json is missing, so the run ended while .*; "
            f"resume_from_checkpoint: {first} is complete",
        ):
            train_here({**recipe, "resume_from_checkpoint": resume})
    train_here({**recipe, "resume_from_checkpoint": str(first)})
    train_here(assets.recipe(tmp_path / "whole"))
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        pytest.param({"freeze_vision_tower": False, "freeze_multi_modal_projector": False}, id="full, vision too"),
        pytest.param({"disable_gradient_checkpointing": True}, id="no gradient checkpointing"),
        pytest.param({"use_reentrant_gc": False}, id="non-reentrant gradient checkpointing"),
        pytest.param({"finetuning_type": "lora", "lora_rank": 4}, id="lora"),
        pytest.param({"finetuning_type": "lora", "quantization_bit": 4, "quantization_type": "nf4"}, id="qlora"),
        pytest.param({"finetuning_type": "freeze", "freeze_trainable_layers": 1}, id="freeze"),
        pytest.param({"bf16": True, "use_cpu": True}, id="bf16"),
        pytest.param({"flash_attn": "disabled"}, id="eager attention"),
    ],
)
def test_ways_to_train(assets, tmp_path, trainers, way):
    train_here(assets.recipe(tmp_path / "out", per_device_train_batch_size=2, max_steps=3, **way))

    lines = logs(tmp_path / "out")
    assert all(math.isfinite(line[key]) for line in lines for key in ("loss", *LOG_KEYS.values()))
    decoder = trainers[0]._p4d_tap.decoder
    initial = LatentDecoder(32, 16, hooks=3, layers=2, hidden_size=32, seed=3)
    assert all(not torch.equal(a, b) for a, b in zip(decoder.parameters(), initial.parameters(), strict=True))
    if way.get("finetuning_type") == "lora":
        assert all("lora_" in name for name in weights(tmp_path / "out", "adapter_model.safetensors"))


@pytest.mark.slow
def test_decoder_has_its_own_learning_rate(assets, tmp_path, trainers):
    decoder = {"layers": 2, "hidden_size": 32, "learning_rate": 0.5}
    train_here(assets.recipe(tmp_path / "out", p4d=assets.p4d(decoder=decoder)))

    (trainer,) = trainers
    own = {id(parameter) for parameter in trainer._p4d_tap.decoder.parameters()}
    rates = {id(p): group["lr"] for group in trainer.optimizer.param_groups for p in group["params"]}
    assert {rate for key, rate in rates.items() if key in own} == {0.5}
    assert {rate for key, rate in rates.items() if key not in own} == {1e-3}
    assert own <= rates.keys()


@pytest.mark.slow
def test_a_clip_cut_by_cutoff_len_is_left_out(assets, tmp_path, monkeypatch):
    # 12 frames of 64 x 64 are 96 tokens here, 7 of 48 x 80 are 60: 110 tokens hold the second clip, not the first.
    warnings = []
    monkeypatch.setattr(mixin.logger, "warning", warnings.append)
    train_here(assets.recipe(tmp_path / "out", cutoff_len=110, video_maxlen=16))

    # The first record's clip is left out: there is nothing to compare, and its SFT loss goes on.
    first, second = logs(tmp_path / "out")
    assert first["p4d_videos"] == 0 and "loss_depth" not in first and first["loss"] == first["loss_sft"]
    assert second["p4d_videos"] == 1 and second["loss_depth"] > 0
    assert len(warnings) == 1 and "1 clip(s)" in warnings[0] and "cutoff_len" in warnings[0]


@pytest.mark.slow
def test_weighted_logging(assets, tmp_path):
    train_here(assets.recipe(tmp_path / "out", max_steps=1, p4d=assets.p4d(logging={"weighted": True})))

    line = logs(tmp_path / "out")[0]
    assert line["loss"] == pytest.approx(line["loss_sft"] + sum(line[key] for key in LOG_KEYS.values()), rel=1e-5)


@pytest.mark.slow
def test_depth_anything_3_is_the_teacher(assets, tmp_path, trainers):
    p4d = depth_anything_3(assets, tmp_path)
    train_here(assets.recipe(tmp_path / "out", per_device_train_batch_size=2, p4d=p4d))

    for line in logs(tmp_path / "out"):
        terms = {name: line[key] for name, key in LOG_KEYS.items() if key in line}
        assert terms.keys() == {"latent", "depth", "camray"}
        assert all(math.isfinite(term) and term > 0 for term in terms.values())
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(terms.values()), rel=1e-5)
    decoder = trainers[0]._p4d_tap.decoder
    initial = LatentDecoder(32, 64, hooks=4, layers=2, hidden_size=32, seed=3)
    assert all(not torch.equal(a, b) for a, b in zip(decoder.parameters(), initial.parameters(), strict=True))


@pytest.mark.slow
def test_terms_that_a_teacher_does_not_give_are_refused(assets, tmp_path):
    p4d = depth_anything_3(assets, tmp_path, flow=0.1, motion=0.1)
    with pytest.raises(P4DConfigError, match="2 problem") as error:
        train_here(assets.recipe(tmp_path / "out", p4d=p4d))
    for term in ("flow", "motion"):
        assert (
            f"p4d.loss.{term}: the teacher {tmp_path}/da3.safetensors gives no {term}; it gives latent, depth, camray"
            in str(error.value)
        )


@pytest.mark.slow
def test_evaluation_loss_is_the_plain_one(assets, tmp_path):
    recipe = {"eval_dataset": "synth4d", "eval_strategy": "steps", "eval_steps": 1, "max_steps": 1}
    train_here(assets.recipe(tmp_path / "p4d", **PLAIN_SGD | {"learning_rate": 0.0} | recipe))
    train_here(assets.recipe(tmp_path / "plain", p4d=None, **PLAIN_SGD | {"learning_rate": 0.0} | recipe))

    def eval_loss(run):
        lines = (tmp_path / run / "trainer_log.jsonl").read_text().splitlines()
        return [json.loads(line)["eval_loss"] for line in lines if "eval_loss" in line]

    assert eval_loss("p4d") == eval_loss("plain") != []


@pytest.mark.slow
@pytest.mark.parametrize("overrides", [{}, {"compute_accuracy": True}])
def test_evaluation_logs_the_terms_of_training(assets, tmp_path, overrides):
    """At learning rate 0, one epoch of training and one evaluation of the same records measure the same."""
    still = PLAIN_SGD | {"learning_rate": 0.0}
    evaluation = {
        "eval_dataset": "synth4d",
        "eval_strategy": "steps",
        "eval_steps": 6,
        "per_device_eval_batch_size": 4,
    }
    steps = {"max_steps": 6, "logging_steps": 6, "plot_loss": True}
    train_here(assets.recipe(tmp_path / "out", **still | evaluation | steps | overrides))
    lines = [json.loads(line) for line in (tmp_path / "out/trainer_log.jsonl").read_text().splitlines()]
    (trained,) = (line for line in lines if "loss_sft" in line)
    (evaluated,) = (line for line in lines if "eval_loss" in line)
    for key in LOG_KEYS.values():
        assert evaluated[f"eval_{key}"] == pytest.approx(trained[key], rel=1e-5), key
    assert evaluated["eval_p4d_videos"] == 3  # six clips in batches of four and two
    if overrides:
        history = json.loads((tmp_path / "out/trainer_state.json").read_text())["log_history"]
        assert any("eval_accuracy" in entry for entry in history)
