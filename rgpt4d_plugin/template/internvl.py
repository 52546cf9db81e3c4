# SPDX-License-Identifier: Apache-2.0
"""The reader for InternVL."""

from typing import Any

import numpy as np

from rgpt4d_plugin.template.square import SharedTokenReader


class InternVLReader(SharedTokenReader):
    """A reader in front of the host's InternVLPlugin."""

    model_type = "internvl"

    def _p4d_sizes(self, inputs: dict[str, Any], images: int, videos: int) -> tuple[list[int], list[int]]:
        tiles = inputs.pop("image_num_patches", [])
        ends = inputs.pop("video_patch_indices", [])
        inputs.pop("video_num_patches", None)
        return [int(count) for count in tiles], np.diff(ends, prepend=0).tolist()
