# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's Hugging Face chat engine asks a model as it was trained.

With a `p4d:` block, the template shows `p4d.frames` frames, with the sentence of `p4d.tpe: text`. For such templates,
and the `rgpt4d_<name>` ones, the model gets two inputs more: since version 5, transformers computes the positions of
image and video tokens from `mm_token_type_ids`, which the host's collator makes and its engine (0.9.5 and main of
August 2026) does not; and an `rgpt4d_<base>` model takes `video_timestamps`. Host names:
`get_template_and_fix_tokenizer` and `HuggingfaceEngine._process_args` of `llamafactory.chat.hf_engine`. Other
templates are not touched. Token types are to be removed when the engine passes them itself.
"""

import functools
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import replace, require


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the engine's argument builder; returns the undo function."""
    require(module, "HuggingfaceEngine", "get_template_and_fix_tokenizer")
    engine = module.HuggingfaceEngine
    require(engine, "_process_args")
    original = engine.__dict__["_process_args"]
    process_args = original.__func__
    signature = inspect.signature(process_args)

    from rgpt4d_plugin.modeling import is_timestamped
    from rgpt4d_plugin.students import get_family
    from rgpt4d_plugin.template.clip_reader import ClipReader
    from rgpt4d_plugin.template.plugin_classes import template_of_run, token_types
    from rgpt4d_plugin.video.entries import has_prefix

    make_template = module.get_template_and_fix_tokenizer

    @functools.wraps(make_template)
    def make_template_of_run(tokenizer: Any, data_args: Any) -> Any:
        return template_of_run(make_template(tokenizer, data_args), data_args)

    @functools.wraps(process_args)
    def process_args_with_types(
        model: Any, tokenizer: Any, processor: Any, template: Any, *args: Any, **kwargs: Any
    ) -> tuple[dict[str, Any], int]:
        if not isinstance(template.mm_plugin, ClipReader):
            given = signature.bind(model, tokenizer, processor, template, *args, **kwargs).arguments
            if any(map(has_prefix, [*(given.get("images") or []), *(given.get("videos") or [])])):
                raise ValueError(
                    "template: this one shows no regions, cuts no clips and gives no timestamps; use the "
                    "template: rgpt4d_... that is derived from it"
                )
            return process_args(model, tokenizer, processor, template, *args, **kwargs)
        with template.mm_plugin.asked() as seconds:
            generate, length = process_args(model, tokenizer, processor, template, *args, **kwargs)
        if "mm_token_type_ids" in inspect.signature(model.forward).parameters:
            generate.setdefault("mm_token_type_ids", token_types(generate["inputs"], model.config))
        if is_timestamped(model.config.model_type):
            given = signature.bind(model, tokenizer, processor, template, *args, **kwargs).arguments
            counts = [len(given.get("images") or [])], [len(seconds)]
            generate["video_timestamps"] = get_family(model.config.model_type).timestamps(
                generate["inputs"], generate, *counts, seconds, processor, tokenizer
            )
        return generate, length

    engine._process_args = staticmethod(process_args_with_types)
    restore = replace(module, get_template_and_fix_tokenizer=make_template_of_run)

    def undo() -> None:
        restore()
        engine._process_args = original

    return undo
