# SPDX-License-Identifier: Apache-2.0
"""The checked parts of a run: what its one line in the log says."""

from llamafactory.hparams import get_train_args
from llamafactory.model import load_config

from rgpt4d_plugin.trainers.setup import P4DSetup


def test_the_line_at_the_start_names_what_is_distilled(assets, tmp_path):
    block = assets.p4d(loss={"depth": 0.1, "latent": 0.5, "flow": 0, "motion": 0, "camray": 0})
    model_args, _, _, finetuning_args, _ = get_train_args(assets.recipe(tmp_path / "out", p4d=block))
    line = P4DSetup.prepare(finetuning_args.p4d, load_config(model_args)).summary
    assert line.startswith("P4D is on: student family ") and str(assets.teacher) in line
    assert (
        "mse of latent x 0.5, depth x 0.1; frames chosen by the host; tpe off; decoder 2 layers of width 32, at hooks "
        "[0, 1, 2]." in line
    )
