# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's argument parser takes the `p4d:` block out of the recipe and refuses what cannot work with it.

Host names: `read_args`, `_parse_train_args`, `_parse_infer_args`, `get_train_args`, `get_ray_args`, `_TRAIN_ARGS` and
`_INFER_ARGS` of `llamafactory.hparams.parser`, the same in 0.9.3 to main of August 2026. Without a `p4d:` block the
originals are called with the caller's own arguments. To be removed when the host lets a plugin register an argument
group.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from rgpt4d_plugin.arguments import P4DArguments, P4DConfigError, parse_p4d
from rgpt4d_plugin.seams import check_host, require, switched_on, wrap


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the parser functions of `module`; returns the undo function."""
    require(module, "read_args", "_parse_train_args", "_parse_infer_args", "get_train_args", "get_ray_args")
    require(module, "_TRAIN_ARGS", "_INFER_ARGS")
    read_args, parse_train_args = module.read_args, module._parse_train_args
    parse_infer_args = module._parse_infer_args
    get_train_args, get_ray_args = module.get_train_args, module.get_ray_args

    @functools.wraps(parse_train_args)
    def _parse_train_args(args: Any = None) -> Any:
        recipe = read_args(args)
        if not _uses_p4d(recipe):
            return parse_train_args(args)

        recipe = dict(recipe)
        p4d = parse_p4d(recipe.pop("p4d"), recipe)
        parsed = parse_train_args(recipe)
        refuse_unsupported(p4d, *parsed[:4])
        # An attribute, not a dataclass field: `FinetuningArguments.to_dict()` stays what it is without the plugin.
        parsed[3].p4d = p4d
        parsed[0].p4d_encoding = p4d.encoding
        parsed[1].p4d_regions = p4d.regions
        return parsed

    @functools.wraps(parse_infer_args)
    def _parse_infer_args(args: Any = None) -> Any:
        recipe = read_args(args)
        if not _uses_p4d(recipe):
            return parse_infer_args(args)
        p4d = parse_p4d(recipe["p4d"], training=False)
        parsed = parse_infer_args(for_inference(module, recipe, p4d))
        if p4d.tpe == "add" and parsed[0].infer_backend != "huggingface":
            raise P4DConfigError.from_problems(
                [
                    f"p4d.tpe: add, but infer_backend: {parsed[0].infer_backend} knows no rgpt4d_ models; use "
                    "infer_backend: huggingface"
                ]
            )
        parsed[0].p4d_encoding = p4d.encoding
        parsed[1].p4d = p4d
        return parsed

    @functools.wraps(get_train_args)
    def checked_get_train_args(args: Any = None) -> Any:
        recipe = read_args(args)
        if _uses_p4d(recipe):
            from rgpt4d_plugin import patches

            check_host()
            patches.raise_failures()
            _refuse_environment("USE_MCA", "Megatron-Core (USE_MCA)")
            _refuse_environment("USE_MEGATRON_BRIDGE", "Megatron-Bridge (USE_MEGATRON_BRIDGE)")
        return get_train_args(args)

    @functools.wraps(get_ray_args)
    def checked_get_ray_args(args: Any = None) -> Any:
        # The first function that sees the recipe: refuse before Ray starts any worker.
        if _uses_p4d(read_args(args)):
            _refuse_environment("USE_RAY", "Ray (USE_RAY)")
        return get_ray_args(args)

    return wrap(
        module,
        _parse_train_args=_parse_train_args,
        _parse_infer_args=_parse_infer_args,
        get_train_args=checked_get_train_args,
        get_ray_args=checked_get_ray_args,
    )


def refuse_unsupported(p4d: P4DArguments, model_args: Any, data_args: Any, training_args: Any, ft_args: Any) -> None:
    """Raises P4DConfigError, before anything is loaded, for host options that `p4d:` cannot work with."""
    problems = []
    if ft_args.stage != "sft":
        problems.append(f"stage: {ft_args.stage!r}: `p4d:` works with stage: sft only")
    unsupported = {
        "use_hyper_parallel": ft_args,
        "use_badam": ft_args,
        "use_kt": model_args,
        "use_unsloth": model_args,
    }
    for key, owner in unsupported.items():
        if getattr(owner, key, False):
            problems.append(f"{key}: true: not supported together with `p4d:`; remove it")
    if getattr(ft_args, "galore_layerwise", False) or getattr(ft_args, "apollo_layerwise", False):
        problems.append("layer-wise GaLore / APOLLO builds its own optimiser per weight and leaves the decoder out")
    if training_args.accelerator_config.dispatch_batches:
        problems.append(
            "accelerator_config.dispatch_batches: true: one process would read the batches of all and deal them out "
            "by rows, which clips do not follow; remove it"
        )
    if p4d.decoder.learning_rate is not None and _deepspeed_optimizer(training_args):
        problems.append(
            "p4d.decoder.learning_rate: the DeepSpeed config brings its own optimizer, which has one learning rate; "
            "remove `optimizer` from that file or the key from `p4d:`"
        )
    if problems:
        raise P4DConfigError.from_problems(problems)


def for_inference(module: ModuleType, recipe: Mapping[str, Any], p4d: P4DArguments | None = None) -> dict[str, Any]:
    """A training recipe as `chat`, `api`, `webchat`, `export` take it: without `p4d:` and the keys of training."""
    from llamafactory.extras.logging import get_logger

    trained, inferred = (
        {field.name for cls in classes for field in fields(cls)}
        for classes in (module._TRAIN_ARGS, module._INFER_ARGS)
    )
    used = "" if p4d is None else f"; of `p4d:` only frames ({p4d.frames}) and tpe ({p4d.tpe}) count"
    get_logger(__name__).info_rank0(f"The plugin's blocks and the recipe's keys for training are not used here{used}.")
    return {key: value for key, value in recipe.items() if key != "p4d" and key not in trained - inferred}


def _deepspeed_optimizer(training_args: Any) -> bool:
    config = getattr(training_args, "hf_deepspeed_config", None)
    return config is not None and "optimizer" in config.config


def _uses_p4d(recipe: Any) -> bool:
    return isinstance(recipe, Mapping) and "p4d" in recipe


def _refuse_environment(variable: str, backend: str) -> None:
    if switched_on(variable):
        raise P4DConfigError(f"`p4d:` does not work with the back end {backend}: unset {variable} or remove `p4d:`.")
