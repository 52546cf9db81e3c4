# SPDX-License-Identifier: Apache-2.0
"""What a page is made of: plain records without markup, which both renderings, HTML and Markdown, turn into text."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Heading:
    """A section's title; those of level 2 are what the page's navigation lists."""

    text: str
    level: Literal[1, 2, 3] = 2


@dataclass(frozen=True)
class Text:
    """A paragraph. `lead` introduces a page, `note` is small, `warning` must not be overlooked."""

    text: str
    kind: Literal["plain", "lead", "note", "warning"] = "plain"


@dataclass(frozen=True)
class Bullets:
    """Short sentences below each other."""

    items: Sequence[str]


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: what it says.
        detail: smaller, after it or below it: an interval.
        mark: how it stands out.
    """

    text: str
    detail: str = ""
    mark: Literal["", "strong", "grey", "up", "down"] = ""


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, all others are numbers unless `words` says so.

    Attributes:
        header: one a column.
        rows: cells, as many as the header; a text is a cell that says it.
        spans: (title, number of columns) above the header; none if empty.
        words: numbers of further columns that hold words.
        folded: title of the fold that the table is hidden in; shown if empty.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[Cell | str]]
    spans: Sequence[tuple[str, int]] = ()
    words: frozenset[int] = frozenset()
    folded: str = ""


@dataclass(frozen=True)
class Card:
    """A number to see first."""

    title: str
    value: str
    detail: str
    colour: str = ""


@dataclass(frozen=True)
class Cards:
    """Cards in a row."""

    cards: Sequence[Card]


@dataclass(frozen=True)
class Picture:
    """A picture of its own.

    Attributes:
        name: of its file, without a folder.
        data: the file.
        alt: what it shows, in words.
    """

    name: str
    data: bytes
    alt: str


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side where there is room."""

    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Answer:
    """What one model answered to an example.

    Attributes:
        run: whose; "" where there is but one.
        reply: as the model wrote it; None if there is none.
        verdicts: (reading, what it read, right or wrong).
        remarks: cut, failed, ...
    """

    run: str
    reply: str | None
    verdicts: Sequence[tuple[str, str, bool]]
    remarks: Sequence[str] = ()


@dataclass(frozen=True)
class Example:
    """One question with its answers.

    Attributes:
        key: of the item.
        question: the prompt.
        options: letter -> text; empty for a numeric question.
        gold: the right letter, or number.
        pictures: key frames, or the images of the question.
        missing: why there is no picture; "" if there is one.
        answers: one a run.
    """

    key: str
    question: str
    options: Sequence[tuple[str, str]]
    gold: str | None
    pictures: Sequence[Picture]
    missing: str
    answers: Sequence[Answer] = field(default_factory=tuple)


@dataclass(frozen=True)
class Beside:
    """Two stacks of blocks, beside each other where there is room."""

    left: Sequence["Block"]
    right: Sequence["Block"]


Block = Heading | Text | Bullets | Table | Cards | Pictures | Example | Beside


@dataclass(frozen=True)
class Page:
    """A report.

    Attributes:
        title: of the window.
        blocks: from top to bottom.
    """

    title: str
    blocks: Sequence[Block]


def visible(text: str) -> str:
    """Text whose control characters, and halves of surrogate pairs, are seen instead of doing something."""
    return "".join(_visible(character) for character in text)


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters, with a word on how many there are."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]} [... {len(text):,} characters in all]"


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t":
        return character
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    # C1 controls, surrogates, and what reorders or hides the text around it.
    if 0x80 <= code < 0xA0 or 0xD800 <= code < 0xE000 or code in _DIRECTIONS:
        return f"\\u{code:04x}"
    return character


_DIRECTIONS = {0x061C, 0x200B, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2060, 0x206A), 0xFEFF}
