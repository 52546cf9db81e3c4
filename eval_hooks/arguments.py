# SPDX-License-Identifier: Apache-2.0
"""The `p4d_eval:` block of a recipe: parsed and validated once, the benchmarks' data included, all errors together.

Logged keys: `eval_<benchmark>_<column>`, with the benchmark's name short of `_bench` and the official column's name in
small letters, under the published scorer (`eval_r4d_avg`); the same with `_strict` behind it under the strict reader
(`eval_r4d_avg_strict`). All are percentages.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import Field

from rgpt4d_plugin.arguments import P4DConfigError
from rgpt4d_plugin.eval_hooks.benchmark_task import BenchmarkTask
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS, get
from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.validation import Checked, Integer, Number, Text, check


class EvalConfigError(P4DConfigError):
    """The `p4d_eval:` block, or its combination with the rest of the recipe, cannot work. Lists every problem."""

    block = "p4d_eval"


Frames = Annotated[Integer, Field(ge=1, le=10000)]
ReplyLength = Annotated[Integer, Field(ge=1, le=10**6)]
Count = Annotated[Integer, Field(ge=1, le=10**9)]


class BenchmarkArguments(Checked):
    """One benchmark of `p4d_eval.benchmarks`. What is not said here is taken from the block, or the benchmark."""

    data: Text = Field(description="Folder of the benchmark, as published.")
    style: Text | None = Field(None, description="Prompt style; null: the benchmark's default.")
    frames: Frames | None = Field(None, description="Frames of each video.")
    limit: Count | None = Field(None, description="Ask the fixed sample of this size.")
    max_new_tokens: ReplyLength | None = Field(None, description="Limit of a reply.")


class EvalOptions(Checked):
    """The whole `p4d_eval:` block."""

    benchmarks: Any = Field(None, description="What is asked, see below. Required.")
    every: Count | None = Field(
        None, description="Training steps between two evaluations; null: one, when training has ended."
    )
    limit: Count | None = Field(
        None,
        description="Ask a fixed sample of each benchmark, of this size, the same everywhere; null: all questions.",
    )
    seed: Integer = Field(0, ge=0, le=2**32 - 1, description="Seed of the sample.")
    batch_size: Integer = Field(1, ge=1, le=4096, description="Questions that a process answers at once.")
    workers: Integer = Field(
        2, ge=0, le=256, description="Processes that decode videos while the model answers, per rank."
    )
    frames: Frames | None = Field(
        None, description="Frames of each video, spread over the whole; null: the benchmark's convention, 16."
    )
    max_new_tokens: ReplyLength | None = Field(None, description="Limit of a reply; null: the benchmark's.")
    out: Text | None = Field(
        None, description="Folder for replies, scores and reports; null: `p4d_eval` in the recipe's output_dir."
    )


@dataclass(frozen=True)
class Evaluation:
    """A checked block: what is asked, of each benchmark, and how."""

    options: EvalOptions
    questionnaires: Sequence[BenchmarkTask] = field(repr=False)
    has_records: bool = False  # the recipe has evaluation records of its own (`eval_dataset`, `val_size`)

    @property
    def size(self) -> int:
        """Number of questions of all benchmarks."""
        return sum(len(questionnaire.items) for questionnaire in self.questionnaires)

    @property
    def keys(self) -> list[str]:
        """The names under which columns are logged."""
        return [key for questionnaire in self.questionnaires for key in metric_keys(questionnaire).values()]


def metric_keys(questionnaire: BenchmarkTask) -> dict[tuple[str, str], str]:
    """(reading, official column) -> key in the host's logs, for every column that a question counts for."""
    prefix = key_prefix(questionnaire.benchmark)
    return {
        (reading, column): f"{prefix}{re.sub('[^a-z0-9]+', '_', column.lower()).strip('_')}{suffix}"
        for reading, suffix in (("official", ""), ("strict", "_strict"))
        for column in questionnaire.columns
    }


def key_prefix(benchmark: Benchmark) -> str:
    """Returns the prefix of the keys of a benchmark: `eval_r4d_` for `r4d_bench`."""
    return f"eval_{benchmark.name.removesuffix('_bench')}_"


def parse_p4d_eval(block: Any, recipe: Mapping[str, Any]) -> Evaluation:
    """Turns the `p4d_eval:` block of a recipe into checked questions; no model is needed for it.

    Its `benchmarks` are a mapping from name to folder or options, or a list of mappings with a `name`.

    Raises:
        EvalConfigError: With every problem of the block and of the benchmarks' data.
    """
    if not isinstance(block, Mapping):
        raise EvalConfigError.from_problems([f"p4d_eval: expected a mapping, got {block!r}"])
    problems: list[str] = []
    options = check(EvalOptions, block, "p4d_eval", problems)
    held_out = check(Number, recipe.get("val_size") or 0, "val_size", problems)
    questionnaires = []
    for here, name, entry in _entries(block.get("benchmarks"), problems):
        arguments = check(BenchmarkArguments, entry, here, problems)
        if name is None:
            problems.append(f"{here}.name: missing; one of {', '.join(BENCHMARKS)}")
        elif name not in BENCHMARKS:
            problems.append(f"{here}: unknown benchmark{_nearest(name, BENCHMARKS)}")
        elif arguments is not None and options is not None:
            try:
                questionnaires.append(_prepare(get(name), arguments, options))
            except (ValueError, OSError) as err:
                problems.append(f"{here}: {err}")
    if options is None or held_out is None or problems:
        raise EvalConfigError.from_problems(problems)
    return Evaluation(options, questionnaires, bool(recipe.get("eval_dataset")) or held_out > 1e-6)


def _entries(benchmarks: Any, problems: list[str]) -> list[tuple[str, str | None, Mapping[str, Any]]]:
    """(path, name, options) of each benchmark, without a name None; what is no benchmark is a problem."""
    path = "p4d_eval.benchmarks"
    expected = "a mapping such as {r4d_bench: FOLDER}, or a list of mappings with `name` and `data`"
    if not isinstance(benchmarks, (Mapping, list)) or not benchmarks:
        problems.append(f"{path}: expected {expected}, got {benchmarks!r}")
        return []
    if isinstance(benchmarks, Mapping):
        given = [
            (f"{path}.{name}", str(name), {"data": entry} if isinstance(entry, str) else entry)
            for name, entry in benchmarks.items()
        ]
    else:
        given = [
            (f"{path}[{i}]", _named(entry), {key: value for key, value in entry.items() if key != "name"})
            if isinstance(entry, Mapping)
            else (f"{path}[{i}]", None, entry)
            for i, entry in enumerate(benchmarks)
        ]
    found: list[tuple[str, str | None, Mapping[str, Any]]] = []
    for here, name, entry in given:
        if not isinstance(entry, Mapping):
            problems.append(f"{here}: expected {expected}, got {entry!r}")
        elif name is not None and name in (other for _, other, _ in found):
            problems.append(f"{here}: {name} is named twice")
        else:
            found.append((here, name, entry))
    return found


def _named(entry: Mapping[str, Any]) -> str | None:
    name = entry.get("name")
    return None if name is None else str(name)


def _prepare(benchmark: Benchmark, arguments: BenchmarkArguments, options: EvalOptions) -> BenchmarkTask:
    chosen = {name: getattr(arguments, name) for name in ("frames", "max_new_tokens", "limit")}
    chosen = {name: getattr(options, name) if own is None else own for name, own in chosen.items()}
    return BenchmarkTask.prepare(benchmark, arguments.data, style=arguments.style, seed=options.seed, **chosen)


def _nearest(name: str, known: Mapping[str, Any] | Sequence[str]) -> str:
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f" {name!r}; did you mean {nearest[0]!r}?" if nearest else f" {name!r} (known: {', '.join(known)})"


# The host's own keys


def schedule(recipe: Mapping[str, Any], evaluation: Evaluation) -> dict[str, Any]:
    """The recipe whose `eval_strategy` and `eval_steps` make the host evaluate when `every` says.

    The host chooses its best model by what an evaluation returns, and so the benchmarks are part of its evaluations.

    Raises:
        EvalConfigError: with every contradiction.
    """
    recipe, every = dict(recipe), evaluation.options.every
    problems = []
    if _is_true(recipe.get("eval_on_each_dataset")):
        problems.append("eval_on_each_dataset: true: not supported together with `p4d_eval:`; remove it")
    if not _is_true(recipe.get("do_train")):
        if not any(_is_true(recipe.get(key)) for key in ("do_eval", "do_predict")):
            problems.append("do_train, do_predict: one of them must be true: train and evaluate, or evaluate a model")
        if every is not None:
            problems.append(f"p4d_eval.every: {every}: nothing is trained; remove it")
    else:
        problems += _schedule_training(recipe, evaluation)
    problems += _check_best_metric(recipe, evaluation)
    if problems:
        raise EvalConfigError.from_problems(problems)
    return recipe


def _schedule_training(recipe: dict[str, Any], evaluation: Evaluation) -> list[str]:
    """Makes the host evaluate at every step at which benchmarks are asked; returns the contradictions."""
    every, steps = evaluation.options.every, recipe.get("eval_steps")
    strategy = str(recipe.get("eval_strategy") or "no")
    if strategy == "no":
        if every is not None:
            recipe["eval_strategy"], recipe["eval_steps"] = "steps", every
            if steps not in (None, every):
                return [f"eval_steps: {steps}: contradicts p4d_eval.every: {every}; remove it"]
        return []
    if strategy != "steps" and (every is not None or not evaluation.has_records):
        return [f"eval_strategy: {strategy}: p4d_eval.every counts steps; use eval_strategy: steps"]
    if not evaluation.has_records and every != steps:
        return [
            f"p4d_eval.every: {every}: without records of its own (eval_dataset, val_size) the host has nothing else "
            f"to evaluate; set it to eval_steps, which is {steps!r}"
        ]
    if every is not None and (not isinstance(steps, int) or steps < 1 or every % steps):
        return [
            f"p4d_eval.every: {every}: benchmarks are part of the host's evaluations, so it must be a multiple of "
            f"eval_steps, which is {steps!r}"
        ]
    return []


def _check_best_metric(recipe: Mapping[str, Any], evaluation: Evaluation) -> list[str]:
    """`metric_for_best_model` must be in what every evaluation returns, or the host stops at the first without."""
    chooses = _is_true(recipe.get("load_best_model_at_end")) or recipe.get("save_strategy") == "best"
    metric = recipe.get("metric_for_best_model")
    if metric is None and not chooses:
        return []
    name = str(metric or "loss")
    name = name if name.startswith("eval_") else f"eval_{name}"
    if name in evaluation.keys:
        every, steps = evaluation.options.every, recipe.get("eval_steps")
        if every is None or steps != every:
            return [
                f"metric_for_best_model: {metric}: every evaluation must have it: set p4d_eval.every to eval_steps, "
                f"which is {steps!r}"
            ]
        return []
    of_a_benchmark = any(name.startswith(key_prefix(q.benchmark)) for q in evaluation.questionnaires)
    if of_a_benchmark or not evaluation.has_records:
        return [f"metric_for_best_model: no evaluation of this recipe has{_nearest(name, evaluation.keys)}"]
    return []


def _is_true(value: Any) -> bool:
    """As the host reads a switch in a recipe or on the command line."""
    return value is True or (isinstance(value, str) and value.lower() in ("true", "yes", "1", "y", "t"))
