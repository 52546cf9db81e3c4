# SPDX-License-Identifier: Apache-2.0
"""Set-of-marks prompting: numbered outlines on the frame that the video model sees, one for each region.

The idea is that of Set-of-Mark Prompting (arXiv 2310.11441): a model that is asked about <obj_1> finds the 1 in the
picture. Outlines lie around their regions, so that even the smallest ones are seen whole; each is a coloured line with
a black or white one around it, so that it shows on every background.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.regions.drawing.labels import Colour, choose_font_size, place_labels, render_label
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

# Shares of the frame's shorter side.
_LINE_SHARE, _RING_SHARE = 0.007, 0.018
# Pixels between a label and its outline that need no line to connect them.
_LEADER_FROM = 3


@dataclass(frozen=True)
class Mark:
    """A region to point out; its number, from 1, chooses the colour. Colours repeat after eight, labels do not."""

    label: str
    number: int
    shape: Shape

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"a mark's number starts at 1, got {self.number} for {self.label!r}")


def colour_of(number: int) -> Colour:
    """Returns the colour (red, green, blue), 0 to 255, of the mark with this number."""
    return PALETTE[(number - 1) % len(PALETTE)]


@functools.cache
def contrasting(colour: Colour) -> Colour:
    """Returns black or white, whichever has more contrast to a colour (WCAG 2)."""
    shares = [value / 255 for value in colour]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrasts (luminance + 0.05) / 0.05 to black and 1.05 / (luminance + 0.05) to white are equal at 0.179.
    return (0, 0, 0) if luminance > 0.179 else (255, 255, 255)


def draw_marks(image: Image.Image, marks: Sequence[Mark], source_size: tuple[int, int] | None = None) -> Image.Image:
    """Returns a new RGB image with an outline and a label for each mark.

    Outlines move inward where the border of the frame would cut them off. Labels stay inside of the frame; for where
    they go see `place_labels`. One that is not at its region is connected to it by a line.

    `source_size` is the width and height of the frame that the shapes belong to, by default the image's. A mask's
    bitmap always covers the whole frame, whatever its size.
    """
    canvas = image.convert("RGB")
    if not marks:
        return canvas
    width, height = source_size or image.size
    scale = (image.width / width, image.height / height)
    outlines = [_Outline(mark, image.size, scale) for mark in marks]
    # Small regions last, so that no larger one's outline runs over them.
    for outline in sorted(outlines, key=lambda outline: -outline.area):
        outline.draw(canvas)
    font_size = choose_font_size([mark.label for mark in marks], image.size)
    labels = [
        render_label(mark.label, font_size, outline.colour, outline.ink, image.size)
        for mark, outline in zip(marks, outlines)
    ]
    places = place_labels([label.size for label in labels], [outline.footprint for outline in outlines])
    for outline, label, place in zip(outlines, labels, places):
        outline.connect(canvas, label.size, place)
    for label, place in zip(labels, places):
        canvas.paste(label, place)
    return canvas


class _Outline:
    """The outline of a mark's region on a frame, with `scale` frame pixels per source pixel along (x, y).

    Attributes:
        area: Pixels of the region.
        footprint: bool (H, W) of the frame, the region and its coloured line.
    """

    def __init__(self, mark: Mark, frame_size: tuple[int, int], scale: tuple[float, float]) -> None:
        self.colour, self.ink = colour_of(mark.number), contrasting(colour_of(mark.number))
        self.width = max(1, round(_LINE_SHARE * min(frame_size)))
        casing = max(1, round(self.width / 3))
        # Two samples per pixel make slanting lines smooth; without them lines of a pixel are crisp.
        fine = 2 if self.width > 1 else 1
        region = _fill(mark, frame_size, scale, fine)
        box = region.getbbox()
        assert box is not None, "`_fill` sets a sample"
        left, top, right, bottom = box
        # What the outline goes around: the region, but for where the border would cut the outline off.
        reach = self.width + casing
        inside = [(min(reach, side // 2) * fine, max(side - reach, side // 2 + 1) * fine) for side in frame_size]
        part = [(max(low, a), min(high, b)) for (low, high), (a, b) in zip(inside, ((left, right), (top, bottom)))]
        part = [(a, b) if a < b else _nearest(low, high, a, fine) for (low, high), (a, b) in zip(inside, part)]
        # The patch around it, whole pixels of the frame. It may begin and end outside of the frame.
        margin = reach + 1
        x, y = (start // fine - margin for start, _ in part)
        columns, rows = (-(-end // fine) + margin - start for (_, end), start in zip(part, (x, y)))
        patch = region.crop((part[0][0], part[1][0], part[0][1], part[1][1]))
        if patch.getbbox() is None:
            patch.paste(255, (0, 0, *patch.size))
        around = Image.new("L", (columns * fine, rows * fine))
        around.paste(patch, (part[0][0] - x * fine, part[1][0] - y * fine))

        samples = np.asarray(around) > 0
        line = _dilate(samples, self.width * fine)
        cased = _dilate(line, casing * fine) & ~samples
        line &= ~samples
        if isinstance(mark.shape, Point):
            dot = Image.new("L", around.size)
            centre = [(mark.shape.x * scale[0] - x) * fine, (mark.shape.y * scale[1] - y) * fine]
            radius = fine * (1 + self.width / 2)
            ImageDraw.Draw(dot).ellipse([c + r - 0.5 for r in (-radius, radius) for c in centre], fill=255)
            line |= np.asarray(dot) > 0
        self.box = (x, y, x + columns, y + rows)
        self.line, self.casing = (Image.fromarray(s.astype(np.uint8) * 255).reduce(fine) for s in (line, cased))
        taken = region.resize(frame_size, Image.Resampling.NEAREST)
        self.area = 0 if isinstance(mark.shape, Point) else taken.size[0] * taken.size[1] - taken.histogram()[0]
        taken.paste(255, self.box, self.line)
        self.footprint = np.asarray(taken) > 0

    def draw(self, canvas: Image.Image) -> None:
        """Draws the outline on an RGB image."""
        canvas.paste(self.ink, self.box, self.casing)
        canvas.paste(self.colour, self.box, self.line)

    def connect(self, canvas: Image.Image, size: tuple[int, int], place: tuple[int, int]) -> None:
        """Draws a line to a label of a size (width, height) at (x, y), unless the two are next to each other."""
        rows, columns = np.nonzero(self.footprint)
        ends = columns.clip(place[0], place[0] + size[0] - 1), rows.clip(place[1], place[1] + size[1] - 1)
        distances = np.hypot(columns - ends[0], rows - ends[1])
        nearest = distances.argmin()
        if distances[nearest] > _LEADER_FROM:
            draw, width = ImageDraw.Draw(canvas), max(1, self.width // 2)
            path = [(int(ends[0][nearest]), int(ends[1][nearest])), (int(columns[nearest]), int(rows[nearest]))]
            draw.line(path, fill=self.ink, width=width + 2)
            draw.line(path, fill=self.colour, width=width)


def _nearest(low: int, high: int, start: int, length: int) -> tuple[int, int]:
    """Returns the span of a length within a longer one that is nearest to a start."""
    start = max(low, min(start, high - length))
    return start, start + length


def _fill(mark: Mark, frame_size: tuple[int, int], scale: tuple[float, float], fine: int) -> Image.Image:
    """Returns the region of a mark, 255 on 0, with `fine` samples per pixel of the frame and at least one set."""
    size = (frame_size[0] * fine, frame_size[1] * fine)
    stencil = Image.new("L", size)
    draw = ImageDraw.Draw(stencil)

    def scaled(*points: tuple[float, float]) -> np.ndarray:
        return np.array(points) * scale * fine

    def boxed(low: np.ndarray, high: np.ndarray) -> list[int]:
        """Whole samples from a corner to another, at least one and inside of the frame."""
        first = np.floor(low + 0.5).clip(0, np.array(size) - 1)
        last = np.maximum(np.floor(high - 0.5), first).clip(0, np.array(size) - 1)
        return [*first.astype(int).tolist(), *last.astype(int).tolist()]

    match mark.shape:
        case Box(x1, y1, x2, y2):
            # Edges on whole pixels keep their line crisp.
            low, high = scaled((x1, y1), (x2, y2))
            draw.rectangle(boxed(np.round(low / fine) * fine, np.round(high / fine) * fine), fill=255)
        case Point(x, y):
            radius = fine * max(3, round(_RING_SHARE * min(frame_size)))
            (centre,) = scaled((x, y))
            draw.ellipse([*(centre - radius - 0.5), *(centre + radius - 0.5)], fill=255)
        case Polygon(points):
            # Whole numbers are the centres of samples. Pillow fills up to and including those of the corners, so
            # they are rounded to the inside: a sample is filled where its centre is.
            corners = scaled(*points) - 0.5
            middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
            corners = np.where(corners < middle, np.ceil(corners), np.floor(corners))
            draw.polygon(corners.ravel().tolist(), fill=255)
            if stencil.getbbox() is None:
                draw.rectangle(boxed(corners.min(axis=0), corners.max(axis=0)), fill=255)
        case Mask(bitmap):
            if not bitmap.any():
                raise ValueError(f"mark {mark.number}: its mask is empty")
            cover = Image.fromarray(np.multiply(bitmap, 255, dtype=np.uint8, order="C"))
            cover = cover.resize(size, Image.Resampling.BILINEAR)
            most = int(np.asarray(cover).max())
            if most:
                # A region too thin or too small to fill half a sample anywhere is where there is most of it.
                stencil = cover.point([255 * (value >= min(max(most // 2, 1), 128)) for value in range(256)])
            else:
                rows, columns = (np.flatnonzero(bitmap.any(axis=axis)).mean() + 0.5 for axis in (1, 0))
                centre = np.array((columns, rows)) * size / bitmap.shape[::-1]
                draw.rectangle(boxed(centre, centre), fill=255)
        case other:
            raise TypeError(f"mark {mark.number}: expected a Box, Polygon, Point or Mask, got {type(other).__name__}")
    return stencil


def _dilate(samples: np.ndarray, radius: int) -> np.ndarray:
    """Returns samples bool (rows, columns) grown by a radius in all directions; steps alternate to make octagons."""
    for step in range(radius):
        tall = samples.copy()
        tall[1:] |= samples[:-1]
        tall[:-1] |= samples[1:]
        source = tall if step % 2 else samples
        samples = tall.copy()
        samples[:, 1:] |= source[:, :-1]
        samples[:, :-1] |= source[:, 1:]
    return samples
