# SPDX-License-Identifier: Apache-2.0
"""Seam: `run_sft` of the host, with the plugin's collator, trainer and plots in place for runs that use `p4d:`.

Host names: `run_sft` of `llamafactory.train.sft.workflow` and the module globals it builds from, which are replaced
for the duration of one call and put back (0.9.3 to main of August 2026). A run without `p4d:` calls the original.
To be removed when the host takes trainer and collator classes as arguments.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import replace, require, wrap


_GLOBALS = (
    "CustomSeq2SeqTrainer",
    "SFTDataCollatorWith4DAttentionMask",
    "get_dataset",
    "get_template_and_fix_tokenizer",
    "plot_loss",
)


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps `run_sft` of `module`; returns the undo function."""
    require(module, "run_sft", *_GLOBALS)
    run_sft = module.run_sft

    @functools.wraps(run_sft)
    def run_sft_with_p4d(
        model_args: Any,
        data_args: Any,
        training_args: Any,
        finetuning_args: Any,
        generating_args: Any,
        callbacks: list[Any] | None = None,
    ) -> None:
        arguments = getattr(finetuning_args, "p4d", None)
        with ExitStack() as stack:
            if arguments is not None:
                callbacks = callbacks or []
                distils = training_args.do_train and bool(arguments.loss.active)
                callbacks += _enter(
                    stack, module, arguments, distils, model_args, data_args, finetuning_args, callbacks
                )
            run_sft(model_args, data_args, training_args, finetuning_args, generating_args, callbacks)

    return wrap(module, run_sft=run_sft_with_p4d)


def _enter(
    stack: ExitStack,
    module: ModuleType,
    arguments: Any,
    distils: bool,
    model_args: Any,
    data_args: Any,
    finetuning_args: Any,
    callbacks: list[Any],
) -> list[Any]:
    """Prepares one run and puts the plugin's parts into the workflow's globals until `stack` closes.

    A run that does not train only samples and marks its clips as training does: the decoder's weights are not there.

    Returns:
        Callbacks of ours, to be added.
    """
    from llamafactory.extras.constants import PEFT_METHODS
    from llamafactory.extras.logging import get_logger
    from llamafactory.model import load_config

    from rgpt4d_plugin.modeling.marker import MarkerCallback
    from rgpt4d_plugin.patches import log_callback, records
    from rgpt4d_plugin.template.clip_recorder import with_recorder
    from rgpt4d_plugin.trainers.collator import P4DDataCollator
    from rgpt4d_plugin.trainers.llamafactory import P4DSeq2SeqTrainer
    from rgpt4d_plugin.trainers.setup import ALL_LOG_KEYS, LOG_KEYS, P4DSetup

    if not arguments.loss.active:
        what = {"off": "plain SFT", "add": "SFT with timestamp encoding", "text": "SFT with time sentences"}
        get_logger(__name__).warning_rank0(f"p4d: every loss weight is 0, so this run is {what[arguments.tpe]}.")
        if not arguments.active:
            return []

    run = P4DSetup.prepare(arguments, load_config(model_args), distils)
    make_template, get_dataset = module.get_template_and_fix_tokenizer, module.get_dataset

    def make_recording_template(tokenizer: Any, data_args: Any) -> Any:
        template = make_template(tokenizer, data_args)
        run.check_template(data_args.template, template.mm_plugin, tokenizer)
        return with_recorder(template, arguments.frames, sentences=arguments.tpe == "text")

    parts = {
        "get_template_and_fix_tokenizer": make_recording_template,
        "get_dataset": records.naming_the_record(get_dataset, data_args),
        "SFTDataCollatorWith4DAttentionMask": functools.partial(
            P4DDataCollator,
            p4d=run,
            cutoff_len=data_args.cutoff_len,
            mask_history=data_args.mask_history,
            where_used=functools.partial(records.where_used, data_args=data_args),
        ),
    }
    if run.distils:
        stack.callback(log_callback.extend(callbacks, [*ALL_LOG_KEYS, *(f"eval_{key}" for key in ALL_LOG_KEYS)]))
        terms = ["loss_sft", *(LOG_KEYS[term] for term in arguments.loss.active)]
        parts |= {
            "CustomSeq2SeqTrainer": functools.partial(P4DSeq2SeqTrainer, p4d=run),
            "plot_loss": _plot_terms_too(module.plot_loss, terms),
        }
    stack.callback(replace(module, **parts))
    marked = run.encoding is not None and finetuning_args.finetuning_type in PEFT_METHODS
    return [MarkerCallback(run.encoding)] if marked else []


def _plot_terms_too(plot_loss: Callable[..., None], terms: list[str]) -> Callable[..., None]:
    """The host's `plot_loss`, with a curve for every loss term."""
    from rgpt4d_plugin.trainers.loss_plots import plot_terms

    def plot_loss_and_terms(output_dir: str, keys: list[str]) -> None:
        plot_loss(output_dir, keys=[*keys, *terms])
        plot_terms(output_dir)

    return plot_loss_and_terms
