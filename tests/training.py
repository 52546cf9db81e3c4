# SPDX-License-Identifier: Apache-2.0
"""Trained steps under a loupe: the gradients behind a step, and the trainers that the host built."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from rgpt4d_plugin.distill import LatentDecoder
from rgpt4d_plugin.trainers.llamafactory import P4DSeq2SeqTrainer
from rgpt4d_plugin.trainers.mixin import DECODER_FILE
from tests.harness import Assets, weights


PLAIN_SGD = {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 0, "max_steps": 1, "save_strategy": "steps"}
"""One step whose change of each weight is minus its gradient."""


def gradients(assets: Assets, folder: Path) -> dict[str, torch.Tensor]:
    """Gradients of student and decoder after a PLAIN_SGD run."""
    before = weights(assets.student)
    after = weights(folder / "checkpoint-1")
    student = {f"student.{name}": before[name] - after[name] for name in before}
    initial = LatentDecoder(32, 16, hooks=3, layers=2, hidden_size=32, seed=3).state_dict()
    trained = weights(folder / "checkpoint-1", DECODER_FILE)
    return student | {f"decoder.{name}": initial[name] - trained[name] for name in initial}


@contextmanager
def built_trainers() -> Iterator[list[P4DSeq2SeqTrainer]]:
    """Collects the P4D trainers that the host builds inside the block."""
    built = []
    init = P4DSeq2SeqTrainer.__init__

    def recording_init(self: P4DSeq2SeqTrainer, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **kwargs)
        built.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(P4DSeq2SeqTrainer, "__init__", recording_init)
        yield built
