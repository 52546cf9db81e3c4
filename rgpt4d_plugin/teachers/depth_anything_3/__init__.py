# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3, a permissively licensed teacher of depth and camera rays, in torch alone.

An independent implementation, written from a description of the network; it reads the official weights. Of the
released ones, SMALL and BASE are under Apache-2.0.
"""

from rgpt4d_plugin.teachers.depth_anything_3.checkpoint import (
    DepthAnything3CheckpointError,
    load_depth_anything_3,
    read_depth_anything_3_config,
    save_depth_anything_3,
)
from rgpt4d_plugin.teachers.depth_anything_3.config import DepthAnything3Config
from rgpt4d_plugin.teachers.depth_anything_3.model import DepthAnything3, Geometry
from rgpt4d_plugin.teachers.depth_anything_3.teacher import DepthAnything3Teacher


__all__ = [
    "DepthAnything3",
    "DepthAnything3CheckpointError",
    "DepthAnything3Config",
    "DepthAnything3Teacher",
    "Geometry",
    "load_depth_anything_3",
    "read_depth_anything_3_config",
    "save_depth_anything_3",
]
