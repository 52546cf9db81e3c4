# SPDX-License-Identifier: Apache-2.0
"""The commands `rgpt4d eval run`, `score`, `report` and `export`."""

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkData
from rgpt4d_plugin.eval_hooks.reply_formats import read_replies
from rgpt4d_plugin.eval_hooks.scoring import COUNTS, Estimate, Result, ScoringError, score_replies


def run(arguments: Namespace) -> None:
    """Asks the model of a recipe, or a server, and writes replies, scores and a page."""
    from rgpt4d_plugin.eval_hooks.arguments import parse_p4d_eval
    from rgpt4d_plugin.eval_hooks.report import write_report
    from rgpt4d_plugin.eval_hooks.run import run_with_engine, run_with_host
    from rgpt4d_plugin.recipe import read_recipe
    from rgpt4d_plugin.seams import need_host

    recipe = read_recipe(arguments.recipe, arguments.overrides)
    block = recipe.get("p4d_eval")
    if block is None:
        raise ValueError(
            f"{arguments.recipe} has no `p4d_eval:` block. Add one, or say it on the command line: "
            "p4d_eval.benchmarks.r4d_bench=DIR"
        )
    if not isinstance(block, Mapping):
        parse_p4d_eval(block, recipe)  # says what is wrong with it
    out = arguments.out or block.get("out") or recipe.get("output_dir")
    if not out:
        raise ValueError("where to write? Give --out, or p4d_eval.out or output_dir in the recipe")
    if arguments.server is None:
        if arguments.model is not None or arguments.concurrency is not None:
            raise ValueError("--model and --concurrency are for --server; a recipe's model is model_name_or_path")
        need_host("an evaluation without --server")
        results = run_with_host(recipe, out)
    else:
        results = run_with_engine(block, _server(arguments, recipe), out)
    for result in results:
        print("\n".join([*summary(result), ""]))
    for path in write_report([out], out):
        print(path)
    if results and all(result.counts["error"] == result.items for result in results):
        failed = sum(result.items for result in results)
        raise RuntimeError(f"no question was answered: {failed:,} failed, the first with: {results[0].rows[0].error}")


def score(arguments: Namespace) -> None:
    """Scores a file of replies, in any format of `reply_formats.FORMATS`, and prints the columns.

    A file that `rgpt4d eval run` wrote knows its sample, style, model and frames; what is given besides must agree,
    but a smaller sample of the same seed may be asked for.

    Raises:
        ScoringError, ReplyFileError, BenchmarkDataError: What does not fit together.
    """
    file, limit, seed = arguments.replies, arguments.limit, arguments.seed
    benchmark = get(arguments.benchmark)
    data = benchmark.load(arguments.data)
    found = read_replies(file, benchmark, data, limit, seed or 0)
    settings = _settings(arguments, found.settings, benchmark, data)
    own_limit, own_seed = settings.get("limit"), settings.get("seed")
    limit = own_limit if limit is None else limit
    seed = (own_seed or 0) if seed is None else seed
    if own_limit is not None and (seed != own_seed or limit > own_limit):
        raise ScoringError(
            f"{file} answers the sample of {own_limit} items with seed {own_seed}, which does not hold that of "
            f"{limit} with seed {seed}. Leave --limit and --seed out."
        )
    asked = {"style": arguments.style or settings.get("style"), "limit": limit, "seed": seed}
    try:
        result = score_replies(benchmark, data, found.replies, settings=settings, **asked)
    except ValueError as err:
        raise ScoringError(f"{file}: {err}") from err
    folder = result.write(Path(arguments.out) / result.benchmark)
    print("\n".join(summary(result)))
    print(f"\n{folder}. For a page to look at: rgpt4d eval report {arguments.out} --out {arguments.out}")


def report(arguments: Namespace) -> None:
    """Writes the page of one run, or of several."""
    from rgpt4d_plugin.eval_hooks.report import write_report  # matplotlib, which scoring need not wait for

    for path in write_report(arguments.runs, arguments.out):
        print(path)


def export(arguments: Namespace) -> None:
    """Writes the tables of one run."""
    from rgpt4d_plugin.eval_hooks.result_tables import write_tables

    for path in write_tables(arguments.folder, arguments.out):
        print(path)


def summary(result: Result) -> list[str]:
    """Columns under every reading, and what was counted, as lines of text."""
    readings = list(result.columns)
    width = max(len(name) for name in result.columns["official"])
    lines = [f"{result.title}, {result.revision}", result.answered, ""]
    lines.append(f"{'':{width}}  {'items':>6}" + "".join(f"  {reading:>22}" for reading in readings))
    for name, estimate in result.columns["official"].items():
        cells = (_cell(result.columns[reading][name]) for reading in readings)
        lines.append(f"{name:{width}}  {estimate.items:>6,}" + "".join(f"  {cell:>22}" for cell in cells))
    counted = ", ".join(f"{result.counts[name]:,} {name}" for name in COUNTS if result.counts[name])
    return [*lines, "", f"Counted: {counted or 'nothing of note'}", *result.notes]


def _server(arguments: Namespace, recipe: Mapping[str, Any]) -> Any:
    from rgpt4d_plugin.eval_hooks.engines.chat_message import MediaOptions
    from rgpt4d_plugin.eval_hooks.engines.openai_endpoint import OpenAIEndpoint

    if arguments.model is None:
        raise ValueError("--server needs --model, the name under which the server knows it (see /v1/models)")
    pixels = {name: recipe[name] for name in ("video_max_pixels", "image_max_pixels") if name in recipe}
    settings = {} if arguments.concurrency is None else {"concurrency": arguments.concurrency}
    return OpenAIEndpoint(arguments.server, arguments.model, MediaOptions(**pixels), **settings)


def _cell(estimate: Estimate) -> str:
    if estimate.value is None or not estimate.items:
        return "-"
    if estimate.low is None:
        return f"{estimate.value:.1f}"
    return f"{estimate.value:.1f} [{estimate.low:.1f}, {estimate.high:.1f}]"


def _settings(
    arguments: Namespace, found: Mapping[str, Any], benchmark: Benchmark, data: BenchmarkData
) -> dict[str, Any]:
    """The settings of the file, with what is given besides; ScoringError where they contradict each other."""
    file, model, settings = arguments.replies, arguments.model, dict(found)
    told = settings.get("benchmark")
    if told is not None and told != benchmark.name:
        raise ScoringError(f"{file}: the replies are to {told!r:.80}, not to {benchmark.name}.")
    if settings.get("revision") not in (None, data.revision):
        raise ScoringError(
            f"{file}: the replies are to another revision of {benchmark.title}: {settings['revision']}. {data.folder} "
            f"has {data.revision}."
        )
    for name in ("style", "frames"):
        value = getattr(arguments, name)
        if value is not None and settings.setdefault(name, value) != value:
            raise ScoringError(f"{file}: the replies were made with {name} {settings[name]!r}, not {value!r}.")
    if model is not None:
        engine = dict(settings.get("engine") or {})
        if engine.setdefault("model", model) != model:
            raise ScoringError(f"{file}: the replies are those of {engine['model']!r}, not of {model!r}.")
        settings["engine"] = engine
    return settings
