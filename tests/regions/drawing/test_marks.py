# SPDX-License-Identifier: Apache-2.0
"""Marks on frames: where outlines are and how they show, and that labels hide nothing they need not."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rgpt4d_plugin.regions.drawing import marks
from rgpt4d_plugin.regions.drawing.labels import choose_font_size, place_labels, render_label
from rgpt4d_plugin.regions.drawing.marks import PALETTE, Mark, colour_of, contrasting, draw_marks
from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon


GREY = (119, 119, 119)


def _frame(width=448, height=448, colour=GREY):
    return Image.new("RGB", (width, height), colour)


def _outlined(shape, size=(448, 448), source_size=None, number=1, background=GREY):
    """Pixels (H, W, 3) of a plain frame with the outline of one shape, without its label."""
    source_size = source_size or size
    canvas = _frame(*size, background)
    scale = (size[0] / source_size[0], size[1] / source_size[1])
    marks._Outline(Mark("1", number, shape), size, scale).draw(canvas)
    pixels = np.array(canvas)
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


@pytest.mark.slow
@pytest.mark.parametrize("shape", [Box, Polygon, Mask])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=SIZES, source=st.tuples(st.integers(60, 700), st.integers(60, 700)))
def test_outlines_lie_around_the_region(shape, data, size, source):
    """Crossing a region, the coloured line ends where the region begins, or as near as the border lets it."""
    (x1, x2), (y1, y2) = spans = [data.draw(_spans(size[axis], source[axis])) for axis in (0, 1)]
    pixels = _outlined(_rectangle(shape, *source)(x1, y1, x2, y2), size, source)

    width = max(1, round(0.007 * min(size)))
    reach = width + max(1, round(width / 3))
    edges = [[edge * size[axis] / source[axis] for edge in spans[axis]] for axis in (0, 1)]
    edges = [(max(low, reach), min(high, length - reach)) for (low, high), length in zip(edges, size)]
    crossings = pixels[int(sum(edges[1]) / 2)], pixels[:, int(sum(edges[0]) / 2)]
    for (low, high), crossing in zip(edges, crossings):
        wanted = low - width / 2, high + width / 2
        line = (np.abs(crossing.astype(int) - colour_of(1)).max(axis=1) < 90) & ~_is(crossing, GREY)
        # A pixel for rounding, half for smooth edges, and the 8 bits of an enlarged mask.
        np.testing.assert_allclose(_runs(line), wanted, atol=1.6)
        assert (crossing[[0, -1]] != colour_of(1)).any(axis=1).all()  # the casing is in the frame, too


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(0.2, 0.8), st.floats(0.2, 0.8)),
    radius=st.floats(0.05, 0.09),
    size=st.tuples(st.integers(150, 640), st.integers(150, 640)),
    source=st.tuples(st.integers(150, 640), st.integers(150, 640)),
)
def test_round_outlines_follow_masks_and_polygons(centre, radius, size, source):
    """All of the line is near the ellipse that the disc becomes, and it is all around it."""
    x, y, radius = centre[0] * source[0], centre[1] * source[1], radius * min(source)
    corners = [(x + radius * math.cos(t), y + radius * math.sin(t)) for t in np.linspace(0, math.tau, 90)]
    scale = np.divide(size, source)
    for shape in (_disc(*source[::-1], x, y, radius), Polygon(tuple(corners))):
        rows, columns = np.nonzero(_core(_outlined(shape, size, source)))
        points = np.stack((columns, rows), axis=1) + 0.5
        edge = np.array([(x + radius * math.cos(t), y + radius * math.sin(t)) for t in np.linspace(0, math.tau, 400)])
        distances = np.linalg.norm(points[:, None] - edge * scale, axis=2)
        # The line, half a pixel's diagonal, and a pixel of the source, whose disc is made of squares.
        slack = max(1, round(0.007 * min(size))) + 0.71 + scale.max() / 2
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
    assert len(rows) >= 4 and np.ptp(rows) >= 2 and np.ptp(columns) >= 2
    assert np.hypot(columns + 0.5 - x, rows + 0.5 - y).max() < 10
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


@pytest.mark.parametrize("point", [(100, 60), (0, 60), (224, 0), (447, 447), (3.5, 440.2)])
def test_points_have_a_dot_in_a_ring(point):
    core = _core(_outlined(Point(*point)))
    x, y = (min(int(value), 447) for value in point)
    assert core[y, x]
    rows, columns = np.nonzero(core)
    radii = np.hypot(columns + 0.5 - point[0], rows + 0.5 - point[1])
    assert radii.max() < 16
    if 20 < min(point) and max(point) < 428:
        assert not ((radii > 3.5) & (radii < 7)).any()  # a gap between them
        assert abs(columns.mean() + 0.5 - point[0]) < 0.6 and abs(rows.mean() + 0.5 - point[1]) < 0.6


SHAPES = {
    "box": Box(150, 150, 260, 240),
    "polygon": Polygon(((150, 150), (260, 180), (200, 240))),
    "mask": _disc(448, 448, 200, 200, 50),
    "point": Point(200, 200),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("number", range(1, 9))
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


def _as_seen(colour, kind):
    """A colour as a person without red or green cones sees it (Vienot, Brettel and Mollon 1999), in sRGB."""
    linear = np.array([c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.asarray(colour) / 255])
    red_green = {"protan": (0.11238, 0.88762), "deutan": (0.29275, 0.70725)}[kind]
    blue = {"protan": (0.00401, -0.00401, 1), "deutan": (-0.02234, 0.02234, 1)}[kind]
    shared = np.dot(linear[:2], red_green)
    seen = np.array([shared, shared, np.dot(linear, blue)]).clip(0, 1)
    return 255 * np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("kind", ["protan", "deutan"])
def test_colour_blind_readers_tell_the_colours_apart(kind):
    seen = [_as_seen(colour, kind) for colour in PALETTE]
    assert min(np.abs(one - other).max() for one, other in itertools.combinations(seen, 2)) > 25


@pytest.mark.parametrize(("size", "core"), [((56, 56), 1), ((256, 256), 2), ((448, 448), 3), ((1280, 720), 5)])
def test_lines_grow_with_the_frame(size, core):
    width, height = size
    for shape in (Box, Polygon, Mask):
        made = _rectangle(shape, width, height)(width // 4, height // 4, 3 * width // 4, 3 * height // 4)
        crossing = _core(_outlined(made, size)[height // 2])
        assert crossing.sum() == 2 * core


@pytest.mark.parametrize("shape", [Box, Polygon, Mask])
@pytest.mark.parametrize("side", [1, 4, 6, 8, 12, 24])
def test_outlines_hide_nothing_of_their_region(side, shape):
    pixels = _outlined(_rectangle(shape, 448, 448)(200, 100, 200 + side, 100 + side))
    assert _is(pixels[100 : 100 + side, 200 : 200 + side], GREY).all()


def _placed(frame, size, *boxes):
    """Where the labels of boxes go."""
    regions = [np.zeros(frame[::-1], dtype=bool) for _ in boxes]
    for region, (x1, y1, x2, y2) in zip(regions, boxes):
        region[y1:y2, x1:x2] = True
    return place_labels([size] * len(boxes), regions)


@pytest.mark.parametrize(
    ("box", "place"),
    [
        ((50, 50, 80, 70), (50, 40)),  # above, flush left
        ((90, 50, 100, 70), (86, 40)),  # slides along the border
        ((50, 2, 70, 12), (36, 0)),  # beside
        ((0, 2, 40, 9), (0, 9)),  # below
        ((0, 0, 100, 100), (0, 0)),  # a corner inside
    ],
)
def test_a_label_is_near_the_upper_left_corner(box, place):
    assert _placed((100, 100), (14, 10), box) == [place]


def test_a_label_avoids_larger_regions_if_it_can():
    small, large = (40, 60, 60, 70), (0, 0, 100, 60)
    (x, y), _ = _placed((100, 100), (14, 10), small, large)
    assert y >= 60 and (x == 26 or y == 70)
    inner, outer = (40, 40, 60, 50), (5, 5, 95, 95)  # within it, all places are
    assert _placed((100, 100), (14, 10), inner, outer)[0] == (40, 30)


def test_a_label_goes_no_farther_than_it_must():
    """Eight small boxes all around a ninth: its label goes next to them."""
    boxes = [
        (100 + 20 * column, 100 + 20 * row, 120 + 20 * column, 120 + 20 * row)
        for row, column in sorted(itertools.product(range(3), repeat=2), key=lambda cell: cell != (1, 1))
    ]
    (x, y), *_ = _placed((300, 300), (14, 10), *boxes)
    assert max(120 - x - 14, x - 140, 120 - y - 10, y - 140) == 20


def test_a_label_finds_room_between_the_parts_of_a_region():
    region = np.ones((50, 50), dtype=bool)
    region[13:27, 13:33] = False
    region[40:] = False
    region[40, 0] = True
    assert place_labels([(20, 14)], [region]) == [(13, 13)]


@st.composite
def _crowds(draw):
    frame = draw(st.tuples(st.integers(28, 120), st.integers(28, 120)))
    sizes, regions = [], []
    for _ in range(draw(st.integers(1, 9))):
        region = np.zeros(frame[::-1], dtype=bool)
        for _ in range(draw(st.integers(1, 3))):
            x, y = draw(st.integers(0, frame[0] - 1)), draw(st.integers(0, frame[1] - 1))
            region[y : y + draw(st.integers(1, 20)), x : x + draw(st.integers(1, 60))] = True
        regions.append(region)
        sizes.append((draw(st.integers(1, 28)), draw(st.integers(1, 16))))
    return frame, sizes, regions


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(_crowds())
def test_labels_hide_nothing_small_as_long_as_there_is_room(crowd):
    frame, sizes, regions = crowd
    places = place_labels(sizes, regions)
    assert places == place_labels(sizes, regions)

    labels = np.zeros(frame[::-1], dtype=bool)
    for number in sorted(range(len(sizes)), key=lambda number: regions[number].sum()):
        (x, y), (w, h) = places[number], sizes[number]
        assert 0 <= x <= frame[0] - w and 0 <= y <= frame[1] - h
        taken = np.logical_or.reduce([labels, *(region for region in regions if region.sum() < 6 * w * h)])
        windows = np.lib.stride_tricks.sliding_window_view(taken, (h, w)).sum(axis=(2, 3))
        assert windows[y, x] == windows.min()
        labels[y : y + h, x : x + w] = True


@pytest.fixture
def layout(monkeypatch):
    """The labels of the next frame to be drawn, as boxes."""
    labels = []

    def place(sizes, regions):
        places = place_labels(sizes, regions)
        labels[:] = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(places, sizes)]
        return places

    monkeypatch.setattr(marks, "place_labels", place)
    return labels


@pytest.mark.slow
def test_labels_on_a_frame_hide_no_small_region_and_no_label(layout):
    """With a few marks on a frame there is room, whatever the shapes; regions are compared pixel by pixel."""
    rng = np.random.default_rng(0)
    for _ in range(60):
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


def test_a_label_that_is_not_at_its_region_is_connected_to_it(layout):
    """The middle one of nine boxes, and the same box alone: a line in its colour, or none."""
    cells = itertools.product((180, 200, 220), repeat=2)
    crowd = [Mark(str(number), number, Box(x, y, x + 20, y + 20)) for number, (x, y) in enumerate(cells, 1)]
    for drawn in (crowd, crowd[4:5]):
        pixels = np.array(draw_marks(_frame(), drawn))
        label = layout[drawn.index(crowd[4])]
        leader = _core(pixels, 5)
        leader[195:225, 195:225] = leader[label[1] : label[3], label[0] : label[2]] = False
        if len(drawn) == 1:
            assert not leader.any()
        else:
            assert _distance(leader, label) <= 2 and _distance(leader, (195, 195, 225, 225)) <= 2


def test_labels_carry_their_label_in_contrast():
    for number in range(1, 9):
        ink = contrasting(colour_of(number))
        label = np.array(render_label("8", 12, colour_of(number), ink, (448, 448)))
        assert _is(label, ink).sum() > 0.2 * label[..., 0].size and _is(label, colour_of(number)).sum() > 20
        assert _is(label[[0, -1]], ink).all() and _is(label[:, [0, -1]], ink).all()


def test_labels_are_of_one_height_and_legible():
    for frame, digit in (((56, 56), 8), ((256, 256), 8), ((448, 448), 14), ((1280, 720), 22)):
        size = choose_font_size(["1"], frame)
        labels = [*map(str, range(40)), "a", "-"]
        assert len({render_label(label, size, (255, 255, 255), (0, 0, 0), frame).height for label in labels}) == 1
        label = np.array(render_label("1", size, (255, 255, 255), (0, 0, 0), frame).convert("L"))[2:-2, 2:-2]
        assert digit <= (label < 128).any(axis=1).sum() <= digit + 3


def test_the_font_shrinks_where_labels_need_too_much_of_the_frame():
    assert choose_font_size(["<obj_1>"], (448, 448)) == 20
    assert choose_font_size(["1"] * 8, (112, 112)) == 12
    assert 8 < choose_font_size(["<obj_1>"], (60, 60)) < 12
    assert choose_font_size(["1"] * 40, (112, 112)) == 8
    assert choose_font_size(["<obj_1>"] * 40, (112, 112)) == 8


def test_labels_are_cut_to_the_frame():
    colours = (255, 255, 255), (0, 0, 0)
    whole = render_label("a label that is longer than any frame", 8, *colours, (448, 448))
    cut = render_label("a label that is longer than any frame", 8, *colours, (40, 9))
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
