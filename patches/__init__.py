# SPDX-License-Identifier: Apache-2.0
"""Every touch of LLaMA-Factory, one seam a file.

| seam                            | host name                                   | when                  |
|---------------------------------|---------------------------------------------|-----------------------|
| `parser`                        | `hparams.parser`: argument parsing          | at the host's import  |
| `workflow`                      | `train.sft.workflow.run_sft` and its globals| at the host's import; |
|                                 |                                             | globals only in a run |
| `chat`                          | `chat.hf_engine`: `rgpt4d_...` templates    | at the host's import  |
| `converter`                     | `data.converter`: formats are added         | at the host's import  |
| `mixed_columns`                 | `data.loader`: a dataset that did not load  | at the host's import  |
| `template`                      | `data.template`: templates are added        | at the host's import  |
| `loader`                        | `model.loader`: a run with `p4d.tpe: add`   | at the host's import  |
| `auto_classes`                  | transformers' `AutoConfig`, `AutoProcessor` | at their import       |
| `adapters`                      | PEFT's `BaseTuner.inject_adapter`           | at its import         |
| `export`                        | `train.tuner.export_model`: the model card  | at the host's import  |
| `model_groups`                  | `extras.constants`: models for the web UI   | at the host's import  |
| `composite`                     | `model.model_utils.visual`: LLaVA-OneVision | at the host's import  |
| `onevision`                     | transformers' LLaVA-OneVision: clips of     | at its import         |
|                                 | several lengths                             |                       |
| `v1`                            | `v1.config.arg_parser.get_args`             | at the host's import  |
| `log_callback`                  | one `LogCallback` object                    | in a run with a block |

`template.clip_reader` is a seam too: the multimodal plugin of a run's copy of a template.

`apply` is called by `_rgpt4d_boot` right after a target module's body has run. A seam that does not fit is kept and
raised by the first run that uses `p4d:` or `p4d_eval:`; every other run of the host goes on as if the plugin were
absent.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import HostSeamError


BLOCKS = {"p4d": "p4d_block", "p4d_eval": "eval_block"}
"""The blocks of a recipe that are the plugin's, and the module that handles each: `parser` and `workflow` ask it.

Such a module has `KEY`; `Error`, raised for what is wrong with the block; for the parser `parse`, `attach`, `finish`,
`parse_for_inference` and `attach_for_inference`; for the workflow `GLOBALS` and `enter`."""

_SEAMS = {
    "llamafactory.chat.hf_engine": "chat",
    "llamafactory.data.converter": "converter",
    "llamafactory.data.loader": "mixed_columns",
    "llamafactory.data.template": "template",
    "llamafactory.extras.constants": "model_groups",
    "llamafactory.hparams.parser": "parser",
    "llamafactory.model.loader": "loader",
    "llamafactory.model.model_utils.visual": "composite",
    "llamafactory.train.sft.workflow": "workflow",
    "llamafactory.train.tuner": "export",
    "llamafactory.v1.config.arg_parser": "v1",
    "peft.tuners.tuners_utils": "adapters",
    "transformers.models.auto.configuration_auto": "auto_classes",
    "transformers.models.auto.processing_auto": "auto_classes",
    "transformers.models.llava_onevision.modeling_llava_onevision": "onevision",
}
_undo: dict[str, Callable[[], None]] = {}
_failures: list[HostSeamError] = []


def apply(module: ModuleType) -> None:
    """Applies the seam of a freshly imported host module; does nothing if it is applied already."""
    name = module.__name__
    if name in _undo:
        return
    _undo[name] = lambda: None
    try:
        _undo[name] = importlib.import_module(f"{__name__}.{_SEAMS[name]}").patch(module)
    except HostSeamError as err:
        if command_line_uses_p4d():
            raise
        _failures.append(err)


def undo_all() -> None:
    """Puts every replaced name of the host back."""
    while _undo:
        _undo.popitem()[1]()


def raise_failures() -> None:
    """Raises the first seam failure, if any: called by runs that use a block of the plugin's."""
    if _failures:
        raise _failures[0]


def is_off(block: Any) -> bool:
    """Returns whether a block's value is `off`, which makes the recipe one without the block."""
    return block is False or block == "off"


def used_blocks(recipe: Any) -> list[str]:
    """Returns the keys of the plugin's blocks that a recipe has and does not switch off."""
    return [key for key in BLOCKS if isinstance(recipe, Mapping) and key in recipe and not is_off(recipe[key])]


def unsupported(key: str, finetuning_args: Any, **switches: Any) -> list[str]:
    """Returns the problems of a recipe that has a block: its stage, and host switches, given with their owners."""
    stage, problems = finetuning_args.stage, []
    if stage != "sft":
        problems.append(f"stage: {stage!r}: `{key}:` works with stage: sft only")
    on = [name for name, owner in switches.items() if getattr(owner, name, False)]
    return problems + [f"{name}: true: not supported together with `{key}:`; remove it" for name in on]


def block_module(key: str) -> ModuleType:
    """Imports the module that handles a block."""
    return importlib.import_module(f"{__name__}.{BLOCKS[key]}")


def command_line_uses_p4d() -> bool:
    """Tells whether this process was started with a recipe, or an override, that has a block of the plugin's."""
    import yaml

    words = sys.argv[1:]
    off = [block for block in BLOCKS if any(word.lower() in (f"{block}=off", f"{block}=false") for word in words)]
    overrides = tuple(f"{block}{mark}" for block in BLOCKS if block not in off for mark in ".=")
    if any(word.startswith(overrides) for word in words):
        return True
    for argument in words:
        if argument.endswith((".yaml", ".yml")):
            try:
                with open(argument, encoding="utf-8") as stream:
                    recipe = yaml.safe_load(stream)
            except (OSError, ValueError, yaml.YAMLError):  # no recipe: the host, or whose file it is, says so
                continue
            if any(block not in off for block in used_blocks(recipe)):
                return True
    return False
