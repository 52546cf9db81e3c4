# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_<name>`: for every host template of a supported video family, its twin that reads clips and draws marks."""

from dataclasses import fields
from types import ModuleType

from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.template.plugin_classes import with_reader


PREFIX = "rgpt4d_"

PLUGINS = frozenset(name for family in FAMILIES.values() for name in family.plugins)
"""Names of the plugin classes whose templates get a twin: those that were tested, token for token."""


def register_twins(module: ModuleType) -> list[str]:
    """Registers the twins of all templates of `llamafactory.data.template`; returns their names.

    A twin differs from its original in nothing but its multimodal plugin, which counts the tokens of several clips
    right where the host's does not. Names that are there already are left alone.
    """
    added = []
    for name, template in list(module.TEMPLATES.items()):
        twin = PREFIX + name
        if type(template.mm_plugin).__name__ not in PLUGINS or twin in module.TEMPLATES:
            continue
        parts = {field.name: getattr(template, field.name) for field in fields(template)}
        parts["mm_plugin"] = with_reader(template.mm_plugin)
        if type(template.mm_plugin).__name__ == "Qwen3VLPlugin":
            parts["mm_plugin"].counts_each_clip = True
        module.register_template(name=twin, template_class=type(template), **parts)
        added.append(twin)
    return added


def twin_of(name: str | None) -> str | None:
    """The twin of a host template, or None if it has none."""
    from llamafactory.data.template import TEMPLATES

    twin = f"{PREFIX}{name}"
    return twin if twin in TEMPLATES else None
