# SPDX-License-Identifier: Apache-2.0
"""Perceptual 4D Distillation itself: grids, decoder, losses, distiller. Needs torch and a teacher, knows no host."""

from rgpt4d_plugin.distill.batch import ClipTokens, DistillBatch
from rgpt4d_plugin.distill.decoder import LatentDecoder
from rgpt4d_plugin.distill.distiller import TERM_TASKS, Distiller, TermSums


__all__ = ["TERM_TASKS", "ClipTokens", "DistillBatch", "Distiller", "LatentDecoder", "TermSums"]
