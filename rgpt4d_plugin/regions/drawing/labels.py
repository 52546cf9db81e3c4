# SPDX-License-Identifier: Apache-2.0
"""Label plates of marks: what they look like, and where on the frame they go without hiding what they name."""

import functools
import importlib.util
import itertools
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont


# Font sizes in pixels. DejaVu Sans Bold has digits of 0.73 of its size: 9 pixels at 12, and at 8 just legible 6.
_FONT_SHARE = 0.045
_FONT_GOOD = 12
_FONT_LEAST = 8

_CROWDED = 0.25
"""Share of the frame that all plates together take up at most, unless the font is at its least."""

_SMALL = 6
"""A region of fewer plate areas than this is never covered where there is room elsewhere."""

# What a plate gives up to stay off a larger region: so many slots, or so many of its heights of distance.
_REGION_SLOTS = 6
_REGION_HEIGHTS = 2
# Per pixel of a small region or of another plate that is hidden: more than all that distance can sum up to.
_HIDDEN = 1e5

Colour = tuple[int, int, int]
Rect = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels; x2 and y2 are those of the first pixel outside."""


@dataclass(frozen=True)
class Footprint:
    """What a region and its outline take up of the frame.

    Attributes:
        rects: boxes that cover it together, at least one, from top to bottom.
        area: pixels of the region; 0 for a point.
    """

    rects: tuple[Rect, ...]
    area: float


def choose_font_size(labels: Sequence[str], frame_size: tuple[int, int]) -> int:
    """The font size in pixels for all plates of a frame: in proportion to it, smaller where they need too much of it.

    Args:
        labels: their texts.
        frame_size: (width, height) of the frame.
    """
    width, height = frame_size
    wanted = max(_FONT_GOOD, round(_FONT_SHARE * min(frame_size)))
    for font_size in range(wanted, _FONT_LEAST, -1):
        sizes = [_layout(label, font_size).size for label in labels]
        fits = all(w <= width and h <= height for w, h in sizes)
        if fits and sum(w * h for w, h in sizes) <= _CROWDED * width * height:
            return font_size
    return _FONT_LEAST


@functools.lru_cache(maxsize=1024)
def render_plate(label: str, font_size: int, colour: Colour, ink: Colour, frame_size: tuple[int, int]) -> Image.Image:
    """Draws a plate, or as much of its left and upper part as fits into the frame.

    Args:
        label: one line of text.
        font_size: in pixels.
        colour: of the plate.
        ink: of its text and edge.
        frame_size: (width, height) of the frame.

    Returns:
        RGB image, shared between calls: not to be changed.
    """
    layout = _layout(label, font_size)
    width, height = layout.size
    plate = Image.new("RGB", layout.size, colour)
    draw = ImageDraw.Draw(plate)
    draw.rectangle((0, 0, width - 1, height - 1), outline=ink, width=layout.edge)
    draw.text(layout.origin, label, fill=ink, font=_font(font_size), anchor="ls")
    return plate.crop((0, 0, min(width, frame_size[0]), min(height, frame_size[1])))


@dataclass(frozen=True)
class _Layout:
    """(width, height) of a plate, where its text begins on the base line, and how thick its edge is, in pixels."""

    size: tuple[int, int]
    origin: tuple[int, int]
    edge: int


@functools.lru_cache(maxsize=1024)
def _layout(label: str, font_size: int) -> _Layout:
    font = _font(font_size)
    left, top, right, bottom = font.getbbox(label, anchor="ls")
    # As high as with a digit, so that the plates of "1" and "8" are of one height.
    _, digit_top, _, digit_bottom = font.getbbox("0", anchor="ls")
    top, bottom = min(top, digit_top), max(bottom, digit_bottom)
    edge = max(1, round(font_size / 16))
    pad_x, pad_y = edge + max(2, round(font_size / 5)), edge + max(1, round(font_size / 8))
    height = bottom - top + 2 * pad_y
    width = max(right - left + 2 * pad_x, height)
    return _Layout((width, height), ((width - right + left) // 2 - left, pad_y - top), edge)


@functools.lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Found, not imported: matplotlib takes a third of a second. Pillow's own font is thin and hard to read this small.
    (folder,) = importlib.util.find_spec("matplotlib").submodule_search_locations
    path = os.path.join(folder, "mpl-data", "fonts", "ttf", "DejaVuSans-Bold.ttf")
    # The other layout engine is not part of every Pillow.
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


def place_plates(
    frame_size: tuple[int, int], plate_sizes: Sequence[tuple[int, int]], footprints: Sequence[Footprint]
) -> list[tuple[int, int]]:
    """Finds a place for each plate, those of small regions first.

    A plate goes to the first of some slots at its region (above, below, at the sides, in the corners of a large one)
    that hides neither a small region nor a plate placed before; slots over another large region come later. If every
    slot hides something, it goes to the free place nearest to its region, and if the frame has none, to where it hides
    least.

    Args:
        frame_size: (width, height) of the frame.
        plate_sizes: (width, height) of each plate, none larger than the frame.
        footprints: its region.

    Returns:
        Left upper corner (x, y) of each plate.
    """
    places: dict[int, tuple[int, int]] = {}
    placed: list[Rect] = []
    for number in sorted(range(len(footprints)), key=lambda number: footprints[number].area):
        size, own = plate_sizes[number], footprints[number].rects
        limit = _SMALL * size[0] * size[1]
        small = [footprint.rects for footprint in footprints if footprint.area < limit]
        hard = [*placed, *itertools.chain.from_iterable(small)]
        soft = [rect for footprint in footprints if footprint.area >= limit for rect in footprint.rects]
        place = _first_slot(frame_size, size, own, hard, soft)
        if place is None:
            bounds = placed + [_bounds(rects) for rects in small]
            place, hidden = _nearest_free(frame_size, size, own, hard, soft, bounds)
            if hidden:
                # There may still be room next to a part of a region.
                place, _ = _nearest_free(frame_size, size, own, hard, soft, hard)
        places[number] = place
        placed.append((*place, place[0] + size[0], place[1] + size[1]))
    return [places[number] for number in range(len(footprints))]


def _bounds(rects: Sequence[Rect]) -> Rect:
    x1, y1, x2, y2 = zip(*rects)
    return min(x1), min(y1), max(x2), max(y2)


def _first_slot(
    frame_size: tuple[int, int],
    size: tuple[int, int],
    own: Sequence[Rect],
    hard: Sequence[Rect],
    soft: Sequence[Rect],
) -> tuple[int, int] | None:
    """The best slot for a plate of `size` at the region `own` that hides nothing of `hard`, or None."""
    (width, height), (w, h) = frame_size, size
    best, lowest = None, math.inf
    for rank, (x, y, sliding) in enumerate(_slots(own, w, h)):
        if rank >= lowest:
            break
        # At the border of the frame a plate slides along its region.
        if "x" in sliding:
            x = min(max(x, 0), width - w)
        if "y" in sliding:
            y = min(max(y, 0), height - h)
        if not (0 <= x <= width - w and 0 <= y <= height - h) or _hides(x, y, w, h, hard):
            continue
        cost = rank + _REGION_SLOTS * _hides(x, y, w, h, soft) / (w * h)
        if cost < lowest:
            best, lowest = (x, y), cost
    return best


def _slots(own: Sequence[Rect], w: int, h: int) -> list[tuple[int, int, str]]:
    """Places (x, y) for a plate of w x h pixels at a region, best first, and the axes along which they may move."""
    top, bottom = own[0], own[-1]
    left, right = min(own, key=lambda rect: rect[0]), max(own, key=lambda rect: rect[2])
    x1, y1, x2, y2 = max(own, key=lambda rect: rect[2] - rect[0])
    return [
        (top[0], top[1] - h, "x"),
        (bottom[0], bottom[3], "x"),
        (right[2], right[1], "y"),
        (left[0] - w, left[1], "y"),
        (top[2] - w, top[1] - h, "x"),
        (bottom[2] - w, bottom[3], "x"),
        (right[2], right[3] - h, "y"),
        (left[0] - w, left[3] - h, "y"),
        # Inside. Only where the region is not small: its own place is among the obstacles otherwise.
        (x1, y1, "xy"),
        (x2 - w, y1, "xy"),
        (x1, y2 - h, "xy"),
        (x2 - w, y2 - h, "xy"),
    ]


def _hides(x: int, y: int, w: int, h: int, rects: Sequence[Rect]) -> int:
    """Pixels of the boxes that a plate of w x h pixels hides at (x, y)."""
    return sum(
        (min(x + w, x2) - max(x, x1)) * (min(y + h, y2) - max(y, y1))
        for x1, y1, x2, y2 in rects
        if x1 < x + w and x < x2 and y1 < y + h and y < y2
    )


def _nearest_free(
    frame_size: tuple[int, int],
    size: tuple[int, int],
    own: Sequence[Rect],
    hard: Sequence[Rect],
    soft: Sequence[Rect],
    edges: Sequence[Rect],
) -> tuple[tuple[int, int], bool]:
    """The place nearest to the region `own` that hides nothing of `hard`, else the one that hides least.

    If there is any free place, there is one that touches an obstacle or the border of the frame on its left, and an
    obstacle or the border above it. So it is enough to try all combinations of these, and of places in line with the
    region.

    Args:
        frame_size: (width, height) of the frame.
        size: (width, height) of the plate.
        own: the region.
        hard: obstacles.
        soft: what to hide rather than to go far away.
        edges: boxes whose edges to try.

    Returns:
        The place (x, y), and whether it hides anything of `hard`.
    """
    region, hard, soft, edges = (np.array(rects).reshape(-1, 4) for rects in (own, hard, soft, edges))
    tries, distances, hard_overlaps, soft_overlaps = [], [], [], []
    for axis, (low, high) in enumerate(np.array(_bounds(own)).reshape(2, 2).T.tolist()):
        room, length = frame_size[axis] - size[axis], size[axis]
        aligned = [0, room, low, high - length, high, low - length, (low + high - length) // 2]
        starts = np.concatenate((edges[:, axis + 2], edges[:, axis] - length, aligned)).clip(0, room)
        starts = np.unique(starts)
        tries.append(starts)
        gaps = np.maximum(region[:, axis] - starts[:, None] - length, starts[:, None] - region[:, axis + 2])
        distances.append(gaps.clip(min=0))
        hard_overlaps.append(_overlaps(starts, length, hard, axis))
        soft_overlaps.append(_overlaps(starts, length, soft, axis))
    # Rows are y, columns x. The overlap of two boxes is a product, and its sum over obstacles a matrix product.
    hidden = hard_overlaps[1] @ hard_overlaps[0].T
    distance = np.sqrt((distances[1][:, None] ** 2 + distances[0][None] ** 2).min(axis=2))
    given_up = (soft_overlaps[1] @ soft_overlaps[0].T) * (_REGION_HEIGHTS / size[0])
    row, column = np.unravel_index((_HIDDEN * hidden + distance + given_up).argmin(), hidden.shape)
    return (int(tries[0][column]), int(tries[1][row])), bool(hidden[row, column] > 0)


def _overlaps(starts: np.ndarray, length: int, rects: np.ndarray, axis: int) -> np.ndarray:
    """How far spans (n,) of `length` from `starts` on overlap boxes (k, 4) along an axis, float (n, k)."""
    ends = np.minimum(starts[:, None] + length, rects[:, axis + 2])
    return (ends - np.maximum(starts[:, None], rects[:, axis])).clip(min=0).astype(np.float64)
