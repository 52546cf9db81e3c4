# SPDX-License-Identifier: Apache-2.0
"""Builds the page of one run, or of several: the first is the baseline that the others are compared with."""

from collections.abc import Mapping, Sequence

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.benchmarks.records import READINGS
from rgpt4d_plugin.eval_hooks.compare import Comparison, compare, incomparable
from rgpt4d_plugin.eval_hooks.report.charts import COLORS, Reference, Series, bars, differences
from rgpt4d_plugin.eval_hooks.report.examples import Shots, example, pick, worst_categories
from rgpt4d_plugin.eval_hooks.report.formatting import (
    brackets,
    chance,
    column_cell,
    counts_table,
    description,
    difference_cell,
    estimate_cell,
    facts,
    headline,
    incomparable_with_all,
    label,
    number,
    provenance,
    published_table,
    reading_name,
    readings_note,
    settings_table,
)
from rgpt4d_plugin.eval_hooks.report.page import Card, Cell, Group, Page, Picture, Section, Table
from rgpt4d_plugin.eval_hooks.scoring import Estimate, Result
from rgpt4d_plugin.eval_hooks.stats import Difference


_ASKED = ("prompt style", "frames", "max_new_tokens")  # what makes a difference beside the models
_WIDEST = 9  # columns of numbers that fit on a page

_DIFFERENCE_NOTE = (
    "Differences are to {first}, in percentage points, on the same items: brackets are 95 % intervals of 10,000 "
    "resamples of whole videos (scenes, questions), in each of which both runs are scored; p is two-sided. Green or "
    "red: the interval leaves zero out. With many columns some intervals do so by chance."
)

Runs = Mapping[str, Result]
"""Name of a run -> its result on one benchmark; the first one is the baseline."""
Compared = Mapping[str, Comparison]
"""Name of a run -> its comparison with the baseline."""


def build_page(runs: Mapping[str, Mapping[str, Result]]) -> Page:
    """Builds the report of runs: name -> benchmark -> result."""
    names = list(runs)
    alone = len(names) == 1
    title = f"Evaluation of {names[0]}" if alone else f"{', '.join(names[1:])} compared with {names[0]}"
    models = {
        name: "; ".join(dict.fromkeys(filter(None, map(description, results.values()))))
        for name, results in runs.items()
    }
    told = [model if alone else f"{name}: {model}" for name, model in models.items() if model not in ("", name)]
    sections, overview = [], []
    for benchmark in dict.fromkeys(benchmark for results in runs.values() for benchmark in results):
        present = {name: results[benchmark] for name, results in runs.items() if benchmark in results}
        first, *others = present
        reasons = {name: incomparable(present[first], present[name]) for name in others}
        compared = {name: compare(present[first], present[name]) for name, why in reasons.items() if not why}
        sections.append(_section(names, present, reasons, compared))
        overview.append((present, compared))
    if len(sections) < 2:
        return Page(title, told, alone, [], sections)
    table = [_overview(runs[names[0]])] if alone else _overview_of_runs(names, overview)
    return Page(title, told, alone, table, sections)


def _overview(results: Mapping[str, Result]) -> Table:
    rows = []
    for result in results.values():
        counts, column = result.counts, headline(result)
        read = result.items - counts["missing"] - counts["error"]
        unread = sum(counts[name] for name in ("empty", "unread", "ambiguous", "refused"))
        cells = [estimate_cell(result.columns[reading][column], True) for reading in READINGS]
        numbers = [Cell(f"{unread:,}"), Cell(f"{counts['fallback']:,}")]
        rows.append([Cell(result.title, result.revision), Cell(f"{read:,} of {result.items:,}"), *cells, *numbers])
    header = ["Benchmark", "Answered", "Official", "Strict", "Strict: not read", "Official: random or default"]
    return Table(header, rows)


def _overview_of_runs(names: Sequence[str], sections: Sequence[tuple[Runs, Compared]]) -> list[Table]:
    starts, cells = [], {reading: [] for reading in READINGS}
    for present, compared in sections:
        first = next(iter(present.values()))
        column = headline(first)
        starts.append([Cell(first.title, label(column))])
        for reading, rows in cells.items():
            row = [estimate_cell(present[n].columns[reading].get(column) if n in present else None) for n in names]
            found = [compared[n].differences[reading][column] if n in compared else None for n in names[1:]]
            rows.append([*row, *map(difference_cell, found)])
    return _readings_beside(["Benchmark"], starts, [*names, *_minus(names[0], names[1:])], cells)


def _minus(first: str, others: Sequence[str]) -> list[str]:
    return [f"{name} − {first}" for name in others]


def _readings_beside(
    first: Sequence[str], starts: Sequence[list[Cell]], header: Sequence[str], cells: Mapping[str, list[list[Cell]]]
) -> list[Table]:
    """Returns one table with all readings side by side; where it would be too wide, one for each reading.

    Its first columns have the header `first` and the cells `starts`; those of a reading `header` and `cells[reading]`.
    """
    groups = [list(cells)] if len(cells) * len(header) <= _WIDEST else [[reading] for reading in cells]
    return [
        Table(
            [*first, *(list(header) * len(group))],
            [[*start, *(cell for reading in group for cell in cells[reading][i])] for i, start in enumerate(starts)],
            [("", len(first)), *((reading_name(reading), len(header)) for reading in group)],
        )
        for group in groups
    ]


def _section(names: Sequence[str], results: Runs, reasons: Mapping[str, Sequence[str]], compared: Compared) -> Section:
    alone = len(names) == 1
    (first_name, first), *_ = results.items()
    same = {name: result for name, result in results.items() if name == first_name or name in compared}
    section = Section(
        first.title,
        facts(first) if alone else f"{first_name}: {facts(first)}",
        cards=_cards(first) if alone else [],
        pictures=_pictures_of_one(first) if alone else _pictures_of_several(same, compared),
        scores=_scores(results, compared, alone),
        notes=[readings_note(first)],
        counts=counts_table(results),
        published=published_table(results),
        groups=_worst(first) if alone else _changes(same),
        settings=settings_table(results),
    )
    if alone:
        incomplete = first.counts["missing"] + first.counts["error"]
        (section.warnings if incomplete else section.bullets).append(f"{first.answered}.")
        section.bullets += first.notes
        return section
    section.warnings += [
        f"{name} is not compared with {first_name}: {'; '.join(why)}." for name, why in reasons.items() if why
    ]
    for setting in _ASKED:
        told = {name: provenance(result).get(setting, "not known") for name, result in results.items()}
        if len(set(told.values())) > 1:
            values = ", ".join(f"{name}: {value}" for name, value in told.items())
            section.warnings.append(f"The runs were not asked in the same way: {setting} ({values}).")
    section.bullets += [f"{name}: {result.answered}." for name, result in results.items()]
    if absent := [name for name in names if name not in results]:
        section.bullets.append(f"Without results on this benchmark: {', '.join(absent)}.")
    if compared:
        section.notes.append(_DIFFERENCE_NOTE.format(first=first_name))
        section.agreements = _agreements(first_name, compared)
    return section


def _cards(result: Result) -> list[Card]:
    column = headline(result)
    cards = [
        Card(f"{reading_name(reading)}, {label(column)}", number(e[column].value), brackets(e[column]), color)
        for (reading, e), color in zip(result.columns.items(), COLORS)
    ]
    worth = chance(result)[column]
    return cards if worth is None else [*cards, Card("Chance", number(worth), "one option at random")]


def _series(name: str, found: Sequence[Estimate | Difference | None]) -> Series:
    ends = [value.interval if isinstance(value, Difference) else value for value in found]
    values = [value and value.value for value in found]
    return Series(name, values, [end and end.low for end in ends], [end and end.high for end in ends])


def _shown(result: Result) -> tuple[list[str], list[str]]:
    """Returns the columns that have items, and their labels."""
    columns = [name for name, estimate in result.columns["official"].items() if estimate.items]
    return columns, [label(column) for column in columns]


def _pictures_of_one(result: Result) -> list[Picture]:
    columns, labels = _shown(result)
    worth = chance(result)
    references = [
        Reference(row.model, [row.columns.get(column) for column in columns])
        for row in get(result.benchmark).published
        if not incomparable_with_all(row, [result])
    ]
    if any(worth[column] is not None for column in columns):
        references.append(Reference("chance", [worth[column] for column in columns], ticks=True))
    series = [_series(reading_name(reading), [own[c] for c in columns]) for reading, own in result.columns.items()]
    alt = f"Bars of the columns of {result.title} under each reading, with intervals"
    return [Picture(f"{result.benchmark}_columns.svg", bars(labels, series, references), alt)]


def _pictures_of_several(results: Runs, compared: Compared) -> list[Picture]:
    (first_name, first), *_ = results.items()
    columns, labels = _shown(first)
    pictures = []
    for reading in READINGS:
        series = [_series(name, [r.columns[reading][c] for c in columns]) for name, r in results.items()]
        svg = bars(labels, series, title=f"{reading_name(reading)} reading")
        alt = f"Bars of the columns of {first.title} for every run, {reading} reading"
        pictures.append(Picture(f"{first.benchmark}_columns_{reading}.svg", svg, alt))
    for i, (name, comparison) in enumerate(compared.items(), 1):
        found = comparison.differences
        series = [_series(reading_name(reading), [found[reading].get(c) for c in columns]) for reading in READINGS]
        svg = differences(labels, series, title=f"{name} − {first_name}")
        alt = f"Differences of {name} to {first_name} on {first.title}, with intervals"
        pictures.append(Picture(f"{first.benchmark}_differences_{i}.svg", svg, alt))
    return pictures


def _scores(results: Runs, compared: Compared, alone: bool) -> list[Table]:
    (first_name, first), *_ = results.items()
    readings = [reading for reading in first.columns if all(reading in r.columns for r in results.values())]
    top, worth = headline(first), chance(first)
    starts, cells = [], {reading: [] for reading in readings}
    for column in dict.fromkeys(column for result in results.values() for column in result.columns["official"]):
        own = first.columns["official"].get(column)
        mark = "strong" if column == top else "" if own and own.items else "grey"
        starts.append([column_cell(first.benchmark, column, mark), Cell(f"{own.items:,}" if own else "–")])
        for reading, rows in cells.items():
            row = [estimate_cell(r.columns[reading].get(column), column == top) for r in results.values()]
            rows.append([*row, *(difference_cell(c.differences[reading].get(column)) for c in compared.values())])
    if not alone:
        header = [*results, *_minus(first_name, list(compared))]
        return _readings_beside(["Column", "Items"], starts, header, cells)
    chances = [Cell(number(value), mark="grey") for value in worth.values()]
    rows = [[*start, *(cells[reading][i][0] for reading in readings), chances[i]] for i, start in enumerate(starts)]
    return [Table(["Column", "Items", *map(reading_name, readings), "Chance"], rows)]


def _agreements(first: str, compared: Compared) -> Table:
    rows = [
        [Cell(name), Cell(reading_name(reading)), *(Cell(f"{n:,}") for n in counts)]
        for name, comparison in compared.items()
        for reading, counts in comparison.agreements.items()
    ]
    header = [f"Beside {first}", "Reading", "Both right", f"Only {first}", "Only this", "Neither"]
    return Table(header, rows, words=[1])


def _worst(result: Result, per_category: int = 2) -> list[Group]:
    """Wrong answers of the categories with the lowest strict scores."""
    shots, groups = Shots(result), []
    for category, score in worst_categories(result):
        rows = [row for row in result.rows if row.category == category]
        wrong = pick(rows, lambda row: row.strict < 0.5 and row.reply is not None and row.error is None, per_category)
        if wrong:
            name = column_cell(result.benchmark, category)
            title = f"{name.text} ({name.detail})" if name.detail else name.text
            title = f"{title}: {number(score)} strict, {len(rows):,} items"
            groups.append(Group("", "", title, [example({"": row}, shots) for row in wrong]))
    if groups:
        note = "Wrong under the strict reading; the choice is the same for every run."
        groups[0] = groups[0]._replace(heading="Examples from the worst categories", note=note)
    return groups


def _changes(results: Runs, per_kind: int = 3) -> list[Group]:
    """Answers that were right in the first run and are wrong in the last, and the reverse."""
    if len(results) < 2:
        return []
    rows = {name: {row.key: row for row in result.rows} for name, result in results.items()}
    first, *_, last = results
    shots, groups = Shots(results[first]), []
    for heading, wanted in (
        (f"Lost: right in {first}, wrong in {last}", (1, 0)),
        (f"Won: wrong in {first}, right in {last}", (0, 1)),
    ):
        changed = [
            row for row in results[last].rows if (round(rows[first][row.key].strict), round(row.strict)) == wanted
        ]
        if chosen := pick(changed, lambda row: True, per_kind):
            note = "Under the strict reading; the choice is the same every time."
            found = [example({name: own[row.key] for name, own in rows.items()}, shots) for row in chosen]
            groups.append(Group(heading, note, "", found))
    return groups
