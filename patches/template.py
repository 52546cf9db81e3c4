# SPDX-License-Identifier: Apache-2.0
"""Seam: the `rgpt4d_<name>` templates, in the host's registry of templates.

Host names: `TEMPLATES` and `register_template` of `llamafactory.data.template`, and the names of the plugin classes
that the twins override (0.9.5 and main of August 2026). The host's own templates are not touched.
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.patches.seams import require


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the twins; returns the undo function."""
    require(module, "TEMPLATES", "register_template")
    from rgpt4d_plugin.regions.template.reader import HOST_NAMES
    from rgpt4d_plugin.regions.template.twins import register_twins

    require(type(module.TEMPLATES["qwen2_vl"].mm_plugin), *HOST_NAMES)
    added = register_twins(module)

    def undo() -> None:
        for name in added:
            del module.TEMPLATES[name]

    return undo
