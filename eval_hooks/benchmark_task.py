# SPDX-License-Identifier: Apache-2.0
"""The questions that an engine is asked: those of a benchmark, or of a fixed sample of it."""

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import BenchmarkData, Item, Medium
from rgpt4d_plugin.eval_hooks.scoring import fingerprint, sample


@dataclass(frozen=True)
class Question:
    """One question, as an engine gets it.

    Attributes:
        key: `Benchmark.key` of its item; the reply is kept under it.
        prompt: The literal text, after the media.
        media: Images and videos, in the order in which the model gets them.
        frames: Frames of each video, spread over the shown part; a shorter one gives all it has.
        max_new_tokens: The reply's limit.
    """

    key: str
    prompt: str
    media: Iterable[Medium]
    frames: int
    max_new_tokens: int


@dataclass(frozen=True)
class ItemMedia(Iterable[Medium]):
    """The media of an item, read when somebody looks: encoded images stay in their file until then."""

    benchmark: Benchmark
    item: Item = field(repr=False)
    folder: Path

    def __iter__(self) -> Iterator[Medium]:
        return iter(self.benchmark.media(self.item, self.folder))


@dataclass(frozen=True)
class BenchmarkTask:
    """A benchmark as it is asked in one run.

    Attributes:
        benchmark, data: What is asked, and its checked folder.
        style: Prompt style.
        frames: Frames of each video.
        max_new_tokens: Token limit of each reply.
        limit, seed: The fixed sample (see `scoring.sample`); all items if the limit is None.
        items: The denominator, in the published order.
    """

    benchmark: Benchmark
    data: BenchmarkData
    style: str
    frames: int
    max_new_tokens: int
    limit: int | None
    seed: int
    items: Sequence[Item] = field(repr=False)

    @classmethod
    def prepare(
        cls,
        benchmark: Benchmark,
        folder: str | Path,
        *,
        style: str | None = None,
        frames: int | None = None,
        max_new_tokens: int | None = None,
        limit: int | None = None,
        seed: int = 0,
    ) -> "BenchmarkTask":
        """Reads and checks a benchmark's folder; no model is needed for it.

        `style`, `frames` and `max_new_tokens` are the benchmark's own if None.

        Raises:
            BenchmarkDataError: The folder cannot be used; media that are missing are named.
            ScoringError: `limit` is larger than the benchmark.
            ValueError: The benchmark has no such style.
        """
        style = benchmark.style(style)
        frames = benchmark.frames if frames is None else frames
        max_new_tokens = benchmark.token_limit(style) if max_new_tokens is None else max_new_tokens
        data = benchmark.load(folder)
        items = sample(benchmark, data.items, limit, seed)
        return cls(benchmark, data, style, frames, max_new_tokens, limit, seed, items)

    @functools.cached_property
    def questions(self) -> list[Question]:
        """One an item."""
        return [
            Question(
                key=self.benchmark.key(item),
                prompt=self.benchmark.prompt(item, self.style),
                media=ItemMedia(self.benchmark, item, self.data.folder),
                frames=self.frames,
                max_new_tokens=self.max_new_tokens,
            )
            for item in self.items
        ]

    @functools.cached_property
    def columns(self) -> list[str]:
        """The official columns that at least one question counts for, in their order."""
        counted = {column for item in self.items for column in self.benchmark.columns_of(item)}
        return [column for column in self.benchmark.columns if column in counted]

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that the replies depend on besides the engine, and that scoring them needs."""
        return {
            "benchmark": self.benchmark.name,
            "data": str(Path(self.data.folder).absolute()),
            "revision": self.data.revision,
            "items": fingerprint(question.key for question in self.questions),
            "style": self.style,
            "frames": self.frames,
            "max_new_tokens": self.max_new_tokens,
            "limit": self.limit,
            "seed": self.seed,
        }
