# SPDX-License-Identifier: Apache-2.0
"""Perceptual 4D Distillation itself: grids, decoder, losses, distiller. Needs torch and a teacher, knows no host."""

from rgpt4d_plugin.distill.batch import DistillBatch
from rgpt4d_plugin.distill.decoder import LatentDecoder
from rgpt4d_plugin.distill.distiller import Distiller, TermSums
from rgpt4d_plugin.distill.grid import resample


__all__ = ["DistillBatch", "Distiller", "LatentDecoder", "TermSums", "resample"]
