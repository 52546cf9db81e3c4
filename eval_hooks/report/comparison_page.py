# SPDX-License-Identifier: Apache-2.0
"""The page of several runs side by side: differences to the first one, each with its interval and p-value."""

from collections.abc import Iterator, Mapping, Sequence

from ..compare import Comparison, compare, incomparable
from ..scoring import Result, Row
from ..stats import Difference
from .blocks import Block, Bullets, Cell, Heading, Page, Picture, Pictures, Table, Text
from .examples import Shots, example, pick
from .parts import (
    READINGS_NOTE,
    brackets,
    categories,
    counts_table,
    description,
    estimate_cell,
    headline,
    label,
    published_table,
    reading_name,
    settings_table,
)
from .pictures import Series, bars, differences, radar
from .run_page import series_of, shown_columns


_EXAMPLES = 3  # of each kind

_DIFFERENCE_NOTE = (
    "Differences are to {first}, in percentage points, on the same items: brackets are 95 % intervals of 10,000 "
    "resamples of whole videos (scenes, questions), in each of which both runs are scored; p is two-sided. Green or "
    "red: the interval leaves zero out. With many columns some intervals do so by chance."
)


def comparison_page(runs: Mapping[str, Mapping[str, Result]]) -> Page:
    """The report of several runs.

    Args:
        runs: name -> benchmark -> result; the first run is what the others are compared with.
    """
    names = list(runs)
    title = " · ".join(names)
    blocks: list[Block] = [Heading(f"Comparison: {title}", 1)]
    first = next(iter(runs.values()))
    others = [name for name in names if name != names[0]]
    blocks.append(Text(f"{', '.join(others)} compared with {names[0]}.", "lead"))
    for name, results in runs.items():
        models = list(dict.fromkeys(filter(None, map(description, results.values()))))
        if models:
            blocks.append(Text(f"{name}: {'; '.join(models)}", "note"))
    benchmarks = list(dict.fromkeys(benchmark for results in runs.values() for benchmark in results))
    blocks.append(_overview(runs, benchmarks))
    for benchmark in benchmarks:
        present = {name: results[benchmark] for name, results in runs.items() if benchmark in results}
        blocks += _section(present, names, benchmark in first)
    return Page(f"{title}: comparison", blocks)


def _overview(runs: Mapping[str, Mapping[str, Result]], benchmarks: Sequence[str]) -> Table:
    rows = []
    for benchmark in benchmarks:
        present = [results[benchmark] for results in runs.values() if benchmark in results]
        column = headline(present[0])
        cells = []
        for reading in ("official", "strict"):
            for results in runs.values():
                own = results.get(benchmark)
                cells.append(estimate_cell(own.columns[reading].get(column) if own else None))
        rows.append([Cell(present[0].title, label(column)), *cells])
    spans = [("", 1), ("Official", len(runs)), ("Strict", len(runs))]
    return Table(["Benchmark", *runs, *runs], rows, spans)


def _section(results: Mapping[str, Result], names: Sequence[str], has_first: bool) -> Iterator[Block]:
    first_name, first = next(iter(results.items()))
    yield Heading(first.title)
    yield Text(f"{first.revision}; {first.items:,} items.", "note")
    yield Bullets([f"{name}: {result.answered}." for name, result in results.items()])
    absent = [name for name in names if name not in results]
    if absent:
        yield Text(f"Without results on this benchmark: {', '.join(absent)}.", "note")

    comparisons: dict[str, Comparison] = {}
    for name, result in list(results.items())[1:]:
        if reasons := incomparable(first, result):
            yield Text(f"{name} is not compared with {first_name}: {'; '.join(reasons)}.", "warning")
        else:
            comparisons[name] = compare(first, result)
    same = {name: result for name, result in results.items() if name == first_name or name in comparisons}

    yield _pictures(same, comparisons)
    yield Heading("Scores", 3)
    yield _scores(results, comparisons)
    yield Text(READINGS_NOTE, "note")
    if comparisons:
        yield Text(_DIFFERENCE_NOTE.format(first=first_name), "note")
        yield Heading("Who has what right", 3)
        yield _agreements(first_name, comparisons)
        yield Text("Items that score more than half are right.", "note")
    table = published_table(list(results), list(results.values()))
    if table is not None:
        yield Heading("Beside published numbers", 3)
        yield table
        yield Text("Official reading, percent. Grey: not comparable, for the reason given.", "note")
    yield Heading("How replies were read", 3)
    yield counts_table(list(results), list(results.values()))
    yield from _changes(same)
    yield Heading("Reproduction", 3)
    yield settings_table(list(results), list(results.values()))


def _pictures(results: Mapping[str, Result], comparisons: Mapping[str, Comparison]) -> Pictures:
    first = next(iter(results.values()))
    columns, spokes = shown_columns(first), categories(first)
    labels = [label(column) for column in columns]
    pictures = []
    for reading in ("official", "strict"):
        series = [series_of(result, reading, columns, name) for name, result in results.items()]
        pictures.append(
            Picture(
                f"{first.benchmark}_columns_{reading}.svg",
                bars(labels, series),
                f"Bars of the columns of {first.title} for every run, {reading} reading",
            )
        )
        if len(spokes) >= 3:
            outlines = [series_of(result, reading, spokes, name) for name, result in results.items()]
            pictures.append(
                Picture(
                    f"{first.benchmark}_radar_{reading}.svg",
                    radar([label(column) for column in spokes], outlines),
                    f"Radar of the categories of {first.title} for every run, {reading} reading",
                )
            )
    for name, comparison in comparisons.items():
        series = [
            _difference_series(comparison.differences[reading], columns, reading_name(reading))
            for reading in ("official", "strict")
        ]
        pictures.append(
            Picture(
                f"{first.benchmark}_differences_{list(results).index(name)}.svg",
                differences(labels, series),
                f"Differences of {name} to {next(iter(results))} on {first.title}, with intervals",
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


def _scores(results: Mapping[str, Result], comparisons: Mapping[str, Comparison]) -> Table:
    first_name, first = next(iter(results.items()))
    readings = [reading for reading in first.columns if all(reading in r.columns for r in results.values())]
    top = headline(first)
    columns = list(dict.fromkeys(column for result in results.values() for column in result.columns["official"]))
    header, spans = ["Column", "Items"], [("", 2)]
    for reading in readings:
        header += [*results, *(f"{name} − {first_name}" for name in comparisons)]
        spans.append((reading_name(reading), len(results) + len(comparisons)))
    rows = []
    for column in columns:
        own = first.columns["official"].get(column)
        row = [Cell(label(column), mark="strong" if column == top else ""), f"{own.items:,}" if own else "–"]
        for reading in readings:
            row += [estimate_cell(r.columns[reading].get(column), column == top) for r in results.values()]
            row += [_difference(c.differences[reading].get(column)) for c in comparisons.values()]
        rows.append(row)
    return Table(header, rows, spans)


def _difference(found: Difference | None) -> Cell:
    if found is None:
        return Cell("–", mark="grey")
    if found.p is None:
        return Cell(f"{found.value:+.1f}")
    low, high = found.interval.low, found.interval.high
    mark = "up" if low > 0 else "down" if high < 0 else ""
    p = "p < 0.001" if found.p < 0.001 else f"p = {found.p:.3f}" if found.p < 0.1 else f"p = {found.p:.2f}"
    return Cell(f"{found.value:+.1f}", f"{brackets(found.interval)} {p}", mark)


def _agreements(first: str, comparisons: Mapping[str, Comparison]) -> Table:
    rows = []
    for name, comparison in comparisons.items():
        for reading, counts in comparison.agreements.items():
            cells = [f"{n:,}" for n in (counts.both, counts.only_a, counts.only_b, counts.neither)]
            rows.append([Cell(f"{name} and {first}"), Cell(reading_name(reading)), *cells])
    header = ["Runs", "Reading", "Both right", f"Only {first}", "Only the other", "None"]
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
