# SPDX-License-Identifier: Apache-2.0
"""The supported base models, by `model_type`: every module of this folder with `FAMILIES` adds its own."""

import importlib
import pkgutil

from rgpt4d_plugin.modeling import base_type
from rgpt4d_plugin.students.base import RowMedia, StudentFamily, TokenCountError, locate_clips, timestamps_of


FAMILIES: dict[str, StudentFamily] = {
    model_type: family
    for found in pkgutil.iter_modules(__path__, f"{__name__}.")
    for family in getattr(importlib.import_module(found.name), "FAMILIES", ())
    for model_type in family.model_types
}


class UnsupportedFamilyError(ValueError):
    """The base model is of a family the plugin has no grid for."""


def get_family(model_type: str) -> StudentFamily:
    """The family of a config's `model_type`, with or without timestamp encoding.

    Raises:
        UnsupportedFamilyError: naming the supported ones.
    """
    model_type = base_type(model_type)
    if model_type not in FAMILIES:
        supported = ", ".join(f"{family.name} ({model_type})" for model_type, family in FAMILIES.items())
        raise UnsupportedFamilyError(
            f"model_name_or_path: `p4d:` does not support base models of type {model_type!r}; supported: {supported}"
        )
    return FAMILIES[model_type]


__all__ = [
    "FAMILIES",
    "RowMedia",
    "StudentFamily",
    "TokenCountError",
    "UnsupportedFamilyError",
    "get_family",
    "locate_clips",
    "timestamps_of",
]
