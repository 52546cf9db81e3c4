# SPDX-License-Identifier: Apache-2.0
"""InternVL in its transformers form: a clip is written `Frame1: <img>...</img>`, a line for each frame.

A frame is one tile, and its patches are shuffled into tokens 2 x 2 at a time. An image may have several tiles; their
tokens are one run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rgpt4d_plugin.students.shared_token import SharedTokenFamily


_FIRST = "Frame1: "


@dataclass(frozen=True)
class InternVLFamily(SharedTokenFamily):
    """InternVL 2.5, 3 and 3.5."""

    def begins_clip(self, ids: Sequence[int], runs: Sequence[tuple[int, int]], tokenizer: Any) -> bool:
        opening = runs[0][0] - 1  # <img>
        # No token is shorter than a character, so that these hold all of the text.
        return tokenizer.decode(ids[max(0, opening - len(_FIRST)) : opening]).endswith(_FIRST)


FAMILIES = (
    InternVLFamily(
        name="InternVL",
        model_types=("internvl",),
        templates=("intern_vl",),
        plugins=("InternVLPlugin",),
        image_token="<IMG_CONTEXT>",
        clip_token="<IMG_CONTEXT>",
        reader="rgpt4d_plugin.template.internvl:InternVLReader",
        public_models=(
            "InternVL3-1B-hf",
            "InternVL3-2B-hf",
            "InternVL3-8B-hf",
            "InternVL3.5-1B-hf",
            "InternVL3.5-2B-hf",
            "InternVL3.5-4B-hf",
            "InternVL3.5-8B-hf",
        ),
    ),
)
