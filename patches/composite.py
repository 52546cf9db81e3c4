# SPDX-License-Identifier: Apache-2.0
"""Seam: which parts of a family's model are vision tower, projector and language model, where the host does not know.

Host name: `COMPOSITE_MODELS` of `llamafactory.model.model_utils.visual` (0.9.5 and main of August 2026), which has no
entry for LLaVA-OneVision, NVILA-Lite and the type `glm46v`: without one, `freeze_vision_tower` and its like do nothing
and LoRA adapts the vision tower too. No other entry is touched. To be removed when the host has its own.
"""

import dataclasses
from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


def patch(module: ModuleType) -> Callable[[], None]:
    """Adds the entries that families ask for (`StudentFamily.composite`); returns the undo function."""
    require(module, "COMPOSITE_MODELS")
    from rgpt4d_plugin.students import FAMILIES

    models = module.COMPOSITE_MODELS
    alike = {name: family.composite for name, family in FAMILIES.items() if family.composite and name not in models}
    for model_type, host_type in alike.items():
        # The projector's name is complete here, so that the host finds it where it casts the outputs of quantized
        # models.
        projectors = [f"model.{key}" for key in models[host_type].projector_keys]
        models[model_type] = dataclasses.replace(models[host_type], model_type=model_type, projector_keys=projectors)

    def undo() -> None:
        for model_type in alike:
            del models[model_type]

    return undo
