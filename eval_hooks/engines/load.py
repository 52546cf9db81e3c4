# SPDX-License-Identifier: Apache-2.0
"""Loads the host's model of a recipe for answering only, in this process, on all its devices."""

from collections.abc import Mapping
from typing import Any

from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import get_infer_args
from llamafactory.model import load_model, load_tokenizer

from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError
from rgpt4d_plugin.eval_hooks.engines.host import HostEngine
from rgpt4d_plugin.eval_hooks.engines.model_fingerprint import describe_model
from rgpt4d_plugin.template.plugin_classes import template_of_run


def load_host_engine(recipe: Mapping[str, Any], batch_size: int = 1, workers: int = 2) -> HostEngine:
    """The engine of a recipe for training, chatting or evaluating; keys of training are not used.

    Used are `model_name_or_path`, `template`, and whatever else the host takes for inference: adapters, quantisation,
    `infer_dtype`, pixel limits. OSError if there is no such model, or it has no tokenizer.
    """
    # The block, whatever is in it, has the parser leave out the keys of training.
    model_args, data_args, finetuning_args, _ = get_infer_args({**recipe, EvalConfigError.block: None})
    try:
        parts = load_tokenizer(model_args)
        model = load_model(parts["tokenizer"], model_args, finetuning_args, is_trainable=False)
    except OSError as err:  # the host's own words name no model
        raise OSError(
            f"model_name_or_path: {model_args.model_name_or_path}: {err} {err.__cause__ or ''} The path must be a "
            "folder with a model and its tokenizer, or the name of a model on the hub."
        ) from err
    template = template_of_run(get_template_and_fix_tokenizer(parts["tokenizer"], data_args), data_args)
    return HostEngine(
        model.eval(),
        **parts,
        template=template,
        dtype=model_args.compute_dtype,
        description=describe_model(model_args, data_args),
        batch_size=batch_size,
        workers=workers,
    )
