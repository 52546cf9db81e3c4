# SPDX-License-Identifier: Apache-2.0
"""Perceptual 4D Distillation (4D-RGPT, arXiv 2512.17012) for every video MLLM that LLaMA-Factory can train.

Importing this package changes nothing anywhere: the host is hooked by `_rgpt4d_boot` when, and only when,
LLaMA-Factory itself is imported.
"""

from typing import Any

from rgpt4d_plugin._version import __version__


__all__ = ["RegionPrompt", "__version__"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the package itself must stay as light as a version number.
    if name == "RegionPrompt":
        from rgpt4d_plugin.regions.prompt import RegionPrompt

        return RegionPrompt
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
