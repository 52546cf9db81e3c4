# SPDX-License-Identifier: Apache-2.0
"""The host's SFT trainer with distillation."""

from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

from rgpt4d_plugin.trainers.mixin import P4DTrainerMixin


class P4DSeq2SeqTrainer(P4DTrainerMixin, CustomSeq2SeqTrainer):
    """`CustomSeq2SeqTrainer` whose loss has the P4D terms. Everything else is the host's."""
