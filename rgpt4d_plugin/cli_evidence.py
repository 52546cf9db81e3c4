# SPDX-License-Identifier: Apache-2.0
"""`rgpt4d evidence`: parser, which imports nothing heavy, and call."""

import argparse
import os
from pathlib import Path

from rgpt4d_plugin.cli_values import whole


def add_evidence(commands: argparse._SubParsersAction) -> None:
    """Adds the command to the subparsers of `rgpt4d`."""
    command = commands.add_parser(
        "evidence",
        help="train arms with and without distillation on rendered clips, and compare them over seeds",
        description="Renders clips with exact ground truth, trains every arm with `llamafactory-cli train` from the "
        "same weights on the same records in the same order, asks all of them held-out questions, and writes "
        "OUT/report.html, report.md and results.json. What is finished is never done again; a run that was killed "
        "goes on. Example: rgpt4d evidence --preset tiny --seeds 5 --out evidence",
    )
    command.add_argument(
        "--preset", choices=["demo", "tiny", "relations", "gpu"], default="tiny", help="sizes (default: %(default)s)"
    )
    command.add_argument("--seeds", type=whole(1, 100), default=5, metavar="N", help="seeds 1 to N (default: 5)")
    command.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    command.add_argument(
        "--arms", nargs="+", metavar="ARM", help="default: sft explicit pixels other; `--arms list` lists all"
    )
    command.add_argument(
        "--regimes",
        nargs="+",
        choices=["one", "many", "long", "strong"],
        default=["one"],
        help="questions a clip; `long`: many, and four times the steps; `strong`: many, from the model that `long` "
        "has made of seed 1 without distillation (default: one)",
    )
    command.add_argument("--jobs", type=whole(1, 64), default=1, help="trainings at a time (default: 1)")
    command.add_argument("--only-report", action="store_true", help="train nothing, report what is finished")
    command.set_defaults(run=_evidence)


def _evidence(arguments: argparse.Namespace) -> None:
    from rgpt4d_plugin.evidence.arms import ARMS, MAIN, PRESETS, Run

    if arguments.arms == ["list"]:
        for name, arm in ARMS.items():
            print(f"{name:<14}{arm.title}")
        return
    arms = arguments.arms or list(MAIN)
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"--arms: {', '.join(unknown)} are none of {', '.join(ARMS)}")
    root = Path(arguments.out)
    if not arguments.only_report:
        from rgpt4d_plugin.evidence.maps import draw_maps
        from rgpt4d_plugin.evidence.run import run_experiment
        from rgpt4d_plugin.seams import need_host

        need_host("the experiment")
        runs = [
            Run(arm, regime, seed)
            for regime in arguments.regimes
            for seed in range(1, arguments.seeds + 1)
            for arm in arms
        ]
        run_experiment(root, arguments.preset, runs, arguments.jobs)
        if shown := next((run for run in runs if run.arm == "explicit"), None):
            # What is drawn loads models in this process, and the host tells of every file.
            os.environ.setdefault("LLAMAFACTORY_VERBOSITY", "WARN")
            draw_maps(root, PRESETS[arguments.preset], shown)
    from rgpt4d_plugin.evidence.report import write_report
    from rgpt4d_plugin.evidence.results import Results, overview

    report = write_report(root)
    print(overview(Results.read(root)), f"\nReport: {report}", sep="\n")
