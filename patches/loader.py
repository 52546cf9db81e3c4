# SPDX-License-Identifier: Apache-2.0
"""Seam: the host loads model and processor of a run with `p4d.tpe: add` as their `rgpt4d_<base>` type.

Host names: `load_config`, `load_tokenizer`, `apply_liger_kernel` and `patch_model` of `llamafactory.model.loader`, and
the tables by model type that the rest of the host looks things up in, `COMPOSITE_MODELS` and `MROPE_MODELS` (0.9.5 and
main of August 2026). Training, chat, API and export all load through these. A run without TPE gets what the originals
return. To be removed when the host lets a plugin choose the configuration.
"""

import dataclasses
import functools
from collections.abc import Callable
from types import ModuleType
from typing import Any

from rgpt4d_plugin import modeling
from rgpt4d_plugin.arguments import P4DConfigError, TimestampEncoding
from rgpt4d_plugin.seams import require, wrap


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the loading functions of `module`; returns the undo function."""
    require(module, "load_config", "load_tokenizer", "apply_liger_kernel", "patch_model")
    load_config, load_tokenizer = module.load_config, module.load_tokenizer
    apply_liger_kernel, patch_model = module.apply_liger_kernel, module.patch_model

    @functools.wraps(load_config)
    def load_timed_config(model_args: Any) -> Any:
        config = load_config(model_args)
        encoding = _encoding(model_args)
        if modeling.is_timestamped(config.model_type):
            _check_same(config, encoding, model_args)
        elif encoding is None:
            return config
        elif config.model_type not in modeling.BASES:
            supported = ", ".join(modeling.BASES)
            raise P4DConfigError.from_problems(
                [f"p4d.tpe: add: not supported for base models of type {config.model_type!r}; supported: {supported}"]
            )
        else:
            config = modeling.timestamped_config(config, encoding.scale, encoding.base)
        _introduce(config.model_type)
        return config

    @functools.wraps(load_tokenizer)
    def load_timed_tokenizer(model_args: Any) -> Any:
        loaded = load_tokenizer(model_args)
        if loaded["processor"] is not None and _encoding(model_args) is not None:
            base = modeling.base_type(load_timed_config(model_args).model_type)
            loaded["processor"] = modeling.timestamped_processor(loaded["processor"], base)
        return loaded

    @functools.wraps(apply_liger_kernel)
    def apply_liger_kernel_of_base(config: Any, *args: Any, **kwargs: Any) -> None:
        # Liger looks the type up in a table, and replaces parts of the base's code, which ours calls.
        if modeling.is_timestamped(config.model_type):
            config = modeling.base_config(config)
        apply_liger_kernel(config, *args, **kwargs)

    @functools.wraps(patch_model)
    def patch_model_as_base(model: Any, *args: Any, **kwargs: Any) -> None:
        # Which modules ZeRO-3 gathers whole (experts), and whether Qwen3.5's layers keep packed samples apart, go by
        # the names of type and architecture.
        if not modeling.is_timestamped(model.config.model_type):
            return patch_model(model, *args, **kwargs)
        config = model.config
        own = config.architectures
        config.model_type = modeling.base_type(config.model_type)  # on the object: the class keeps its own
        config.architectures = [modeling.load(config.model_type).model.__mro__[2].__name__]
        try:
            patch_model(model, *args, **kwargs)
        finally:
            del config.model_type
            config.architectures = own

    restore = wrap(
        module,
        load_config=load_timed_config,
        load_tokenizer=load_timed_tokenizer,
        apply_liger_kernel=apply_liger_kernel_of_base,
        patch_model=patch_model_as_base,
    )

    def undo() -> None:
        restore()
        _forget()

    return undo


def _encoding(model_args: Any) -> TimestampEncoding | None:
    """Returns the TPE that a run asks for, by its recipe or by the adapter that it loads; None if there is none."""
    from rgpt4d_plugin.modeling.marker import read_marker

    p4d = getattr(model_args, "p4d", None)
    asked = p4d.encoding if p4d is not None else None
    for adapter in model_args.adapter_name_or_path or []:
        trained = read_marker(adapter, cache_dir=model_args.cache_dir, token=model_args.hf_hub_token)
        if asked is not None and trained != asked:
            found = f"with {trained}" if trained else "without it"
            raise P4DConfigError.from_problems(
                [f"p4d.tpe: add with {asked}, but the adapter {adapter} was trained {found}"]
            )
        asked = asked or trained
    return asked


def _check_same(config: Any, encoding: TimestampEncoding | None, model_args: Any) -> None:
    found = modeling.encoding_of(config)
    if encoding not in (None, found):
        raise P4DConfigError.from_problems(
            [
                f"p4d.tpe: add with {encoding}, but {model_args.model_name_or_path} was trained with {found}; give "
                "its tpe_scale and tpe_base, or start from a model without TPE"
            ]
        )


def _introduce(model_type: str) -> None:
    """Lets the host treat a type of ours as its base: what to freeze, where LoRA goes, how positions are counted."""
    from llamafactory.extras import constants
    from llamafactory.model.model_utils import visual

    base = modeling.base_type(model_type)
    if base in visual.COMPOSITE_MODELS:
        visual.COMPOSITE_MODELS[model_type] = dataclasses.replace(visual.COMPOSITE_MODELS[base], model_type=model_type)
    if base in constants.MROPE_MODELS:
        constants.MROPE_MODELS.add(model_type)


def _forget() -> None:
    """Takes our types out of the host's tables."""
    from llamafactory.extras import constants
    from llamafactory.model.model_utils import visual

    for model_type in (modeling.PREFIX + base for base in modeling.BASES):
        visual.COMPOSITE_MODELS.pop(model_type, None)
        constants.MROPE_MODELS.discard(model_type)
