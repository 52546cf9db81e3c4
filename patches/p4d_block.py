# SPDX-License-Identifier: Apache-2.0
"""The `p4d:` block in the host's parser and in its SFT workflow."""

import difflib
import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from rgpt4d_plugin.arguments import P4DArguments, P4DConfigError, parse_p4d
from rgpt4d_plugin.patches import unsupported
from rgpt4d_plugin.seams import replace as replace_names


if TYPE_CHECKING:
    from rgpt4d_plugin.trainers.setup import P4DSetup


KEY = "p4d"

Error = P4DConfigError

GLOBALS = (
    "CustomSeq2SeqTrainer",
    "SFTDataCollatorWith4DAttentionMask",
    "create_modelcard_and_push",
    "get_dataset",
    "get_template_and_fix_tokenizer",
    "plot_loss",
)
"""The names of the workflow that `enter` replaces."""


def parse(block: Any, recipe: dict[str, Any]) -> tuple[P4DArguments, dict[str, Any]]:
    """Returns the parsed block and the recipe that the host is to parse."""
    return parse_p4d(block, recipe), recipe


def attach(p4d: P4DArguments, model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
    """Hangs a parsed block on the host's arguments; raises P4DConfigError for what it cannot work with."""
    _refuse_unsupported(p4d, model_args, data_args, training_args, finetuning_args)
    # Attributes, not dataclass fields: `FinetuningArguments.to_dict()` stays what it is without the plugin.
    finetuning_args.p4d = p4d
    _attach_settings(p4d, model_args, data_args)


def finish(*parsed: Any) -> None:
    """Changes nothing of what the host has parsed."""


def parse_for_inference(block: Any) -> P4DArguments:
    """Returns the parsed block; keys that only training needs may be missing."""
    return parse_p4d(block, training=False)


def attach_for_inference(p4d: P4DArguments, model_args: Any, data_args: Any) -> None:
    """Hangs a parsed block on the host's arguments for inference."""
    if p4d.tpe == "add" and model_args.infer_backend != "huggingface":
        raise P4DConfigError.from_problems(
            [
                f"p4d.tpe: add, but infer_backend: {model_args.infer_backend} knows no rgpt4d_ models; use "
                "infer_backend: huggingface"
            ]
        )
    _attach_settings(p4d, model_args, data_args)


def _attach_settings(p4d: P4DArguments, model_args: Any, data_args: Any) -> None:
    from rgpt4d_plugin.template.clip_reader import P4DSettings

    model_args.p4d = data_args.p4d = P4DSettings.of(p4d)


def _refuse_unsupported(p4d: P4DArguments, model_args: Any, data_args: Any, training_args: Any, ft_args: Any) -> None:
    from llamafactory.data.template import TEMPLATES

    problems = []
    if data_args.template is not None and data_args.template not in TEMPLATES:
        nearest = difflib.get_close_matches(data_args.template, TEMPLATES, n=1)
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        problems.append(f"template: LLaMA-Factory has no template {data_args.template!r}{hint}")
    switches = {"use_hyper_parallel": ft_args, "use_badam": ft_args, "use_kt": model_args, "use_unsloth": model_args}
    problems += unsupported(KEY, ft_args, **switches)
    if getattr(ft_args, "galore_layerwise", False) or getattr(ft_args, "apollo_layerwise", False):
        problems.append("layer-wise GaLore / APOLLO builds its own optimiser per weight and leaves the decoder out")
    if training_args.accelerator_config.dispatch_batches:
        problems.append(
            "accelerator_config.dispatch_batches: true: one process would read the batches of all and deal them out "
            "by rows, which clips do not follow; remove it"
        )
    deepspeed = getattr(training_args, "hf_deepspeed_config", None)
    if p4d.decoder.learning_rate is not None and deepspeed is not None and "optimizer" in deepspeed.config:
        problems.append(
            "p4d.decoder.learning_rate: the DeepSpeed config brings its own optimizer, which has one learning rate; "
            "remove `optimizer` from that file or the key from `p4d:`"
        )
    if problems:
        raise P4DConfigError.from_problems(problems)


def enter(
    stack: ExitStack,
    module: ModuleType,
    p4d: P4DArguments,
    model_args: Any,
    data_args: Any,
    training_args: Any,
    finetuning_args: Any,
    callbacks: list[Any],
) -> list[Any]:
    """Prepares one run, puts the plugin's parts into the workflow's globals until `stack` closes, and returns its
    callbacks.

    A run that does not train only samples and marks its clips as training does: the decoder's weights are not there.
    """
    from llamafactory.data.processor import supervised, unsupervised
    from llamafactory.extras.constants import PEFT_METHODS
    from llamafactory.extras.logging import get_logger
    from llamafactory.model import load_config

    from rgpt4d_plugin.modeling.marker import MarkerCallback
    from rgpt4d_plugin.patches import log_callback
    from rgpt4d_plugin.template.plugin_classes import saying_cut_prompts, with_recorder
    from rgpt4d_plugin.template.record_lookup import naming_the_record, where_used
    from rgpt4d_plugin.template.tokenized_data import keeping_settings
    from rgpt4d_plugin.trainers.collator import P4DDataCollator
    from rgpt4d_plugin.trainers.llamafactory import P4DSeq2SeqTrainer
    from rgpt4d_plugin.trainers.setup import ALL_LOG_KEYS, GRADIENT_KEYS, LOG_KEYS, P4DSetup

    if not p4d.loss.active:
        what = {"off": "plain SFT", "add": "SFT with timestamp encoding", "text": "SFT with time sentences"}[p4d.tpe]
        what += "" if p4d.frames is None else f" on {p4d.frames} frames of each clip"
        get_logger(__name__).warning_rank0(f"p4d: every loss weight is 0, so this run is {what}.")
        if not p4d.active:
            return []

    if p4d.video.cache is not None:
        from rgpt4d_plugin.video.frame_cache import open_frame_cache

        open_frame_cache(p4d.video.cache, p4d.video.cache_gb)  # what is wrong with it is said before anything is read
    run = P4DSetup.prepare(p4d, load_config(model_args), training_args.do_train and bool(p4d.loss.active))
    run = replace(run, datasets=tuple(data_args.dataset or ()))
    make_template = module.get_template_and_fix_tokenizer

    def make_recording_template(tokenizer: Any, data_args: Any) -> Any:
        template = make_template(tokenizer, data_args)
        run.check_template(data_args.template, template.mm_plugin, tokenizer)
        return with_recorder(template, p4d.frames, p4d.tpe == "text", p4d.video)

    parts = {
        "create_modelcard_and_push": _with_card(module.create_modelcard_and_push, run),
        "get_template_and_fix_tokenizer": make_recording_template,
        "get_dataset": naming_the_record(keeping_settings(module.get_dataset, data_args, model_args), data_args),
        "SFTDataCollatorWith4DAttentionMask": functools.partial(
            P4DDataCollator,
            p4d=run,
            cutoff_len=data_args.cutoff_len,
            mask_history=data_args.mask_history,
            where_used=functools.partial(where_used, data_args=data_args),
        ),
    }
    if run.distils:
        get_logger(__name__).info_rank0(run.summary)
        keys = [*ALL_LOG_KEYS, *(f"eval_{key}" for key in ALL_LOG_KEYS), *GRADIENT_KEYS.values()]
        stack.callback(log_callback.extend(callbacks, keys))
        terms = ["loss_sft", *(LOG_KEYS[term] for term in p4d.loss.active)]
        parts |= {
            "CustomSeq2SeqTrainer": functools.partial(P4DSeq2SeqTrainer, p4d=run),
            "plot_loss": _plot_terms_too(module.plot_loss, terms),
        }
    stack.callback(replace_names(module, **parts))
    for processor in (supervised, unsupervised):
        seqlen = saying_cut_prompts(processor.infer_seqlen, data_args)
        stack.callback(replace_names(processor, infer_seqlen=seqlen))
    marked = run.encoding is not None and finetuning_args.finetuning_type in PEFT_METHODS
    return [MarkerCallback(run.encoding)] if marked else []


def _with_card(create: Callable[..., None], run: "P4DSetup") -> Callable[..., None]:
    """Returns the host's `create_modelcard_and_push`, whose card in the output folder has our section.

    It calls the Trainer's own method, past that of ours. What it pushes gets its card from ours.
    """

    def create_card(trainer: Any, model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
        create(trainer, model_args, data_args, training_args, finetuning_args)
        if training_args.do_train and training_args.should_save:
            from rgpt4d_plugin.trainers.model_card import CardFacts, write_card

            write_card(training_args.output_dir, CardFacts.of_trainer(trainer, run))

    return create_card


def _plot_terms_too(plot_loss: Callable[..., None], terms: list[str]) -> Callable[..., None]:
    """Returns the host's `plot_loss` with a curve for every loss term."""
    from rgpt4d_plugin.trainers.loss_plots import plot_terms

    def plot_loss_and_terms(output_dir: str, keys: list[str]) -> None:
        plot_loss(output_dir, keys=[*keys, *terms])
        plot_terms(output_dir)

    return plot_loss_and_terms
