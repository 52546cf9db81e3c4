# SPDX-License-Identifier: Apache-2.0
"""The page of one run: every benchmark with its scores, its place among published numbers, and its worst questions."""

from collections.abc import Iterator, Mapping

from rgpt4d_plugin.eval_hooks.benchmarks import get
from rgpt4d_plugin.eval_hooks.report.charts import COLOURS, Reference, Series, bars, radar
from rgpt4d_plugin.eval_hooks.report.examples import Shots, example, pick, worst_categories
from rgpt4d_plugin.eval_hooks.report.formatting import (
    PUBLISHED_NOTE,
    brackets,
    categories,
    chance,
    column_cell,
    counts_table,
    description,
    estimate_cell,
    frames_of,
    headline,
    incomparable_with_all,
    label,
    number,
    published_table,
    reading_name,
    readings_note,
    settings_table,
)
from rgpt4d_plugin.eval_hooks.report.page import (
    Beside,
    Block,
    Bullets,
    Card,
    Cards,
    Cell,
    Heading,
    Page,
    Picture,
    Pictures,
    Table,
    Text,
)
from rgpt4d_plugin.eval_hooks.scoring import Result


_EXAMPLES = 2  # of each category


def run_page(name: str, results: Mapping[str, Result]) -> Page:
    """The report of one run.

    Args:
        name: of the run.
        results: benchmark -> result.
    """
    blocks: list[Block] = [Heading(f"Evaluation of {name}", 1)]
    models = models_of(results)
    if models not in ("", name):
        blocks.append(Text(models, "lead"))
    if len(results) > 1:
        blocks.append(_overview(results))
    for result in results.values():
        blocks += _section(name, result)
    return Page(f"{name}: evaluation", blocks)


def models_of(results: Mapping[str, Result]) -> str:
    """What answered, in a line."""
    return "; ".join(dict.fromkeys(filter(None, map(description, results.values()))))


def series_of(result: Result, reading: str, columns: list[str], name: str) -> Series:
    """One reading of the given columns."""
    estimates = [result.columns[reading][column] for column in columns]
    return Series(name, [e.value for e in estimates], [e.low for e in estimates], [e.high for e in estimates])


def shown_columns(result: Result) -> list[str]:
    """The columns that have items."""
    return [name for name, estimate in result.columns["official"].items() if estimate.items]


def head(result: Result) -> Iterator[Block]:
    """What a section begins with: title, data, denominator, notes."""
    yield Heading(result.title)
    facts = [result.revision, f'prompt style "{result.style}"', *filter(None, [frames_of(result)])]
    if result.limit is not None:
        facts.append(f"a fixed sample of {result.limit:,} of {result.available:,} items, seed {result.seed}")
    yield Text("; ".join(facts) + ".", "note")
    yield Text(result.answered + ".", "warning" if result.counts["missing"] + result.counts["error"] else "plain")
    if result.notes:
        yield Bullets(result.notes)


def _overview(results: Mapping[str, Result]) -> Table:
    rows = []
    for result in results.values():
        column = headline(result)
        read = result.items - sum(result.counts[n] for n in ("missing", "error"))
        rows.append(
            [
                Cell(result.title, result.revision),
                f"{read:,} of {result.items:,}",
                *(estimate_cell(result.columns[reading][column], True) for reading in ("official", "strict")),
                f"{sum(result.counts[n] for n in ('empty', 'unread', 'ambiguous', 'refused')):,}",
                f"{result.counts['fallback']:,}",
            ]
        )
    header = ["Benchmark", "Answered", "Official", "Strict", "Strict: not read", "Official: random or default"]
    return Table(header, rows)


def _section(name: str, result: Result) -> Iterator[Block]:
    yield from head(result)
    yield _cards(result)
    yield _pictures(result)
    yield Beside(
        [Heading("Scores", 3), _scores(result)], [Heading("How replies were read", 3), counts_table([name], [result])]
    )
    yield Text(readings_note(result), "note")
    table = published_table([name], [result])
    if table is not None:
        yield Heading("Beside published numbers", 3)
        yield table
        yield Text(PUBLISHED_NOTE, "note")
    yield from _worst(result)
    yield Heading("Reproduction", 3)
    yield settings_table([name], [result])


def _cards(result: Result) -> Cards:
    column = headline(result)
    cards = [
        Card(f"{reading_name(reading)}, {label(column)}", number(e.value), brackets(e), colour)
        for reading, colour in zip(result.columns, COLOURS)
        for e in [result.columns[reading][column]]
    ]
    worth = chance(result)[column]
    if worth is not None:
        cards.append(Card("Chance", number(worth), "one option at random"))
    return Cards(cards)


def _pictures(result: Result) -> Pictures:
    columns = shown_columns(result)
    worth = chance(result)
    references = [
        Reference(f"{row.model}", [row.columns.get(column) for column in columns])
        for row in get(result.benchmark).published
        if not incomparable_with_all(row, [result])
    ]
    if any(worth[column] is not None for column in columns):
        references.append(Reference("chance", [worth[column] for column in columns], ticks=True))
    series = [series_of(result, reading, columns, reading_name(reading)) for reading in result.columns]
    pictures = [
        Picture(
            f"{result.benchmark}_columns.svg",
            bars([label(column) for column in columns], series, references),
            f"Bars of the columns of {result.title} under each reading, with intervals",
        )
    ]
    spokes = categories(result)
    if len(spokes) >= 3:
        outlines = [series_of(result, reading, spokes, reading_name(reading)) for reading in ("official", "strict")]
        pictures.append(
            Picture(
                f"{result.benchmark}_radar.svg",
                radar([label(column) for column in spokes], outlines),
                f"Radar of the categories of {result.title} under both readings",
            )
        )
    return Pictures(pictures)


def _scores(result: Result) -> Table:
    worth = chance(result)
    top = headline(result)
    rows = []
    for column, estimate in result.columns["official"].items():
        cells = [estimate_cell(result.columns[reading].get(column), column == top) for reading in result.columns]
        name = column_cell(result.benchmark, column, "strong" if column == top else "" if estimate.items else "grey")
        rows.append([name, f"{estimate.items:,}", *cells, Cell(number(worth[column]), mark="grey")])
    return Table(["Column", "Items", *map(reading_name, result.columns), "Chance"], rows)


def _worst(result: Result) -> Iterator[Block]:
    shots = Shots(result)
    first = True
    for category, score in worst_categories(result):
        rows = [row for row in result.rows if row.category == category]
        chosen = pick(rows, lambda row: row.strict < 0.5 and row.reply is not None and row.error is None, _EXAMPLES)
        if not chosen:
            continue
        if first:
            yield Heading("Examples from the worst categories", 3)
            yield Text("Wrong under the strict reading; the choice is the same for every run.", "note")
            first = False
        name = column_cell(result.benchmark, category)
        title = f"{name.text} ({name.detail})" if name.detail else name.text
        yield Text(f"{title}: {number(score)} strict, {len(rows):,} items")
        for row in chosen:
            yield example([("", row)], shots)
