# SPDX-License-Identifier: Apache-2.0
"""Boxes around other shapes, and overlaps of boxes, in source pixels."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.regions.masks import decode_rle


def box_around(bitmap: np.ndarray) -> list[int]:
    """Returns [x1, y1, x2, y2] around a mask bool (H, W) that is not empty; right and lower edge lie outside of it."""
    columns, rows = (np.flatnonzero(bitmap.any(axis=axis)) for axis in (0, 1))
    return [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]


def box_of(entry: Mapping[str, Any]) -> list[float]:
    """Returns the box around an annotation of a track; of a point, a box without area."""
    if entry.get("box") is not None:
        return list(entry["box"])
    if entry.get("mask") is not None:
        return [float(side) for side in box_around(decode_rle(entry["mask"]))]
    points = [entry["point"]] if entry.get("point") is not None else entry["polygon"]
    xs, ys = zip(*points, strict=True)
    return [min(xs), min(ys), max(xs), max(ys)]


def clamped(values: Iterable[float], width: int, height: int) -> list[float]:
    """Returns coordinates x, y, x, y, ... moved into a frame of that size."""
    return [min(max(value, 0.0), float((width, height)[at % 2])) for at, value in enumerate(values)]


def overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Returns the intersection over union of two boxes."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(width, 0) * max(height, 0)
    both = area(one) + area(other) - shared
    return shared / both if both > 0 else 0.0


def area(box: Sequence[float]) -> float:
    """Returns the area of a box."""
    return (box[2] - box[0]) * (box[3] - box[1])


def drawn(polygons: Sequence[Sequence[float]], width: int, height: int) -> np.ndarray:
    """Returns the mask bool (H, W) of polygons [x1, y1, x2, y2, ...] together."""
    canvas = Image.new("1", (width, height))
    pen = ImageDraw.Draw(canvas)
    for polygon in polygons:
        pen.polygon(list(polygon), fill=1)
    return np.asarray(canvas)
