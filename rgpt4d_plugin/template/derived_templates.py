# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d_<name>`: derived from every host template of a supported video family, to read clips and draw marks."""

from dataclasses import fields
from types import ModuleType

from rgpt4d_plugin.students import FAMILIES
from rgpt4d_plugin.template.plugin_classes import with_reader


PREFIX = "rgpt4d_"

PLUGINS = {name: family for family in FAMILIES.values() for name in family.plugins}
"""Plugin classes, by name, from whose templates others are derived: those that were tested, token for token."""


def register_derived_templates(module: ModuleType) -> list[str]:
    """Registers the derived templates of all templates of `llamafactory.data.template`; returns their names.

    A derived template differs from its original in nothing but its multimodal plugin, which counts the tokens of
    several clips right where the host's does not. Names that are there already are left alone.
    """
    added = []
    for name, template in list(module.TEMPLATES.items()):
        family = PLUGINS.get(type(template.mm_plugin).__name__)
        derived = PREFIX + name
        if family is None or derived in module.TEMPLATES:
            continue
        parts = {field.name: getattr(template, field.name) for field in fields(template)}
        parts["mm_plugin"] = with_reader(template.mm_plugin)
        if family.counts_each_clip:
            parts["mm_plugin"].counts_each_clip = True
        module.register_template(name=derived, template_class=type(template), **parts)
        added.append(derived)
    return added


def derived_template_of(name: str | None) -> str | None:
    """Returns the name of the template derived from a host template, or None if there is none."""
    from llamafactory.data.template import TEMPLATES

    derived = f"{PREFIX}{name}"
    return derived if derived in TEMPLATES else None
