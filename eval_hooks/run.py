# SPDX-License-Identifier: Apache-2.0
"""Benchmarks through an engine: `OUT/<benchmark>/replies.jsonl` grows as replies come, then the scores are written.

A run that was killed and is started again asks only what is missing.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rgpt4d_plugin.eval_hooks.arguments import EvalConfigError, Evaluation, metric_keys, parse_p4d_eval
from rgpt4d_plugin.eval_hooks.benchmark_task import BenchmarkTask
from rgpt4d_plugin.eval_hooks.engines import Engine
from rgpt4d_plugin.eval_hooks.engines.process_group import ALONE, Ranks
from rgpt4d_plugin.eval_hooks.replies import Reply, ReplyFile
from rgpt4d_plugin.eval_hooks.scoring import Result, score_replies


logger = logging.getLogger(__name__)

REPLIES = "replies.jsonl"


def run_benchmarks(
    tasks: Sequence[BenchmarkTask],
    engine: Engine,
    out: str | Path,
    *,
    ranks: Ranks = ALONE,
    fresh: bool = False,
    progress: bool = True,
) -> list[Result]:
    """Asks, scores and writes benchmark after benchmark, and returns the results, on the process that writes.

    All processes of a distributed run call it.

    Args:
        tasks: What is asked.
        engine: Answers.
        out: A folder for each benchmark is made in it.
        ranks: Processes that ask; the first one writes.
        fresh: Remove replies that are there, because they are another model's, instead of going on with them.
        progress: Show a bar with the time that is left.

    Raises:
        ReplyFileError: Replies that are there were made with other settings.
    """
    results = []
    for task in tasks:
        folder = Path(out) / task.benchmark.name
        replies = _ask(task, engine, folder, ranks, fresh, progress)
        if ranks.first:
            settings = settings_of(task, engine)
            sampled = {"limit": task.limit, "seed": task.seed}
            result = score_replies(task.benchmark, task.data, replies, style=task.style, settings=settings, **sampled)
            result.write(folder)
            logger.info("%s: %s", result.title, result.answered)
            results.append(result)
    return results


def _ask(
    task: BenchmarkTask, engine: Engine, folder: Path, ranks: Ranks, fresh: bool, progress: bool
) -> Mapping[str, Reply]:
    """Asks what `folder` has no reply to yet, and keeps each reply as it comes; returns all replies so far.

    On processes that do not write, the result is empty.
    """
    settings = settings_of(task, engine)
    writing = ReplyFile.open(folder / REPLIES, settings, fresh) if ranks.first else contextlib.nullcontext()
    with writing as file:
        done = ranks.shared(file.done if file else None)
        questions = [question for question in task.questions if question.key not in done]
        bar = tqdm(
            desc=task.benchmark.title,
            total=len(task.questions),
            initial=len(task.questions) - len(questions),
            unit="question",
            disable=not (progress and ranks.first),
        )
        with bar, contextlib.closing(engine.ask(questions)) as replies:
            for _, reply in replies:
                if file is not None:
                    file.append(reply)
                bar.update()
        return {} if file is None else file.replies


def settings_of(task: BenchmarkTask, engine: Engine) -> dict[str, Any]:
    """Returns what the replies depend on: the first line of their file."""
    return {**task.settings, "engine": dict(engine.description)}


def metrics_of(tasks: Sequence[BenchmarkTask], results: Sequence[Result]) -> dict[str, float]:
    """The columns of results under the keys that the host logs; those that no question counts for are left out."""
    return {
        key: result.columns[reading][column].value
        for task, result in zip(tasks, results, strict=True)
        for (reading, column), key in metric_keys(task).items()
    }


def run_with_host(recipe: Mapping[str, Any], out: str | Path | None = None, progress: bool = True) -> list[Result]:
    """Evaluates the model of a recipe in this process; several share the work with `llamafactory-cli train` instead.

    Keys of training are not used. Without `out` results go to the folder of the `p4d_eval:` block.

    Raises:
        EvalConfigError: Everything that is wrong with the block, before a model is loaded.
        ReplyFileError: Replies that are there were made with other settings.
    """
    evaluation = parse_p4d_eval(recipe.get("p4d_eval"), recipe)
    folder = _out(evaluation, out)
    # The host is imported only now that the data is known to be fine.
    from rgpt4d_plugin.eval_hooks.engines.load import load_host_engine

    engine = load_host_engine(recipe, evaluation.options.batch_size, evaluation.options.workers)
    return run_benchmarks(evaluation.questionnaires, engine, folder, progress=progress)


def run_with_engine(
    block: Mapping[str, Any], engine: Engine, out: str | Path | None = None, progress: bool = True
) -> list[Result]:
    """Evaluates with an engine that is there already, such as a server's; see `run_with_host`.

    `batch_size` and `workers` of the `p4d_eval:` block are the engine's own business here.
    """
    evaluation = parse_p4d_eval(block, {})
    return run_benchmarks(evaluation.questionnaires, engine, _out(evaluation, out), progress=progress)


def _out(evaluation: Evaluation, out: str | Path | None) -> Path:
    chosen = evaluation.options.out if out is None else out
    if chosen is None:
        raise EvalConfigError.from_problems(["p4d_eval.out: missing: where replies and scores are written"])
    return Path(chosen)
