# SPDX-License-Identifier: Apache-2.0
"""Seam: `run_sft` of the host, with the parts that the plugin's blocks put into its place for the run.

Host names: `run_sft` of `llamafactory.train.sft.workflow` and the module globals it builds from (`GLOBALS` of each
block), which are replaced for the duration of one call and put back (0.9.3 to main of August 2026). A run without a
block calls the original. To be removed when the host takes trainer and collator classes as arguments.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from rgpt4d_plugin.patches import BLOCKS, block_module, p4d_block
from rgpt4d_plugin.seams import require, wrap


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `run_sft` of `module`; returns the undo function."""
    require(module, "run_sft", *p4d_block.GLOBALS)  # those of the other block are among them
    run_sft = module.run_sft

    @functools.wraps(run_sft)
    def run_sft_with_blocks(
        model_args: Any,
        data_args: Any,
        training_args: Any,
        finetuning_args: Any,
        generating_args: Any,
        callbacks: list[Any] | None = None,
    ) -> None:
        host_args = (model_args, data_args, training_args, finetuning_args)
        with ExitStack() as stack:
            for key in BLOCKS:
                arguments = getattr(finetuning_args, key, None)
                if arguments is not None:
                    callbacks = callbacks or []
                    callbacks += block_module(key).enter(stack, module, arguments, *host_args, callbacks)
            run_sft(*host_args, generating_args, callbacks)

    return wrap(module, run_sft=run_sft_with_blocks)
