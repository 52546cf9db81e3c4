# SPDX-License-Identifier: Apache-2.0
"""Set-of-marks prompting: numbered outlines on the frame that the video model sees, one for each region.

The idea is that of Set-of-Mark Prompting (arXiv 2310.11441): a model that is asked about <obj_1> finds the 1 in the
picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.regions.drawing.labels import Rect, choose_font_size, place_plates, render_plate
from rgpt4d_plugin.regions.drawing.outlines import BitmapOutline, BoxOutline, clip, outline_of
from rgpt4d_plugin.regions.drawing.shapes import Shape


# Pixels between a plate and an outline that need no line to connect them.
_LEADER_FROM = 2


@dataclass(frozen=True)
class Mark:
    """A region to point out.

    Attributes:
        label: what its plate shows, one line.
        number: from 1; chooses colour and dashes, which repeat after 24.
        shape: in pixels of the source frame.
    """

    label: str
    number: int
    shape: Shape

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ValueError(f"a mark's number starts at 1, got {self.number} for {self.label!r}")


def draw_marks(image: Image.Image, marks: Sequence[Mark], source_size: tuple[int, int] | None = None) -> Image.Image:
    """Draws an outline and a label plate for each mark.

    Outlines follow the edge of their region to a pixel, and move inward where the border of the frame would cut them
    off; points get a ring, which the border may cut. Plates stay inside of the frame; for where they go see
    `place_plates`. One that is not at its region is connected to it by a line.

    Args:
        image: the frame, of any size and mode.
        marks: what to draw.
        source_size: (width, height) of the frame that the shapes belong to, by default the image's. A mask's bitmap
            always covers the whole frame, whatever its size.

    Returns:
        A new RGB image of the same size.
    """
    if not marks:
        return image.convert("RGB")
    width, height = source_size or image.size
    scale = (image.width / width, image.height / height)
    outlines = [outline_of(mark.number, mark.shape, image.size, scale) for mark in marks]
    pixels = np.array(image.convert("RGB"))
    # Small regions last, so that no larger one's outline runs over them.
    for outline in sorted(outlines, key=lambda outline: -outline.footprint.area):
        outline.draw(pixels)
    canvas = Image.fromarray(pixels)
    font_size = choose_font_size([mark.label for mark in marks], image.size)
    plates = [
        render_plate(mark.label, font_size, outline.line.colour, outline.line.ink, image.size)
        for mark, outline in zip(marks, outlines)
    ]
    places = place_plates(image.size, [plate.size for plate in plates], [outline.footprint for outline in outlines])
    for outline, plate, (x, y) in zip(outlines, plates, places):
        _draw_leader(canvas, outline, (x, y, x + plate.width, y + plate.height))
    for plate, place in zip(plates, places):
        canvas.paste(plate, place)
    return canvas


def _draw_leader(canvas: Image.Image, outline: BoxOutline | BitmapOutline, plate: Rect) -> None:
    """Draws a line from a plate to its region, unless it is next to it."""
    x, y = outline.nearest(plate)
    start = clip(x, plate[0], plate[2] - 1), clip(y, plate[1], plate[3] - 1)
    line = outline.line
    if math.dist(start, (x, y)) > _LEADER_FROM + line.casing:
        core = max(1, line.core // 2)
        draw = ImageDraw.Draw(canvas)
        draw.line((start, (x, y)), fill=line.ink, width=core + 2)
        draw.line((start, (x, y)), fill=line.colour, width=core)
