# SPDX-License-Identifier: Apache-2.0
"""The two numbers that all benchmarks are made of: a mean, and the mean relative accuracy of a measured value."""

from collections.abc import Sequence


# Ten evenly spaced thresholds from 0.5 to 0.95. Upstream's number of points, int((0.95 - 0.5) / 0.05 + 2), is 10 only
# because the quotient falls short of 9; computed exactly it would be 11, and another grid.
_STEP = (0.95 - 0.5) / 9
MRA_THRESHOLDS = (*(0.5 + index * _STEP for index in range(9)), 0.95)
"""Bit for bit what `numpy.linspace(0.5, 0.95, 10)` gives."""


def mean(values: Sequence[float]) -> float:
    """The plain mean; 0.0 of nothing, as the published scorers have it."""
    return sum(values) / len(values) if values else 0.0


def mean_relative_accuracy(prediction: float | None, gold: float | None) -> float:
    """Share of the thresholds t at which |prediction - gold| / gold <= 1 - t (VSI-Bench, arXiv 2412.14171).

    The division is by the gold value, not by its size: as upstream, every prediction passes all thresholds of a
    negative one. It is 0 without a prediction or a gold value, and for a gold value of 0, at which upstream fails.
    """
    if prediction is None or gold is None or gold == 0:
        return 0.0
    error = abs(prediction - gold) / gold
    return sum(error <= 1 - threshold for threshold in MRA_THRESHOLDS) / len(MRA_THRESHOLDS)
