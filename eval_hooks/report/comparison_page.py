# SPDX-License-Identifier: Apache-2.0
"""The page of several runs side by side: differences to the first one, each with its interval and p-value."""

from collections.abc import Iterator, Mapping, Sequence

from rgpt4d_plugin.eval_hooks.compare import Comparison, compare, incomparable
from rgpt4d_plugin.eval_hooks.report.charts import Series, bars, differences, radar
from rgpt4d_plugin.eval_hooks.report.examples import Shots, example, pick
from rgpt4d_plugin.eval_hooks.report.formatting import (
    PUBLISHED_NOTE,
    brackets,
    categories,
    column_cell,
    counts_table,
    estimate_cell,
    headline,
    label,
    provenance,
    published_table,
    reading_name,
    readings_note,
    settings_table,
    signed,
)
from rgpt4d_plugin.eval_hooks.report.page import (
    Beside,
    Block,
    Bullets,
    Cell,
    Heading,
    Page,
    Picture,
    Pictures,
    Table,
    Text,
)
from rgpt4d_plugin.eval_hooks.report.run_page import models_of, series_of, shown_columns
from rgpt4d_plugin.eval_hooks.scoring import Result, Row
from rgpt4d_plugin.eval_hooks.stats import Difference


_EXAMPLES = 3  # of each kind
_ASKED = ("prompt style", "frames", "max_new_tokens")  # what makes a difference beside the models
_WIDEST = 9  # columns of numbers that fit on a page

_DIFFERENCE_NOTE = (
    "Differences are to {first}, in percentage points, on the same items: brackets are 95 % intervals of 10,000 "
    "resamples of whole videos (scenes, questions), in each of which both runs are scored; p is two-sided. Green or "
    "red: the interval leaves zero out. With many columns some intervals do so by chance."
)


Runs = Mapping[str, Result]
"""Name of a run -> its result on one benchmark; the first one is the baseline."""


def comparison_page(runs: Mapping[str, Mapping[str, Result]]) -> Page:
    """The report of several runs.

    Args:
        runs: name -> benchmark -> result; the first run is what the others are compared with.
    """
    names = list(runs)
    title = f"{', '.join(names[1:])} compared with {names[0]}"
    blocks: list[Block] = [Heading(title, 1)]
    models = {name: models_of(results) for name, results in runs.items()}
    blocks.append(Bullets([f"{name}: {model}" for name, model in models.items() if model not in ("", name)]))
    benchmarks = list(dict.fromkeys(benchmark for results in runs.values() for benchmark in results))
    sections = []
    for benchmark in benchmarks:
        present = {name: results[benchmark] for name, results in runs.items() if benchmark in results}
        first = next(iter(present.values()))
        reasons = {name: incomparable(first, result) for name, result in list(present.items())[1:]}
        compared = {name: compare(first, present[name]) for name, why in reasons.items() if not why}
        sections.append((present, reasons, compared))
    if len(benchmarks) > 1:
        blocks += _overview(names, sections)
    for present, reasons, compared in sections:
        blocks += _section(names, present, reasons, compared)
    return Page(title, blocks)


def _overview(names: Sequence[str], sections: Sequence[tuple]) -> list[Table]:
    starts, cells = [], {reading: [] for reading in ("official", "strict")}
    for present, _, compared in sections:
        first = next(iter(present.values()))
        column = headline(first)
        starts.append([Cell(first.title, label(column))])
        for reading, rows in cells.items():
            row = [estimate_cell(present[n].columns[reading].get(column) if n in present else None) for n in names]
            row += [
                _difference(compared[n].differences[reading][column] if n in compared else None) for n in names[1:]
            ]
            rows.append(row)
    header = [*names, *(f"{name} − {names[0]}" for name in names[1:])]
    return _readings_beside(["Benchmark"], starts, header, cells)


def _readings_beside(
    first: Sequence[str], starts: Sequence[Sequence], header: Sequence[str], cells: Mapping[str, Sequence[Sequence]]
) -> list[Table]:
    """One table with all readings side by side; where it would be too wide, one a reading.

    Args:
        first: header of the first columns.
        starts: the first cells of each row.
        header: of one reading.
        cells: reading -> the further cells of each row.
    """
    if len(cells) * len(header) <= _WIDEST:
        groups = [list(cells)]
    else:
        groups = [[reading] for reading in cells]
    tables = []
    for group in groups:
        rows = [[*start, *(cell for reading in group for cell in cells[reading][i])] for i, start in enumerate(starts)]
        spans = [("", len(first)), *((reading_name(reading), len(header)) for reading in group)]
        tables.append(Table([*first, *(list(header) * len(group))], rows, spans))
    return tables


def _section(
    names: Sequence[str],
    results: Runs,
    reasons: Mapping[str, Sequence[str]],
    compared: Mapping[str, Comparison],
) -> Iterator[Block]:
    first_name, first = next(iter(results.items()))
    yield Heading(first.title)
    sampled = "" if first.limit is None else f"; a fixed sample of {first.limit:,} items, seed {first.seed}"
    yield Text(f"{first_name}: {first.revision}{sampled}.", "note")
    yield Bullets([f"{name}: {result.answered}." for name, result in results.items()])
    if absent := [name for name in names if name not in results]:
        yield Text(f"Without results on this benchmark: {', '.join(absent)}.", "note")
    for name, why in reasons.items():
        if why:
            yield Text(f"{name} is not compared with {first_name}: {'; '.join(why)}.", "warning")
    for setting in _ASKED:
        told = [provenance(result).get(setting, "not known") for result in results.values()]
        if len(set(told)) > 1:
            values = ", ".join(f"{name}: {value}" for name, value in zip(results, told))
            yield Text(f"The runs were not asked in the same way: {setting} ({values}).", "warning")
    same = {name: result for name, result in results.items() if name == first_name or name in compared}

    yield _pictures(same, compared)
    yield Heading("Scores", 3)
    yield from _scores(results, compared)
    yield Text(readings_note(first), "note")
    counts = [Heading("How replies were read", 3), counts_table(list(results), list(results.values()))]
    if compared:
        yield Text(_DIFFERENCE_NOTE.format(first=first_name), "note")
        note = Text("An item is right when it scores more than half.", "note")
        yield Beside([Heading("Who has what right", 3), _agreements(first_name, compared), note], counts)
    else:
        yield from counts
    table = published_table(list(results), list(results.values()))
    if table is not None:
        yield Heading("Beside published numbers", 3)
        yield table
        yield Text(PUBLISHED_NOTE, "note")
    yield from _changes(same)
    yield Heading("Reproduction", 3)
    yield settings_table(list(results), list(results.values()))


def _pictures(results: Runs, compared: Mapping[str, Comparison]) -> Pictures:
    first_name, first = next(iter(results.items()))
    columns, spokes = shown_columns(first), categories(first)
    labels = [label(column) for column in columns]
    readings = ("official", "strict")
    pictures = []
    for reading in readings:
        series = [series_of(result, reading, columns, name) for name, result in results.items()]
        pictures.append(
            Picture(
                f"{first.benchmark}_columns_{reading}.svg",
                bars(labels, series, title=f"{reading_name(reading)} reading"),
                f"Bars of the columns of {first.title} for every run, {reading} reading",
            )
        )
    for number, (name, comparison) in enumerate(compared.items(), 1):
        series = [
            _difference_series(comparison.differences[reading], columns, reading_name(reading)) for reading in readings
        ]
        pictures.append(
            Picture(
                f"{first.benchmark}_differences_{number}.svg",
                differences(labels, series, title=f"{name} − {first_name}"),
                f"Differences of {name} to {first_name} on {first.title}, with intervals",
            )
        )
    if len(spokes) >= 3:
        outlines = [series_of(result, "strict", spokes, name) for name, result in results.items()]
        pictures.append(
            Picture(
                f"{first.benchmark}_radar.svg",
                radar([label(column) for column in spokes], outlines, title="Categories, strict reading"),
                f"Radar of the categories of {first.title} for every run, strict reading",
            )
        )
    return Pictures(pictures)


def _difference_series(found: Mapping[str, Difference], columns: Sequence[str], name: str) -> Series:
    own = [found.get(column) for column in columns]
    return Series(
        name,
        [d.value if d else None for d in own],
        [d.interval.low if d else None for d in own],
        [d.interval.high if d else None for d in own],
    )


def _scores(results: Runs, comparisons: Mapping[str, Comparison]) -> list[Table]:
    first_name, first = next(iter(results.items()))
    readings = [reading for reading in first.columns if all(reading in r.columns for r in results.values())]
    top = headline(first)
    columns = list(dict.fromkeys(column for result in results.values() for column in result.columns["official"]))
    header = [*results, *(f"{name} − {first_name}" for name in comparisons)]
    starts, cells = [], {reading: [] for reading in readings}
    for column in columns:
        own = first.columns["official"].get(column)
        name = column_cell(first.benchmark, column, "strong" if column == top else "")
        starts.append([name, f"{own.items:,}" if own else "–"])
        for reading, rows in cells.items():
            row = [estimate_cell(r.columns[reading].get(column), column == top) for r in results.values()]
            rows.append([*row, *(_difference(c.differences[reading].get(column)) for c in comparisons.values())])
    return _readings_beside(["Column", "Items"], starts, header, cells)


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return Cell("–", mark="grey")
    if found.p is None:
        return Cell(signed(found.value))
    low, high = found.interval.low, found.interval.high
    mark = "up" if low > 0 else "down" if high < 0 else ""
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}" if found.p < 0.1 else f"p = {found.p:.2f}"
    return Cell(signed(found.value), f"{brackets(found.interval)}\n{p}", mark)


def _agreements(first: str, comparisons: Mapping[str, Comparison]) -> Table:
    rows = []
    for name, comparison in comparisons.items():
        for reading, counts in comparison.agreements.items():
            cells = [f"{n:,}" for n in (counts.both, counts.only_a, counts.only_b, counts.neither)]
            rows.append([Cell(name), Cell(reading_name(reading)), *cells])
    header = [f"Beside {first}", "Reading", "Both right", f"Only {first}", "Only this", "Neither"]
    return Table(header, rows, words=frozenset([1]))


def _changes(results: Mapping[str, Result]) -> Iterator[Block]:
    if len(results) < 2:
        return
    names = list(results)
    first, last = results[names[0]], results[names[-1]]
    rows = {name: {row.key: row for row in result.rows} for name, result in results.items()}
    before, after = rows[names[0]], rows[names[-1]]

    def answers(row: Row) -> list[tuple[str, Row]]:
        return [(name, own[row.key]) for name, own in rows.items()]

    shots = Shots(first)
    for title, wanted in (
        (f"Lost: right in {names[0]}, wrong in {names[-1]}", (1.0, 0.0)),
        (f"Won: wrong in {names[0]}, right in {names[-1]}", (0.0, 1.0)),
    ):
        chosen = pick(
            last.rows,
            lambda row, wanted=wanted: (round(before[row.key].strict), round(after[row.key].strict)) == wanted,
            _EXAMPLES,
        )
        if chosen:
            yield Heading(title, 3)
            yield Text("Under the strict reading; the choice is the same every time.", "note")
            for row in chosen:
                yield example(answers(row), shots)
