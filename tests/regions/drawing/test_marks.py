# SPDX-License-Identifier: Apache-2.0
"""Marks on frames: where outlines are and how they show, and that plates hide nothing they need not."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rgpt4d_plugin.regions.drawing import marks, outlines
from rgpt4d_plugin.regions.drawing.labels import Footprint, choose_font_size, place_plates, render_plate
from rgpt4d_plugin.regions.drawing.marks import Mark, draw_marks
from rgpt4d_plugin.regions.drawing.outlines import PALETTE, colour_of, contrasting, outline_of
from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon


GREY = (119, 119, 119)


def _frame(width=448, height=448, colour=GREY):
    return Image.new("RGB", (width, height), colour)


def _outlined(shape, size=(448, 448), source_size=None, number=1, background=GREY):
    """Pixels (H, W, 3) of a plain frame with the outline of one shape, without its plate."""
    source_size = source_size or size
    outline = outline_of(number, shape, size, (size[0] / source_size[0], size[1] / source_size[1]))
    pixels = np.array(_frame(*size, background))
    outline.draw(pixels)
    return pixels


def _is(pixels, colour):
    return (pixels == colour).all(axis=-1)


def _core(pixels, number=1):
    return _is(pixels, colour_of(number))


def _runs(line):
    """The middle of each run of True, in pixel edges."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], line, [False])).astype(int)))
    return ((edges[::2] + edges[1::2]) / 2).tolist()


def _luminance(colour):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.asarray(colour) / 255]
    return np.dot(linear, (0.2126, 0.7152, 0.0722))


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _disc(height, width, x, y, radius):
    rows, columns = np.ogrid[:height, :width]
    return Mask((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2)


def _rectangle(shape, width, height):
    """A box as another shape."""
    if shape is Polygon:
        return lambda x1, y1, x2, y2: Polygon(((x1, y1), (x2, y1), (x2, y2), (x1, y2)))
    if shape is Mask:
        rows, columns = np.ogrid[:height, :width]
        return lambda x1, y1, x2, y2: Mask((x1 <= columns) & (columns < x2) & (y1 <= rows) & (rows < y2))
    return Box


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_the_frame_is_not_changed(mode):
    rng = np.random.default_rng(0)
    frame = Image.fromarray(rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)).convert(mode)
    before = frame.copy()
    unmarked, marked = draw_marks(frame, []), draw_marks(frame, [Mark("1", 1, Box(10, 20, 60, 40))])
    assert frame.mode == mode and frame.tobytes() == before.tobytes()
    assert unmarked is not frame and unmarked.tobytes() == frame.convert("RGB").tobytes()
    assert marked.mode == "RGB" and marked.size == frame.size
    changed = (np.array(marked) != np.array(unmarked)).any(axis=2)
    assert changed[:45, :65].any() and not changed[45:].any() and not changed[:, 65:].any()


def test_shapes_are_scaled_by_the_ratio_of_each_axis():
    frame = _frame(300, 200)
    corners = ((400, 20), (520, 30), (460, 70))
    given = [Box(20, 40, 200, 90), Polygon(corners), Point(300, 60)]
    scaled = [Box(10, 80, 100, 180), Polygon(tuple((x / 2, 2 * y) for x, y in corners)), Point(150, 120)]
    one, other = (
        draw_marks(frame, [Mark(str(number), number, shape) for number, shape in enumerate(shapes, 1)], source_size)
        for shapes, source_size in ((given, (600, 100)), (scaled, None))
    )
    assert one.tobytes() == other.tobytes()


def test_colours_repeat_after_the_palette():
    assert len(set(PALETTE)) == 8
    assert [colour_of(number) for number in range(1, 18)] == [*PALETTE, *PALETTE, PALETTE[0]]
    with pytest.raises(ValueError, match="starts at 1, got 0 for '<obj_0>'"):
        Mark("<obj_0>", 0, Point(1, 1))


@st.composite
def _spans(draw, length, full):
    """Two whole edges in a source of `full` pixels, at least 9 apart on a frame of `length`."""
    least = math.ceil(9 * full / length)
    low = draw(st.integers(0, full - least))
    return low, draw(st.integers(low + least, full))


SIZES = st.tuples(st.integers(28, 640), st.integers(28, 640))


@pytest.mark.parametrize("shape", [Box, Polygon, Mask])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=SIZES, source=st.tuples(st.integers(60, 700), st.integers(60, 700)))
def test_outlines_are_on_the_edge_of_the_region(shape, data, size, source):
    (x1, x2), (y1, y2) = spans = [data.draw(_spans(size[axis], source[axis])) for axis in (0, 1)]
    pixels = _outlined(_rectangle(shape, *source)(x1, y1, x2, y2), size, source)

    scale = [size[axis] / source[axis] for axis in (0, 1)]
    edges = [[edge * scale[axis] for edge in spans[axis]] for axis in (0, 1)]
    line = outlines._Line.for_mark(1, size, min(high - low for low, high in edges))
    crossings = pixels[int(sum(edges[1]) / 2)], pixels[:, int(sum(edges[0]) / 2)]
    for axis, crossing in enumerate(crossings):
        low, high = edges[axis]
        found = _runs(_core(crossing))
        # The centre line, moved inward where the border would cut off the core or its casing.
        wanted = max(low, line.reach), min(high, size[axis] - line.reach)
        # Half a pixel since lines of one pixel are outside, half for rounding, and the 8 bits of an enlarged mask.
        np.testing.assert_allclose(found, wanted, atol=1.1)
        outside = np.r_[: math.ceil(found[0] - line.core / 2), math.floor(found[1] + line.core / 2) : size[axis]]
        assert (~_is(crossing[outside], GREY)).sum() >= 2  # Both casings are in the frame.


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(0.1, 0.9), st.floats(0.1, 0.9)),
    radius=st.floats(0.05, 0.09),
    size=st.tuples(st.integers(150, 640), st.integers(150, 640)),
    source=st.tuples(st.integers(150, 640), st.integers(150, 640)),
)
def test_round_outlines_follow_masks_and_polygons(centre, radius, size, source):
    """All of the core is near the ellipse that the disc becomes, and it is all around it."""
    x, y, radius = centre[0] * source[0], centre[1] * source[1], radius * min(source)
    corners = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in np.linspace(0, math.tau, 90)]
    scale = np.divide(size, source)
    for shape in (_disc(*source[::-1], x, y, radius), Polygon(tuple(corners))):
        rows, columns = np.nonzero(_core(_outlined(shape, size, source)))
        points = np.stack((columns, rows), axis=1) + 0.5
        edge = np.array([(x + radius * math.cos(t), y + radius * math.sin(t)) for t in np.linspace(0, math.tau, 400)])
        distances = np.linalg.norm(points[:, None] - edge * scale, axis=2)
        thickness = outlines._Line.for_mark(1, size, 2 * radius * scale.min()).core
        # Half the line, half a pixel's diagonal, and a pixel of the source, whose disc is made of squares.
        slack = thickness / 2 + 0.71 + scale.max() / 2
        assert distances.min(axis=1).max() <= slack + 1
        assert distances.min(axis=0).max() <= slack + 1


@pytest.mark.parametrize("size", [(56, 56), (448, 448), (336, 252)])
@pytest.mark.parametrize("place", [(0, 0), (900, 500), (1919, 1079)])
def test_a_mask_that_vanishes_in_the_resize_is_outlined_at_its_place(place, size):
    bitmap = np.zeros((1080, 1920), dtype=bool)
    bitmap[place[1], place[0]] = True
    rows, columns = np.nonzero(_core(_outlined(Mask(bitmap), size)))
    x, y = (place[0] + 0.5) * size[0] / 1920, (place[1] + 0.5) * size[1] / 1080
    # Around something, not a dot or a part of a ring.
    assert len(rows) >= 8 and np.ptp(rows) >= 3 and np.ptp(columns) >= 3
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).max() < 8
    assert columns.min() <= max(x, 3) and columns.max() >= min(x, size[0] - 4)
    assert rows.min() <= max(y, 3) and rows.max() >= min(y, size[1] - 4)


def test_a_pole_thinner_than_a_pixel_is_outlined_along_its_length():
    bitmap = np.zeros((1080, 1920), dtype=bool)
    bitmap[200:800, 1000] = True
    rows, columns = np.nonzero(_core(_outlined(Mask(bitmap), (192, 108))))
    assert abs(rows.min() - 20) <= 2 and abs(rows.max() - 79) <= 2
    assert set(columns) <= {98, 99, 100, 101, 102}


def test_an_empty_mask_is_refused():
    with pytest.raises(ValueError, match="mark 2: its mask is empty"):
        draw_marks(_frame(), [Mark("<obj_2>", 2, Mask(np.zeros((9, 9), dtype=bool)))])


@pytest.mark.parametrize("point", [(100, 60), (0, 60), (224, 0), (448, 448), (3.5, 440.2)])
def test_points_are_not_moved(point):
    core = _core(_outlined(Point(*point)))
    x, y = (min(int(value), 447) for value in point)
    assert core[y, x]
    rows, columns = np.nonzero(core)
    radii = np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1])
    # A dot, a gap, and a ring.
    assert not ((radii > 3) & (radii < 5)).any()
    assert 8 < radii.max() < 11
    if 20 < min(point) and max(point) < 428:
        assert abs(columns.mean() + 0.5 - point[0]) < 0.6 and abs(rows.mean() + 0.5 - point[1]) < 0.6


SHAPES = {
    "box": Box(150, 150, 260, 240),
    "polygon": Polygon(((150, 150), (260, 180), (200, 240))),
    "mask": _disc(448, 448, 200, 200, 50),
    "point": Point(200, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", [*range(1, 10), 17])
def test_outlines_show_on_every_background(number, shape):
    """On a frame of any one colour some of the line contrasts with it, and its core with its casing."""
    for background in (*PALETTE, (255, 255, 255), GREY):
        pixels = _outlined(SHAPES[shape], number=number, background=background)
        drawn = pixels[~_is(pixels, background)]
        values, counts = np.unique(drawn, axis=0, return_counts=True)
        visible = sum(count for value, count in zip(values, counts) if _contrast(value, background) >= 2)
        assert visible > 40
    colour = colour_of(number)
    assert max(_contrast(colour, ink) for ink in ((0, 0, 0), (255, 255, 255))) >= 4.5
    assert _contrast(colour, contrasting(colour)) >= 4.5


@pytest.mark.parametrize("shape", SHAPES)
def test_lines_of_one_colour_differ_in_their_dashes(shape):
    whole, dashed, dotted, again = (_core(_outlined(SHAPES[shape], number=number), 1) for number in (1, 9, 17, 25))
    assert 0.3 < dashed.sum() / whole.sum() < 0.8 and 0.3 < dotted.sum() / whole.sum() < 0.8
    assert (dashed & ~dotted).any() and (dotted & ~dashed).any()
    assert (again == whole).all()


def test_dashes_are_even():
    """Along each side of a box, and around a disc, dashes and gaps alternate with about one length."""
    core = _core(_outlined(SHAPES["box"], number=9), 1)
    for side in (core[150, 149:262], core[239, 149:262], core[149:242, 150], core[149:242, 259]):
        lengths = np.diff(np.flatnonzero(np.diff(np.concatenate(([False], side, [False])).astype(int))))
        assert len(lengths) >= 5 and lengths.max() - lengths.min() <= 2
        assert 10 <= lengths.mean() <= 20
    core = _core(_outlined(SHAPES["mask"], number=9), 1)
    angles = np.linspace(0, math.tau, 720, endpoint=False)
    ring = core[(200 + 50 * np.sin(angles)).astype(int), (200 + 50 * np.cos(angles)).astype(int)]
    assert 16 <= np.abs(np.diff(ring.astype(int))).sum() <= 26


@pytest.mark.parametrize(("size", "core"), [((56, 56), 1), ((256, 256), 2), ((448, 448), 3), ((1280, 720), 5)])
def test_lines_grow_with_the_frame(size, core):
    width, height = size
    for shape in (Box, Polygon, Mask):
        made = _rectangle(shape, width, height)(width // 4, height // 4, 3 * width // 4, 3 * height // 4)
        crossing = _core(_outlined(made, size)[height // 2])
        assert crossing.sum() == 2 * core


@pytest.mark.parametrize("shape", [Box, Polygon, Mask])
@pytest.mark.parametrize("side", [4, 5, 6, 8, 12, 16, 24])
def test_outlines_do_not_swallow_small_regions(side, shape):
    pixels = _outlined(_rectangle(shape, 448, 448)(200, 100, 200 + side, 100 + side))
    free = _is(pixels[100 : 100 + side, 200 : 200 + side], GREY).mean()
    assert free >= 0.3


def _overlap(place, size, rects):
    x, y = place
    return sum(
        max(min(x + size[0], x2) - max(x, x1), 0) * max(min(y + size[1], y2) - max(y, y1), 0)
        for x1, y1, x2, y2 in rects
    )


def _placed(frame, size, *boxes, area=None):
    """Where the plates of boxes go; all of them are as large as they look unless an area is given."""
    footprints = [Footprint((box,), (box[2] - box[0]) * (box[3] - box[1]) if area is None else area) for box in boxes]
    return place_plates(frame, [size] * len(boxes), footprints)


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((50, 50, 80, 70), (50, 40)),  # above, flush left
        ((90, 50, 100, 70), (86, 40)),  # slides along the border
        ((50, 5, 80, 25), (50, 25)),  # below
        ((50, 0, 80, 100), (80, 0)),  # right
        ((60, 0, 100, 100), (46, 0)),  # left
        ((0, 0, 100, 100), (0, 0)),  # a corner inside
    ],
)
def test_a_plate_prefers_to_be_above_its_region(box, place):
    assert _placed((100, 100), (14, 10), box) == [place]


def test_a_plate_avoids_larger_regions_if_it_can():
    """The slot above is on another region, the one below is not. Within it, all slots are."""
    small, large = (40, 60, 60, 70), (0, 0, 100, 60)
    assert _placed((100, 100), (14, 10), small, large)[0] == (40, 70)
    inner, outer = (40, 40, 60, 50), (5, 5, 95, 95)
    assert _placed((100, 100), (14, 10), inner, outer)[0] == (40, 30)


def test_a_plate_goes_no_farther_than_it_must():
    """Eight small boxes all around a ninth: its plate goes next to them."""
    boxes = [
        (100 + 20 * column, 100 + 20 * row, 120 + 20 * column, 120 + 20 * row)
        for row, column in sorted(itertools.product(range(3), repeat=2), key=lambda cell: cell != (1, 1))
    ]
    footprints = [Footprint((box,), 1.0 * number) for number, box in enumerate(boxes)]
    (x, y), *_ = place_plates((300, 300), [(14, 10)] * 9, footprints)
    gap = max(120 - x - 14, x - 140, 120 - y - 10, y - 140)
    assert gap == 20


def test_a_plate_finds_room_between_the_parts_of_a_region():
    parts = ((0, 0, 50, 13), (0, 13, 13, 27), (33, 13, 50, 27), (0, 27, 50, 50))
    assert place_plates((50, 50), [(20, 14)], [Footprint(parts, 1.0)]) == [(13, 13)]


@st.composite
def _crowds(draw):
    frame = draw(st.tuples(st.integers(28, 120), st.integers(28, 120)))
    sizes, footprints = [], []
    for _ in range(draw(st.integers(1, 9))):
        rects, y = [], draw(st.integers(0, frame[1] - 1))
        for height in draw(st.lists(st.integers(1, 20), min_size=1, max_size=3)):
            x = draw(st.integers(0, frame[0] - 1))
            rects.append((x, y, draw(st.integers(x + 1, frame[0])), min(y + height, frame[1])))
            y += height
            if y >= frame[1]:
                break
        area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in rects)
        footprints.append(Footprint(tuple(rects), float(area)))
        sizes.append((draw(st.integers(1, 28)), draw(st.integers(1, 16))))
    return frame, sizes, footprints


@settings(max_examples=150, deadline=None)
@given(_crowds())
def test_plates_hide_nothing_small_as_long_as_there_is_room(crowd):
    frame, sizes, footprints = crowd
    places = place_plates(frame, sizes, footprints)
    assert places == place_plates(frame, sizes, footprints)

    placed = []
    for number in sorted(range(len(sizes)), key=lambda number: footprints[number].area):
        (x, y), (w, h) = places[number], sizes[number]
        assert 0 <= x <= frame[0] - w and 0 <= y <= frame[1] - h
        small = [footprint.rects for footprint in footprints if footprint.area < 6 * w * h]
        obstacles = [*placed, *itertools.chain(*small)]
        if _overlap((x, y), (w, h), obstacles):
            taken = np.zeros(frame[::-1], dtype=bool)
            for x1, y1, x2, y2 in obstacles:
                taken[y1:y2, x1:x2] = True
            windows = np.lib.stride_tricks.sliding_window_view(taken, (h, w))
            assert windows.any(axis=(2, 3)).all()
        placed.append((x, y, x + w, y + h))


@pytest.fixture
def layout(monkeypatch):
    """The plates of the next frame to be drawn, as boxes."""
    plates = []

    def place(frame_size, plate_sizes, footprints):
        places = place_plates(frame_size, plate_sizes, footprints)
        plates[:] = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, plate_sizes)]
        return places

    monkeypatch.setattr(marks, "place_plates", place)
    return plates


def test_plates_on_a_frame_hide_no_small_region_and_no_plate(layout):
    """With a few marks on a frame there is room, whatever the shapes; regions are compared pixel by pixel."""
    rng = np.random.default_rng(0)
    for _ in range(80):
        width, height = rng.integers(250, 640, 2).tolist()
        drawn, regions = [], []
        for number in range(1, 6):
            x, y = rng.integers(0, width), rng.integers(0, height)
            radius = math.exp(rng.uniform(0, 4.5))
            disc = _disc(height, width, x, y, radius)
            region = disc.bitmap
            if not region.any() or (kind := rng.integers(4)) == 0:
                shape, region = Point(x, y), _disc(height, width, x, y, 0.8).bitmap
            elif kind == 1:
                shape = disc
            elif kind == 2:
                corners = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in np.linspace(0, math.tau, 60)]
                shape = Polygon(tuple((_within(a, width), _within(b, height)) for a, b in corners))
            else:
                (top, *_, bottom), (left, *_, right) = (np.r_[i.min(), i, i.max() + 1] for i in np.nonzero(region))
                shape, region = Box(left, top, right, bottom), np.zeros_like(region)
                region[top:bottom, left:right] = True
            drawn.append(Mark(str(number), number, shape))
            regions.append(region)
        draw_marks(_frame(width, height), drawn)
        covered = np.zeros((height, width), dtype=int)
        for x1, y1, x2, y2 in layout:
            covered[y1:y2, x1:x2] += 1
            for region in regions:
                # The limit is 6, of the exact areas.
                assert region.sum() > 5.5 * (x2 - x1) * (y2 - y1) or not region[y1:y2, x1:x2].any()
        assert covered.max() == 1


def _within(value, length):
    return float(min(max(value, 0), length))


def _distance(pixels, box):
    """Of the nearest of some pixels to a box."""
    rows, columns = np.nonzero(pixels)
    x1, y1, x2, y2 = box
    return np.hypot(columns - columns.clip(x1, x2 - 1), rows - rows.clip(y1, y2 - 1)).min()


def test_a_plate_that_is_not_at_its_region_is_connected_to_it(layout):
    """The middle one of nine boxes, and the same box alone: a line in its colour, or none."""
    cells = itertools.product((180, 200, 220), repeat=2)
    crowd = [Mark(str(number), number, Box(x, y, x + 20, y + 20)) for number, (x, y) in enumerate(cells, 1)]
    for drawn in (crowd, crowd[4:5]):
        pixels = np.array(draw_marks(_frame(), drawn))
        plate = layout[drawn.index(crowd[4])]
        leader = _core(pixels, 5)
        leader[197:223, 197:223] = leader[plate[1] : plate[3], plate[0] : plate[2]] = False
        if len(drawn) == 1:
            assert not leader.any()
        else:
            assert _distance(leader, plate) <= 2 and _distance(leader, (197, 197, 223, 223)) <= 2


def test_plates_carry_their_label_in_contrast():
    for number in range(1, 9):
        ink = contrasting(colour_of(number))
        plate = np.array(render_plate("8", 12, colour_of(number), ink, (448, 448)))
        assert _is(plate, ink).sum() > 0.2 * plate[..., 0].size and _is(plate, colour_of(number)).sum() > 20
        assert _is(plate[[0, -1]], ink).all() and _is(plate[:, [0, -1]], ink).all()


def test_plates_are_of_one_height_and_legible():
    for frame, digit in (((56, 56), 8), ((256, 256), 8), ((448, 448), 14), ((1280, 720), 22)):
        size = choose_font_size(["1"], frame)
        labels = [*map(str, range(40)), "a", "-"]
        assert len({render_plate(label, size, (255, 255, 255), (0, 0, 0), frame).height for label in labels}) == 1
        plate = np.array(render_plate("1", size, (255, 255, 255), (0, 0, 0), frame).convert("L"))[2:-2, 2:-2]
        assert digit <= (plate < 128).any(axis=1).sum() <= digit + 3


def test_the_font_shrinks_where_plates_need_too_much_of_the_frame():
    assert choose_font_size(["<obj_1>"], (448, 448)) == 20
    assert choose_font_size(["1"] * 8, (112, 112)) == 12
    assert 8 < choose_font_size(["<obj_1>"], (60, 60)) < 12
    assert choose_font_size(["1"] * 40, (112, 112)) == 8
    assert choose_font_size(["<obj_1>"] * 40, (112, 112)) == 8


def test_plates_are_cut_to_the_frame():
    colours = (255, 255, 255), (0, 0, 0)
    whole = render_plate("a label that is longer than any frame", 8, *colours, (448, 448))
    cut = render_plate("a label that is longer than any frame", 8, *colours, (40, 9))
    assert whole.width > 100 and cut.size == (40, 9)
    assert cut.tobytes() == whole.crop((0, 0, 40, 9)).tobytes()


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (9, 90), (90, 5), (28, 28), (40, 30)])
@pytest.mark.parametrize("label", ["", "1", "<obj_12>", "a label that is longer than any frame"])
def test_tiny_frames_and_long_labels_are_drawn_as_far_as_they_fit(size, label):
    shapes = [Box(0, 0, 64, 48), Point(60, 2), Polygon(((1, 1), (60, 2), (3, 44))), _disc(48, 64, 30, 20, 9)]
    drawn = [
        Mark(label, number, shape) for number, shape in enumerate(itertools.islice(itertools.cycle(shapes), 12), 1)
    ]
    for some in (drawn[:1], drawn[:4], drawn):
        once, again = (draw_marks(_frame(*size), some, (64, 48)) for _ in range(2))
        assert once.size == size and once.tobytes() == again.tobytes()


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=SIZES, source=st.tuples(st.integers(28, 700), st.integers(28, 700)))
def test_any_marks_can_be_drawn(data, size, source):
    """No mark raises, each one shows, and they are drawn the same way again."""
    x, y = st.floats(0, source[0]), st.floats(0, source[1])
    points = st.tuples(x, y)
    boxes = st.tuples(points, points).filter(lambda corners: all(a != b for a, b in zip(*corners)))
    shapes = st.one_of(
        boxes.map(lambda corners: Box(*map(min, *corners), *map(max, *corners))),
        st.lists(points, min_size=3, max_size=9).map(lambda corners: Polygon(tuple(corners))),
        points.map(lambda point: Point(*point)),
        st.tuples(points, st.floats(1, 200)).map(lambda disc: _disc(*source[::-1], *disc[0], disc[1])),
    )
    drawn = [
        Mark(str(number), number, shape)
        for number, shape in enumerate(data.draw(st.lists(shapes, min_size=1, max_size=12)), 1)
        if not isinstance(shape, Mask) or shape.bitmap.any()
    ]
    frame = _frame(*size)
    assert all(draw_marks(frame, [mark], source).getcolors() != frame.getcolors() for mark in drawn)
    once, again = (draw_marks(frame, drawn, source) for _ in range(2))
    assert once.size == size and once.tobytes() == again.tobytes()


def test_nothing_heavy_is_imported():
    """Finding matplotlib's font must not import it."""
    code = (
        "import sys; from PIL import Image; from rgpt4d_plugin.regions.drawing import marks, shapes;"
        "marks.draw_marks(Image.new('RGB', (64, 64)), [marks.Mark('1', 1, shapes.Point(9, 9))]);"
        "print(sorted({'matplotlib', 'torch', 'scipy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
