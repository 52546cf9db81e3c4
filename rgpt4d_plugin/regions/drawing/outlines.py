# SPDX-License-Identifier: Apache-2.0
"""Outlines of regions: coloured lines between dark or white casings, which show on every background."""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.regions.drawing.labels import Colour, Footprint, Rect
from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon, Shape


# The colour-blind safe set of Okabe and Ito, "Color Universal Design" (https://jfly.uni-koeln.de/color/), with black
# last instead of first.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
    (0, 0, 0),
)

# Lengths of dashes in line widths: the first eight marks have whole lines, the next eight dashes, the next eight dots.
_DASHES = (0, 5, 2)

_LINE_SHARE = 0.007
_RING_SHARE = 0.018
# A region of fewer line widths than this gets a thinner line.
_LINES_ACROSS = 4
# The casing inside of an outline is left out if less than this of a region's width would stay free.
_FREE_SHARE = 0.6
# Boxes that cover a mask for the layout of plates.
_STRIPS = 6


def colour_of(number: int) -> Colour:
    """The colour (red, green, blue), 0 to 255, of the mark with this number."""
    return PALETTE[(number - 1) % len(PALETTE)]


@dataclass(frozen=True)
class _Line:
    """How to draw an outline.

    Attributes:
        core: pixels of its coloured middle.
        casing: pixels of the casing around the core on the outside.
        inner: pixels of the casing on the inside, none for a region that it would fill.
        dash: pixels per dash of the core, 0 for a whole line.
        colour: of the core.
        ink: of the casing.
    """

    core: int
    casing: int
    inner: int
    dash: int
    colour: Colour
    ink: Colour

    @classmethod
    def for_mark(cls, number: int, frame_size: tuple[int, int], side: float) -> "_Line":
        """The line for a region whose shorter side is `side` pixels."""
        core = max(1, round(_LINE_SHARE * min(frame_size)))
        core = max(1, int(min(core, side / _LINES_ACROSS)))
        casing = max(1, round(core / 3))
        inner = casing if side - 2 * (core // 2 + casing) >= _FREE_SHARE * side else 0
        dash = core * _DASHES[(number - 1) // len(PALETTE) % len(_DASHES)]
        colour = colour_of(number)
        return cls(core, casing, inner, dash, colour, contrasting(colour))

    @property
    def outward(self) -> int:
        """Pixels of the core beyond the edge of the region."""
        return (self.core + 1) // 2

    @property
    def reach(self) -> int:
        """Pixels of core and casing beyond the edge of the region."""
        return self.outward + self.casing


@functools.cache
def contrasting(colour: Colour) -> Colour:
    """Black or white, whichever has more contrast to a colour (WCAG 2)."""
    shares = [value / 255 for value in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrasts (luminance + 0.05) / 0.05 to black and 1.05 / (luminance + 0.05) to white are equal at 0.179.
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def outline_of(
    number: int, shape: Shape, frame_size: tuple[int, int], scale: tuple[float, float]
) -> "BoxOutline | BitmapOutline":
    """The outline of a region.

    Args:
        number: of its mark.
        shape: in pixels of the source frame.
        frame_size: (width, height) of the frame that is drawn on.
        scale: frame pixels per source pixel, (x, y).
    """
    sx, sy = scale
    match shape:
        case Box(x1, y1, x2, y2):
            return BoxOutline(number, (x1 * sx, y1 * sy, x2 * sx, y2 * sy), frame_size)
        case Point(x, y):
            return _point_outline(number, x * sx, y * sy, frame_size)
        case Polygon(points):
            points = np.array(points) * scale
            bounds = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
            fill = functools.partial(_fill_polygon, points)
        case Mask(bitmap):
            # Pixels of the bitmap per pixel of the frame.
            ratio = (bitmap.shape[1] / frame_size[0], bitmap.shape[0] / frame_size[1])
            top, bottom = _extent(bitmap.any(axis=1))
            if top == bottom:
                raise ValueError(f"mark {number}: its mask is empty")
            left, right = _extent(bitmap[top:bottom].any(axis=0))
            bounds = (left / ratio[0], top / ratio[1], right / ratio[0], bottom / ratio[1])
            fill = functools.partial(_fill_mask, bitmap, ratio, frame_size)
        case _:
            raise TypeError(f"mark {number}: expected a Box, Polygon, Point or Mask, got {type(shape).__name__}")
    line = _Line.for_mark(number, frame_size, min(bounds[2] - bounds[0], bounds[3] - bounds[1]))
    patch = _Patch.around([clip(edge, 0, frame_size[axis % 2]) for axis, edge in enumerate(bounds)], line)
    region = fill(patch)
    return BitmapOutline(patch, line, region, _drawable(region, patch, line, frame_size))


class BoxOutline:
    """The outline of a box.

    Args:
        number: of the mark.
        box: x1, y1, x2, y2 in pixels of the frame.
        frame_size: (width, height) of the frame.
    """

    def __init__(self, number: int, box: tuple[float, float, float, float], frame_size: tuple[int, int]):
        x1, y1, x2, y2 = box
        self.line = line = _Line.for_mark(number, frame_size, min(x2 - x1, y2 - y1))
        left, right = _moved_inside(x1, x2, frame_size[0], line.reach)
        top, bottom = _moved_inside(y1, y2, frame_size[1], line.reach)
        self.rect = _grown((left, top, right, bottom), line.outward)
        # The region may go on where its outline moved inward.
        low = min(self.rect[0], math.floor(x1)), min(self.rect[1], math.floor(y1))
        high = max(self.rect[2], math.ceil(x2)), max(self.rect[3], math.ceil(y2))
        self.footprint = Footprint(((*low, *high),), (x2 - x1) * (y2 - y1))

    def draw(self, pixels: np.ndarray) -> None:
        line = self.line
        _draw_edge(pixels, _grown(self.rect, line.casing), line.casing + line.core + line.inner, line.ink)
        _draw_edge(pixels, self.rect, line.core, line.colour)
        if line.dash:
            x1, y1, x2, y2 = self.rect
            for start, end in _gaps(x1, x2, line.dash):
                pixels[y1 : y1 + line.core, start:end] = pixels[y2 - line.core : y2, start:end] = line.ink
            for start, end in _gaps(y1, y2, line.dash):
                pixels[start:end, x1 : x1 + line.core] = pixels[start:end, x2 - line.core : x2] = line.ink

    def nearest(self, plate: Rect) -> tuple[int, int]:
        """The pixel (x, y) of the outline to connect a plate to."""
        x1, y1, x2, y2 = self.rect
        return clip((plate[0] + plate[2]) // 2, x1, x2 - 1), clip((plate[1] + plate[3]) // 2, y1, y2 - 1)


def _moved_inside(low: float, high: float, length: int, reach: int) -> tuple[int, int]:
    """The pixel edges of a span, two or more apart, and `reach` or more from both ends of the frame if they fit."""
    if high - low < 2:
        low, high = (low + high) / 2 - 1, (low + high) / 2 + 1
    first = clip(math.floor(low + 0.5), reach, max(length - reach - 2, reach))
    return first, max(min(math.floor(high + 0.5), length - reach), first + 2)


def _grown(rect: Rect, by: int) -> Rect:
    return rect[0] - by, rect[1] - by, rect[2] + by, rect[3] + by


def clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _draw_edge(pixels: np.ndarray, rect: Rect, width: int, colour: Colour) -> None:
    """Draws the edge of a rectangle on pixels (H, W, 3), `width` pixels wide and inside of it."""
    x1, y1, x2, y2 = rect
    pixels[y1 : y1 + width, x1:x2] = pixels[y2 - width : y2, x1:x2] = colour
    pixels[y1:y2, x1 : x1 + width] = pixels[y1:y2, x2 - width : x2] = colour


def _gaps(start: int, end: int, dash: int) -> list[tuple[int, int]]:
    """The spaces between dashes of about `dash` pixels from start to end; both ends are in a dash."""
    pieces = 2 * max(1, round((end - start) / dash / 2)) + 1
    edges = [round(start + (end - start) * piece / pieces) for piece in range(pieces + 1)]
    return list(zip(edges[1::2], edges[2::2]))


@dataclass(frozen=True)
class _Patch:
    """A part of the frame around a region, on a grid of `fine` samples per pixel.

    Attributes:
        x, y: its left upper corner in pixels of the frame. It may begin and end outside of the frame.
        width, height: in pixels.
        fine: samples per pixel along each axis: two make slanting lines smooth, on one lines of a pixel are crisp.
    """

    x: int
    y: int
    width: int
    height: int
    fine: int

    @classmethod
    def around(cls, bounds: Sequence[float], line: _Line) -> "_Patch":
        """The patch for a region with these bounds x1, y1, x2, y2 and its outline."""
        # Room to move the outline of a tiny region in from the border, too.
        margin = 2 * line.reach + 4
        x, y = math.floor(bounds[0]) - margin, math.floor(bounds[1]) - margin
        width, height = math.ceil(bounds[2]) + margin - x, math.ceil(bounds[3]) + margin - y
        return cls(x, y, width, height, 2 if line.core > 1 else 1)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of samples."""
        return self.height * self.fine, self.width * self.fine

    def within(self, frame_size: tuple[int, int], border: int = 0) -> Rect:
        """The part that is `border` or more pixels inside of the frame, in pixels of the frame."""
        x1, y1 = max(self.x, border), max(self.y, border)
        x2, y2 = (min(self.x + self.width, frame_size[0] - border), min(self.y + self.height, frame_size[1] - border))
        return x1, y1, max(x1, x2), max(y1, y2)

    def samples(self, rect: Rect) -> tuple[slice, slice]:
        """The rows and columns of samples of a part."""
        x1, y1, x2, y2 = rect
        rows = slice((y1 - self.y) * self.fine, (y2 - self.y) * self.fine)
        return rows, slice((x1 - self.x) * self.fine, (x2 - self.x) * self.fine)


def _fill_polygon(points: np.ndarray, patch: _Patch) -> np.ndarray:
    """The samples bool (rows, columns) inside of a polygon (n, 2) in pixels of the frame."""
    # Whole numbers are the centres of samples. Pillow fills up to and including those of the corners, so they are
    # rounded to the inside: a sample is filled where its centre is.
    corners = (points - (patch.x, patch.y)) * patch.fine - 0.5
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    corners = np.where(corners < middle, np.ceil(corners), np.floor(corners))
    stencil = Image.new("L", patch.shape[::-1])
    ImageDraw.Draw(stencil).polygon(corners.ravel().tolist(), fill=1)
    return np.asarray(stencil) > 0


def _fill_mask(
    bitmap: np.ndarray, ratio: tuple[float, float], frame_size: tuple[int, int], patch: _Patch
) -> np.ndarray:
    """The samples bool (rows, columns) inside of a bitmap (H, W) with `ratio` (x, y) pixels per pixel of the frame."""
    rect = patch.within(frame_size)
    left, top, right, bottom = (edge * ratio[axis % 2] for axis, edge in enumerate(rect))
    x, y = math.floor(left), math.floor(top)
    cut = bitmap[y : math.ceil(bottom), x : math.ceil(right)]
    box = (left - x, top - y, min(right - x, cut.shape[1]), min(bottom - y, cut.shape[0]))
    grey = Image.fromarray(np.multiply(cut, 255, dtype=np.uint8, order="C"))
    size = (rect[2] - rect[0]) * patch.fine, (rect[3] - rect[1]) * patch.fine
    cover = np.asarray(grey.resize(size, Image.Resampling.BILINEAR, box=box))
    samples = np.zeros(patch.shape, dtype=bool)
    # A region too thin or too small to fill half a sample anywhere is where there is most of it.
    samples[patch.samples(rect)] = cover >= clip(cover.max() // 2, 1, 128)
    return samples


def _drawable(region: np.ndarray, patch: _Patch, line: _Line, frame_size: tuple[int, int]) -> np.ndarray:
    """The region bool (rows, columns) as its outline goes around it: with an inside, and not cut by the frame."""
    rows, columns = _extent(region.any(axis=1)), _extent(region.any(axis=0))
    if rows[0] == rows[1]:
        # Nothing is left of it at this size. The patch is around its place.
        region = np.zeros_like(region)
        region[region.shape[0] // 2, region.shape[1] // 2] = True
    if max(rows[1] - rows[0], columns[1] - columns[0]) < 3 * patch.fine:
        region = _dilate(region, patch.fine)
    part = patch.samples(patch.within(frame_size, line.reach))
    inside = np.zeros_like(region)
    inside[part] = region[part]
    if not inside.any():
        y, x = np.nonzero(region)
        inside[y.clip(part[0].start, part[0].stop - 1), x.clip(part[1].start, part[1].stop - 1)] = True
        inside[part] = _dilate(inside, 2 * patch.fine)[part]
    return inside


def _extent(used: np.ndarray) -> tuple[int, int]:
    """The first True of (n,), and the one after the last; 0, 0 if there is none."""
    start = int(used.argmax())
    return (start, len(used) - int(used[::-1].argmax())) if used[start] else (0, 0)


def _point_outline(number: int, x: float, y: float, frame_size: tuple[int, int]) -> "BitmapOutline":
    """A ring and a dot around a point, in pixels of the frame. The frame may cut them."""
    line = _Line.for_mark(number, frame_size, math.inf)
    radius = max(4, round(_RING_SHARE * min(frame_size)))
    patch = _Patch.around((x - radius, y - radius, x + radius, y + radius), line)
    rows, columns = (np.arange(0.5, length) / patch.fine for length in patch.shape)
    squares = (rows[:, None] + patch.y - y) ** 2 + (columns + patch.x - x) ** 2
    disc, dot = (squares <= length**2 for length in (radius, 0.5 + line.core / 2))
    return BitmapOutline(patch, line, disc, disc, dot)


class BitmapOutline:
    """The outline of a region of any form, half on the region and half around it, and smooth if it is not thin.

    Args:
        patch: the part of the frame with the region and its outline.
        line: how to draw it.
        region: bool (rows, columns), samples of the region.
        outlined: bool (rows, columns), what to draw the outline around.
        dot: bool (rows, columns), of a point, which has no area: something to fill with the line's colour.
    """

    def __init__(
        self,
        patch: _Patch,
        line: _Line,
        region: np.ndarray,
        outlined: np.ndarray,
        dot: np.ndarray | None = None,
    ):
        self.patch, self.line = patch, line
        if patch.fine > 1:
            if line.core % 2:
                # The odd pixel is outside, so that upright and level lines fill whole pixels.
                outlined = _dilate(outlined, 1)
            self.core = _dilate(_edge(outlined), line.core - 1)
        else:
            self.core = _edge(outlined) & ~outlined
        if dot is not None:
            self.core |= dot
        self.casing = _dilate(self.core, line.casing * patch.fine)
        if not line.inner:
            self.casing &= ~outlined | self.core
        covered = self.core | region
        top, bottom = _extent(covered.any(axis=1))
        rows = covered[top:bottom]
        used = rows.any(axis=1)
        # Of each row: y, the first x and the one after the last, in pixels of the frame.
        self.rows = np.arange(top, bottom)[used] // patch.fine + patch.y
        self.lefts = rows[used].argmax(axis=1) // patch.fine + patch.x
        self.rights = patch.x + patch.width - rows[used, ::-1].argmax(axis=1) // patch.fine
        self.footprint = Footprint(self._strips(), 0.0 if dot is not None else float(region.sum() / patch.fine**2))

    def _strips(self) -> tuple[Rect, ...]:
        count = len(self.rows)
        starts = sorted({count * strip // _STRIPS for strip in range(_STRIPS)})
        lefts = np.minimum.reduceat(self.lefts, starts).tolist()
        rights = np.maximum.reduceat(self.rights, starts).tolist()
        tops = self.rows[starts].tolist()
        bottoms = (self.rows[[*(start - 1 for start in starts[1:]), count - 1]] + 1).tolist()
        return tuple(zip(lefts, tops, rights, bottoms))

    def draw(self, pixels: np.ndarray) -> None:
        casing, core = self._counts(self.casing), self._counts(self.core)
        if self.line.dash:
            core = self._dashed(core)
        x1, y1, x2, y2 = self.patch.within(pixels.shape[1::-1])
        inside = slice(y1 - self.patch.y, y2 - self.patch.y), slice(x1 - self.patch.x, x2 - self.patch.x)
        part = np.ascontiguousarray(pixels[y1:y2, x1:x2])
        touched = np.flatnonzero(casing[inside] > 0)
        colours = part.reshape(-1, 3)[touched].astype(np.float32)
        for counts, colour in ((casing, self.line.ink), (core, self.line.colour)):
            shares = counts[inside].ravel()[touched, None] / np.float32(self.patch.fine**2)
            colours += (np.array(colour, dtype=np.float32) - colours) * shares
        part.reshape(-1, 3)[touched] = colours.round()
        pixels[y1:y2, x1:x2] = part

    def _counts(self, samples: np.ndarray) -> np.ndarray:
        """How many of the samples bool (rows, columns) are set in each pixel, uint8 (height, width)."""
        counts = samples.view(np.uint8)
        if self.patch.fine == 1:
            return counts
        rows = counts[::2] + counts[1::2]
        return rows[:, ::2] + rows[:, 1::2]

    def _dashed(self, core: np.ndarray) -> np.ndarray:
        """Counts of the core's samples in each pixel, uint8 (height, width), without those between its dashes.

        Dashes are equal shares of the core's pixels, in the order of their direction from its centre. This is the
        order along the outline where a region can be seen as a whole from its centre, and no worse than uneven
        elsewhere.
        """
        rows, columns = np.nonzero(core > 0)
        turns = np.arctan2(rows - rows.mean(), columns - columns.mean()) / math.tau + 0.5
        directions = (turns * 720).astype(int)
        before = np.cumsum(np.bincount(directions))[directions] - 1
        length = core.sum() / self.patch.fine**2 / self.line.core
        pieces = 2 * max(2, round(length / self.line.dash / 2))
        off = before * pieces // len(rows) % 2 == 1
        core = core.copy()
        core[rows[off], columns[off]] = 0
        return core

    def nearest(self, plate: Rect) -> tuple[int, int]:
        """The pixel (x, y) of the outline to connect a plate to."""
        x1, y1, x2, y2 = plate
        across = np.maximum(self.lefts - x2, x1 - self.rights).clip(min=0)
        down = np.maximum(self.rows - y2, y1 - self.rows).clip(min=0)
        row = (across**2 + down**2).argmin()
        return clip((x1 + x2) // 2, int(self.lefts[row]), int(self.rights[row]) - 1), int(self.rows[row])


def _edge(samples: np.ndarray) -> np.ndarray:
    """Samples bool (rows, columns) with another value next to them. None of the outermost ones may be set."""
    flat, edge = samples.ravel(), np.zeros(samples.size, dtype=bool)
    for step in (1, samples.shape[1]):
        changes = flat[step:] ^ flat[:-step]
        edge[step:] |= changes
        edge[:-step] |= changes
    return edge.reshape(samples.shape)


def _dilate(samples: np.ndarray, radius: int) -> np.ndarray:
    """Samples bool (rows, columns), at least `radius` off the border, and all within a disc around one of them."""
    source, columns = samples.ravel(), samples.shape[1]
    row, grown, half = source.copy(), source.copy(), 0
    for dy in range(radius, 0, -1):
        # A quarter makes the smallest discs round; that of radius 1 is a plus.
        while half < math.isqrt(int((radius + 0.25) ** 2 - dy**2)):
            half += 1
            row[half:] |= source[:-half]
            row[:-half] |= source[half:]
        grown[dy * columns :] |= row[: -dy * columns]
        grown[: -dy * columns] |= row[dy * columns :]
    for dx in range(half + 1, radius + 1):
        row[dx:] |= source[:-dx]
        row[:-dx] |= source[dx:]
    return (grown | row).reshape(samples.shape)
