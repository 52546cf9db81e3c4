# SPDX-License-Identifier: Apache-2.0
"""Seam: the dataset formats `rgpt4d` and `rgpt4d_openai`, in the host's registry of converters.

Host names: `register_dataset_converter`, `DATASET_CONVERTERS` and the converter classes of
`llamafactory.data.converter` (0.9.5 and main of August 2026). Datasets of other formats are not touched.
"""

from collections.abc import Callable
from types import ModuleType

from rgpt4d_plugin.seams import require


def patch(module: ModuleType) -> Callable[[], None]:
    """Registers the formats; returns the undo function."""
    require(module, "register_dataset_converter", "DATASET_CONVERTERS")
    require(module, "DatasetConverter", "SharegptDatasetConverter", "OpenAIDatasetConverter")
    from rgpt4d_plugin.template.converter import CONVERTERS

    for name, converter in CONVERTERS.items():
        module.register_dataset_converter(name, converter)

    def undo() -> None:
        for name in CONVERTERS:
            del module.DATASET_CONVERTERS[name]

    return undo
