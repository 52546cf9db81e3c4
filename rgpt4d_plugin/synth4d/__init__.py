# SPDX-License-Identifier: Apache-2.0
"""Synthetic 4D: clips with exact ground truth, a tiny student, and a small teacher really trained on such clips."""

from pathlib import Path

from rgpt4d_plugin.synth4d.clips import HELD_OUT, write_clips


TINY_TEACHER = Path(__file__).parent / "assets" / "l4p_tiny.safetensors"
"""Checkpoint of the small teacher; `benchmarks/train_tiny_teacher.py` made it."""

__all__ = ["HELD_OUT", "TINY_TEACHER", "write_clips"]
