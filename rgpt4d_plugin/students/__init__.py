# SPDX-License-Identifier: Apache-2.0
"""The supported base models, by `model_type`: every module of this folder with `FAMILIES` adds its own."""

import difflib
import importlib
import pkgutil

from rgpt4d_plugin.modeling import base_type
from rgpt4d_plugin.students.base import (
    RowMedia,
    StudentFamily,
    TokenCountError,
    has_linear_attention,
    locate_clips,
    timestamps_of,
)


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
        UnsupportedFamilyError: with the reason where it is known, and the supported types of the most similar names.
    """
    model_type = base_type(model_type)
    if model_type not in FAMILIES:
        from rgpt4d_plugin.students.unsupported import UNSUPPORTED

        known = UNSUPPORTED.get(model_type)
        reason = f" ({known.name}): {known.reason}" if known else ""
        nearest = difflib.get_close_matches(model_type, FAMILIES, n=3, cutoff=0.0)
        raise UnsupportedFamilyError(
            f"model_name_or_path: `p4d:` does not support base models of type {model_type!r}{reason}. Supported, by "
            f"nearness of name: {', '.join(f'{FAMILIES[name].name} ({name})' for name in nearest)}; all are in "
            "docs/families.md, and docs/adding_a_family.md says how to add one"
        )
    return FAMILIES[model_type]


__all__ = [
    "FAMILIES",
    "RowMedia",
    "StudentFamily",
    "TokenCountError",
    "UnsupportedFamilyError",
    "get_family",
    "has_linear_attention",
    "locate_clips",
    "timestamps_of",
]
