# SPDX-License-Identifier: Apache-2.0
"""The contact sheet and its text, from plain data: what stands where, in which colour, and that all of it is there."""

import warnings
from dataclasses import replace

import matplotlib
import numpy as np
import pytest
from PIL import Image

from rgpt4d_plugin.preview import contact_sheet, text_layout
from rgpt4d_plugin.preview.contact_sheet import (
    INNER,
    MARK,
    TRAINED_FILL,
    VISUAL_FILL,
    WARN_FILL,
    WIDTH,
    MapRow,
    Piece,
    SheetClip,
    SheetImage,
    SheetSample,
    choose_frames,
    draw_sheet,
    save_sheet,
)
from rgpt4d_plugin.preview.text_layout import Face, Span, missing_characters, wrap


BODY = Face("regular", 16)
BLACK = (0, 0, 0)


def solid(*colours, height=24, width=40):
    """A clip of one colour per frame."""
    return np.stack([np.full((height, width, 3), colour, np.uint8) for colour in colours])


def hues(count, blue):
    """As many colours, no two alike and none that the sheet itself uses."""
    return [(10 + 9 * index, 200 - 7 * index, blue) for index in range(count)]


def sample(**parts):
    pieces = [
        Piece("<|im_start|>", 1, "special"),
        Piece("user\n", 2),
        Piece("<|video_pad|>", 24, "visual"),
        Piece("Where is <obj_1>?", 6),
        Piece("<|im_end|>", 1, "special"),
        Piece("there", 2, "text", True),
    ]
    return SheetSample("clips", 7, "qwen2_vl", "student", 100, **{"full_length": 36, "pieces": pieces, **parts})


def clip(frames, **parts):
    count = len(frames)
    return SheetClip("a.mp4", frames, [index / 2 for index in range(count)], (count // 2, 3, 4), count * 6, **parts)


def places(picture, colour):
    """Bounding box (left, top, right, bottom) of a colour, or None."""
    rows, columns = np.nonzero((np.asarray(picture) == colour).all(-1))
    return None if not len(rows) else (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


# --- frames ----------------------------------------------------------------------------------------------------------


def test_every_frame_stands_in_its_place():
    """In reading order, whole, and of one size."""
    colours = hues(8, 3)
    picture = draw_sheet(sample(clips=[clip(solid(*colours))]))
    assert picture.width == WIDTH
    boxes = [places(picture, colour) for colour in colours]
    assert sorted(boxes, key=lambda box: (box[1], box[0])) == boxes
    assert len({(right - left, bottom - top) for left, top, right, bottom in boxes}) == 1
    pixels = np.asarray(picture)
    for (left, top, right, bottom), colour in zip(boxes, colours):
        assert (pixels[top:bottom, left:right] == colour).all()


def test_small_frames_keep_their_pixels():
    """A chequered frame grows by whole pixels, not by blurring."""
    frames = solid(BLACK, (9, 9, 9), height=8, width=8)
    frames[0, ::2, ::2] = (250, 128, 7)
    picture = draw_sheet(sample(clips=[clip(frames)]))
    box = places(picture, (250, 128, 7))
    assert {colour for _, colour in picture.crop(box).getcolors()} == {BLACK, (250, 128, 7)}


@pytest.mark.slow
@pytest.mark.parametrize("maps", [False, True])
def test_marked_frames_have_a_border_and_others_none(maps):
    colours = hues(8, 3)
    frames = solid(*colours)
    rows = [MapRow("depth", "near is bright", frames // 2)] if maps else []
    picture = draw_sheet(sample(clips=[clip(frames, marked={0: ["<obj_1>"], 5: ["<obj_2>", "<obj_3>"]}, maps=rows)]))
    pixels = np.asarray(picture)
    for position, colour in enumerate(colours):
        left, top, right, bottom = places(picture, colour)
        middle = ((left + right) // 2, (top + bottom) // 2)
        around = [pixels[top - 2, middle[0]], pixels[bottom + 1, middle[0]]]
        around += [pixels[middle[1], left - 2], pixels[middle[1], right + 1]]
        for edge in around:
            assert (tuple(edge) == MARK) == (position in (0, 5)), position


@pytest.mark.slow
def test_maps_stand_below_their_frames():
    frames, depth, flow = (solid(*hues(4, blue)) for blue in (3, 90, 160))
    rows = [MapRow("depth", "near is bright", depth[:, :8, :8]), MapRow("flow", "hue", flow[:3], first=1)]
    picture = draw_sheet(sample(clips=[clip(frames, maps=rows)]))
    for position in range(4):
        frame, near, moved = (places(picture, hues(4, blue)[position]) for blue in (3, 90, 160))
        assert near[::2] == frame[::2] and near[1] > frame[3]
        assert near[3] - near[1] == frame[3] - frame[1]  # stretched to the frame's shape
        if 1 <= position < 3:
            assert moved[::2] == frame[::2] and moved[1] > near[3]
        else:
            assert moved is None


@pytest.mark.slow
def test_images_stand_side_by_side_until_the_row_is_full():
    colours = hues(6, 3)
    images = [SheetImage(f"{n}.png", solid(colour)[0], (1, 2, 3), 6) for n, colour in enumerate(colours)]
    boxes = [places(draw_sheet(sample(images=images)), colour) for colour in colours]
    assert sorted(boxes, key=lambda box: (box[1], box[0])) == boxes
    assert len({top for _, top, _, _ in boxes}) == 2
    assert all(abs((right - left) / (bottom - top) - 40 / 24) < 0.02 for left, top, right, bottom in boxes)


@pytest.mark.parametrize(
    ("count", "marked", "expected"),
    [
        (1, [], [0]),
        (16, [3], list(range(16))),
        (31, [], list(range(0, 31, 2))),
        (64, [0, 1, 2], None),
        (64, [63], None),
        (40, list(range(20)), list(range(20))),
        (20, [5, 99], None),
    ],
)
def test_choose_frames(count, marked, expected):
    found = choose_frames(count, marked)
    if expected is not None:
        assert found == expected
    assert len(found) == 16 or expected is not None
    assert found == sorted(set(found)) and set(found) <= set(range(count))
    assert {position for position in marked if position < count} <= set(found)
    others = [position for position in found if position not in marked]
    if len(others) > 2:  # spread over the whole clip
        unmarked = [position for position in range(count) if position not in marked]
        steps = np.diff([unmarked.index(position) for position in others])
        assert max(steps) - min(steps) <= 1 and others[0] == unmarked[0] and others[-1] == unmarked[-1]


def test_a_sheet_says_how_many_frames_it_shows(monkeypatch):
    texts = []
    monkeypatch.setattr(Face, "draw", lambda self, draw, x, y, text, ink: texts.append(text))
    frames = solid(*hues(20, 3), *hues(20, 90), *hues(20, 160), *hues(4, 220))
    draw_sheet(sample(clips=[replace(clip(frames), timestamps=[n / 4 for n in range(63)])]))
    said = " ".join(" ".join(texts).split())
    assert "16 of 64 shown" in said and "frame 63 repeated" in said and "the last frame is repeated" in said
    assert "0.00 to 15.50 s" in said and "frame 4 1.00 s" in said


# --- text ------------------------------------------------------------------------------------------------------------


def test_counts():
    one = sample()
    assert (one.count(), one.count("visual"), one.count("special"), one.trained) == (36, 24, 2, 2)


def test_the_sequence_is_shown_in_its_colours():
    picture = draw_sheet(sample())
    trained, visual = places(picture, TRAINED_FILL), places(picture, VISUAL_FILL)
    assert trained is not None and visual is not None
    without = draw_sheet(sample(pieces=[Piece("only text", 2)]))
    # The legend shows both colours always: look below it.
    legend = places(without, TRAINED_FILL)[3]
    assert places(without.crop((0, legend, *without.size)), TRAINED_FILL) is None
    assert places(picture.crop((0, legend, *picture.size)), TRAINED_FILL) is not None


def test_all_of_the_text_is_there(monkeypatch):
    texts = []
    monkeypatch.setattr(Face, "draw", lambda self, draw, x, y, text, ink: texts.append(text))
    draw_sheet(sample(full_length=50, notes=["Look here."]))
    said = " ".join(" ".join(texts).split())
    for part in ("clips", "record 7", "36", "cut from 50 by cutoff_len", "qwen2_vl", "student", "Look here."):
        assert part in said, part
    for part in ("<|im_start|>", "<|video_pad|> × 24", "Where is", "<obj_1>", "there", "67 % of all", "user", "↵"):
        assert part in said, part


def test_notes_stand_out():
    assert places(draw_sheet(sample()), WARN_FILL) is None
    assert places(draw_sheet(sample(notes=["Look here."])), WARN_FILL) is not None


def test_a_very_long_text_keeps_both_ends(monkeypatch):
    texts = []
    monkeypatch.setattr(Face, "draw", lambda self, draw, x, y, text, ink: texts.append(text))
    lines = "".join(f"line {number}\n" for number in range(500))
    draw_sheet(sample(pieces=[Piece(lines, 1500), Piece("the answer", 2, "text", True)]))
    said = " ".join(" ".join(texts).split())
    assert "line 0 ↵" in said and "line 499 ↵" in said and "the answer" in said and "line 250" not in said
    assert "… 381 lines are not shown …" in said


def test_wrap_breaks_between_words_and_loses_none():
    text = "one two  three\nfour " + "five" * 60 + " 六七八" * 40
    lines = wrap([Span(text, BODY, BLACK)], 200)
    assert all(x + span.width <= 200 + BODY.width(" ") for line in lines for x, span in line)
    shown = ["".join(span.text for _, span in line) for line in lines]
    assert "".join("".join(shown).split()) == "".join(text.split())
    assert shown[0].startswith("one two  three") and shown[1].startswith("four")


def test_wrap_keeps_chips_whole():
    chips = [Span(f"<|video_pad|> × {number}", BODY, BLACK, MARK, chip=True) for number in range(20)]
    lines = wrap(chips, 300)
    assert [span for line in lines for _, span in line] == chips and len(lines) == 20


def test_elide_keeps_the_end_of_a_path():
    path = "data/" + "folder/" * 30 + "clip_000001.mp4"
    short = BODY.elide(path, 300)
    assert BODY.width(short) <= 300 and short.startswith("data/") and short.endswith("clip_000001.mp4")
    assert BODY.elide("clip.mp4", 300) == "clip.mp4"


# --- fonts -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def system_fonts(monkeypatch):
    """Sets the installed fonts."""

    def install(*files):
        monkeypatch.setattr(text_layout, "_system_files", lambda: list(files))
        for cached in (text_layout._file_with, text_layout._runs):
            cached.cache_clear()

    yield install
    monkeypatch.undo()
    for cached in (text_layout._file_with, text_layout._runs):
        cached.cache_clear()


def test_characters_without_a_font_are_boxes_and_a_note(system_fonts, tmp_path):
    """No error and no warning, whatever the script."""
    system_fonts(str(tmp_path / "missing.ttf"), __file__)
    text = "物体 안녕 🚗 \x07 e\u0301 👩\u200d🚀\ufe0f \ud800 العربية"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = draw_sheet(sample(pieces=[Piece(text, 9)]))
    assert {"物", "体", "안", "녕", "🚗", "👩", "🚀"} <= missing_characters(text)
    assert not {"\x07", "\u200d", "\ufe0f", "e", "ا"} & missing_characters(text)
    assert places(picture, WARN_FILL) is not None  # the note that says which font to install
    assert places(draw_sheet(sample(pieces=[Piece("plain text", 2)])), WARN_FILL) is None


def test_an_installed_font_that_has_the_character_is_used(system_fonts):
    folder = f"{matplotlib.get_data_path()}/fonts/ttf"
    other = f"{folder}/STIXNonUni.ttf"
    own = text_layout._characters(f"{folder}/DejaVuSans.ttf")
    character = chr(min(code for code in text_layout._characters(other) - own if code > 0x100))
    system_fonts()
    assert missing_characters(character) == {character}
    system_fonts(other)
    assert missing_characters(character) == set()
    assert [font.path for font, _ in text_layout._runs(f"a{character}b", BODY)][1] == other


def test_a_sheet_is_a_png(tmp_path):
    save_sheet(sample(), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG" and image.size[0] == WIDTH == INNER + 2 * contact_sheet.MARGIN
