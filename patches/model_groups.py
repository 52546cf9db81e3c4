# SPDX-License-Identifier: Apache-2.0
"""Seam: base models for 4D-RGPT in the web UI's list, so that choosing one also chooses its template.

Host names: `register_model_group`, `SUPPORTED_MODELS`, `DEFAULT_TEMPLATE`, `MULTIMODAL_SUPPORTED_MODELS` and
`DownloadSource` of `llamafactory.extras.constants` (0.9.3 to main of August 2026). The host's own entries are not
touched; where a model is downloaded from, and which template it has, is looked up in them. The models are those that
the families name (`StudentFamily.public_models`).
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


NAME_PREFIX = "Base-for-4D-RGPT-"
"""These are the public base models, to be trained; not the weights that NVIDIA released."""


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the group; returns the undo function."""
    require(module, "register_model_group", "SUPPORTED_MODELS", "DEFAULT_TEMPLATE", "MULTIMODAL_SUPPORTED_MODELS")
    require(module, "DownloadSource")
    from rgpt4d_plugin.students import FAMILIES

    added = []

    def add(base: str, sources: dict, template: str) -> None:
        added.append(NAME_PREFIX + base)
        module.register_model_group({added[-1]: sources}, template, multimodal=True)

    for family in dict.fromkeys(FAMILIES.values()):
        for model in family.public_models:
            if not isinstance(model, str):
                base, repository = model
                add(base, {module.DownloadSource.DEFAULT: repository}, family.templates[0])
            elif model in module.SUPPORTED_MODELS:  # the list of another host version may be shorter
                add(model, dict(module.SUPPORTED_MODELS[model]), f"rgpt4d_{module.DEFAULT_TEMPLATE[model]}")

    def undo() -> None:
        for name in added:
            del module.SUPPORTED_MODELS[name], module.DEFAULT_TEMPLATE[name]
            module.MULTIMODAL_SUPPORTED_MODELS.discard(name)

    return undo
