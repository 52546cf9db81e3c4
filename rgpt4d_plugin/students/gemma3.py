# SPDX-License-Identifier: Apache-2.0
"""Gemma 3 has no video input: a clip is written as its frames, one image each, with one blank line between them.

Images have a blank line of their own before and after them, so that two images are always farther apart than two
frames. The patches of a frame are averaged into a square of soft tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.shared_token import SharedTokenFamily


@dataclass(frozen=True)
class Gemma3Family(SharedTokenFamily):
    """The models with a vision tower, 4B and larger."""

    def begins_clip(self, ids: Sequence[int], runs: Sequence[tuple[int, int]], tokenizer: Any) -> bool:
        between = ids[runs[0][1] : runs[1][0]]
        return tokenizer.decode(between) == f"{tokenizer.eoi_token}\n\n{tokenizer.boi_token}"


FAMILIES = (
    Gemma3Family(
        name="Gemma 3",
        model_types=("gemma3",),
        templates=("rgpt4d_gemma3",),
        plugins=("Gemma3Plugin",),
        image_token="<image_soft_token>",
        clip_token="<image_soft_token>",
        reader="rgpt4d_plugin.template.gemma3:Gemma3Reader",
        public_models=("Gemma-3-4B-Instruct", "Gemma-3-12B-Instruct", "Gemma-3-27B-Instruct"),
        bidirectional_images=True,
        takes_videos=False,
    ),
)
