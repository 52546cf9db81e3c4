# SPDX-License-Identifier: Apache-2.0
"""Seam: LLaVA-OneVision takes clips of several lengths in a batch, filled up with frames that are not a number.

transformers (5.5) makes one tensor of a batch's clips and ends each with a newline token, so that a shorter clip would
need frames that it does not have. Here the filled frames are left out, and each clip still ends with its newline; all
frames go through the vision tower in one call, as always. Name of transformers:
`LlavaOnevisionModel.get_video_features`. To be removed when transformers takes such batches.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import replace, require


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `get_video_features` of the model in `modeling_llava_onevision`; returns the undo function."""
    import torch

    require(module, "LlavaOnevisionModel")
    require(module.LlavaOnevisionModel, "get_video_features")
    get_video_features = module.LlavaOnevisionModel.get_video_features

    @functools.wraps(get_video_features)
    def get_features_of_each(self: Any, pixel_values: Any, *args: Any, **kwargs: Any) -> Any:
        is_frame = ~pixel_values[:, :, 0, 0, 0].isnan()  # (clips, frames)
        if len(is_frame) == 1 or is_frame.all():
            return get_video_features(self, pixel_values, *args, **kwargs)
        outputs = get_video_features(self, pixel_values[is_frame][None], *args, **kwargs)
        features, counts = outputs.pooler_output[0], is_frame.sum(1)
        newline = self.image_newline[None].to(features)
        rows = features.split((counts * (len(features) // counts.sum())).tolist())
        # The model puts the last newline behind what it takes for one clip.
        ended = [part for row in rows for part in (row, newline)][:-1]
        outputs.pooler_output = torch.cat(ended)[None]
        return outputs

    return replace(module.LlavaOnevisionModel, get_video_features=get_features_of_each)
