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
    """A table. The first column is text, all others are numbers unless `words` names them."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    spans: Sequence[tuple[str, int]] = ()  # (title, number of columns) above the header
    words: Sequence[int] = ()  # indices of further columns that hold words

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
    """One benchmark, in the order in which a page shows it."""

    title: str
    facts: str  # data, prompt style, frames and sample in a line
    warnings: list[str] = field(default_factory=list)  # what must not be overlooked
    bullets: list[str] = field(default_factory=list)  # how many were answered, notes of the benchmark
    cards: list[Card] = field(default_factory=list)
    pictures: list[Picture] = field(default_factory=list)
    scores: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # how to read the scores
    counts: Table | None = None
    agreements: Table | None = None  # which items both runs, one or none have right
    published: Table | None = None  # the runs above published rows
    groups: list[Group] = field(default_factory=list)
    settings: Table | None = None  # all that it takes to repeat the runs


@dataclass(frozen=True)
class Page:
    """A report of one run, or of several side by side."""

    title: str
    models: Sequence[str]  # what answered: one line for each run
    alone: bool  # there is only one run
    overview: Sequence[Table]  # all benchmarks at a glance; empty if there is only one
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
