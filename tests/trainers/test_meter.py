# SPDX-License-Identifier: Apache-2.0
"""The meter: a loss term that becomes NaN or infinite stops the run, and says which one, where."""

import math

import pytest
import torch

from rgpt4d_plugin.teachers.l4p import L4PTeacher
from rgpt4d_plugin.trainers.llamafactory import P4DSeq2SeqTrainer
from rgpt4d_plugin.trainers.meter import FiniteCheck, NonFiniteLossError
from tests.harness import train_here


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_message_names_what_and_where(bad):
    check = FiniteCheck(["loss_sft", "loss_depth"])
    check.submit(torch.tensor([1.0, 2.0]), "in step 1")
    with pytest.raises(NonFiniteLossError, match=f"^loss_depth is {bad} in step 2"):
        check.submit(torch.tensor([1.0, bad]), "in step 2")
    check.raise_if_any(wait=True)  # said once


@pytest.mark.slow
def test_a_run_stops_before_its_weights_suffer(assets, tmp_path, monkeypatch):
    targets, step, trainers = L4PTeacher.targets, P4DSeq2SeqTrainer.training_step, []
    count = 0

    def spoilt(self, windows, features, term):
        nonlocal count
        count += term == "motion"
        return targets(self, windows, features, term) * (math.nan if term == "motion" and count > 2 else 1)

    def recorded(self, *args, **kwargs):
        trainers.append(self)
        return step(self, *args, **kwargs)

    monkeypatch.setattr(L4PTeacher, "targets", spoilt)
    monkeypatch.setattr(P4DSeq2SeqTrainer, "training_step", recorded)
    with pytest.raises(NonFiniteLossError, match=r"loss_motion is nan in step \d+ \(clips: .*\.mp4.*weights"):
        train_here(assets.recipe(tmp_path / "out", max_steps=4))
    assert all(weight.isfinite().all() for weight in trainers[0].model.parameters())
    assert not (tmp_path / "out" / "model.safetensors").exists()
