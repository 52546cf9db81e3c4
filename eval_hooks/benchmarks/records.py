# SPDX-License-Identifier: Apache-2.0
"""What a benchmark takes and gives: items, their media, scores of replies, and published rows to lay beside them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, InstanceOf, StrictBool, StrictFloat


AnyText = InstanceOf[str]
"""Text as JSON has it; pydantic's own check refuses half of a surrogate pair."""

Item = Mapping[str, Any]
"""One question, as published; nothing is renamed or retyped. Encoded images may stay in their file until asked for."""

Problem = tuple[str, str]
"""What kind of thing is wrong, the same words for all items that have it; and what it is in this one."""

READINGS = ("official", "strict")
"""Both are always reported. `official`: the published scorer to the bit, but for random letters, which count as their
expected value; `strict`: one careful reader for all benchmarks, which says `unread` rather than guess."""


Rule = Literal["items", "categories", "families"]
"""How a column follows from the scores of its items: their mean; the mean of the means of their categories; or the
mean over the families of categories, whose names share what stands before a slash, of the mean of a family's."""


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

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)  # for reading it from a file

    official: StrictFloat
    strict: StrictFloat
    parsed: AnyText | None
    how: AnyText
    official_parsed: AnyText | None = None
    fallback: StrictBool = False
    columns: Mapping[AnyText, StrictFloat] = field(default_factory=dict)


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
