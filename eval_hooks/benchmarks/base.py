# SPDX-License-Identifier: Apache-2.0
"""What a benchmark is: data in its published layout, and pure functions from an item and a reply to a score."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal


Item = Mapping[str, Any]
"""One question, as published; nothing is renamed or retyped."""

READINGS = ("official", "strict")
"""Both are always reported. `official`: the published scorer to the bit, but for random letters, which count as their
expected value; `strict`: one careful reader for all benchmarks, which says `unread` rather than guess."""


class BenchmarkDataError(ValueError):
    """A benchmark's folder, or an item of it, cannot be used. Names file, item and what to do."""


@dataclass(frozen=True)
class Medium:
    """One image or video of a question, in the order in which the model gets them.

    Attributes:
        kind: what it is.
        path: the file; None if the item carries the bytes itself.
        data: encoded image, for items that carry it.
        start: seconds; None: from the beginning.
        end: seconds; None: to the end.
    """

    kind: Literal["image", "video"]
    path: Path | None = None
    data: bytes | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Score:
    """What a reply is worth, under both readings.

    Attributes:
        official: in [0, 1], by the published scorer. Where that draws a random letter: the expected value.
        strict: in [0, 1], by this project's reader.
        parsed: what the strict reader read: a letter, or a number as text; None if nothing.
        how: how it was read, or why not: the `how` of `answers.Reading`.
        official_parsed: what the published scorer reads; None where it reads nothing or draws a random letter.
        fallback: the published scorer drew a random letter, or took a default.
        columns: further scores of the benchmark's own, e.g. {"numeric": 1.0} (STI-Bench).
    """

    official: float
    strict: float
    parsed: str | None
    how: str
    official_parsed: str | None = None
    fallback: bool = False
    columns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class BenchmarkData:
    """A checked folder.

    Attributes:
        benchmark: name of the benchmark.
        folder: where it was read from.
        items: in the published order.
        revision: name of the published revision that the items are, or "unknown (N items)".
        notes: what a reader of a report must know, e.g. that files are missing from the published count.
    """

    benchmark: str
    folder: Path
    items: Sequence[Item]
    revision: str
    notes: tuple[str, ...] = ()


class Benchmark(ABC):
    """One benchmark. Implementations hold no state; everything below is a pure function of its arguments.

    Attributes:
        name: as in `get(name)`.
        title: as written in papers.
        frames: frames a video by this project's convention (the paper's 16), upstream's is said in the file.
        max_new_tokens: of a reply, greedy decoding.
        styles: names of the prompt styles; the first is the default.
        columns: official columns, in their order.
    """

    name: str
    title: str
    frames: int = 16
    max_new_tokens: int = 16
    styles: tuple[str, ...] = ("direct",)
    columns: tuple[str, ...]

    @abstractmethod
    def load(self, folder: str | Path) -> BenchmarkData:
        """Reads and checks the published layout.

        Raises:
            BenchmarkDataError: with all problems: a missing file, duplicate ids, missing options, ...
        """

    @abstractmethod
    def key(self, item: Item) -> str:
        """Unique name of an item within the benchmark; replies are kept under it."""

    @abstractmethod
    def media(self, item: Item, folder: Path) -> list[Medium]:
        """Images and videos of a question, in the order in which the model gets them."""

    @abstractmethod
    def prompt(self, item: Item, style: str | None = None) -> str:
        """The literal text of the question, media placeholders left out.

        Args:
            item: as published.
            style: one of `styles`; None: the first.
        """

    @abstractmethod
    def options(self, item: Item) -> dict[str, Any] | None:
        """Letter -> value, in order; None for a numeric question."""

    @abstractmethod
    def gold(self, item: Item) -> str | None:
        """The right letter, or the right number as text; None if the item has none (it counts, and scores 0)."""

    @abstractmethod
    def category(self, item: Item) -> str:
        """The finest official group of an item."""

    @abstractmethod
    def group(self, item: Item) -> str:
        """What questions share (a video, a scene): the unit that confidence intervals resample."""

    @abstractmethod
    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Both readings of a reply. Never raises for any text."""

    @abstractmethod
    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent.

        Args:
            items: as published.
            scores: of each item; numbers in [0, 1], or `Score`s, of which `official` is taken.

        Returns:
            Every name of `columns`, in order; a group without items is what upstream reports for it.
        """
