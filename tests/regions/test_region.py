# SPDX-License-Identifier: Apache-2.0
"""Records' regions: parsing, what is refused, and where on a frame they are."""

import json

import numpy as np
import pytest

from rgpt4d_plugin.regions.drawing.shapes import Box, Mask, Point, Polygon
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle
from rgpt4d_plugin.regions.media_entries import Clip, ImageEntry, decode_clip, decode_image_entry, parse_clip
from rgpt4d_plugin.regions.region import RegionError, check_mentions, parse_regions


BOX = {"id": "obj_1", "video": 0, "frame": 12, "box": [10, 20, 30, 40]}


def parse(*regions, videos=1, images=0):
    return parse_regions(list(regions), videos, images)


def test_a_box_in_pixels_and_one_in_shares_of_the_frame():
    in_pixels, normalized = parse(
        BOX, {"id": "obj_2", "video": 0, "time": 0.48, "box": [0.25, 0, 1, 0.5], "normalized": True}
    )
    assert in_pixels.annotations[0].shape(100, 50) == Box(10, 20, 30, 40)
    assert normalized.annotations[0].shape(100, 50) == Box(25, 0, 100, 25)
    assert (in_pixels.annotations[0].frame, normalized.annotations[0].time) == (12, 0.48)
    assert (in_pixels.number, in_pixels.tag) == (1, "<obj_1>")


def test_points_polygons_and_masks(tmp_path):
    bitmap = np.zeros((50, 100), dtype=bool)
    bitmap[10:20, 30:60] = True
    point, flat, nested, mask, as_text = (
        region.annotations[0].shape(100, 50)
        for region in parse(
            {"id": "obj_1", "image": 0, "point": [3, 4]},
            {"id": "obj_2", "image": 0, "polygon": [0, 0, 10, 0, 10, 10]},
            {"id": "obj_3", "image": 0, "polygon": [[0, 0], [10, 0], [10, 10]]},
            {"id": "obj_4", "image": 0, "mask": encode_rle(bitmap)},
            {"id": "obj_5", "image": 0, "mask": json.dumps(encode_rle(bitmap))},
            videos=0,
            images=1,
        )
    )
    assert point == Point(3, 4)
    assert flat == nested == Polygon(((0, 0), (10, 0), (10, 10)))
    assert isinstance(mask, Mask) and (mask.bitmap == bitmap).all() and (as_text.bitmap == bitmap).all()


def test_run_lengths_as_bytes_ride_in_an_entry():
    """As the COCO API encodes them; an entry is JSON."""
    rle = encode_rle(np.eye(9, dtype=bool))
    (region,) = parse({"id": "obj_1", "frame": 3, "mask": rle | {"counts": rle["counts"].encode()}})
    assert decode_clip(Clip("a.mp4", regions=(region,)).encode()).regions[0].annotations[0].value == rle


def test_a_track_keeps_its_order_and_inherits_normalized():
    track = [{"time": 1.0, "box": [0, 0, 0.5, 0.5]}, {"frame": 3, "box": [0, 0, 1, 1]}]
    (region,) = parse({"id": "obj_1", "video": 0, "normalized": True, "track": track})
    assert [(s.time, s.frame) for s in region.annotations] == [(1.0, None), (None, 3)]
    assert region.annotations[0].shape(100, 100) == Box(0, 0, 50, 50)


def test_null_counts_as_absent_and_the_only_medium_need_not_be_named():
    filled = {**dict.fromkeys(("time", "mask", "polygon", "point", "track", "normalized", "image")), **BOX}
    del filled["video"]
    assert parse(filled)[0].annotations == parse(BOX)[0].annotations


def test_the_column_may_be_json_text_or_missing():
    assert parse_regions(json.dumps([BOX]), 1, 0)[0].id == "obj_1"
    assert parse_regions(None, 1, 0) == parse_regions([], 0, 0) == []


@pytest.mark.parametrize(
    "change, message",
    [
        ({"id": "cup"}, r"regions\[0\].id: expected one of 'obj_1'.*got 'cup'"),
        ({"id": "obj_0"}, r"regions\[0\].id"),
        ({"bbox": [0, 0, 1, 1]}, r"regions\[0\].bbox: unknown key; did you mean 'box'"),
        ({"video": 1}, r"regions\[0\].video: expected a number from 0 to 0, got 1"),
        ({"image": 0}, r"regions\[0\]: belongs to a video and to an image"),
        ({"frame": None}, r'regions\[0\]: expected "frame" or "time" \(seconds\), got neither'),
        ({"time": 1.0}, r"got frame and time"),
        ({"frame": -1}, r"regions\[0\].frame: expected a frame number from 0, got -1"),
        ({"frame": 1.5}, r"regions\[0\].frame"),
        ({"frame": None, "time": float("nan")}, r"regions\[0\].time: expected seconds from 0, got nan"),
        ({"frame": None, "time": -0.1}, r"regions\[0\].time"),
        ({"box": [30, 20, 10, 40]}, r"regions\[0\].box: .*x1 > x2"),
        ({"box": [10, 20, 10, 40]}, r"regions\[0\].box: .*no area"),
        ({"box": [10, 20, float("nan"), 40]}, r"regions\[0\].box: .*not a number"),
        ({"box": [-1, 20, 10, 40]}, r"regions\[0\].box: .*leaves the frame"),
        ({"box": [0, 0, 1.1, 1], "normalized": True}, r"regions\[0\].box: .*leaves 0..1"),
        ({"box": [1, 2, 3]}, r"regions\[0\].box: expected \[x1, y1, x2, y2\]"),
        ({"box": "1 2 3 4"}, r"regions\[0\].box: expected"),
        ({"box": [True, 0, 1, 1]}, r"regions\[0\].box: expected"),
        ({"box": None}, r"regions\[0\]: expected one of box, mask, polygon, point or track, got none"),
        ({"point": [1, 2]}, r"got box and point"),
        ({"box": None, "point": [1]}, r"regions\[0\].point: expected \[x, y\]"),
        ({"box": None, "polygon": [[0, 0], [1, 1]]}, r"regions\[0\].polygon: expected"),
        ({"box": None, "polygon": [[0, 0], [1, 0], [2, 0]]}, r"regions\[0\].polygon: .*no area"),
        ({"box": None, "mask": 7}, r"regions\[0\].mask: expected a COCO RLE or the path"),
        ({"box": None, "mask": "{nonsense"}, r"regions\[0\].mask: begins like JSON"),
        ({"box": None, "track": []}, r"has a track and also frame"),
        ({"box": None, "frame": None, "track": []}, r"regions\[0\].track: expected a list"),
        ({"box": None, "frame": None, "track": [{"box": [0, 0, 1, 1]}]}, r"regions\[0\].track\[0\]: expected .frame"),
        ({"normalized": 1}, r"regions\[0\].normalized: expected true or false"),
        ({"frame": float("inf")}, r"regions\[0\].frame: expected a frame number from 0, got inf"),
        ({"frame": float("nan")}, r"regions\[0\].frame: expected a frame number from 0, got nan"),
        ({"frame": 10**400}, r"regions\[0\].frame: expected a frame number from 0, got 1000.*\.\.\.$"),
        ({"frame": 2**31}, r"regions\[0\].frame: expected a frame number from 0, below 2147483648, got 2147483648"),
        ({"frame": None, "time": 1e308}, r"regions\[0\].time: expected seconds from 0, below 10000000, got 1e\+308"),
        ({"frame": None, "time": 10**400}, r"regions\[0\].time: expected seconds from 0, got 1000"),
        ({"box": [10, 20, 10**400, 40]}, r"regions\[0\].box: .*too large for one"),
        (
            {"box": [10, 20, 10**5000, 40]},
            r"regions\[0\].box: a value of type list too large to print has",
        ),
        ({"id": "obj_" + "1" * 5000}, r"regions\[0\].id: expected one of 'obj_1'.*got 'obj_111"),
        ({"id": "obj_\u0661"}, r"regions\[0\].id: expected one of 'obj_1'"),
        (
            {"box": None, "mask": '{"size": ' + "[" * 100_000},
            r"regions\[0\].mask: begins like JSON but is not: nested",
        ),
    ],
)
def test_what_a_region_is_refused_for(change, message):
    with pytest.raises(RegionError, match=message):
        parse({**BOX, **change})


@pytest.mark.parametrize(
    "shape",
    [{"box": [0.1, 0.2, 0.5, 1]}, {"box": [0, 0, 1, 1]}, {"point": [0.5, 0.5]}, {"polygon": [0, 0, 1, 0, 1, 1]}],
)
def test_small_coordinates_need_a_word_what_they_are(shape):
    """Shares of the frame without `normalized` would be a dot in its corner: both readings are named."""
    for region in (
        {"id": "obj_1", "image": 0, **shape},
        {"id": "obj_1", "image": 0, "normalized": None, **shape},
    ):
        with pytest.raises(
            RegionError, match=r'first pixel; for shares .*"normalized": true, for pixels "norm.*false'
        ):
            parse(region, videos=0, images=1)
    for normalized in (True, False):
        (region,) = parse({"id": "obj_1", "image": 0, "normalized": normalized, **shape}, videos=0, images=1)
        assert region.annotations[0].normalized is normalized
    with pytest.raises(RegionError, match=r"regions\[0\].track\[1\]\.\w+: .*within the first pixel"):
        parse({"id": "obj_1", "track": [{"frame": 0, "box": [1, 2, 3, 4]}, {"frame": 9, **shape}]})


def test_thousandths_are_named_where_a_shape_leaves_the_frame():
    (region,) = parse({**BOX, "box": [100, 200, 900, 1000]})
    with pytest.raises(RegionError, match=r"leaves the frame of 640 x 480 .*clip it.*0-1000 coordinates, divide"):
        region.annotations[0].shape(640, 480)
    (region,) = parse({**BOX, "box": [100, 200, 1900, 1001]})
    with pytest.raises(RegionError, match=r"leaves the frame of 640 x 480 pixels; clip it to that$"):
        region.annotations[0].shape(640, 480)
    with pytest.raises(RegionError, match=r"leaves 0..1; .*0-1000 coordinates are to be divided by 1000"):
        parse({**BOX, "box": [100, 200, 900, 1000], "normalized": True})


def test_deep_json_and_huge_masks_are_errors_that_name_the_field():
    with pytest.raises(RegionError, match=r"regions: not a list and not JSON either: nested too deeply"):
        parse_regions("[" * 100_000, 1, 0)
    with pytest.raises(RegionError, match=r"regions: not a list and not JSON either: Exceeds the limit"):
        parse_regions("[" + "1" * 5000 + "]", 1, 0)
    huge = {"size": [200_000, 100_000], "counts": [0, 200_000 * 100_000]}
    (region,) = parse({"id": "obj_1", "image": 0, "mask": huge}, videos=0, images=1)
    with pytest.raises(RegionError, match=r"mask: the mask is 100000 x 200000 pixels, the frame 64 x 48"):
        region.annotations[0].shape(64, 48)
    with pytest.raises(ValueError, match="size 100000 x 200000 has more than 134,217,728 pixels"):
        decode_rle(huge)


def test_other_refusals():
    with pytest.raises(RegionError, match=r"regions\[1\].id: 'obj_1' is there already"):
        parse(BOX, BOX)
    with pytest.raises(RegionError, match=r"regions\[0\].frame: belongs to an image"):
        parse({"id": "obj_1", "image": 0, "frame": 0, "box": [0, 0, 1, 1]}, videos=0, images=1)
    with pytest.raises(RegionError, match=r"2 video\(s\) and 0 image\(s\); say which"):
        parse({"id": "obj_1", "frame": 0, "box": [0, 0, 1, 1]}, videos=2)
    with pytest.raises(RegionError, match="the record has no images"):
        parse({"id": "obj_1", "image": 0, "box": [0, 0, 1, 1]})
    with pytest.raises(RegionError, match="regions: expected a list"):
        parse_regions({"id": "obj_1"}, 1, 0)
    with pytest.raises(RegionError, match="regions: not a list and not JSON"):
        parse_regions("[{", 1, 0)


def test_shapes_that_do_not_fit_the_frame():
    (box,) = parse(BOX)
    assert box.annotations[0].shape(30, 40) == Box(10, 20, 30, 40)
    with pytest.raises(RegionError, match=r"regions\[0\].box: .* leaves the frame of 29 x 40 pixels"):
        box.annotations[0].shape(29, 40)
    (mask,) = parse({**BOX, "box": None, "mask": encode_rle(np.ones((4, 6), dtype=bool))})
    with pytest.raises(RegionError, match=r"regions\[0\].mask: the mask is 6 x 4 pixels, the frame 8 x 4"):
        mask.annotations[0].shape(8, 4)
    (broken,) = parse({**BOX, "box": None, "mask": {"size": [4, 6], "counts": [3]}})
    with pytest.raises(RegionError, match=r"regions\[0\].mask: "):
        broken.annotations[0].shape(6, 4)
    (lost,) = parse({**BOX, "box": None, "mask": "no/such.png"})
    with pytest.raises(RegionError, match=r"regions\[0\].mask: .*no/such.png"):
        lost.annotations[0].shape(6, 4)


def test_mentions():
    regions = parse(BOX, {**BOX, "id": "obj_2"})
    assert check_mentions(["is <obj_1> near?", "<obj_2>"], regions) == []
    assert [region.id for region in check_mentions(["<obj_2> only"], regions)] == ["obj_1"]
    with pytest.raises(RegionError, match="messages: <obj_3> is named.*regions: obj_1, obj_2"):
        check_mentions(["<obj_1> and <obj_3>"], regions)
    for nearly in ("<OBJ_1>", "<obj_1", "< obj_1 >", "<obj-1>", "<obj1>"):
        with pytest.raises(RegionError, match=f"messages: '{nearly}' names no region; write it as <obj_1>"):
            check_mentions([f"Where is {nearly}?"], regions)
    assert check_mentions(["<obj1> without regions, and <object>"], []) == []


def test_clips_and_stills_survive_as_strings():
    regions = tuple(parse({**BOX, "id": "obj_3", "track": None}, {"id": "obj_1", "time": 0.5, "point": [1, 2]}))
    clip = Clip("a b.mp4", 1.5, None, regions, insert_missing=True)
    again = decode_clip(clip.encode())
    assert again == clip
    assert again.regions[1].annotations[0].field == "regions[1]"
    still = ImageEntry("a.mp4", True, regions[:1], "tag")
    assert decode_image_entry(still.encode()) == still
    assert Clip("a.mp4").encode() == ImageEntry("a.mp4").encode() == "a.mp4"
    assert decode_clip(["frame.png"]) is None
    with pytest.raises(RegionError, match="a still among the videos"):
        decode_clip(still.encode())


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"path": "a.mp4", "start": -1}, r"videos\[0\].start: expected seconds from 0, got -1"),
        ({"path": "a.mp4", "end": float("nan")}, r"videos\[0\].end: expected seconds from 0, got nan"),
        ({"path": "a.mp4", "start": 2, "end": 2}, r"end 2 s is not after start 2 s"),
        ({"path": "a.mp4", "begin": 2}, r"videos\[0\].begin: unknown key"),
        ({"path": "a.mp4", "start": 10**400}, r"videos\[0\].start: expected seconds from 0, got 1000"),
        ({"path": "a.mp4", "end": 1e308}, r"videos\[0\].end: expected seconds from 0, got 1e\+308"),
        ({"path": "a.mp4", 7: 1, "x": 2}, r"videos\[0\].7: unknown key"),
        ({"start": 2}, r"videos\[0\].path: expected a path, got None"),
        (7, r"videos\[0\]: expected a path or"),
    ],
)
def test_what_a_clip_is_refused_for(entry, message):
    with pytest.raises(RegionError, match=message):
        parse_clip(entry, "videos[0]")


def test_a_clip_with_absent_ends_is_the_whole_video():
    assert parse_clip({"path": "a.mp4", "start": None, "end": None}, "videos[0]") == Clip("a.mp4")
    assert parse_clip("a.mp4", "videos[0]").encode() == "a.mp4"
