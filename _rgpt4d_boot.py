# SPDX-License-Identifier: Apache-2.0
"""Lazy activation: wakes the plugin when LLaMA-Factory or transformers' Auto classes are imported, and not before.

`rgpt4d_plugin.pth` imports this module in every interpreter of the environment (torchrun's children too), so it
imports only `sys` and `os`, which the interpreter has loaded already, and must never raise. `RGPT4D_DISABLE=1`
switches it off.
"""

import os
import sys


# Modules whose names the plugin replaces or adds to. rgpt4d_plugin.patches.apply() says what happens to each.
TARGETS = frozenset(
    {
        "llamafactory.chat.hf_engine",
        "llamafactory.data.converter",
        "llamafactory.data.loader",
        "llamafactory.data.template",
        "llamafactory.extras.constants",
        "llamafactory.hparams.parser",
        "llamafactory.model.loader",
        "llamafactory.model.model_utils.visual",
        "llamafactory.train.sft.workflow",
        "llamafactory.train.tuner",
        "llamafactory.v1.config.arg_parser",
        "peft.tuners.tuners_utils",
        "transformers.models.auto.configuration_auto",
        "transformers.models.auto.processing_auto",
        "transformers.models.llava_onevision.modeling_llava_onevision",
    }
)


class HostFinder:
    """Meta-path finder that hands a target module to `rgpt4d_plugin.patches` right after its body has run."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name not in TARGETS:
            return None

        from importlib.machinery import PathFinder

        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return spec

        run_body = spec.loader.exec_module

        def exec_module(module):
            run_body(module)
            from rgpt4d_plugin import patches

            patches.apply(module)

        # An instance attribute: this one loader, made for this one import, and nothing else changes.
        spec.loader.exec_module = exec_module
        return spec


def activate():
    """Installs the finder once, unless the kill switch is set."""
    if os.environ.get("RGPT4D_DISABLE", "").lower() in ("1", "true", "yes"):
        return
    if not any(finder is HostFinder for finder in sys.meta_path):
        sys.meta_path.insert(0, HostFinder)


activate()
