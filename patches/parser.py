# SPDX-License-Identifier: Apache-2.0
"""Seam: the host's argument parser takes the plugin's blocks out of the recipe and refuses what cannot work with them.

Host names: `read_args`, `_parse_train_args`, `_parse_infer_args`, `get_train_args`, `get_ray_args`, `_TRAIN_ARGS` and
`_INFER_ARGS` of `llamafactory.hparams.parser`, the same in 0.9.3 to main of August 2026. Without a block the originals
are called with the caller's own arguments. To be removed when the host lets a plugin register argument groups.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import fields
from types import ModuleType
from typing import Any

from rgpt4d_plugin.patches import BLOCKS, block_module, is_off, raise_failures, used_blocks
from rgpt4d_plugin.seams import check_host, require, switched_on, wrap


_BACKENDS = {"USE_MCA": "Megatron-Core", "USE_MEGATRON_BRIDGE": "Megatron-Bridge", "USE_RAY": "Ray"}
"""The host's back ends that build their own trainer, by the variable that chooses them."""


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the parser functions of `module`; returns the undo function."""
    require(module, "read_args", "_parse_train_args", "_parse_infer_args", "get_train_args", "get_ray_args")
    require(module, "_TRAIN_ARGS", "_INFER_ARGS")
    read_args, parse_train_args = module.read_args, module._parse_train_args
    parse_infer_args = module._parse_infer_args
    get_train_args, get_ray_args = module.get_train_args, module.get_ray_args

    def read(args: Any) -> tuple[Any, Any, list[ModuleType]]:
        """Returns the recipe without blocks that are off; it or the caller's own, for the host to read; the blocks."""
        recipe = read_args(args)
        if isinstance(recipe, Mapping) and any(is_off(recipe.get(key)) for key in BLOCKS):
            recipe = args = {key: value for key, value in recipe.items() if key not in BLOCKS or not is_off(value)}
        return recipe, args, [block_module(key) for key in used_blocks(recipe)]

    @functools.wraps(parse_train_args)
    def _parse_train_args(args: Any = None) -> Any:
        recipe, args, blocks = read(args)
        if not blocks:
            return parse_train_args(args)
        rest = _without_blocks(recipe)
        arguments = []
        for block in blocks:
            parsed_block, rest = block.parse(recipe[block.KEY], rest)
            arguments.append(parsed_block)
        parsed = parse_train_args(rest)
        for block, parsed_block in zip(blocks, arguments, strict=True):
            block.attach(parsed_block, *parsed[:4])
        return parsed

    @functools.wraps(parse_infer_args)
    def _parse_infer_args(args: Any = None) -> Any:
        recipe, args, blocks = read(args)
        if not blocks:
            return parse_infer_args(args)
        arguments = [block.parse_for_inference(recipe[block.KEY]) for block in blocks]
        parsed = parse_infer_args(_for_inference(module, recipe))
        for block, parsed_block in zip(blocks, arguments, strict=True):
            block.attach_for_inference(parsed_block, *parsed[:2])
        return parsed

    @functools.wraps(get_train_args)
    def checked_get_train_args(args: Any = None) -> Any:
        recipe, args, blocks = read(args)
        if blocks:
            raise_failures()
            check_host()
            _refuse_backends(blocks)
        parsed = get_train_args(args)
        for block in blocks:
            block.finish(*parsed[:4])
        return parsed

    @functools.wraps(get_ray_args)
    def checked_get_ray_args(args: Any = None) -> Any:
        # The first function that sees the recipe: refuse before Ray starts any worker.
        _, args, blocks = read(args)
        _refuse_backends(blocks)
        return get_ray_args(args)

    return wrap(
        module,
        _parse_train_args=_parse_train_args,
        _parse_infer_args=_parse_infer_args,
        get_train_args=checked_get_train_args,
        get_ray_args=checked_get_ray_args,
    )


def _without_blocks(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in recipe.items() if key not in BLOCKS}


def _for_inference(module: ModuleType, recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a training recipe as `chat`, `api`, `webchat` and `export` take it: without the keys of training."""
    from llamafactory.extras.logging import get_logger

    trained, inferred = (
        {field.name for cls in classes for field in fields(cls)}
        for classes in (module._TRAIN_ARGS, module._INFER_ARGS)
    )
    counts = "At inference only `frames` and `tpe` of the `p4d:` block apply"
    if recipe.get("export_dir"):
        counts = "Only `tpe` of the `p4d:` block applies to an export, which holds neither teacher nor decoder"
    get_logger(__name__).info_rank0(f"{counts}; the recipe's keys for training are ignored.")
    return {key: value for key, value in _without_blocks(recipe).items() if key not in trained - inferred}


def _refuse_backends(blocks: list[ModuleType]) -> None:
    for block in blocks:
        for variable, name in _BACKENDS.items():
            if switched_on(variable):
                raise block.Error(
                    f"`{block.KEY}:` does not work with the back end {name} ({variable}): unset {variable} or remove "
                    f"`{block.KEY}:`."
                )
