# SPDX-License-Identifier: Apache-2.0
"""Training on ground truth through the host: the heads train, resume and share their gradients as the decoder does."""

import math

import pytest
import torch

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.distill.heads import DecoderWithHeads
from rgpt4d_plugin.teachers.ground_truth import GroundTruthTeacher
from rgpt4d_plugin.terms import TERMS
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from rgpt4d_plugin.video import VideoError
from tests.e2e.launch import deepspeed_config, run_together
from tests.harness import largest_relative_difference, logs, train_here, weights
from tests.training import PLAIN_SGD


pytestmark = pytest.mark.slow

KEYS = [TERMS[term].log_key for term in GroundTruthTeacher.terms]


def block(assets, **loss):
    return assets.p4d(
        preset="none",
        teacher={
            "type": "ground_truth",
            "files": "{folder}/../ground_truth/{stem}.npz",
            "window": 8,
            "grid": 4,
            "map_size": 16,
            "width": 8,
        },
        loss=loss or dict.fromkeys(GroundTruthTeacher.terms, 0.1),
    )


def recipe(assets, output, **changes):
    # The host samples every other frame by itself, and flow is between neighbors.
    return assets.recipe(output, video_maxlen=16, p4d=block(assets), **changes)


def initial(assets):
    """Decoder and heads as they are when training starts."""
    options = GroundTruthTeacher.Arguments(**block(assets)["teacher"])
    sizes = {"student_width": 32, "teacher_width": 8, "hooks": 1, "layers": 2, "hidden_size": 32}
    spec = GroundTruthTeacher.read_spec(options)
    return DecoderWithHeads(teacher=spec, at=(0,), terms=GroundTruthTeacher.terms, seed=3, **sizes)


def test_every_term_and_the_total(assets, tmp_path, trainers):
    train_here(recipe(assets, tmp_path / "out", per_device_train_batch_size=2, max_steps=3))
    for line in logs(tmp_path / "out"):
        assert all(math.isfinite(line[key]) and line[key] > 0 for key in KEYS)
        assert line["loss"] == pytest.approx(line["loss_sft"] + 0.1 * sum(line[key] for key in KEYS), rel=1e-5)
    (trainer,) = trainers
    decoder = trainer._p4d_tap.decoder
    assert all(not torch.equal(a, b) for a, b in zip(decoder.parameters(), initial(assets).parameters(), strict=True))
    optimised = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    assert {id(parameter) for parameter in decoder.parameters()} <= optimised


def test_heads_are_kept_for_resuming_and_for_nothing_else(assets, tmp_path):
    keys = {"save_strategy": "steps", "save_steps": 2, "max_steps": 4, "lr_scheduler_type": "cosine"}
    train_here(recipe(assets, tmp_path / "whole", **keys))
    resumed = recipe(assets, tmp_path / "resumed", **keys)
    train_here({**resumed, "resume_from_checkpoint": str(tmp_path / "whole/checkpoint-2")})
    for name in ("model.safetensors", DECODER_FILE):
        whole, again = (tmp_path / run / "checkpoint-4" / name for run in ("whole", "resumed"))
        assert whole.read_bytes() == again.read_bytes()
    kept = weights(tmp_path / "whole/checkpoint-4", DECODER_FILE)
    assert {name.split(".")[1] for name in kept if name.startswith("heads.")} == set(GroundTruthTeacher.terms)
    assert weights(tmp_path / "whole/checkpoint-4").keys() == weights(assets.student).keys()
    assert not (tmp_path / "whole" / DECODER_FILE).exists()


def gradients(assets, folder):
    """Gradients of student, decoder and heads after a PLAIN_SGD run."""
    before, after = weights(assets.student), weights(folder / "checkpoint-1")
    first, trained = initial(assets).state_dict(), weights(folder / "checkpoint-1", DECODER_FILE)
    student = {f"student.{name}": before[name] - after[name] for name in before}
    return student | {f"decoder.{name}": first[name] - trained[name] for name in first}


def test_gradients_do_not_depend_on_how_a_step_is_cut_up(assets, tmp_path):
    train_here(recipe(assets, tmp_path / "batch", per_device_train_batch_size=2, **PLAIN_SGD))
    train_here(recipe(assets, tmp_path / "accumulate", gradient_accumulation_steps=2, **PLAIN_SGD))
    gloo, zero3 = {"ddp_backend": "gloo"}, {"deepspeed": deepspeed_config(tmp_path, 3)}
    run_together(
        tmp_path / "runs",
        recipe(assets, tmp_path / "ddp", **PLAIN_SGD, **gloo),
        recipe(assets, tmp_path / "zero3", **PLAIN_SGD, **zero3),
    )
    expected = gradients(assets, tmp_path / "batch")
    for run in ("accumulate", "ddp", "zero3"):
        assert largest_relative_difference(expected, gradients(assets, tmp_path / run)) < 1e-5, run
        for key in ("loss", *KEYS):
            assert logs(tmp_path / run)[0][key] == pytest.approx(logs(tmp_path / "batch")[0][key], rel=1e-5), run


def test_a_missing_file_names_video_file_and_record(assets, tmp_path):
    files = block(assets) | {"teacher": {**block(assets)["teacher"], "files": str(tmp_path / "none/{stem}.npz")}}
    with pytest.raises(VideoError, match=r"of .*clip_00000\.mp4: there is no .*none/clip_00000\.npz .*record"):
        train_here(assets.recipe(tmp_path / "out", p4d=files))


def test_a_term_that_it_does_not_give_is_refused_with_those_that_do(assets, tmp_path):
    with pytest.raises(
        P4DConfigError,
        match="p4d.loss.latent: the teacher ground_truth gives no latent; it gives depth, .*scale. It is given by "
        "p4d.teacher.type: l4p, depth_anything_3",
    ):
        train_here(assets.recipe(tmp_path / "out", p4d=block(assets, latent=0.1)))
