# SPDX-License-Identifier: Apache-2.0
"""The reader for Gemma 4."""

from typing import Any

import torch

from rgpt4d_plugin.template.clip_reader import ClipReader, reading_with


class Gemma4Reader(ClipReader):
    """In front of the host's Gemma4Plugin, whose clips of a batch must all have as many frames (0.9.5 and main).

    The model sees frame by frame, so that the frames of all clips can be given as those of one.
    """

    pairs_frames = False

    def _get_mm_inputs(
        self, images: list[Any], videos: list[Any], audios: list[Any], processor: Any
    ) -> dict[str, Any]:
        inputs = super()._get_mm_inputs(images, [], audios, processor)
        clips = [super(Gemma4Reader, self)._get_mm_inputs([], [video], [], processor) for video in videos]
        for key in clips[0] if clips else ():
            values = [clip[key] for clip in clips]
            if key == "video_metadata":
                inputs[key] = [metadata for of_clip in values for metadata in of_clip]
            else:
                by_frame = key in ("pixel_values_videos", "video_position_ids")
                inputs[key] = torch.cat(values, dim=1 if by_frame else 0)
        return inputs

    def counted(self, videos: list[Any], processor: Any) -> tuple[list[int], dict[str, Any]]:
        with reading_with(counting=True):
            inputs = self._get_mm_inputs([], videos, [], processor)
        return [len(metadata.frames_indices) for metadata in inputs.get("video_metadata", ())], inputs
