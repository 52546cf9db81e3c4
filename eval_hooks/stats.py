# SPDX-License-Identifier: Apache-2.0
"""Statistics of scores: bootstrap intervals, and paired comparison of two runs on the same items.

Questions about one video are not independent, so what is drawn anew is whole groups (`Benchmark.group`), with
replacement and as many as there are. Every replicate computes all columns, of both readings and of all runs, from the
same draw; a difference is taken within a replicate. Intervals are percentile intervals.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rgpt4d_plugin.eval_hooks.benchmarks.base import Benchmark
from rgpt4d_plugin.eval_hooks.benchmarks.records import Item, Rule


REPLICATES = 10_000

_CHUNK = 2_000  # replicates at a time, which bounds memory


@dataclass(frozen=True)
class Column:
    """A column by its name in `Benchmark.columns`, and the items that it is the mean of."""

    name: str
    members: np.ndarray  # (N,) bool, the items that count
    rule: Rule | None  # None if the column follows neither rule; it then has no interval


class Interval(NamedTuple):
    """Percentile interval, in percent (or percentage points); both None where there is nothing to resample."""

    low: float | None
    high: float | None


@dataclass(frozen=True)
class Difference:
    """A paired comparison.

    Attributes:
        value: B - A, percentage points, on the items themselves.
        interval: Interval of B - A.
        p: Two-sided: twice the share of replicates on the smaller side of zero, zero counted on both sides and one
            replicate added to each, so never 0. None without an interval.
    """

    value: float
    interval: Interval
    p: float | None


class Agreement(NamedTuple):
    """McNemar's four counts; an item is right when it scores more than half."""

    both: int
    only_a: int
    only_b: int
    neither: int


def columns_of(benchmark: Benchmark, items: Sequence[Item]) -> list[Column]:
    """Returns every column that `benchmark.aggregate` gives for these items, in its order, with its declared rule."""
    counts_for = [benchmark.columns_of(item) for item in items]
    return [
        Column(name, np.array([name in own for own in counts_for], dtype=bool), benchmark.rules.get(name, "items"))
        for name in benchmark.aggregate(items, [0.0] * len(items))
    ]


class Bootstrap:
    """Replicates of the columns of one list of items, of each its category and its group, which is resampled."""

    def __init__(self, columns: Sequence[Column], categories: Sequence[str], groups: Sequence[str]) -> None:
        self.names = [column.name for column in columns]
        names, self._group = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
        self._groups = len(names)
        # A cell is a set of items whose scores are averaged; a column is the weighted mean of its cells.
        categories = np.asarray(categories, dtype=str)
        cells, self._cells, self._weights = [], [], []
        for column in columns:
            masks, weights = [], None
            if len(np.unique(self._group[column.members])) < 2:
                pass  # every resample of a single group is that group, which would look like certainty
            elif column.rule == "items":
                masks = [column.members]
            elif column.rule is not None:
                names = np.unique(categories[column.members]).tolist()
                masks = [column.members & (categories == name) for name in names]
                if column.rule == "families":
                    families = [name.partition("/")[0] for name in names]
                    weights = [1 / families.count(family) for family in families]
            self._weights.append(np.ones(len(masks)) if weights is None else np.array(weights))
            self._cells.append(range(len(cells), len(cells) + len(masks)))
            cells += masks
        self._masks = np.array(cells, dtype=float).reshape(len(cells), len(self._group)).T

    def replicates(self, scores: np.ndarray, n: int = REPLICATES, seed: int = 0) -> np.ndarray:
        """Columns of `n` resamples, (n, R, columns) in percent, the same for the same seed.

        nan where a resample holds no item of a column, and for columns whose items are all of one group.

        Args:
            scores: (N items, R readings), in [0, 1]; all readings see the same resamples.
        """
        items, readings = scores.shape
        cells = self._masks.shape[1]
        # One more reading, on which every item scores 1, counts the items.
        scores = np.concatenate([scores, np.ones((items, 1))], axis=1)
        sums = np.zeros((self._groups, readings + 1, cells))
        np.add.at(sums, self._group, scores[:, :, None] * self._masks[:, None, :])
        sums = sums.reshape(self._groups, -1)

        generator = np.random.default_rng(seed)
        result = np.full((n, readings, len(self.names)), np.nan)
        for start in range(0, n, _CHUNK):
            rows = min(_CHUNK, n - start)
            drawn = generator.integers(0, self._groups, (rows, self._groups))
            drawn += np.arange(rows)[:, None] * self._groups
            weights = np.bincount(drawn.ravel(), minlength=rows * self._groups).astype(float)
            totals = (weights.reshape(rows, self._groups) @ sums).reshape(rows, readings + 1, cells)
            with np.errstate(invalid="ignore"):  # 0 / 0: no item
                means = 100 * totals[:, :-1] / totals[:, -1:]
                for column, (own, weight) in enumerate(zip(self._cells, self._weights, strict=True)):
                    present = weight * np.isfinite(means[:, :, own])
                    total = (present * np.nan_to_num(means[:, :, own])).sum(-1)
                    result[start : start + rows, :, column] = total / present.sum(-1)
        return result


def interval(values: np.ndarray) -> Interval:
    """95 % percentile interval of the replicates of one column; those without an item of the column do not count."""
    values = values[np.isfinite(values)]
    if not values.size:
        return Interval(None, None)
    low, high = np.quantile(values, (0.025, 0.975))
    return Interval(float(low), float(high))


def difference(value: float, a: np.ndarray, b: np.ndarray) -> Difference:
    """Compares two runs in one column: `value` is B - A on the items, `a` and `b` are replicates of the same draws."""
    # Sums of the same scores in another order differ in the last bits, which must not count as a difference.
    differences = np.round(b - a, 9)
    differences = differences[np.isfinite(differences)]
    if not differences.size:
        return Difference(value, Interval(None, None), None)
    smaller = min((differences <= 0).sum(), (differences >= 0).sum())
    p = min(1.0, 2 * (1 + int(smaller)) / (1 + differences.size))
    return Difference(value, interval(differences), p)


def agreement(a: Sequence[float], b: Sequence[float]) -> Agreement:
    """Counts the items that both runs, one of them, or none have right."""
    right_a, right_b = np.asarray(a) > 0.5, np.asarray(b) > 0.5
    kinds = (right_a & right_b, right_a & ~right_b, ~right_a & right_b, ~right_a & ~right_b)
    return Agreement(*(int(kind.sum()) for kind in kinds))
