# SPDX-License-Identifier: Apache-2.0
"""Seam: an adapter of a model with timestamp encoding says so in its PEFT configuration, and fits no other model.

The encoding has no weights, so that PEFT would put such an adapter into the plain base without a word. Its
configuration therefore excludes a module that only `rgpt4d_<base>` models have, and this seam refuses it elsewhere.
Where the plugin is missing, PEFT itself warns that nothing was excluded, with the module's name. Name of PEFT (0.18):
`BaseTuner.inject_adapter`, which all ways of making and loading an adapter go through. To be removed when PEFT lets an
adapter name the class of its base.
"""

import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.modeling import MARKER_MODULE, is_timestamped
from rgpt4d_plugin.seams import replace, require


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `inject_adapter` in `peft.tuners.tuners_utils`; returns the undo function."""
    require(module, "BaseTuner")
    require(module.BaseTuner, "inject_adapter")
    inject_adapter = module.BaseTuner.inject_adapter

    @functools.wraps(inject_adapter)
    def inject_checked(self: Any, model: Any, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        config = self.peft_config[adapter_name]
        if hasattr(config, "exclude_modules"):
            _mark(config, getattr(getattr(model, "config", None), "model_type", None) or "")
        inject_adapter(self, model, adapter_name, *args, **kwargs)

    return replace(module.BaseTuner, inject_adapter=inject_checked)


def _mark(config: Any, model_type: str) -> None:
    """Marks the configuration of a timed model's adapter; raises ValueError if a marked one meets another model."""
    excluded = config.exclude_modules or []
    if not is_timestamped(model_type):
        if MARKER_MODULE in excluded:
            raise ValueError(
                f"the adapter was trained with timestamp encoding (p4d.tpe: add) and fits rgpt4d_{model_type} only: "
                f"on {model_type or 'this model'} it would answer as another model. Load it with LLaMA-Factory, or "
                "export it merged (docs/timestamps.md)."
            )
    elif isinstance(excluded, str):  # a regular expression
        if MARKER_MODULE not in excluded:
            config.exclude_modules = f"(?:{excluded})|{MARKER_MODULE}"
    elif MARKER_MODULE not in excluded:
        config.exclude_modules = {*excluded, MARKER_MODULE}
