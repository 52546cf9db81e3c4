# SPDX-License-Identifier: Apache-2.0
"""The interface of a benchmark: data in its published layout, and pure functions from item and reply to a score."""

import random
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from reprlib import repr as shortened
from typing import Any, Literal

from rgpt4d_plugin.eval_hooks.answers import read_choice
from rgpt4d_plugin.eval_hooks.benchmarks.hub import unpack
from rgpt4d_plugin.eval_hooks.benchmarks.records import (
    BenchmarkData,
    BenchmarkDataError,
    Item,
    Medium,
    Problem,
    Published,
    Rule,
    Score,
)
from rgpt4d_plugin.eval_hooks.metrics import mean
from rgpt4d_plugin.files import is_file


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
PAPER = "4D-RGPT paper, arXiv 2512.17012"
CARD = "model card of 4D-RGPT-8B"
LMMS_EVAL = "lmms-eval: as its task reads the reply, where that differs from the benchmark's own script."


class Benchmark(ABC):
    """One benchmark. Implementations hold no state; everything below is a pure function of its arguments.

    Attributes:
        name: The name as in `get(name)`.
        title: The title as written in papers.
        hub: The dataset on the Hub.
        hub_files: Patterns of those of its files that are needed.
        revisions: Number of published questions -> name of the revision that has so many; none where every number is
            as good.
        fields: Every item has them, with values of these types.
        notes: What a reader of any report must know.
        frames: Frames a video by this project's convention (the paper's 16), upstream's is said in the file.
        max_new_tokens: Token limit of a reply in the default style, greedy decoding.
        styles: Names of the prompt styles; the first is the default.
        columns: Official columns, in their order.
        of_no_item: What upstream reports in a column without items.
        kind: Whether the questions are about videos or about images alone.
        embedded: The images are in the published file: an item has no media files.
        rules: Column -> how it follows from its items; columns that are not named are means of their items. None: the
            column follows neither rule, and has no interval.
        abbreviations: Column -> what its name stands for.
        vlmevalkit: Name of the data in VLMEvalKit, with "{frames}" for the frames of a video and "{style}" for the
            first word of the style; a name of the same form where VLMEvalKit does not have it. Empty: the title.
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
    of_no_item: float = 0.0
    kind: Literal["video", "image"] = "video"
    embedded: bool = False
    rules: Mapping[str, Rule | None] = {}
    abbreviations: Mapping[str, str] = {}
    vlmevalkit: str = ""
    readings: Mapping[str, str] = {}
    published: tuple[Published, ...] = ()

    def fetch(self, folder: str | Path, revision: str | None = None) -> Path:
        """Downloads a revision (None: the newest), or what is missing of it, from the Hub and unpacks archives."""
        from huggingface_hub import snapshot_download  # a second of imports that reading a folder need not wait for

        patterns = list(self.hub_files)
        snapshot_download(self.hub, repo_type="dataset", revision=revision, allow_patterns=patterns, local_dir=folder)
        for archive in sorted(Path(folder).rglob("*.zip")):
            unpack(archive)
        return Path(folder)

    @property
    def remedy(self) -> str:
        """What to do about a folder that is not complete."""
        return f"download {self.hub} again"

    def load(self, folder: str | Path) -> BenchmarkData:
        """Reads and checks the published layout. Decodes no image or video.

        Raises:
            BenchmarkDataError: With all problems: missing files, keys that occur twice, missing options, ...
        """
        root = self.root(Path(folder))
        items = self.read(root)
        if not items:
            raise BenchmarkDataError(f"{self.title} in {root} has no items: {self.remedy}.")
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
        if revision is None and self.revisions:
            published = "; ".join(f"{count:,}: {name}" for count, name in self.revisions.items())
            notes.append(f"{questions:,} questions, which is no published number ({published})")
        revision = revision or (f"unknown ({questions} items)" if self.revisions else f"{questions} items")
        return BenchmarkData(self.name, root, items, revision, (*self.notes, *notes))

    def root(self, folder: Path) -> Path:
        """The folder that paths are relative to, where archives bring one of their own."""
        return folder

    @abstractmethod
    def read(self, folder: Path) -> Sequence[Item]:
        """The items in the published order, not checked yet; BenchmarkDataError if they cannot be read."""

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
        return [] if self.embedded else [medium.path for medium in self.media(item, folder) if medium.path]

    def token_limit(self, style: str | None = None) -> int:
        """The most new tokens of a reply in this style."""
        self.style(style)
        return self.max_new_tokens

    def style(self, style: str | None) -> str:
        """The style of that name, the default for None; ValueError if there is none."""
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
        """The literal text of the question in a style (None: the first), media placeholders left out."""

    @abstractmethod
    def options(self, item: Item) -> dict[str, Any] | None:
        """Letter -> value, in order; None for a numeric question."""

    @abstractmethod
    def gold(self, item: Item) -> str | None:
        """The right letter, or the right number as text; None if the item has none (it counts, and scores 0)."""

    @abstractmethod
    def category(self, item: Item) -> str:
        """The finest official group of an item."""

    def columns_of(self, item: Item) -> tuple[str, ...]:
        """The columns that an item counts in; groups that `columns` does not name are possible."""
        return (self.columns[0], self.category(item))

    @abstractmethod
    def group(self, item: Item) -> str:
        """Names what questions share (a video, a scene): the unit that confidence intervals resample."""

    @abstractmethod
    def score(self, item: Item, reply: str, style: str | None = None) -> Score:
        """Returns both readings of a reply to an item as published; never raises for any text.

        The published reader may depend on the style that the question was asked in.
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
            Every name of `columns`, in order, then further groups that items are in.
        """
        values = self.by_column(items, scores)
        return {name: 100 * mean(own) if own else self.of_no_item for name, own in values.items()}

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

    def _choice(self, item: Item, reply: str, official: float, official_parsed: str | None, **more: Any) -> Score:
        """A score of a multiple-choice question, completed by the strict reading."""
        reading = read_choice(reply, self.options(item))
        strict = float(reading.letter is not None and reading.letter == self.gold(item))
        return Score(official, strict, reading.letter, reading.how, official_parsed, **more)

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
                else f"{self.remedy[0].upper()}{self.remedy[1:]}, or complete the folder."
            )
        return "\n".join(lines)
