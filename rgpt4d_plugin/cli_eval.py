# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d eval`: the parser, which imports nothing heavy, and the calls."""

import argparse

from rgpt4d_plugin.cli_values import whole
from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS


def add_eval(commands: argparse._SubParsersAction) -> None:
    """Adds `eval run`, `eval score`, `eval report` and `eval export`."""
    parser = commands.add_parser(
        "eval",
        help="ask, score and report spatial and 4D benchmarks",
        description="Benchmarks in their published layouts, two readings of every reply (the published scorer's and a "
        f"strict one), intervals, and reports: {', '.join(BENCHMARKS)}. Example: rgpt4d eval score --help",
    )
    steps = parser.add_subparsers(dest="step", required=True, metavar="STEP")
    _add_run(steps)
    _add_score(steps)
    _add_report(steps)
    _add_export(steps)
    parser.set_defaults(run=_run)


def _add_run(steps: argparse._SubParsersAction) -> None:
    run = steps.add_parser(
        "run",
        help="ask a recipe's model, or a server, and report",
        description="Asks the benchmarks of the recipe's `p4d_eval:` block and writes OUT/BENCHMARK/replies.jsonl, "
        "scores, and a page. A run that was stopped goes on where it was when it is started again. Without --server "
        "the recipe's model and adapters answer, through LLaMA-Factory, in this process; with it a server that speaks "
        "OpenAI's API (vLLM, SGLang, llamafactory-cli api), whose key, if it wants one, is in OPENAI_API_KEY. "
        "To share the work of a model between GPUs: llamafactory-cli train RECIPE, with do_predict. "
        "Example: rgpt4d eval run recipes/eval_r4d.yaml p4d_eval.limit=200 --out runs/mine",
    )
    run.add_argument("recipe", metavar="RECIPE", help="YAML file with a `p4d_eval:` block")
    run.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="overrides, as llamafactory-cli takes them")
    run.add_argument("--out", metavar="DIR", help="the run's folder (default: p4d_eval.out, or output_dir)")
    run.add_argument("--server", metavar="URL", help="base URL of a server, e.g. http://localhost:8000/v1")
    run.add_argument("--model", metavar="NAME", help="name under which the server knows the model")
    run.add_argument("--concurrency", type=whole(1), metavar="N", help="requests to the server at once")
    run.set_defaults(command="eval run")


def _add_score(steps: argparse._SubParsersAction) -> None:
    score = steps.add_parser(
        "score",
        help="score a file of replies, offline",
        description="Scores replies from anywhere: what `rgpt4d eval run` wrote, LLaMA-Factory's "
        "generated_predictions.jsonl, samples of lmms-eval's --log_samples, output of an OpenAI or vLLM batch, or "
        'plain lines {"key": ..., "reply": ...}; the format is seen from the fields. Every item of the benchmark, or '
        "of the sample, is in the denominator: a missing reply counts as wrong. Writes OUT/BENCHMARK/scores.jsonl and "
        "result.json. "
        "Example: rgpt4d eval score --benchmark r4d_bench --data data/R4D-Bench --replies "
        "saves/predict/generated_predictions.jsonl --frames 16 --out runs/mine",
    )
    score.add_argument("--benchmark", required=True, choices=BENCHMARKS, metavar="NAME", help=", ".join(BENCHMARKS))
    score.add_argument("--data", required=True, metavar="DIR", help="the benchmark's folder, as published")
    score.add_argument("--replies", required=True, metavar="FILE", help="JSON lines")
    score.add_argument("--out", required=True, metavar="DIR", help="the run's folder; one for each benchmark is in it")
    score.add_argument(
        "--limit",
        type=whole(1),
        metavar="N",
        help="score a fixed sample of N items, the same everywhere: those whose hash of seed and key is smallest "
        "(default: what the file was asked, or all)",
    )
    score.add_argument("--seed", type=whole(0), metavar="S", help="seed of the sample (default: the file's, or 0)")
    score.add_argument(
        "--style", help="prompt style the model was asked with (default: the file's, or the benchmark's)"
    )
    score.add_argument("--model", metavar="NAME", help="name of the model for the report, if the file has none")
    score.add_argument(
        "--frames", type=whole(1), metavar="N", help="frames per video for the report, if the file does not say"
    )
    score.set_defaults(command="eval score")


def _add_report(steps: argparse._SubParsersAction) -> None:
    report = steps.add_parser(
        "report",
        help="write a page of one run, or a comparison of several",
        description="Writes OUT/report.md, OUT/report.html, which needs no file beside it, and OUT/pictures. One run: "
        "the columns of all its benchmarks with intervals, beside published numbers. Two or more: differences to the "
        "first, with intervals and p-values, on the same items only. "
        "Example: rgpt4d eval report runs/base runs/p4d --out runs/comparison",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="folder that `run` or `score` wrote to with --out")
    report.add_argument("--out", required=True, metavar="DIR", help="folder to write; may be the run's")
    report.set_defaults(command="eval report")


def _add_export(steps: argparse._SubParsersAction) -> None:
    export = steps.add_parser(
        "export",
        help="write a run's results as tables, for EASI's leaderboard or VLMEvalKit",
        description="Writes for each benchmark OUT/MODEL_DATASET.tsv, a line per question with reply, extracted "
        "answer and score, and OUT/MODEL_DATASET_acc.tsv, the columns; and OUT/setup.json, how it was asked. "
        "Example: rgpt4d eval export runs/mine --out submission",
    )
    export.add_argument("folder", metavar="RUN", help="folder that `run` or `score` wrote to with --out")
    export.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    export.set_defaults(command="eval export")


def _run(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.eval_hooks import commands

    getattr(commands, arguments.step)(arguments)
