# SPDX-License-Identifier: Apache-2.0
"""One page of an experiment, as HTML and as Markdown, and its figures as JSON; its sentences follow from the runs."""

import base64
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from rgpt4d_plugin.eval_hooks.report.charts import Reference, Series, bars, differences
from rgpt4d_plugin.evidence.arms import ALL, ARMS, BASE_ARM, REGIMES
from rgpt4d_plugin.evidence.curves import curves
from rgpt4d_plugin.evidence.results import ARMS_HEADER, Estimate, Results, arm_rows, conclusions, summary
from rgpt4d_plugin.files import read_json, write_json, write_whole


_PACKAGES = ("rgpt4d-plugin", "llamafactory", "transformers", "torch")


@dataclass(frozen=True)
class Table:
    """Cells of text, the first row a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """What the page says of a regime."""

    title: str
    arms: Table
    categories: Table
    pictures: Mapping[str, bytes]


def write_report(root: Path, hardware: str | None = None) -> Path:
    """Writes `report.html`, `report.md` with its pictures, and `results.json`; returns the first.

    Args:
        root: Folder of the experiment.
        hardware: What it ran on; None: this machine's processor.

    Raises:
        ValueError: No run has finished yet.
    """
    results = Results.read(root)
    if not results.runs:
        raise ValueError(f"{root} has no finished run yet")
    settings = read_json(root / "preset.json", "delete the folder")
    facts = {
        "date": date.today().isoformat(),
        "hardware": hardware or f"{_processor()}, {os.cpu_count()} cores",
        "versions": {name: version(name) for name in _PACKAGES},
        "settings": settings,
        "seconds_per_run": round(sum(run["seconds"] for run in results.runs.values()) / len(results.runs)),
    }
    blind = read_json(root / "baselines.json", "delete it") if (root / "baselines.json").exists() else {}
    sections = [_section(results, regime, blind) for regime in results.regimes]
    maps = {path.stem: path.read_bytes() for path in sorted(root.glob("maps_*.png"))}
    said = conclusions(results)
    page = {"facts": facts, "conclusions": said, "sections": sections, "maps": maps}
    environment = Environment(
        loader=PackageLoader("rgpt4d_plugin.evidence"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data"] = lambda content: base64.b64encode(content).decode()
    markdown = environment.get_template("report.md.j2").render(**page)
    environment.autoescape = True
    html = environment.get_template("report.html.j2").render(**page)
    pictures = root / "report_pictures"
    pictures.mkdir(exist_ok=True)
    for section in sections:
        for name, content in section.pictures.items():
            write_whole(pictures / f"{name}.svg", content)
    for name, content in maps.items():
        write_whole(pictures / f"{name}.png", content)
    write_whole(root / "report.md", markdown)
    write_whole(root / "report.html", html)
    write_json(root / "results.json", {**facts, "conclusions": said, "blind": blind, "results": summary(results)})
    return root / "report.html"


def _section(results: Results, regime: str, blind: Mapping[str, Mapping[str, float]]) -> Section:
    arms, categories = results.arms(regime), results.categories()
    shown = [arm for arm in arms if arm in (BASE_ARM, "explicit")] or arms[:2]
    by_category = [
        [ARMS[arm].title, *(str(results.estimate(regime, arm, name)) for name in categories)] for arm in arms
    ]
    by_category += [[name, *(_percent(values.get(c)) for c in categories)] for name, values in blind.items()]
    columns = [ALL, *categories]
    references = [
        Reference(name, [values.get(column) for column in columns], ticks=True) for name, values in blind.items()
    ]
    pictures = {
        f"{regime}_bars": bars(
            columns,
            [_series(ARMS[a].title, [results.estimate(regime, a, c) for c in columns]) for a in shown],
            references,
        ),
        f"{regime}_curves": curves(results, regime, arms),
    }
    others = [arm for arm in arms if results.difference(regime, arm)]
    if others:
        leads = [[results.difference(regime, arm, c) for c in columns] for arm in others]
        series = [_series(ARMS[arm].title, lead) for arm, lead in zip(others, leads)]
        pictures[f"{regime}_leads"] = differences(columns, series, "lead over fine-tuning alone")
    return Section(
        REGIMES[regime],
        Table(ARMS_HEADER, arm_rows(results, regime)),
        Table(["", *categories], by_category),
        pictures,
    )


def _series(name: str, estimates: Sequence[Estimate | None]) -> Series:
    known = [estimate or Estimate(0.0, None, 0) for estimate in estimates]
    return Series(name, [e.value for e in known], [e.low for e in known], [e.high for e in known])


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
