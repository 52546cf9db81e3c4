# SPDX-License-Identifier: Apache-2.0
"""The `p4d_eval:` block in the host's parser and in its SFT workflow: benchmarks become part of its evaluations."""

import functools
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError, Evaluation, metric_keys, parse_p4d_eval, schedule
from rgpt4d_plugin.patches import unsupported
from rgpt4d_plugin.seams import replace


KEY = "p4d_eval"

Error = EvalConfigError

GLOBALS = ("CustomSeq2SeqTrainer", "get_dataset", "plot_loss")
"""The names of the workflow that `enter` replaces."""


def parse(block: Any, recipe: dict[str, Any]) -> tuple[Evaluation, dict[str, Any]]:
    """Returns the checked block and the recipe that makes the host evaluate when the block says."""
    evaluation = parse_p4d_eval(block, recipe)
    return evaluation, schedule(recipe, evaluation)


def attach(evaluation: Evaluation, model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
    """Hangs a checked block on the host's arguments; raises EvalConfigError for what it cannot work with."""
    problems = unsupported(
        KEY, finetuning_args, use_hyper_parallel=finetuning_args, use_kt=model_args, use_unsloth=model_args
    )
    if problems:
        raise EvalConfigError.from_problems(problems)
    if not evaluation.has_records:
        # The host refuses to evaluate without records of its own; `finish` asks for it again.
        training_args.do_eval = training_args.do_predict = training_args.predict_with_generate = False
    # An attribute, not a dataclass field: `FinetuningArguments.to_dict()` stays what it is without the plugin.
    finetuning_args.p4d_eval = evaluation


def finish(model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
    """Makes the host evaluate once it has checked its arguments."""
    training_args.do_eval = True


def parse_for_inference(block: Any) -> None:
    """Ignores the block: nothing is evaluated at inference."""


def attach_for_inference(evaluation: None, model_args: Any, data_args: Any) -> None:
    """Has nothing to add to the host's arguments."""


def enter(
    stack: ExitStack,
    module: ModuleType,
    evaluation: Evaluation,
    model_args: Any,
    data_args: Any,
    training_args: Any,
    finetuning_args: Any,
    callbacks: list[Any],
) -> list[Any]:
    """Puts the evaluating trainer into the workflow's globals until `stack` closes; returns no callbacks."""
    from rgpt4d_plugin.eval_hooks.engines.model_fingerprint import describe_model
    from rgpt4d_plugin.eval_hooks.trainer import BenchmarkRun, with_benchmarks
    from rgpt4d_plugin.patches import log_callback

    folder = Path(training_args.output_dir)
    out = evaluation.options.out or (folder / KEY if training_args.do_train else folder)
    run = BenchmarkRun(evaluation, Path(out), describe_model(model_args, data_args))
    # Whatever another block has put there: with `p4d:` it is the distilling trainer, with its run bound to it.
    trainer, plot_loss = module.CustomSeq2SeqTrainer, module.plot_loss
    trainer, bound = (trainer.func, trainer.keywords) if isinstance(trainer, functools.partial) else (trainer, {})
    headline = [next(iter(metric_keys(q).values())) for q in evaluation.questionnaires]

    def plot_loss_and_benchmarks(output_dir: str, keys: list[str]) -> None:
        plot_loss(output_dir, keys=[*keys, *headline])

    new = {
        "CustomSeq2SeqTrainer": functools.partial(with_benchmarks(trainer), p4d_eval=run, **bound),
        "plot_loss": plot_loss_and_benchmarks,
    }
    if not training_args.do_train and not evaluation.has_records:
        new["get_dataset"] = lambda *args, **kwargs: {}
    stack.callback(log_callback.extend(callbacks, evaluation.keys))
    stack.callback(replace(module, **new))
    return []
