# SPDX-License-Identifier: Apache-2.0
"""Several published networks as one teacher: depth, flow, cameras and features from whoever gives them best."""

from rgpt4d_plugin.teachers.composite.teacher import CompositeTeacher


__all__ = ["CompositeTeacher"]
