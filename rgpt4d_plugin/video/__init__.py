# SPDX-License-Identifier: Apache-2.0
"""Video clips: frames with their timestamps."""

from rgpt4d_plugin.video.clip import MediaError, SeenClip, VideoError, check_video


__all__ = ["MediaError", "SeenClip", "VideoError", "check_video"]
