# SPDX-License-Identifier: Apache-2.0
"""The interface of a benchmark: data in its published layout, and pure functions from item and reply to a score."""

import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Literal

from rgpt4d_plugin.eval_hooks.answers import read_choice
from rgpt4d_plugin.eval_hooks.benchmarks.hub import download
from rgpt4d_plugin.eval_hooks.metrics import mean
from rgpt4d_plugin.files import is_file


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


Item = Mapping[str, Any]
"""One question, as published; nothing is renamed or retyped. Encoded images may stay in their file until asked for."""

Problem = tuple[str, str]
"""What kind of thing is wrong, the same words for all items that have it; and what it is in this one."""

READINGS = ("official", "strict")
"""Both are always reported. `official`: the published scorer to the bit, but for random letters, which count as their
expected value; `strict`: one careful reader for all benchmarks, which says `unread` rather than guess."""


Rule = Literal["items", "categories"]
"""How a column follows from the scores of its items: their mean, or the mean of the means of their categories."""

PAPER = "4D-RGPT paper, arXiv 2512.17012"
CARD = "model card of 4D-RGPT-8B"
LMMS_EVAL = "lmms-eval: as its task reads the reply, where that differs from the benchmark's own script."


class BenchmarkDataError(ValueError):
    """A benchmark's folder, or an item of it, cannot be used. Names file, item and what to do."""


@dataclass(frozen=True)
class Medium:
    """One image or video of a question, in the order in which the model gets them.

    Attributes:
        kind: What it is.
        path: The file; None if the item carries the bytes itself.
        data: Encoded image, for items that carry it.
        start: Seconds; None: from the beginning.
        end: Seconds; None: to the end.
    """

    kind: Literal["image", "video"]
    path: Path | None = None
    data: bytes | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Score:
    """The score of a reply, under both readings.

    Attributes:
        official: Score in [0, 1], by the published scorer. Where that draws a random letter: the expected value.
        strict: Score in [0, 1], by this project's reader.
        parsed: What the strict reader read: a letter, or a number as text; None if nothing.
        how: How it was read, or why not: the `how` of `answers.Reading`.
        official_parsed: What the published scorer reads; None where it reads nothing or draws a random letter.
        fallback: The published scorer drew a random letter, or took a default.
        columns: Further scores of the benchmark's own, e.g. {"numeric": 1.0} (STI-Bench).
    """

    official: float
    strict: float
    parsed: str | None
    how: str
    official_parsed: str | None = None
    fallback: bool = False
    columns: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Published:
    """One row of a published table, in percent under the published scorer. None was measured here.

    Attributes:
        model: Its name in the source.
        source: Where the numbers stand.
        columns: Official column -> percent, for the columns that the source gives.
        items: Sizes of the data in which these columns are complete; empty if the revision is not a known one.
        frames: Frames of each video; a text where the source has a rule of its own; None for images.
        style: The prompt style, by this package's name.
        conditions: What else differs from this package's official reading and greedy decoding; "" if nothing.
    """

    model: str
    source: str
    columns: Mapping[str, float]
    items: tuple[int, ...]
    frames: int | str | None
    style: str = "direct"
    conditions: str = ""


@dataclass(frozen=True)
class BenchmarkData:
    """A checked folder.

    Attributes:
        benchmark: Name of the benchmark.
        folder: That media are relative to: the one given, or the one inside it that an archive brought along.
        items: All items in the published order.
        revision: Name of the published revision that the items are, or "unknown (N items)".
        notes: What a reader of a report must know, e.g. that files are missing from the published count.
    """

    benchmark: str
    folder: Path
    items: Sequence[Item]
    revision: str
    notes: tuple[str, ...] = ()


class Benchmark(ABC):
    """One benchmark. Implementations hold no state; everything below is a pure function of its arguments.

    Attributes:
        name: The name as in `get(name)`.
        title: The title as written in papers.
        hub: The dataset on the Hub.
        hub_files: Patterns of those of its files that are needed.
        revisions: Number of published questions -> name of the revision that has so many.
        fields: Every item has them, with values of these types.
        notes: What a reader of any report must know.
        frames: Frames a video by this project's convention (the paper's 16), upstream's is said in the file.
        max_new_tokens: Token limit of a reply in the default style, greedy decoding.
        styles: Names of the prompt styles; the first is the default.
        columns: Official columns, in their order.
        kind: Whether the questions are about videos or about images alone.
        rules: Column -> how it follows from its items; columns that are not named are means of their items. None: the
            column follows neither rule, and has no interval.
        abbreviations: Column -> what its name stands for.
        readings: Further reading, a name of `Score.columns` -> "Title: how it differs from the official one".
        published: Rows to lay beside a run, in the order in which they are shown.
    """

    name: str
    title: str
    hub: str
    hub_files: tuple[str, ...] = ("*",)
    revisions: Mapping[int, str]
    fields: Mapping[str, type | tuple[type, ...]]
    notes: tuple[str, ...] = ()
    frames: int = 16
    max_new_tokens: int = 16
    styles: tuple[str, ...] = ("direct",)
    columns: tuple[str, ...]
    kind: Literal["video", "image"] = "video"
    rules: Mapping[str, Rule | None] = {}
    abbreviations: Mapping[str, str] = {}
    readings: Mapping[str, str] = {}
    published: tuple[Published, ...] = ()

    def fetch(self, folder: str | Path, revision: str | None = None) -> Path:
        """Downloads the benchmark from the Hub, or what is missing of it, and unpacks it.

        Args:
            folder: To download to; `load` then reads it.
            revision: Commit, tag or branch; None for the newest.
        """
        return download(self.hub, self.hub_files, folder, revision)

    def load(self, folder: str | Path) -> BenchmarkData:
        """Reads and checks the published layout. Decodes no image or video.

        Raises:
            BenchmarkDataError: With all problems: missing files, keys that occur twice, missing options, ...
        """
        root = self.root(Path(folder))
        items = self.read(root)
        if not items:
            raise BenchmarkDataError(f"{self.title} in {root} has no items: download {self.hub} again.")
        problems, remarks = defaultdict(list), defaultdict(int)
        seen: dict[str, int] = {}
        present: dict[Path, bool] = {}
        for number, item in enumerate(items):
            for kind, detail in self._wrong(item, root, number, seen, present):
                problems[kind].append(detail)
            if not problems:
                for remark in self.remarks(item, root):
                    remarks[remark] += 1
        if problems:
            raise BenchmarkDataError(self._message(root, len(items), problems))
        notes = [f"{count} of {len(items)} items: {remark}" for remark, count in remarks.items()]
        questions = self.questions(items)
        revision = self.revisions.get(questions)
        if revision is None:
            published = "; ".join(f"{count:,}: {name}" for count, name in self.revisions.items())
            notes.append(f"{questions:,} questions, which is no published number ({published})")
        revision = revision or f"unknown ({questions} items)"
        return BenchmarkData(self.name, root, items, revision, (*self.notes, *notes))

    def root(self, folder: Path) -> Path:
        """The folder that paths are relative to, where archives bring one of their own."""
        return folder

    @abstractmethod
    def read(self, folder: Path) -> Sequence[Item]:
        """The items in the published order, not checked yet.

        Raises:
            BenchmarkDataError: If the annotation file is not there or not readable.
        """

    def questions(self, items: Sequence[Item]) -> int:
        """The number that `revisions` goes by."""
        return len(items)

    def problems(self, item: Item, folder: Path) -> Iterable[Problem]:
        """Yields what makes an item with well-typed fields unusable."""
        return ()

    def remarks(self, item: Item, folder: Path) -> Iterable[str]:
        """Yields what upstream tolerates in an item, but a reader of a report must know; counted in the notes."""
        return ()

    def files(self, item: Item, folder: Path) -> Iterable[Path]:
        """The media files of an item, all of which must exist."""
        return [medium.path for medium in self.media(item, folder) if medium.path]

    def token_limit(self, style: str | None = None) -> int:
        """The most new tokens of a reply in this style."""
        self.style(style)
        return self.max_new_tokens

    def style(self, style: str | None) -> str:
        """The style of that name; the default for None.

        Raises:
            ValueError: Naming those that exist.
        """
        if style is not None and style not in self.styles:
            raise ValueError(f"{self.title} has no prompt style {style!r} (known: {', '.join(self.styles)})")
        return style or self.styles[0]

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
            item: The item as published.
            style: One of `styles`; None: the first.
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
    def columns_of(self, item: Item) -> tuple[str, ...]:
        """The columns that an item counts in; groups that `columns` does not name are possible."""

    @abstractmethod
    def group(self, item: Item) -> str:
        """Names what questions share (a video, a scene): the unit that confidence intervals resample."""

    @abstractmethod
    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings of a reply. Never raises for any text.

        Args:
            item: The item as published; nothing else need be loaded.
            reply: The reply as the model wrote it.
            style: That the question was asked in; the published reader may depend on it.
        """

    def drawn(self, item: Item, reply: str, rng: random.Random, style: str | None = None) -> float:
        """The official score with a random letter really drawn, where the published scorer draws one.

        One `random.Random(0)`, given for all items in their order, repeats what the harness's own run would draw.
        """
        return self.score(item, reply, style).official

    def aggregate(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, float]:
        """The official columns, in percent.

        Args:
            items: The items as published.
            scores: Scores of each item; numbers in [0, 1], or `Score`s, of which `official` is taken.

        Returns:
            Every name of `columns`, in order, then further groups that items are in. A column without items is 0.
        """
        return {name: 100 * mean(values) for name, values in self.by_column(items, scores).items()}

    def by_column(self, items: Sequence[Item], scores: Sequence[Score | float]) -> dict[str, list[float]]:
        """The scores that each column is made of; their numbers are the columns' denominators."""
        if len(items) != len(scores):
            raise ValueError(f"{self.title}: {len(items)} items, but {len(scores)} scores")
        groups: dict[str, list[float]] = {name: [] for name in self.columns}
        for item, score in zip(items, scores):
            value = float(score.official if isinstance(score, Score) else score)
            for name in self.columns_of(item):
                groups.setdefault(name, []).append(value)
        return groups

    def _choice(
        self,
        item: Item,
        reply: str,
        official: float,
        official_parsed: str | None,
        fallback: bool = False,
        columns: Mapping[str, float] | None = None,
    ) -> Score:
        """A score of a multiple-choice question, completed by the strict reading."""
        reading = read_choice(reply, self.options(item))
        strict = float(reading.letter is not None and reading.letter == self.gold(item))
        return Score(official, strict, reading.letter, reading.how, official_parsed, fallback, columns or {})

    def _wrong(
        self, item: Any, folder: Path, number: int, seen: dict[str, int], present: dict[Path, bool]
    ) -> Iterator[Problem]:
        if not isinstance(item, Mapping):
            yield "items that are no objects", f"item {number} is {shortened(item)}"
            return
        badly_typed = [
            f"`{name}` is {shortened(item[name]) if name in item else 'missing'}"
            for name, kind in self.fields.items()
            # JSON's true is no number, though Python's is.
            if name not in item or not isinstance(item[name], kind) or isinstance(item[name], bool)
        ]
        if badly_typed:
            yield "missing or ill-typed fields", f"item {number}: {', '.join(badly_typed)}"
            return
        try:
            key = self.key(item)
            if key in seen:
                yield "keys that occur twice", f"items {seen[key]} and {number} are both {key}"
            seen[key] = number
            for kind, detail in self.problems(item, folder):
                yield kind, f"{key}: {detail}"
            for path in self.files(item, folder):
                if path not in present:
                    present[path] = is_file(path)
                    if not present[path]:
                        yield "missing media files", f"{path.relative_to(folder)!s:.200}"
        except BenchmarkDataError as err:
            yield "unusable items", f"item {number}: {err}"

    def _message(self, folder: Path, count: int, problems: Mapping[str, Sequence[str]]) -> str:
        lines = [f"{self.title} in {folder} cannot be used ({count} items):"]
        for kind, details in problems.items():
            more = f"; and {len(details) - 5} more" if len(details) > 5 else ""
            lines.append(f"- {kind} ({len(details)}): {'; '.join(details[:5])}{more}")
        archives = sorted(path.name for path in folder.glob("*.zip"))
        if "missing media files" in problems:
            lines.append(
                f"Unpack {', '.join(archives)} in this folder."
                if archives
                else f"Download {self.hub} again, or complete the folder."
            )
        return "\n".join(lines)
