# SPDX-License-Identifier: Apache-2.0
"""Which maps, and which tile of them, one optimizer step compares, so that its expected gradient is the full one's.

Of n map terms, k are drawn, each with probability k/n, and count n/k times; of a map that is cut into c tiles, one is
drawn and counts c times (the Horvitz-Thompson estimator). The draw is a function of the seed and the step alone: all
ranks and all micro-batches of a step have the same one, and a resumed run draws what an uninterrupted one would have.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from rgpt4d_plugin.teachers.base import Tile


TILINGS: dict[float, tuple[tuple[int, int], ...]] = {1.0: (), 0.5: ((2, 1), (1, 2)), 0.25: ((2, 2),)}
"""By the share of a map that a step compares, the (rows, columns) that it may be cut into, each as likely."""


@dataclass(frozen=True)
class Draw:
    """What one step compares.

    Attributes:
        left_out: Map terms that are not computed.
        factor: What the weights of the other map terms are multiplied by.
        tile: The part of the maps that is compared, where the teacher can compute parts; None for all.
    """

    left_out: frozenset[str] = frozenset()
    factor: float = 1.0
    tile: Tile | None = None


def draw(terms: Sequence[str], maps: int | None, crop: float, seed: int, step: int) -> Draw:
    """What a step compares.

    Args:
        terms: The map terms that have weights.
        maps: How many of them to compute; None for all.
        crop: Share of a map that is compared, a key of `TILINGS`.
        seed: The run's.
        step: Optimizer steps before this one.
    """
    # A text seeds alike in every process and version of Python; a tuple would not.
    source = random.Random(f"p4d {seed} {step}")
    kept = terms if maps is None or maps >= len(terms) else source.sample(list(terms), maps)
    tile = None
    if TILINGS[crop]:
        rows, columns = source.choice(TILINGS[crop])
        tile = Tile(source.randrange(rows), rows, source.randrange(columns), columns)
    return Draw(frozenset(terms) - frozenset(kept), len(terms) / len(kept) if kept else 1.0, tile)
