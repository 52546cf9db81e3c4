# SPDX-License-Identifier: Apache-2.0
"""Labels of marks: their looks, and places for them on the frame that hide no region."""

import functools
from collections.abc import Sequence
from importlib.metadata import distribution

import numpy as np
from PIL import Image, ImageDraw, ImageFont


# Font sizes in pixels. DejaVu Sans Bold has digits of 0.73 of its size: 9 pixels at 12, and at 8 just legible 6.
_FONT_SHARE, _FONT_GOOD, _FONT_LEAST = 0.045, 12, 8
_CROWDED = 0.25
"""Share of the frame that all labels together take up at most, unless the font is at its least."""
_SMALL = 6
"""A region of fewer label areas than this is never covered where there is room elsewhere."""
_REGION_HEIGHTS = 2
"""How many of its heights a label goes farther to stay off a larger region."""

Colour = tuple[int, int, int]


def choose_font_size(texts: Sequence[str], frame_size: tuple[int, int]) -> int:
    """Returns the font size in pixels for all labels of a frame (width, height).

    It is in proportion to the frame, and smaller where the labels would need too much of it.
    """
    width, height = frame_size
    wanted = max(_FONT_GOOD, round(_FONT_SHARE * min(frame_size)))
    for font_size in range(wanted, _FONT_LEAST, -1):
        sizes = [_measure(text, font_size)[0] for text in texts]
        fits = all(w <= width and h <= height for w, h in sizes)
        if fits and sum(w * h for w, h in sizes) <= _CROWDED * width * height:
            return font_size
    return _FONT_LEAST


@functools.lru_cache(maxsize=1024)
def render_label(text: str, font_size: int, colour: Colour, ink: Colour, frame_size: tuple[int, int]) -> Image.Image:
    """Draws a label, or as much of its left and upper part as fits into the frame; text and edge are in `ink`.

    The RGB image is shared between calls: not to be changed.
    """
    (width, height), origin = _measure(text, font_size)
    label = Image.new("RGB", (width, height), colour)
    draw = ImageDraw.Draw(label)
    draw.rectangle((0, 0, width - 1, height - 1), outline=ink, width=max(1, round(font_size / 16)))
    draw.text(origin, text, fill=ink, font=_font(font_size), anchor="ls")
    return label.crop((0, 0, min(width, frame_size[0]), min(height, frame_size[1])))


@functools.lru_cache(maxsize=1024)
def _measure(text: str, font_size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns the size (width, height) of a label and where on it the text's base line begins."""
    left, top, right, bottom = map(int, _font(font_size).getbbox(text, anchor="ls"))
    # At least as high as a digit, so that the labels of "1" and "8" are of one height.
    _, digit_top, _, digit_bottom = map(int, _font(font_size).getbbox("0", anchor="ls"))
    top, bottom = min(top, digit_top), max(bottom, digit_bottom)
    pad = max(1, round(font_size / 16)) + max(1, round(font_size / 8))
    height = bottom - top + 2 * pad
    width = max(right - left + 2 * pad + 2, height)
    return (width, height), ((width - right + left) // 2 - left, pad - top)


@functools.lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    # Found, not imported: matplotlib takes a third of a second. Pillow's own font is thin and hard to read this small.
    path = distribution("matplotlib").locate_file("matplotlib/mpl-data/fonts/ttf/DejaVuSans-Bold.ttf")
    # The other layout engine is not part of every Pillow.
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


def place_labels(sizes: Sequence[tuple[int, int]], regions: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """Finds a place for each label, those of small regions first.

    A label goes as near to the upper left corner of its region as it can, from above if there is room, without hiding
    a small region or a label placed before. It rather goes a little farther than to hide a part of a larger region. If
    there is no such place in the frame, it goes to where it hides least.

    Args:
        sizes: (width, height) of each label, none larger than the frame.
        regions: Pixels bool (H, W) that each region and its outline take up, at least one.

    Returns:
        Upper left corner (x, y) of each label.
    """
    areas = [np.count_nonzero(region) for region in regions]
    labels = np.zeros(regions[0].shape, dtype=bool)
    places: dict[int, tuple[int, int]] = {}
    for number in sorted(range(len(sizes)), key=lambda number: areas[number]):
        w, h = sizes[number]
        small, large = labels.copy(), np.zeros_like(labels)
        for region, area in zip(regions, areas):
            kept = small if area < _SMALL * w * h else large
            kept |= region
        place, free = _cheapest((w, h), regions[number], small, large, 3 * max(w, h))
        if not free:
            place, _ = _cheapest((w, h), regions[number], small, large, max(labels.shape))
        places[number] = place
        labels[place[1] : place[1] + h, place[0] : place[0] + w] = True
    return [places[number] for number in range(len(sizes))]


def _cheapest(
    size: tuple[int, int], region: np.ndarray, small: np.ndarray, large: np.ndarray, reach: int
) -> tuple[tuple[int, int], bool]:
    """Finds the best place for a label that begins at most `reach` pixels from its region's upper left corner.

    Pixels bool (H, W) of `small` must not be hidden, those of `large` should rather not. Returns the place (x, y), and
    whether nothing of `small` is hidden there.
    """
    w, h = size
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    rooms = region.shape[1] - w, region.shape[0] - h
    x, y = (
        np.arange(min(max(start - reach, 0), room), min(start + reach, room) + 1)
        for start, room in zip((columns[0], rows[0]), rooms)
    )
    part = slice(y[0], y[-1] + h), slice(x[0], x[-1] + w)
    hidden = _window_sums(small[part], w, h)
    # A label over a large region costs distance, one over a small region or a label more than any distance. Places
    # beside the region are as good as others only where they touch it.
    cost = np.hypot(x - columns[0], y[:, None] - (rows[0] - h)) + np.hypot(
        _gap(x, w, columns), _gap(y, h, rows)[:, None]
    )
    cost += 1e5 * hidden + _window_sums(large[part], w, h) * (_REGION_HEIGHTS / w)
    top, left = np.unravel_index(cost.argmin(), cost.shape)
    return (int(x[left]), int(y[top])), hidden[top, left] == 0


def _window_sums(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    """Returns how many pixels of bool (H, W) are set in each window, by its upper left corner."""
    sums = np.zeros((pixels.shape[0] + 1, pixels.shape[1] + 1), dtype=np.int32)
    sums[1:, 1:] = pixels.cumsum(axis=0, dtype=np.int32).cumsum(axis=1)
    rows = sums[height:] - sums[:-height]
    return rows[:, width:] - rows[:, :-width]


def _gap(starts: np.ndarray, length: int, used: np.ndarray) -> np.ndarray:
    """Returns the pixels between spans of `length` from `starts` on and the span of a region's pixels."""
    return np.maximum(np.maximum(used[0] - starts - length, starts - used[-1] - 1), 0)
