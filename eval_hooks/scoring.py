# SPDX-License-Identifier: Apache-2.0
"""Scores replies: both readings of every item, official columns with intervals, and counts."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ConfigDict, StrictBool, StrictFloat, StrictInt

from rgpt4d_plugin._version import __version__
from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import READINGS, AnyText, BenchmarkData, Item, Score
from rgpt4d_plugin.eval_hooks.replies import Reply
from rgpt4d_plugin.eval_hooks.stats import REPLICATES, Bootstrap, Column, columns_of, interval
from rgpt4d_plugin.files import parse_json, write_whole
from rgpt4d_plugin.validation import check


T = TypeVar("T")

SCORES = "scores.jsonl"
RESULT = "result.json"

COUNTS = ("missing", "error", "truncated", "empty", "unread", "ambiguous", "refused", "fallback", "no_gold")
"""What is always counted; an item may count in several. missing: no reply. error: the engine failed. truncated: ended
by the token limit. empty, unread, ambiguous, refused: why the strict reader read nothing. fallback: the published
scorer drew a random letter, or took a default. no_gold: the item has no right answer."""


class ScoringError(ValueError):
    """Replies do not belong to the benchmark's items. Names them."""


@dataclass(frozen=True, kw_only=True)
class Row(Score):
    """One item of the denominator and its score: a line of `scores.jsonl`.

    Attributes:
        key, category, group, question, gold: As the benchmark gives them.
        counts_for: Official columns in whose denominator it is.
        options: Letter -> text; None for a numeric question.
        reply: The reply as the model wrote it; None if there is none: `how` is then "missing", or "error".
        truncated: The reply was ended by the token limit.
        error: Why the engine failed.
    """

    key: AnyText
    category: AnyText
    group: AnyText
    counts_for: tuple[AnyText, ...]
    question: AnyText
    options: Mapping[AnyText, AnyText] | None
    gold: AnyText | None
    reply: AnyText | None
    truncated: StrictBool = False
    error: AnyText | None = None

    def score(self, reading: str) -> float:
        """The score under "official", "strict" or a further reading, in [0, 1]."""
        if reading in READINGS:
            return getattr(self, reading)
        return self.columns.get(reading, 0.0)


@dataclass(frozen=True)
class Estimate:
    """One official column under one reading, in percent.

    Attributes:
        value: None where the official scorer gives no number.
        low: End of the 95 % interval; None where there is none: the items are of one group, or all score the same.
        high: The other end.
        items: How many items count for it.
    """

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)

    value: StrictFloat | None
    low: StrictFloat | None
    high: StrictFloat | None
    items: StrictInt


@dataclass(frozen=True)
class Result:
    """The result of one run on one benchmark: `result.json`, and `scores.jsonl` for the rows.

    Attributes:
        benchmark, title, revision, folder, notes: Those of the benchmark and its data.
        style: Prompt style.
        available: Items in the folder.
        limit, seed: The sample; all items if the limit is None.
        items: The denominator.
        fingerprint: Fingerprint of the denominator's keys; equal exactly for the same items.
        counts: See `COUNTS`.
        rules: How each column follows from its items: see `benchmarks.base.Rule`.
        columns: Reading -> column -> estimate; readings are official, strict, and further ones of the benchmark.
        settings: What the replies were made with.
        scored_with: Version of this package.
        rows: One an item, in the published order.
    """

    __pydantic_config__ = Score.__pydantic_config__

    benchmark: AnyText
    title: AnyText
    revision: AnyText
    folder: AnyText
    notes: tuple[AnyText, ...]
    style: AnyText
    available: StrictInt
    limit: StrictInt | None
    seed: StrictInt
    items: StrictInt
    fingerprint: AnyText
    counts: Mapping[AnyText, StrictInt]
    rules: Mapping[AnyText, AnyText | None]
    columns: Mapping[AnyText, Mapping[AnyText, Estimate]]
    settings: Mapping[AnyText, Any]
    scored_with: AnyText
    rows: Sequence[Row] = field(default=(), repr=False)

    @property
    def answered(self) -> str:
        """The denominator in a sentence: "1,416 of 1,419 answered; 3 missing count as wrong"."""
        missing, failed = self.counts["missing"], self.counts["error"]
        wrong = [f"{n:,} {what}" for n, what in ((missing, "missing"), (failed, "failed")) if n]
        sentence = f"{self.items - missing - failed:,} of {self.items:,} answered"
        if not wrong:
            return sentence
        return f"{sentence}; {' and '.join(wrong)} count{'s' if missing + failed == 1 else ''} as wrong"

    def scores(self, reading: str) -> list[float]:
        """Returns the scores of all rows, in [0, 1]."""
        return [row.score(reading) for row in self.rows]

    def bootstrap(self) -> Bootstrap:
        """Resamples these rows."""
        columns = [
            Column(name, np.array([name in row.counts_for for row in self.rows], dtype=bool), rule)
            for name, rule in self.rules.items()
        ]
        return Bootstrap(columns, [row.category for row in self.rows], [row.group for row in self.rows])

    def write(self, folder: str | Path) -> Path:
        """Writes both files into a folder, each at once, and returns the folder."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        # A row is flat, so that `vars` does what `dataclasses.asdict` does in ten times the time.
        lines = (json.dumps({"key": row.key, **vars(row)}) + "\n" for row in self.rows)
        write_whole(folder / SCORES, "".join(lines))
        head = {name: value for name, value in vars(self).items() if name not in ("rows", "columns")}
        head["columns"] = {r: {c: asdict(e) for c, e in columns.items()} for r, columns in self.columns.items()}
        write_whole(folder / RESULT, json.dumps(head, indent=1) + "\n")
        return folder

    @classmethod
    def read(cls, folder: str | Path) -> "Result":
        """Reads what `write` wrote; ScoringError if a file is missing or is something else."""
        folder = Path(folder)
        try:
            head, lines = (folder / RESULT).read_bytes(), (folder / SCORES).read_bytes().splitlines()
        except FileNotFoundError as err:
            raise ScoringError(f"{err.filename} is missing. Write it with `rgpt4d eval score`.") from err
        where = str(folder / RESULT)
        result = _record(cls, head, where)
        rows = [_record(Row, line, f"{folder / SCORES}, line {number}") for number, line in enumerate(lines, 1)]
        for name, wanted in (("counts", COUNTS), ("columns", READINGS)):
            if absent := [key for key in wanted if key not in getattr(result, name)]:
                raise _broken(where, f"`{name}` lacks {', '.join(absent)}")
        if result.items < 1:
            raise _broken(where, f"`items` is {result.items}")
        if wrong := {name: n for name, n in result.counts.items() if not 0 <= n <= result.items}:
            raise _broken(where, f"`counts` of {result.items:,} items is {wrong!r:.80}")
        for reading, own in result.columns.items():
            if own.keys() != result.rules.keys():
                raise _broken(where, f"`columns.{reading}` has other columns than `rules`")
        if len(rows) != result.items:
            raise ScoringError(f"{folder}: {len(rows)} rows in {SCORES}, but {result.items} items in {RESULT}.")
        return replace(result, rows=rows)


def sample(benchmark: Benchmark, items: Sequence[Item], limit: int | None = None, seed: int = 0) -> list[Item]:
    """Returns the same `limit` items everywhere: those with the smallest SHA-256 of "seed:key", in published order.

    The choice depends on nothing but seed and keys: not on the order of the items, and a sample of 100 lies within
    that of 200. Without a limit it is all items; ScoringError if there are not as many.
    """
    if limit is None:
        return list(items)
    if not 1 <= limit <= len(items):
        raise ScoringError(f"limit is {limit}, but {benchmark.title} has {len(items):,} items here.")
    digests = [digest(f"{seed}:{benchmark.key(item)}") for item in items]
    chosen = set(sorted(range(len(items)), key=digests.__getitem__)[:limit])
    return [item for index, item in enumerate(items) if index in chosen]


def fingerprint(keys: Iterable[str]) -> str:
    """Sixteen hex digits that are equal for the same set of keys."""
    return digest("\n".join(sorted(keys))).hex()[:16]


def digest(text: str) -> bytes:
    """Returns the SHA-256 of a text; keys may hold halves of surrogate pairs, as JSON may."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def score_replies(
    benchmark: Benchmark,
    data: BenchmarkData,
    replies: Mapping[str, Reply],
    *,
    style: str | None = None,
    limit: int | None = None,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    replicates: int = REPLICATES,
) -> Result:
    """Scores what was answered; what was not counts as wrong.

    Args:
        benchmark: Reads and aggregates.
        data: Its checked folder.
        replies: Key -> reply; those to items outside the sample are left out.
        style: Prompt style; None: the benchmark's default.
        limit, seed: As of `sample`.
        settings: What the replies were made with, for the report.
        replicates: Resamples of the bootstrap.

    Raises:
        ScoringError: Replies to items which the benchmark does not have, or a limit beyond its items.
        ValueError: Unknown style.
    """
    style = benchmark.style(style)
    known = {benchmark.key(item) for item in data.items}
    if foreign := [key for key in replies if key not in known]:
        raise ScoringError(
            f"{len(foreign):,} of {len(replies):,} replies are to items that {benchmark.title} in {data.folder} does "
            f"not have, e.g. {some(foreign)}. Its keys look like {some(known)}."
        )
    items = sample(benchmark, data.items, limit, seed)
    columns = columns_of(benchmark, items)
    rows = [
        _score(benchmark, item, replies.get(benchmark.key(item)), style, [c.name for c in columns if c.members[index]])
        for index, item in enumerate(items)
    ]
    readings = [*READINGS, *dict.fromkeys(name for row in rows for name in row.columns)]
    scores = np.array([[row.score(reading) for reading in readings] for row in rows])
    bootstrap = Bootstrap(columns, [row.category for row in rows], [row.group for row in rows])
    drawn = bootstrap.replicates(scores, replicates)
    estimates = {}
    for r, reading in enumerate(readings):
        values = benchmark.aggregate(items, scores[:, r].tolist())
        estimates[reading] = {
            column.name: _estimate(values[column.name], drawn[:, r, c], int(column.members.sum()))
            for c, column in enumerate(columns)
        }
    return Result(
        benchmark=benchmark.name,
        title=benchmark.title,
        revision=data.revision,
        folder=str(Path(data.folder).absolute()),
        notes=tuple(data.notes),
        style=style,
        available=len(data.items),
        limit=limit,
        seed=seed,
        items=len(items),
        fingerprint=fingerprint(row.key for row in rows),
        counts=_counts(rows),
        rules={column.name: column.rule for column in columns},
        columns=estimates,
        settings=json.loads(json.dumps(dict(settings or {}))),
        scored_with=__version__,
        rows=rows,
    )


def some(keys: Iterable[str], n: int = 3) -> str:
    """A few keys for a message, the smallest first."""
    keys = sorted(keys)
    return ", ".join(map(repr, keys[:n])) + (", ..." if len(keys) > n else "")


def _score(benchmark: Benchmark, item: Item, reply: Reply | None, style: str, counts_for: Sequence[str]) -> Row:
    if reply is None or reply.error is not None:
        score = Score(0.0, 0.0, None, "missing" if reply is None else "error")
    else:
        score = benchmark.score(item, reply.text, style)
    options = benchmark.options(item)
    return Row(
        **vars(score),
        key=benchmark.key(item),
        category=benchmark.category(item),
        group=benchmark.group(item),
        counts_for=tuple(counts_for),
        question=benchmark.prompt(item, style),
        options=None if options is None else {letter: str(value) for letter, value in options.items()},
        gold=benchmark.gold(item),
        reply=None if reply is None else reply.text,
        truncated=reply is not None and reply.truncated,
        error=None if reply is None else reply.error,
    )


def _counts(rows: Sequence[Row]) -> dict[str, int]:
    counts = dict.fromkeys(COUNTS, 0)
    for row in rows:
        if row.how in counts:
            counts[row.how] += 1
        counts["truncated"] += row.truncated
        counts["fallback"] += row.fallback
        counts["no_gold"] += row.gold is None
    return counts


def _estimate(value: float, drawn: np.ndarray, items: int) -> Estimate:
    low, high = interval(drawn)
    if low == high:  # all items score the same, of which a bootstrap learns nothing
        low = high = None
    return Estimate(None if math.isnan(value) else value, low, high, items)


def _record(kind: type[T], content: bytes, where: str) -> T:
    problems: list[str] = []
    try:
        record = check(kind, parse_json(content), "", problems)
    except ValueError as err:
        raise _broken(where, str(err)) from err
    if record is None:
        raise _broken(where, "; ".join(problems))
    return record


def _broken(where: str, what: str) -> ScoringError:
    return ScoringError(f"{where} is broken ({what}). Score again.")
