# SPDX-License-Identifier: Apache-2.0
"""Annotation tools' formats: records to a tool and back, to the pixel and the frame; files as the tools write them."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rgpt4d_plugin.cli import main
from rgpt4d_plugin.convert.export import export
from rgpt4d_plugin.convert.run import convert
from rgpt4d_plugin.convert.scenes import read_records
from rgpt4d_plugin.regions.masks import decode_rle, encode_rle
from rgpt4d_plugin.regions.tracks import at_frames, filled
from rgpt4d_plugin.synth4d.clips import encode_mp4


FRAMES, WIDTH, HEIGHT = 24, 96, 64
MESSAGES = [{"role": "user", "content": "<video>What is <obj_2>?"}, {"role": "assistant", "content": "A ball."}]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tools")
    frames = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    (folder / "a.mp4").write_bytes(encode_mp4(frames, 8))  # as many frames a second as an import keeps
    return folder


def there_and_back(tool, folder, regions, messages=MESSAGES):
    """Regions and messages of the records that come back, and what the export said."""
    work = folder / tool
    work.mkdir(exist_ok=True)
    if not (work / "a.mp4").exists():
        (work / "a.mp4").symlink_to(folder / "a.mp4")
    (work / "in.jsonl").write_text(json.dumps({"messages": messages, "videos": ["a.mp4"], "regions": regions}))
    (folder / "out").mkdir(exist_ok=True)
    for old in [*work.glob("*.json"), *work.glob("*.xml")]:
        old.unlink()
    said = list(export(tool, work / "in.jsonl", work))
    convert(tool, work, folder / "out")
    (line,) = (folder / "out" / f"{tool}.jsonl").read_text().splitlines()
    record = json.loads(line)
    return json.loads(record["regions"]), record["messages"], said


def numbers(most):
    return st.integers(0, most * 1000).map(lambda value: value / 1000)


@st.composite
def shapes(draw, kinds):
    kind = draw(st.sampled_from(kinds))
    if kind == "mask":
        mask = draw(st.lists(st.integers(0, WIDTH * HEIGHT - 1), min_size=1, max_size=40))
        bitmap = np.zeros(WIDTH * HEIGHT, bool)
        bitmap[mask] = True
        return {"mask": encode_rle(bitmap.reshape(HEIGHT, WIDTH))}
    x1, y1 = draw(numbers(WIDTH - 10)), draw(numbers(HEIGHT - 10))
    if kind == "point":
        return {"point": [round(x1 + 5, 3), round(y1 + 5, 3)]}
    x2, y2 = x1 + draw(numbers(8)) + 1.5, y1 + draw(numbers(8)) + 1.5
    box = [round(side, 3) for side in (x1, y1, x2, y2)]
    if kind == "box":
        return {"box": box}
    return {"polygon": [[box[0], box[1]], [box[2], box[1]], [box[2], box[3]]]}


@st.composite
def region_lists(draw, kinds):
    regions = []
    for number in range(1, draw(st.integers(1, 3)) + 1):
        frames = draw(st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=5, unique=True).map(sorted))
        first, step = frames[0], len(frames)
        frames = list(range(first, min(first + step, FRAMES)))  # without a gap: nothing to interpolate
        (kind,) = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=1))
        entries = [{"frame": frame, **draw(shapes([kind]))} for frame in frames]
        about = {"id": f"obj_{number}", "name": draw(st.sampled_from(["red ball", "cup & saucer", "Tür"])), "video": 0}
        regions.append(about | (entries[0] if len(entries) == 1 else {"track": entries}))
    return regions


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tool", "kinds"),
    [
        ("label_studio", ["box"]),
        ("cvat", ["box", "polygon", "point", "mask"]),
        ("coco", ["box", "polygon", "point", "mask"]),
    ],
)
def test_round_trip(tool, kinds, folder):
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(region_lists(kinds))
    def check(regions):
        back, messages, _ = there_and_back(tool, folder, regions, MESSAGES if len(regions) > 1 else [])
        for region in back:
            region.pop("normalized", None)  # said for values within the first pixel
        assert back == regions
        if tool != "cvat" and len(regions) > 1:
            assert messages == MESSAGES

    check()


def test_what_a_format_cannot_hold_is_said(folder):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 30:50] = True
    regions = [
        {"id": "obj_1", "video": 0, "frame": 3, "mask": encode_rle(mask)},
        {"id": "obj_2", "video": 0, "time": 0.5, "normalized": True, "box": [0.25, 0.5, 0.5, 1.0]},
        {"id": "obj_3", "video": 0, "frame": 3, "point": [5, 5]},
    ]
    back, _, said = there_and_back("label_studio", folder, regions)
    assert back == [
        {"id": "obj_1", "video": 0, "frame": 3, "box": [30, 10, 50, 20]},
        {"id": "obj_2", "video": 0, "frame": 4, "box": [24, 32, 48, 64]},
    ]
    assert said[1:] == [
        "  not as it was: 1 x mask: written as its box",
        "  not as it was: 1 x point: left out",
    ]
    assert "1 x questions: left out" in there_and_back("cvat", folder, regions)[2][1]


def test_label_studio_as_it_exports(folder, tmp_path):
    """An uploaded video, boxes in percent, frames from 1, one switched off, a rotated one; another frame rate."""
    (tmp_path / "a.mp4").symlink_to(folder / "a.mp4")
    key = {"x": 25, "y": 50, "width": 50, "height": 25, "rotation": 0, "time": 0.1}
    result = {"type": "videorectangle", "id": "k3Xq", "from_name": "box", "to_name": "video", "origin": "manual"}
    moves = [key | {"frame": 1, "enabled": True}, key | {"frame": 3, "enabled": False, "x": 45}]
    again = [key | {"frame": 9, "enabled": False, "rotation": 90, "x": 50, "y": 0}]
    value = {"framesCount": FRAMES, "duration": 3.0, "sequence": moves + again, "labels": ["car"]}
    twice = {"framesCount": 2 * FRAMES, "duration": 3.0, "sequence": [key | {"frame": 9, "enabled": False}]}
    results = [result | {"value": value}, result | {"id": "b", "value": twice | {"labels": []}}, {"type": "choices"}]
    task = {"id": 7, "data": {"video": "/data/upload/3/0a1b2c3d-a.mp4"}, "annotations": [{"result": results}]}
    (tmp_path / "export.json").write_text(json.dumps([task]))
    convert("label_studio", tmp_path, tmp_path / "out")
    record = json.loads((tmp_path / "out/label_studio.jsonl").read_text())
    car, other = json.loads(record["regions"])
    assert car["name"] == "car"
    assert car["track"][:3] == [
        {"frame": 0, "box": [24, 32, 72, 48]},
        {"frame": 1, "box": [33.6, 32, 81.6, 48]},  # half-way
        {"frame": 2, "box": [43.2, 32, 91.2, 48]},
    ]
    assert car["track"][3] == {"frame": 8, "polygon": [[48, 0], [48, 48], [32, 48], [32, 0]]}
    assert other == {"id": "obj_2", "video": 0, "frame": 4, "box": [24, 32, 72, 48]}  # 0.5 s
    assert record["messages"][0]["content"] == "<video>Name <obj_1> and <obj_2>."
    assert record["messages"][1]["content"] == "<obj_1>: car; <obj_2>: unnamed"


CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><id>4</id><source>a.mp4</source></task></meta>{}</annotations>"""


def of_cvat(tmp_path, folder, content):
    (tmp_path / "a.mp4").symlink_to(folder / "a.mp4")
    (tmp_path / "annotations.xml").write_text(content)
    convert("cvat", tmp_path, tmp_path / "out")
    return json.loads(json.loads((tmp_path / "out/cvat.jsonl").read_text())["regions"])


def test_cvat_as_it_exports(folder, tmp_path):
    box = '<box frame="{}" keyframe="{}" outside="{}" occluded="0" xtl="{}" ytl="2" xbr="20" ybr="30.5" z_order="0"/>'
    frames = [(0, 1, 0, 1.25), (1, 0, 0, 2.25), (2, 1, 0, 3.25), (3, 1, 1, 3.25), (9, 1, 0, -4)]
    mask = '<mask frame="1" keyframe="1" outside="0" rle="1, 2, 1" left="10" top="3" width="2" height="2"/>'
    tracks = f'<track id="0" label="car">{"".join(box.format(*each) for each in frames)}</track>'
    one, other = of_cvat(tmp_path, folder, CVAT.format(tracks + f'<track id="5" label="cup">{mask}</track>'))
    assert [entry["frame"] for entry in one["track"]] == [0, 1, 2, 9]
    assert one["track"][1]["box"] == [2.25, 2, 20, 30.5] and one["track"][3]["box"] == [0, 2, 20, 30.5]
    assert other["id"] == "obj_6" and np.argwhere(decode_rle(other["mask"])).tolist() == [[3, 11], [4, 10]]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>', "DTDForbidden"),
        ("<annotations><version>1.1</version>", "not an XML file of CVAT"),
        ("<annotations><version>1.0</version></annotations>", "expected CVAT for video 1.1"),
        ("<annotations><version>1.1</version><image id='0'/></annotations>", "export the task as CVAT for video"),
        (CVAT.format('<track id="0" label="a"><box frame="0" xtl="x"/></track>'), "ytl: missing"),
        (CVAT.format('<track id="0" label="a"><polygon frame="0" points="1,2;3"/></track>'), "expected x,y;x,y"),
        (
            CVAT.format(
                '<track id="0" label="a"><mask frame="0" rle="1,2" left="0" top="0" width="2" height="2"/></track>'
            ),
            "the runs sum to 3",
        ),
        (CVAT.format('<track id="0" label="a"><points frame="99" points="1,2"/></track>'), "past the end"),
        (CVAT.format(""), "nothing is marked"),
        (CVAT.replace("a.mp4", "b.mp4").format(""), "no file b.mp4"),
    ],
)
def test_broken_cvat(content, message, folder, tmp_path):
    with pytest.raises(ValueError, match=message):
        of_cvat(tmp_path, folder, content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": [{"id": 1, "video_id": 1}]}, "neither frame_id nor frame_index"),
        ({"videos": []}, "belong to video 1"),
        ({"annotations": [{"id": 1, "image_id": 9, "category_id": 1}]}, "belongs to image 9, which is not there"),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [90, 60, 50, 50]}]}, None),
        ({"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": []}]}, "has no box"),
        (
            {
                "annotations": [
                    {"id": 1, "image_id": 1, "category_id": 1, "segmentation": {"size": [2, 2], "counts": [4]}}
                ]
            },
            "the frame 96 x 64",
        ),
        ({"annotations": None}, "annotations"),
    ],
)
def test_broken_coco(change, message, folder, tmp_path):
    (tmp_path / "a.mp4").symlink_to(folder / "a.mp4")
    whole = {
        "videos": [{"id": 1, "name": "a.mp4"}],
        "images": [{"id": 1, "video_id": 1, "frame_id": 0, "file_name": "x"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(whole | change))
    if message is None:  # what hangs over the edge is clipped
        convert("coco", tmp_path, tmp_path / "out")
        assert "[90.0,60.0,96.0,64.0]" in json.loads((tmp_path / "out/coco.jsonl").read_text())["regions"]
        return
    with pytest.raises(ValueError, match=message):
        convert("coco", tmp_path, tmp_path / "out")


def test_several_polygons_are_a_mask(folder, tmp_path):
    (tmp_path / "a.mp4").symlink_to(folder / "a.mp4")
    polygons = [[0, 0, 10, 0, 10, 10, 0, 10], [20, 20, 30, 20, 30, 30, 20, 30]]
    content = {
        "videos": [{"id": 1, "name": "a.mp4"}],
        "images": [{"id": 1, "video_id": 1, "frame_index": 2}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": polygons}],
        "categories": [{"id": 1, "name": "cup"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(content))
    convert("coco", tmp_path, tmp_path / "out")
    (region,) = json.loads(json.loads((tmp_path / "out/coco.jsonl").read_text())["regions"])
    mask = decode_rle(region["mask"])
    assert mask[5, 5] and mask[25, 25] and not mask[15, 15] and mask.sum() == 2 * 11 * 11


def test_export_names_the_record(folder, capsys):
    path = folder / "bad.jsonl"
    path.write_text(json.dumps({"videos": ["a.mp4"], "regions": [{"id": "obj_1", "frame": 99, "box": [1, 1, 9, 9]}]}))
    assert main(["export", "coco", str(path), "--out", str(folder / "no")]) == 1
    assert "bad.jsonl, record 0: regions[0].frame: frame 99 is past the end" in capsys.readouterr().err


def test_records_may_hold_line_separators_of_unicode(tmp_path):
    records = [{"messages": [{"role": "user", "content": "one\u2028two\u0085"}]}, {"messages": []}]
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    assert read_records(path) == records


def test_interpolation():
    ends = [{"frame": 0, "box": [0, 0, 10, 10]}, {"frame": 10, "box": [10, 20, 20, 40]}]
    (piece,) = filled([ends], 4)
    assert [entry["frame"] for entry in piece] == [0, 4, 8, 10]
    assert piece[1]["box"] == [4, 8, 14, 22]
    assert at_frames(ends, [0, 5, 12]) == [ends[0], {"frame": 5, "box": [5, 10, 15, 25]}]
    assert filled([[ends[0], {"frame": 10, "point": [1, 1]}]], 2) == [[ends[0], {"frame": 10, "point": [1, 1]}]]
