# SPDX-License-Identifier: Apache-2.0
"""Seam: a local dataset whose columns are mixed loads, or is an error that names record and field; one without
records is an error that names the file.

Host names: `_load_single_dataset` and `load_dataset` of `llamafactory.data.loader` (0.9.3 to main of August 2026).
For the plugin's own formats and for runs with a `p4d:` block; columns are looked at once a load has failed. To be
removed when the datasets library reads such columns.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import replace, require


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the loading of one dataset; returns the undo function."""
    require(module, "_load_single_dataset", "load_dataset")
    load_single_dataset = module._load_single_dataset

    @functools.wraps(load_single_dataset)
    def load_mixed(attributes: Any, model_args: Any, data_args: Any, *args: Any) -> Any:
        if not (attributes.formatting.startswith("rgpt4d") or getattr(data_args, "p4d", None)):
            return load_single_dataset(attributes, model_args, data_args, *args)
        from datasets.exceptions import DatasetGenerationError

        from rgpt4d_plugin.template.record_lookup import check_begin

        check_begin(attributes, data_args)
        try:
            return load_single_dataset(attributes, model_args, data_args, *args)
        except DatasetGenerationError:
            from rgpt4d_plugin.template.mixed_columns import loader_of_text

            load = loader_of_text(attributes, data_args)
        restore = replace(module, load_dataset=load)
        try:
            return load_single_dataset(attributes, model_args, data_args, *args)
        finally:
            restore()

    return replace(module, _load_single_dataset=load_mixed)
