# SPDX-License-Identifier: Apache-2.0
"""Seam: the dataset formats `rgpt4d` and `rgpt4d_openai`, in the host's registry of converters.

Host names: `register_dataset_converter`, `DATASET_CONVERTERS` and the converter classes of
`llamafactory.data.converter` (0.9.5 and main of August 2026). Datasets of other formats are not touched.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import require


FORMATS = {"rgpt4d": "RegionShareGPTConverter", "rgpt4d_openai": "RegionOpenAIConverter"}


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the formats; returns the undo function."""
    require(module, "register_dataset_converter", "DATASET_CONVERTERS")
    require(module, "DatasetConverter", "SharegptDatasetConverter", "OpenAIDatasetConverter")
    for name, class_name in FORMATS.items():
        module.register_dataset_converter(name, _maker(class_name))

    def undo() -> None:
        for name in FORMATS:
            del module.DATASET_CONVERTERS[name]

    return undo


def _maker(class_name: str) -> Callable[..., Any]:
    """Returns a function that makes a converter, and imports its module on use."""

    def make(*args: Any) -> Any:
        from rgpt4d_plugin.template import converter

        return getattr(converter, class_name)(*args)

    return make
