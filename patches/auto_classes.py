# SPDX-License-Identifier: Apache-2.0
"""Seam: transformers' Auto classes know the plugin's model types, and import them when one is loaded.

These are `rgpt4d_<base>`, and the bases that transformers does not have.

So a saved `rgpt4d_` checkpoint loads by `AutoModelForImageTextToText.from_pretrained` in every process of an
environment that has the plugin, without an import of it. Names of transformers (5.5): `CONFIG_MAPPING._extra_content`,
where `AutoConfig.register` puts classes, and `processor_class_from_name`. Registering outright would import the
modeling code of every base into every process. To be removed when transformers registers classes by name.
"""

import functools
from collections.abc import Callable, ItemsView, ValuesView
from types import ModuleType
from typing import Any

from rgpt4d_plugin import modeling
from rgpt4d_plugin.seams import replace, require


def patch(module: ModuleType) -> Callable[[], None]:
    """Makes the types known to `configuration_auto` or `processing_auto`; returns the undo function."""
    if module.__name__.endswith("configuration_auto"):
        return _patch_configs(module)
    return _patch_processors(module)


class _Configs(dict):
    """Registered configuration classes by type; None stands for one of ours that nobody has asked for yet."""

    def __getitem__(self, model_type: str) -> type:
        found = super().__getitem__(model_type)
        if found is None:
            modeling.load(modeling.base_type(model_type))  # registers it in here
            found = super().__getitem__(model_type)
        return found

    def values(self) -> ValuesView:
        return {model_type: self[model_type] for model_type in self}.values()

    def items(self) -> ItemsView:
        return {model_type: self[model_type] for model_type in self}.items()


def _patch_configs(module: ModuleType) -> Callable[[], None]:
    require(module, "CONFIG_MAPPING")
    mapping = module.CONFIG_MAPPING
    require(mapping, "_extra_content")
    types = dict.fromkeys([*(modeling.PREFIX + base for base in modeling.BASES), *modeling.OWN_BASES])
    mapping._extra_content = _Configs({**types, **mapping._extra_content})

    def undo() -> None:
        mapping._extra_content = {key: value for key, value in dict.items(mapping._extra_content) if key not in types}

    return undo


def _patch_processors(module: ModuleType) -> Callable[[], None]:
    require(module, "processor_class_from_name")
    processor_class_from_name = module.processor_class_from_name

    @functools.wraps(processor_class_from_name)
    def find(class_name: str) -> Any:
        return modeling.processor_class_by_name(class_name) or processor_class_from_name(class_name)

    return replace(module, processor_class_from_name=find)
