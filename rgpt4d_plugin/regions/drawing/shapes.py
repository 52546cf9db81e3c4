# SPDX-License-Identifier: Apache-2.0
"""Shapes of a region, in pixels of the frame or image that it was annotated on ("source pixels").

Coordinates are continuous: x runs from 0 (left edge of the first pixel) to the width (right edge of the last one), y
from top to bottom. So a box [0, 0, W, H] is the whole frame, and a shape is scaled to another frame size by the plain
ratio of the sizes.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Box:
    """An axis-parallel box, x1 < x2 and y1 < y2."""

    x1: float
    y1: float
    x2: float
    y2: float


@dataclass(frozen=True)
class Polygon:
    """A closed polygon of at least three (x, y) corners."""

    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Point:
    """One place."""

    x: float
    y: float


@dataclass(frozen=True, eq=False)
class Mask:
    """A bitmap of the region: bool (H, W) of the source frame, with at least one pixel."""

    bitmap: np.ndarray


Shape = Box | Polygon | Point | Mask
