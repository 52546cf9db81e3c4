# SPDX-License-Identifier: Apache-2.0
"""Frozen teachers whose features and maps supervise the video LLM: the interface in `base`, one folder per teacher."""

from rgpt4d_plugin.teachers.base import (
    ClipKey,
    MapSpec,
    MapView,
    StoredMap,
    Teacher,
    TeacherArguments,
    TeacherSpec,
    TeacherWindows,
    Tile,
    cut_windows,
    register_teacher,
    teacher_class,
)


__all__ = [
    "ClipKey",
    "MapSpec",
    "MapView",
    "StoredMap",
    "Teacher",
    "TeacherArguments",
    "TeacherSpec",
    "TeacherWindows",
    "Tile",
    "cut_windows",
    "register_teacher",
    "teacher_class",
]
