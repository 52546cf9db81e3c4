# SPDX-License-Identifier: Apache-2.0
"""Seam: which parts of LLaVA-OneVision are vision tower, projector and language model.

Host name: `COMPOSITE_MODELS` of `llamafactory.model.model_utils.visual` (0.9.5 and main of August 2026), which has no
entry for it: without one, `freeze_vision_tower` and its like do nothing and LoRA adapts the vision tower too. No other
entry is touched. To be removed when the host has its own.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


_MODEL, _ALIKE = "llava_onevision", "llava_next_video"


def patch(module: ModuleType) -> Callable[[], None]:
    """Adds the entry; returns the undo function."""
    require(module, "COMPOSITE_MODELS")
    models = module.COMPOSITE_MODELS
    if _MODEL in models:
        return lambda: None
    # The same parts under the same names. The projector's is complete here, so that the host finds it where it casts
    # the outputs of quantised models.
    models[_MODEL] = dataclasses.replace(
        models[_ALIKE], model_type=_MODEL, projector_keys=["model.multi_modal_projector"]
    )

    def undo() -> None:
        del models[_MODEL]

    return undo
