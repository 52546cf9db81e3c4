# SPDX-License-Identifier: Apache-2.0
"""Seam: the `p4d_eval:` block, taken out of the recipe and made part of the host's evaluations.

Host names: those of the seams `parser` and `workflow`, the former being inside this one, the latter around it;
`CustomSeq2SeqTrainer`, `get_dataset` and `plot_loss` of `llamafactory.train.sft.workflow`, replaced for the duration
of one run (0.9.5 and main of August 2026). Without the block the functions underneath are called with the caller's own
arguments. To be removed when the host lets a plugin register argument groups and evaluations.
"""

import functools
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

from rgpt4d_plugin.seams import check_host, replace, require, switched_on, wrap


KEY = "p4d_eval"

GLOBALS = ("CustomSeq2SeqTrainer", "get_dataset", "plot_loss")
"""What is replaced in the workflow."""

_ENVIRONMENTS = ("USE_MCA", "USE_MEGATRON_BRIDGE", "USE_RAY")


def patch(module: ModuleType) -> Callable[[], None]:
    """Wraps the parser, or the SFT workflow; returns the undo function."""
    return _patch_parser(module) if module.__name__.endswith(".parser") else _patch_workflow(module)


def _patch_parser(module: ModuleType) -> Callable[[], None]:
    require(module, "read_args", "_parse_train_args", "_parse_infer_args", "get_train_args", "get_ray_args")
    read_args, parse_train_args = module.read_args, module._parse_train_args
    parse_infer_args = module._parse_infer_args
    get_train_args, get_ray_args = module.get_train_args, module.get_ray_args

    @functools.wraps(parse_train_args)
    def _parse_train_args(args: Any = None) -> Any:
        recipe = read_args(args)
        if not _uses(recipe):
            return parse_train_args(args)
        from rgpt4d_plugin.eval_hooks.arguments import parse_p4d_eval, schedule

        recipe = dict(recipe)
        evaluation = parse_p4d_eval(recipe.pop(KEY), recipe)
        parsed = parse_train_args(schedule(recipe, evaluation))
        _refuse_unsupported(*parsed[:4])
        training_args = parsed[2]
        if not evaluation.has_records:
            # The host refuses to evaluate without records of its own; `get_train_args` below asks for it again.
            training_args.do_eval = training_args.do_predict = training_args.predict_with_generate = False
        # An attribute, not a dataclass field: `FinetuningArguments.to_dict()` stays what it is without the plugin.
        parsed[3].p4d_eval = evaluation
        return parsed

    @functools.wraps(get_train_args)
    def checked_get_train_args(args: Any = None) -> Any:
        if not _uses(read_args(args)):
            return get_train_args(args)
        from rgpt4d_plugin import patches

        check_host()
        patches.raise_failures()
        parsed = get_train_args(args)
        parsed[2].do_eval = True
        return parsed

    @functools.wraps(get_ray_args)
    def checked_get_ray_args(args: Any = None) -> Any:
        # The first function that sees the recipe.
        if _uses(read_args(args)):
            problems = [
                f"{name} is set, and its back end evaluates no benchmarks; unset it"
                for name in _ENVIRONMENTS
                if switched_on(name)
            ]
            if problems:
                raise _error(problems)
        return get_ray_args(args)

    @functools.wraps(parse_infer_args)
    def _parse_infer_args(args: Any = None) -> Any:
        recipe = read_args(args)
        if not _uses(recipe):
            return parse_infer_args(args)
        from rgpt4d_plugin.patches.parser import for_inference

        recipe = {key: value for key, value in recipe.items() if key != KEY}
        return parse_infer_args(recipe if "p4d" in recipe else for_inference(module, recipe))

    return wrap(
        module,
        _parse_train_args=_parse_train_args,
        _parse_infer_args=_parse_infer_args,
        get_train_args=checked_get_train_args,
        get_ray_args=checked_get_ray_args,
    )


def _uses(recipe: Any) -> bool:
    return isinstance(recipe, Mapping) and KEY in recipe


def _error(problems: list[str]) -> Exception:
    from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError

    return EvalConfigError.from_problems(problems)


def _refuse_unsupported(model_args: Any, data_args: Any, training_args: Any, finetuning_args: Any) -> None:
    """Raises EvalConfigError, before anything is loaded, for host options that evaluation cannot work with."""
    problems = []
    if finetuning_args.stage != "sft":
        problems.append(f"stage: {finetuning_args.stage!r}: `p4d_eval:` works with stage: sft only")
    unsupported = {"use_hyper_parallel": finetuning_args, "use_kt": model_args, "use_unsloth": model_args}
    for key, owner in unsupported.items():
        if getattr(owner, key, False):
            problems.append(f"{key}: true: not supported together with `p4d_eval:`; remove it")
    if problems:
        raise _error(problems)


def _patch_workflow(module: ModuleType) -> Callable[[], None]:
    require(module, "run_sft", *GLOBALS)
    run_sft = module.run_sft

    @functools.wraps(run_sft)
    def run_sft_with_benchmarks(
        model_args: Any,
        data_args: Any,
        training_args: Any,
        finetuning_args: Any,
        generating_args: Any,
        callbacks: list[Any] | None = None,
    ) -> None:
        evaluation = getattr(finetuning_args, KEY, None)
        with ExitStack() as stack:
            if evaluation is not None:
                _enter(stack, module, evaluation, model_args, data_args, training_args, callbacks or [])
            run_sft(model_args, data_args, training_args, finetuning_args, generating_args, callbacks)

    return wrap(module, run_sft=run_sft_with_benchmarks)


def _enter(
    stack: ExitStack,
    module: ModuleType,
    evaluation: Any,
    model_args: Any,
    data_args: Any,
    training_args: Any,
    callbacks: list[Any],
) -> None:
    """Puts the evaluating trainer into the workflow's globals until `stack` closes."""
    from rgpt4d_plugin.eval_hooks.arguments import metric_keys
    from rgpt4d_plugin.eval_hooks.engines.model_fingerprint import describe_model
    from rgpt4d_plugin.eval_hooks.trainer import BenchmarkRun, with_benchmarks
    from rgpt4d_plugin.patches import log_callback

    folder = Path(training_args.output_dir)
    out = evaluation.options.out or (folder / KEY if training_args.do_train else folder)
    run = BenchmarkRun(evaluation, Path(out), describe_model(model_args, data_args))
    # Whatever another seam has put there: with `p4d:` it is the distilling trainer, with its run bound to it.
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
