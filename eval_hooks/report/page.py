# SPDX-License-Identifier: Apache-2.0
"""The content of a report as plain records without markup; the templates lay them out as HTML and as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from rgpt4d_plugin.eval_hooks.scoring import Row


class Cell(NamedTuple):
    """One cell of a table: its text, a smaller detail such as an interval, and how it stands out."""

    text: str
    detail: str = ""
    mark: Literal["", "strong", "grey", "up", "down"] = ""


@dataclass(frozen=True)
class Table:
    """A table. The first column is text, all others are numbers unless `words` names them.

    Attributes:
        header: One name for each column.
        rows: Cells, as many as the header has names.
        spans: (title, number of columns) above the header; none if empty.
        words: Indices of further columns that hold words.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    spans: Sequence[tuple[str, int]] = ()
    words: Sequence[int] = ()

    @property
    def flat_header(self) -> list[str]:
        """The header with each span's title before the names below it."""
        titles = [title for title, width in self.spans for _ in range(width)] or [""] * len(self.header)
        return [f"{title}: {name}" if title else name for title, name in zip(titles, self.header)]


class Picture(NamedTuple):
    """A picture: its file's name without a folder, its bytes, and what it shows in words."""

    name: str
    data: bytes
    alt: str


class Card(NamedTuple):
    """A number to see first."""

    title: str
    value: str
    detail: str
    color: str = ""


class Example(NamedTuple):
    """One question: its row in each run, by the run's name ("" where there is only one), and pictures or why not."""

    rows: Mapping[str, Row]
    pictures: Sequence[Picture]
    missing: str


class Group(NamedTuple):
    """Examples under a heading (none if empty), a note and a title."""

    heading: str
    note: str
    title: str
    examples: Sequence[Example]


@dataclass
class Section:
    """One benchmark.

    Attributes:
        title: The benchmark's title.
        facts: Data, prompt style, frames and sample in a line.
        warnings: What must not be overlooked.
        bullets: Short sentences: how many were answered, notes of the benchmark.
        cards: Numbers to see first.
        pictures: Charts.
        scores: Tables of all columns.
        notes: How to read the scores.
        counts: What was counted.
        agreements: Which items both runs, one or none have right; None without a comparison.
        published: The runs above published rows; None if nothing is published.
        groups: Example questions.
        settings: All that it takes to repeat the runs.
    """

    title: str
    facts: str
    warnings: list[str] = field(default_factory=list)
    bullets: list[str] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    scores: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: Table | None = None
    agreements: Table | None = None
    published: Table | None = None
    groups: list[Group] = field(default_factory=list)
    settings: Table | None = None


@dataclass(frozen=True)
class Page:
    """A report of one run, or of several side by side.

    Attributes:
        title: The page's heading.
        models: What answered: one line for each run.
        alone: There is only one run.
        overview: All benchmarks at a glance; empty if there is only one.
        sections: One for each benchmark.
    """

    title: str
    models: Sequence[str]
    alone: bool
    overview: Sequence[Table]
    sections: Sequence[Section]

    @property
    def pictures(self) -> list[Picture]:
        """All pictures from top to bottom."""
        return [
            picture
            for section in self.sections
            for holder in (section, *(example for group in section.groups for example in group.examples))
            for picture in holder.pictures
        ]
