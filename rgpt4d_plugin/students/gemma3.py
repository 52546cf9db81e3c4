# SPDX-License-Identifier: Apache-2.0
"""Gemma 3, which knows no video: a clip is its frames as images, with one blank line between them.

An image always has a blank line of its own before and after it, so that two of them are never as close as two frames.
Each frame's patches are averaged into a square of soft tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.shared_token import SharedTokenFamily


@dataclass(frozen=True)
class Gemma3Family(SharedTokenFamily):
    """Gemma 3 with its vision tower: 4B and larger."""

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
    ),
)
