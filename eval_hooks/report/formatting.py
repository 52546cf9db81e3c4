# SPDX-License-Identifier: Apache-2.0
"""Numbers, settings, counts and published rows as the cells and tables of a report."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.records import Published
from rgpt4d_plugin.eval_hooks.report.page import Cell, Table
from rgpt4d_plugin.eval_hooks.scoring import COUNTS, Estimate, Result
from rgpt4d_plugin.eval_hooks.stats import Difference, Interval


_READINGS_NOTE = (
    "Official: the published scorer, with random letters counted as what they are worth on average. Strict: one "
    "careful reader for all benchmarks, which reads nothing rather than guess. Brackets: 95 % percentile intervals of "
    "10,000 bootstrap resamples of whole videos (scenes, questions), not of single items."
)

_COUNT_NAMES = {
    "missing": "missing, counted as wrong",
    "error": "failed in the engine, counted as wrong",
    "truncated": "cut off by the token limit",
    "empty": "empty replies",
    "unread": "strict: no answer found",
    "ambiguous": "strict: more than one answer",
    "refused": "strict: refused to answer",
    "fallback": "official: random letter or default",
    "no_gold": "items without a right answer",
}


def reading_name(reading: str) -> str:
    """Returns a reading's name as a title."""
    return "lmms-eval" if reading == "lmms_eval" else reading.replace("_", " ").capitalize()


def readings_note(result: Result) -> str:
    """Explains the readings and the brackets."""
    further = get(result.benchmark).readings
    return " ".join([_READINGS_NOTE, *(further[reading] for reading in result.columns if reading in further)])


def facts(result: Result) -> str:
    """Returns the data, the prompt style, the frames and the sample in a line."""
    told = [result.revision, f'prompt style "{result.style}"']
    if get(result.benchmark).kind == "video":
        frames = result.settings.get("frames")
        told.append("frames of a video not known" if frames is None else f"{frames} frames a video")
    if result.limit is not None:
        told.append(f"a fixed sample of {result.limit:,} of {result.available:,} items, seed {result.seed}")
    return f"{'; '.join(told)}."


def label(column: str) -> str:
    """A column's name as words."""
    return column.replace("_", " ")


def column_cell(benchmark: str, column: str, mark: str = "") -> Cell:
    """A column's name, with what an abbreviation stands for."""
    return Cell(label(column), get(benchmark).abbreviations.get(column, ""), mark)


def signed(value: float) -> str:
    """A difference with one decimal and its sign."""
    text = f"{value:+.1f}".replace("-", "−")
    return "0.0" if text[1:] == "0.0" else text


def number(value: float | None) -> str:
    """A percentage with one decimal."""
    return "–" if value is None else f"{value:.1f}"


def brackets(interval: Interval | Estimate) -> str:
    """An interval."""
    if interval.low is None:
        return ""
    return f"[{interval.low:.1f}, {interval.high:.1f}]".replace("-", "−").replace("−0.0", "0.0")


def estimate_cell(estimate: Estimate | None, strong: bool = False) -> Cell:
    """A number with its interval; a dash where no item counts."""
    if estimate is None or not estimate.items:
        return Cell("–", mark="grey")
    return Cell(number(estimate.value), brackets(estimate), "strong" if strong else "")


def difference_cell(found: Difference | None) -> Cell:
    """Returns a difference with its interval and p-value, marked where the interval leaves zero out."""
    if found is None:
        return Cell("–", mark="grey")
    if found.p is None:
        return Cell(signed(found.value))
    low, high = found.interval.low, found.interval.high
    mark = "up" if low > 0 else "down" if high < 0 else ""
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}" if found.p < 0.1 else f"p = {found.p:.2f}"
    return Cell(signed(found.value), f"{brackets(found.interval)}\n{p}", mark)


def headline(result: Result) -> str:
    """The column that stands for the whole: of all items, by the name that benchmarks give it."""
    columns = result.columns["official"]
    whole = [name for name, estimate in columns.items() if estimate.items == result.items]
    return next((name for name in whole if name in ("Avg", "Overall")), whole[0] if whole else next(iter(columns)))


def chance(result: Result) -> dict[str, float | None]:
    """Returns what drawing a letter at random is worth in each column; None where a question has no letters."""
    worth = np.array([100 / len(row.options) if row.options else np.nan for row in result.rows])
    values = {}
    for name in result.columns["official"]:
        own = worth[[name in row.counts_for for row in result.rows]]
        values[name] = float(own.mean()) if own.size and np.isfinite(own).all() else None
    return values


def counts_table(runs: Mapping[str, Result]) -> Table:
    """Everything that is counted, one column a run."""
    rows = []
    for name in COUNTS:
        counts = [(run.counts[name], run.items) for run in runs.values()]
        cells = [Cell(f"{n:,}", f"{100 * n / items:.1f} %") if n else Cell("0", mark="grey") for n, items in counts]
        rows.append([Cell(_COUNT_NAMES[name], mark="" if any(n for n, _ in counts) else "grey"), *cells])
    return Table(["What was counted", *(runs if len(runs) > 1 else ["Items"])], rows)


def published_table(runs: Mapping[str, Result]) -> Table | None:
    """The runs above the published rows, as papers print them; None if nothing is published."""
    first = next(iter(runs.values()))
    rows = get(first.benchmark).published
    if not rows:
        return None
    columns = [name for name in first.columns["official"] if any(name in row.columns for row in rows)]
    table = []
    for name, result in runs.items():
        values = [estimate_cell(result.columns["official"].get(column)) for column in columns]
        cells = [Cell(cell.text, mark="strong" if cell.text != "–" else "grey") for cell in values]
        table.append([Cell(name, "this run" if len(runs) == 1 else "run", "strong"), *cells, Cell("")])
    for row in rows:
        reasons = incomparable_with_all(row, runs.values())
        mark = "grey" if reasons else ""
        cells = [Cell(number(row.columns[c]), mark=mark) if c in row.columns else Cell("") for c in columns]
        why = f"No: {'; '.join(reasons)}" if reasons else "Yes"
        table.append([Cell(row.model, row.source, mark), *cells, Cell(why, mark=mark)])
    return Table(["Model", *map(label, columns), "Comparable"], table, words=[len(columns) + 1])


def incomparable_with_all(row: Published, results: Iterable[Result]) -> list[str]:
    """Returns the reasons why a published row must not be compared with these runs."""
    return list(dict.fromkeys(reason for result in results for reason in incomparable(row, result)))


def incomparable(row: Published, result: Result) -> list[str]:
    """Returns the reasons why a run must not be compared with a published row; empty if it may."""
    frames = result.settings.get("frames")
    reasons = []
    if row.items and result.available not in row.items:
        reasons.append(f"another revision: {row.items[0]:,} items, not {result.available:,}")
    if result.items != result.available:
        reasons.append(f"the run answers a sample of {result.items:,} items")
    if isinstance(row.frames, str):
        reasons.append(row.frames)
    elif row.frames is not None and frames is None:
        reasons.append(f"{row.frames} frames; those of the run are not known")
    elif row.frames is not None and frames != row.frames:
        reasons.append(f"{row.frames} frames, not {frames}")
    if row.style != result.style:
        reasons.append(f'prompt style "{row.style}", not "{result.style}"')
    return [*reasons, row.conditions] if row.conditions else reasons


def flatten(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and texts."""
    flat: dict[str, str] = {}
    for name, value in settings.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = "–" if value is None or value == {} else str(value)
    return flat


def provenance(result: Result) -> dict[str, str]:
    """Returns all that it takes to get the same numbers again."""
    own = {
        "benchmark": result.title,
        "revision": result.revision,
        "data": result.folder,
        "items": f"{result.items:,} of {result.available:,}",
        "sample": "all items" if result.limit is None else f"{result.limit:,} items, seed {result.seed}",
        "fingerprint of the items": result.fingerprint,
        "prompt style": result.style,
        "scored with": f"rgpt4d-plugin {result.scored_with}",
    }
    # What an engine's settings repeat is said once.
    repeated = {"benchmark", "data", "revision", "items", "style", "limit", "seed"}
    return own | {name: text for name, text in flatten(result.settings).items() if name not in repeated}


def settings_table(runs: Mapping[str, Result]) -> Table:
    """Settings of the runs side by side; what differs stands out."""
    columns = [provenance(result) for result in runs.values()]
    rows = []
    for key in dict.fromkeys(key for column in columns for key in column):
        texts = [column.get(key, "–") for column in columns]
        mark = "strong" if len(set(texts)) > 1 else ""
        rows.append([Cell(key, mark=mark), *(Cell(text, mark=mark) for text in texts)])
    return Table(["Setting", *(runs if len(runs) > 1 else ["Value"])], rows, words=range(1, len(runs) + 1))


def description(result: Result) -> str:
    """Describes what answered, in a few words."""
    engine = result.settings.get("engine")
    engine = engine if isinstance(engine, Mapping) else {}
    parts = [str(engine["model"])] if engine.get("model") else []
    if adapters := engine.get("adapters") or engine.get("adapter"):
        parts.append("with " + (", ".join(map(str, adapters)) if isinstance(adapters, list) else str(adapters)))
    if not parts and isinstance(result.settings.get("replies"), Mapping):
        parts.append(f"replies from {result.settings['replies'].get('file')}")
    return " ".join(parts)
