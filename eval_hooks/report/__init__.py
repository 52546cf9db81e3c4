# SPDX-License-Identifier: Apache-2.0
"""Writes pages that people look at: one run, or several side by side."""

import os
from collections.abc import Sequence
from pathlib import Path

from rgpt4d_plugin.eval_hooks.benchmarks import BENCHMARKS
from rgpt4d_plugin.eval_hooks.report.build import build_page
from rgpt4d_plugin.eval_hooks.report.render import render_html, render_markdown
from rgpt4d_plugin.eval_hooks.scoring import RESULT, Result, ScoringError
from rgpt4d_plugin.files import write_whole


MARKDOWN, HTML, PICTURES = "report.md", "report.html", "pictures"


def write_report(runs: Sequence[str | Path], out: str | Path) -> tuple[Path, Path]:
    """Writes `report.md`, `report.html` and a folder of pictures, and returns the two files.

    One run, a folder with a folder of results for each benchmark, gets a page of all its benchmarks; two or more a
    page that compares each with the first. The HTML file needs nothing beside it. The same results give the same
    bytes. ScoringError if a folder has no results, or broken ones.
    """
    page = build_page({name: read_run(run) for name, run in _names(runs).items()})
    out = Path(out)
    (out / PICTURES).mkdir(parents=True, exist_ok=True)
    for picture in page.pictures:
        write_whole(out / PICTURES / picture.name, picture.data)
    write_whole(out / MARKDOWN, render_markdown(page, PICTURES))
    write_whole(out / HTML, render_html(page))
    return out / MARKDOWN, out / HTML


def read_run(run: str | Path) -> dict[str, Result]:
    """All results in a run's folder, by benchmark, or of the folder of one; ScoringError if there are none."""
    run = Path(run)
    folders = [run] if (run / RESULT).is_file() else sorted(path.parent for path in run.glob(f"*/{RESULT}"))
    if not folders:
        raise ScoringError(
            f"{run}: no results (*/{RESULT}) in this folder. `rgpt4d eval score ... --out {run}` makes them."
        )
    results = {}
    for folder in folders:
        result = Result.read(folder)
        if result.benchmark not in BENCHMARKS:
            known = ", ".join(BENCHMARKS)
            raise ScoringError(f"{folder / RESULT}: unknown benchmark {result.benchmark!r:.80} (known: {known})")
        results[result.benchmark] = result
    return {name: results[name] for name in BENCHMARKS if name in results}


def _names(runs: Sequence[str | Path]) -> dict[str, Path]:
    """The shortest ends of the paths that tell the runs apart."""
    paths = [Path(os.path.abspath(run)) for run in runs]  # without `..`, which would be part of a name
    if len(set(paths)) < len(paths):
        raise ScoringError(f"the same run twice: {', '.join(map(str, runs))}")
    depth = 1
    while len({path.parts[-depth:] for path in paths}) < len(paths):
        depth += 1
    return {"/".join(path.parts[-depth:]): path for path in paths}
