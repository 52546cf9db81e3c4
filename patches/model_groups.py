# SPDX-License-Identifier: Apache-2.0
"""Seam: base models under the name 4D-RGPT in the web UI's list, so that choosing one also chooses its template.

Host names: `register_model_group`, `SUPPORTED_MODELS`, `DEFAULT_TEMPLATE`, `MULTIMODAL_SUPPORTED_MODELS` and
`DownloadSource` of `llamafactory.extras.constants` (0.9.3 to main of August 2026). The host's own entries are not
touched; where a model is downloaded from, and which template it has, is looked up in them.
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


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
    "LLaVA-NeXT-Video-7B-Chat",
    "LLaVA-NeXT-Video-34B-Chat",
    "InternVL3-1B-hf",
    "InternVL3-2B-hf",
    "InternVL3-8B-hf",
    "InternVL3.5-1B-hf",
    "InternVL3.5-2B-hf",
    "InternVL3.5-4B-hf",
    "InternVL3.5-8B-hf",
    "Gemma-3-4B-Instruct",
    "Gemma-3-12B-Instruct",
    "Gemma-3-27B-Instruct",
)

# The host has no such models: name, public repository.
ONEVISION = {
    "LLaVA-OneVision-0.5B-Chat": "llava-hf/llava-onevision-qwen2-0.5b-ov-hf",
    "LLaVA-OneVision-7B-Chat": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
}


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the group; returns the undo function."""
    require(module, "register_model_group", "SUPPORTED_MODELS", "DEFAULT_TEMPLATE", "MULTIMODAL_SUPPORTED_MODELS")
    require(module, "DownloadSource")
    added = []

    def add(base: str, sources: dict, template: str) -> None:
        added.append(NAME_PREFIX + base)
        # Not twins.PREFIX: this runs while the host is being imported, and that module imports the host.
        module.register_model_group({added[-1]: sources}, f"rgpt4d_{template}", multimodal=True)

    for base in BASES:
        if base in module.SUPPORTED_MODELS:  # the list of another host version may be shorter
            add(base, dict(module.SUPPORTED_MODELS[base]), module.DEFAULT_TEMPLATE[base])
    for base, repository in ONEVISION.items():
        add(base, {module.DownloadSource.DEFAULT: repository}, "llava_onevision")

    def undo() -> None:
        for name in added:
            del module.SUPPORTED_MODELS[name], module.DEFAULT_TEMPLATE[name]
            module.MULTIMODAL_SUPPORTED_MODELS.discard(name)

    return undo
