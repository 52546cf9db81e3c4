# SPDX-License-Identifier: Apache-2.0
"""Runs TRL's trainers on tiny assets."""

import json

from datasets import Dataset
from peft import LoraConfig
from trl import SFTConfig

from rgpt4d_plugin.trainers.trl import P4DSFTTrainer, Sampling
from tests.harness import Assets


SAMPLING = Sampling(max_frames=8)  # as the recipes of the harness
LORA = LoraConfig(r=4, target_modules=r".*language_model.*_proj")


def host_records(assets: Assets) -> list[dict]:
    """Six records as the host has them: short and wide clips in turn, every answer one word."""
    return json.loads((assets.clips / "synth4d.json").read_text())


def dataset_of(assets: Assets) -> Dataset:
    """The same as TRL has them."""
    return Dataset.from_list(
        [
            {"prompt": r["messages"][:-1], "completion": r["messages"][-1:], "videos": r["videos"]}
            for r in host_records(assets)
        ]
    )


def config(folder, **overrides) -> SFTConfig:
    """Returns the harness's recipe as TRL's configuration."""
    settings = {
        "max_length": None,
        "use_cpu": True,
        "bf16": False,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "lr_scheduler_type": "constant",
        "max_steps": 2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": 3,
        **overrides,
    }
    return SFTConfig(str(folder), **settings)


def train(assets, folder, dataset, cls=P4DSFTTrainer, resume=None, model=None, peft=None, given=None, **overrides):
    """Trains, and returns the trainer; `given` are further arguments of the trainer."""
    given = {"sampling": SAMPLING, "peft_config": peft, **(given or {})}
    if cls is P4DSFTTrainer:
        given.setdefault("p4d", assets.p4d())
    trainer = cls(model or str(assets.student), config(folder, **overrides), train_dataset=dataset, **given)
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def logged(trainer):
    """Entries of the log that belong to training steps."""
    return [entry for entry in trainer.state.log_history if "loss" in entry]
