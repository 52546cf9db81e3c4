# SPDX-License-Identifier: Apache-2.0
"""The reader for LLaVA-NeXT-Video and Video-LLaVA, and how frames become tensors for the LLaVA line."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from rgpt4d_plugin.template.square import SquareReader, clips_of


def clip_tensors(clips: Sequence[list[Image.Image]], processor: Any) -> list[torch.Tensor]:
    """Returns each clip as (1, frames, 3, H, W), made by the model's own video processor.

    The host (0.9.5 and main) gives it an argument that transformers 5 refuses.
    """
    return [processor.video_processor([frames], return_tensors="pt")["pixel_values_videos"] for frames in clips]


class LlavaVideoReader(SquareReader):
    """In front of the host's LlavaNextVideoPlugin and VideoLlavaPlugin.

    They take all clips to be as long as the first (0.9.5 and main). The models see frame by frame and put the clips'
    tokens in a row: clips that differ in length are as one to them.
    """

    counts_each_clip = True

    def _get_mm_inputs(
        self, images: list, videos: list, audios: list, processor: Any, imglens: list[int] | None = None
    ) -> dict[str, Any]:
        inputs = super()._get_mm_inputs(images, [], audios, processor, imglens)
        clips = clip_tensors(clips_of(self, videos, processor), processor)
        if clips:
            same = len({clip.shape for clip in clips}) == 1
            inputs["pixel_values_videos"] = torch.cat(clips, dim=0 if same else 1)
        return inputs
