# SPDX-License-Identifier: Apache-2.0
"""Tiles of a contact sheet: frames side by side under their captions, marked ones framed, maps below."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from rgpt4d_plugin.preview.text_layout import Colour, Face


INNER = 1304
"""Width of a block in pixels."""
GAP = 14
BORDER = 5
"""Around a marked frame, so that all of the frame is seen."""

INK: Colour = (24, 29, 38)
SOFT: Colour = (96, 104, 118)
FAINT: Colour = (163, 170, 181)
PANEL: Colour = (246, 247, 249)
PAPER: Colour = (255, 255, 255)
MARK: Colour = (226, 88, 12)

SMALL, LABEL = Face("regular", 13), Face("bold", 13)


@dataclass(frozen=True)
class Column:
    """A frame with its caption, and its maps below; None where there is no map."""

    title: str
    caption: str
    pictures: Sequence[np.ndarray | None]
    labels: Sequence[str]


def draw_tiles(columns: Sequence[Column], size: tuple[int, int], titles: Sequence[str]) -> Image.Image:
    """Draws columns of equally many pictures side by side, in as many rows as it takes.

    `size` is the height and width of the first picture, and of the place that the others are stretched to. `titles`
    are those of the pictures from top to bottom, or nothing.
    """
    has_labels = any(column.labels for column in columns)
    gutter = 72 if titles else BORDER if has_labels else 0
    # Columns of several pictures are narrow, so that a row of them fits a screen.
    width = INNER - gutter - (BORDER if has_labels else 0)
    across, tile = _layout(len(columns), size, width, side=140 if titles else 210)
    head = 44 if has_labels else 26
    pictures = len(columns[0].pictures)
    row_height = head + pictures * tile[0] + (pictures - 1) * 6
    rows = math.ceil(len(columns) / across)
    block = blank(rows * row_height + (rows - 1) * (GAP + 8) + 6)
    draw = ImageDraw.Draw(block)
    for index, column in enumerate(columns):
        left = gutter + index % across * (tile[1] + GAP)
        top = index // across * (row_height + GAP + 8)
        LABEL.draw(draw, left, top + 16, column.title, INK)
        start = LABEL.width(column.title) + 10
        SMALL.draw(draw, left + start, top + 16, SMALL.elide(column.caption, tile[1] - start), SOFT)
        LABEL.draw(draw, left, top + 34, LABEL.elide(" ".join(column.labels), tile[1]), MARK)
        for row, picture in enumerate(column.pictures):
            y = top + head + row * (tile[0] + 6)
            if titles and index % across == 0:
                LABEL.draw(draw, 0, y + tile[0] / 2 + 5, titles[row], SOFT)
            if picture is None:
                draw.rectangle((left, y, left + tile[1] - 1, y + tile[0] - 1), fill=PANEL)
                SMALL.draw(draw, left + tile[1] / 2 - 4, y + tile[0] / 2 + 5, "–", FAINT)
                continue
            if column.labels and row == 0:
                box = (left - BORDER, y - BORDER, left + tile[1] + BORDER - 1, y + tile[0] + BORDER - 1)
                draw.rectangle(box, fill=MARK)
            block.paste(resized(picture, tile), (left, y))
    return block


def _layout(count: int, size: tuple[int, int], width: int, side: int) -> tuple[int, tuple[int, int]]:
    """Returns tiles in a row and their (height, width). Rows are alike and fill `width` unless there are few tiles.

    `size` is the height and width of the frames, and `side` that of a square of about the area of a tile.
    """
    height, wide = size
    across = min(max(round((width + GAP) / (side * math.sqrt(wide / height) + GAP)), 1), 8)
    across = math.ceil(count / math.ceil(count / across))
    tile = min((width - (across - 1) * GAP) / across, 2 * side, 2 * side * wide / height)
    return across, (max(round(tile * height / wide), 1), max(math.floor(tile), 1))


def resized(picture: np.ndarray, size: tuple[int, int]) -> Image.Image:
    """Returns a picture at (height, width); pixels of a small one stay squares."""
    image = Image.fromarray(picture)
    is_small = size[0] >= 3 * image.height and size[1] >= 3 * image.width
    return image.resize(size[::-1], Image.Resampling.NEAREST if is_small else Image.Resampling.LANCZOS)


def blank(height: int) -> Image.Image:
    """Returns an empty block."""
    return Image.new("RGB", (INNER, height), PAPER)


def stack(blocks: Sequence[Image.Image], between: int = 0) -> Image.Image:
    """Joins blocks on top of each other, some pixels apart."""
    stacked = blank(sum(block.height + between for block in blocks) - between)
    tops = itertools.accumulate((block.height + between for block in blocks), initial=0)
    for top, block in zip(tops, blocks):
        stacked.paste(block, (0, top))
    return stacked
