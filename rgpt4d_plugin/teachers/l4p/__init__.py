# SPDX-License-Identifier: Apache-2.0
"""L4P, the 4D teacher: an independent implementation that reads the official weights.

Written from a description of the architecture (names, shapes, data flow) of L4P, NVlabs/L4P commit 8701a4b.
No upstream code is used. The official weights have their own, non-commercial licence.

Legend of the shapes in this folder: B batch, T frames, t temporal tokens, H W pixels, h w tokens, N = t*h*w tokens,
C channels.
"""

from rgpt4d_plugin.teachers.l4p.checkpoint import L4PCheckpointError, load_l4p, read_l4p_config, save_l4p
from rgpt4d_plugin.teachers.l4p.config import RELEASED, TASKS, L4PConfig, TaskConfig
from rgpt4d_plugin.teachers.l4p.model import L4P
from rgpt4d_plugin.teachers.l4p.teacher import L4PTeacher


__all__ = [
    "L4P",
    "RELEASED",
    "TASKS",
    "L4PCheckpointError",
    "L4PConfig",
    "L4PTeacher",
    "TaskConfig",
    "load_l4p",
    "read_l4p_config",
    "save_l4p",
]
