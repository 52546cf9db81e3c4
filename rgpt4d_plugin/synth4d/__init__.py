# SPDX-License-Identifier: Apache-2.0
"""Synthetic 4D: clips with exact ground truth, a tiny student, and a small teacher really trained on such clips."""

from pathlib import Path

from rgpt4d_plugin.synth4d.clips import DATASET, HELD_OUT, ClipSettings, decode_mp4, encode_mp4, make_clip, write_clips
from rgpt4d_plugin.synth4d.questions import KINDS, Question, ask
from rgpt4d_plugin.synth4d.scene import COLOURS, Ball, Clip4D, Scene, render, sample_scene


TINY_TEACHER = Path(__file__).parent / "assets" / "l4p_tiny.safetensors"
"""Checkpoint of the small teacher; `benchmarks/train_tiny_teacher.py` made it."""

__all__ = [
    "COLOURS",
    "DATASET",
    "HELD_OUT",
    "KINDS",
    "TINY_TEACHER",
    "Ball",
    "Clip4D",
    "ClipSettings",
    "Question",
    "Scene",
    "ask",
    "decode_mp4",
    "encode_mp4",
    "make_clip",
    "render",
    "sample_scene",
    "write_clips",
]
