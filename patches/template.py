# SPDX-License-Identifier: Apache-2.0
"""Seam: the `rgpt4d_<name>` templates, in the host's registry of templates.

Host names: `TEMPLATES`, `register_template`, `get_mm_plugin` and `StringFormatter` of `llamafactory.data.template`,
`PLUGINS` and `register_mm_plugin` of `llamafactory.data.mm_plugin`, and the names of the plugin classes that the
derived templates override (0.9.5 and main of August 2026). The host's own templates are not touched. The templates for
LLaVA-OneVision and NVILA-Lite are to be removed when the host has its own.
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the derived templates; returns the undo function."""
    from llamafactory.data import mm_plugin

    require(module, "TEMPLATES", "register_template", "get_mm_plugin", "StringFormatter")
    require(mm_plugin, "PLUGINS", "register_mm_plugin", "BasePlugin")
    from rgpt4d_plugin.template import llava_onevision, nvila
    from rgpt4d_plugin.template.clip_reader import HOST_NAMES
    from rgpt4d_plugin.template.derived_templates import register_derived_templates

    require(type(module.TEMPLATES["qwen2_vl"].mm_plugin), *HOST_NAMES)
    own = (llava_onevision, nvila)
    added = register_derived_templates(module)
    for family in own:
        added += family.register(module, mm_plugin)

    def undo() -> None:
        for name in added:
            del module.TEMPLATES[name]
        for family in own:
            mm_plugin.PLUGINS.pop(family.NAME, None)

    return undo
