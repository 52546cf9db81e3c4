# SPDX-License-Identifier: Apache-2.0
"""Seam: base models under the name 4D-RGPT in the web UI's list, so that choosing one also chooses its template.

Host names: `register_model_group`, `SUPPORTED_MODELS`, `DEFAULT_TEMPLATE` and `MULTIMODAL_SUPPORTED_MODELS` of
`llamafactory.extras.constants` (0.9.3 to main of August 2026). The host's own entries are not touched; where a model
is downloaded from, and which template it has, is looked up in them.
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.patches.seams import require


NAME_PREFIX = "4D-RGPT-"

# Names of the host for the dense models of the supported families, whose template has a twin.
BASES = (
    "Qwen2-VL-2B-Instruct",
    "Qwen2-VL-7B-Instruct",
    "Qwen2-VL-72B-Instruct",
    "Qwen2.5-VL-3B-Instruct",
    "Qwen2.5-VL-7B-Instruct",
    "Qwen2.5-VL-32B-Instruct",
    "Qwen2.5-VL-72B-Instruct",
    "Qwen3-VL-2B-Instruct",
    "Qwen3-VL-4B-Instruct",
    "Qwen3-VL-8B-Instruct",
    "Qwen3-VL-32B-Instruct",
)


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the group; returns the undo function."""
    require(module, "register_model_group", "SUPPORTED_MODELS", "DEFAULT_TEMPLATE", "MULTIMODAL_SUPPORTED_MODELS")
    added = []
    for base in BASES:
        if base in module.SUPPORTED_MODELS:  # the list of another host version may be shorter
            # Not twins.PREFIX: this runs while the host is being imported, and that module imports the host.
            template = f"rgpt4d_{module.DEFAULT_TEMPLATE[base]}"
            name = NAME_PREFIX + base
            module.register_model_group({name: dict(module.SUPPORTED_MODELS[base])}, template, multimodal=True)
            added.append(name)

    def undo() -> None:
        for name in added:
            del module.SUPPORTED_MODELS[name], module.DEFAULT_TEMPLATE[name]
            module.MULTIMODAL_SUPPORTED_MODELS.discard(name)

    return undo
