# SPDX-License-Identifier: Apache-2.0
"""Paired comparison of two runs: difference of each column with its confidence interval, and McNemar counts."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rgpt4d_plugin.eval_hooks.scoring import Result, some
from rgpt4d_plugin.eval_hooks.stats import REPLICATES, Agreement, Difference, agreement, difference


class NotComparable(ValueError):
    """Two results are not of the same items. Says why."""


@dataclass(frozen=True)
class Comparison:
    """Run B against run A, for every reading that both have."""

    differences: Mapping[str, Mapping[str, Difference]]  # reading -> column -> B - A, where both give a number
    agreements: Mapping[str, Agreement]  # reading -> McNemar's counts over all items


def incomparable(a: Result, b: Result) -> list[str]:
    """Returns the reasons why two results are not of the same items; empty if they are."""
    if a.benchmark != b.benchmark:
        return [f"they are of {a.title} and of {b.title}"]
    reasons = []
    if a.revision != b.revision:
        reasons.append(f"other revisions of the data: {a.revision} and {b.revision}")
    if a.items != b.items:
        reasons.append(f"other denominators: {_sample(a)} and {_sample(b)}")
    elif a.fingerprint != b.fingerprint:
        reasons.append(f"other items: {_sample(a)} and {_sample(b)}")
    else:
        gold = {row.key: row.gold for row in a.rows}
        if changed := [row.key for row in b.rows if row.gold != gold[row.key]]:
            reasons.append(f"other right answers to {len(changed):,} items, e.g. {some(changed)}")
        if a.rules != b.rules:
            reasons.append("other columns")
    return reasons


def compare(a: Result, b: Result, replicates: int = REPLICATES, seed: int = 0) -> Comparison:
    """Compares run B with run A, the baseline; NotComparable, with all reasons, if they are not of the same items."""
    if reasons := incomparable(a, b):
        raise NotComparable("The two runs cannot be compared: " + "; ".join(reasons) + ".")
    readings = [reading for reading in a.columns if reading in b.columns]
    own = {row.key: row for row in b.rows}
    scores_a = np.array([[row.score(reading) for reading in readings] for row in a.rows])
    scores_b = np.array([[own[row.key].score(reading) for reading in readings] for row in a.rows])
    bootstrap = a.bootstrap()
    drawn = bootstrap.replicates(np.hstack([scores_a, scores_b]), replicates, seed)
    differences: dict[str, dict[str, Difference]] = {reading: {} for reading in readings}
    for r, reading in enumerate(readings):
        for c, column in enumerate(bootstrap.names):
            before, after = a.columns[reading][column].value, b.columns[reading][column].value
            if before is not None and after is not None and a.columns[reading][column].items:
                differences[reading][column] = difference(
                    after - before, drawn[:, r, c], drawn[:, len(readings) + r, c]
                )
    agreements = {reading: agreement(scores_a[:, r], scores_b[:, r]) for r, reading in enumerate(readings)}
    return Comparison(differences, agreements)


def _sample(result: Result) -> str:
    if result.limit is None:
        return f"all {result.items:,} items"
    return f"a sample of {result.items:,} of {result.available:,} items with seed {result.seed}"
