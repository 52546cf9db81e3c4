# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's Hugging Face chat engine, for the `rgpt4d_<name>` templates.

Since version 5, transformers computes the positions of image and video tokens from `mm_token_type_ids`. The host's
collator makes them; its engine (0.9.5 and main of August 2026) does not, so a model would be asked with positions that
it was not trained with. Host names: `HuggingfaceEngine._process_args` of `llamafactory.chat.hf_engine`. Other
templates are not touched. To be removed when the engine passes token types itself.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from rgpt4d_plugin.patches.seams import require


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the engine's argument builder; returns the undo function."""
    require(module, "HuggingfaceEngine")
    engine = module.HuggingfaceEngine
    require(engine, "_process_args")
    original = engine.__dict__["_process_args"]
    process_args = original.__func__

    from rgpt4d_plugin.regions.template.reader import ClipReader

    @functools.wraps(process_args)
    def process_args_with_types(
        model: Any, tokenizer: Any, processor: Any, template: Any, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], int]:
        if not isinstance(template.mm_plugin, ClipReader):
            return process_args(model, tokenizer, processor, template, *args, **kwargs)
        with template.mm_plugin.asked():
            generate, length = process_args(model, tokenizer, processor, template, *args, **kwargs)
        if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
            generate.setdefault("mm_token_type_ids", _token_types(generate["inputs"], model.config))
        return generate, length

    engine._process_args = staticmethod(process_args_with_types)

    def undo() -> None:
        engine._process_args = original

    return undo


def _token_types(input_ids: torch.Tensor, config: Any) -> torch.Tensor:
    """0 text, 1 image, 2 video, as the host's collator numbers them."""
    types = torch.zeros_like(input_ids)
    types[input_ids == config.image_token_id] = 1
    types[input_ids == config.video_token_id] = 2
    return types
