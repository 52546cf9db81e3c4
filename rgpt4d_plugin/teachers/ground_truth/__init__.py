# SPDX-License-Identifier: Apache-2.0
"""Ground truth as the teacher: depth, flow, motion and cameras that come with the data."""

from rgpt4d_plugin.teachers.ground_truth.clip_file import ClipFile, ClipFileError, open_clip_file
from rgpt4d_plugin.teachers.ground_truth.teacher import GroundTruthTeacher


__all__ = ["ClipFile", "ClipFileError", "GroundTruthTeacher", "open_clip_file"]
