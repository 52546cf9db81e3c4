# SPDX-License-Identifier: Apache-2.0
"""Video clips: frames with their timestamps."""

from rgpt4d_plugin.video.clip import SeenClip, VideoError, check_video


__all__ = ["SeenClip", "VideoError", "check_video"]
