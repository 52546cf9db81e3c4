# SPDX-License-Identifier: Apache-2.0
"""Each source's published form, in small, against the records that the host gets; prompts to the letter.

PYTHONPATH=. python -m pytest tests/convert/test_sources.py
"""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rgpt4d_plugin.convert import r4d, sat
from rgpt4d_plugin.convert.run import convert
from tests.source_folders import (
    VLM4D_REAL,
    encoded,
    r4d_folder,
    r4d_item,
    records,
    robofac_entry,
    sat_file,
    sat_row,
    summary,
    vlm4d_folder,
    vsti_folder,
    vsti_formatted,
    vsti_raw,
    write,
)


def turns(record: dict) -> list[str]:
    assert [message["role"] for message in record["messages"]] == ["user", "assistant"] * (
        len(record["messages"]) // 2
    )
    return [message["content"] for message in record["messages"]]


def refused(tmp_path: Path, source: str, **settings) -> str:
    with pytest.raises(ValueError) as caught:
        convert(source, tmp_path / "src", tmp_path / "out", **settings)
    return str(caught.value)


# VLM4D: real records


@pytest.mark.parametrize("questions", [".", "QA", "data"])
def test_vlm4d(tmp_path, questions):
    src, out = vlm4d_folder(tmp_path / "src", questions), tmp_path / "out"
    convert("vlm4d", src, out)

    first, zero, twice, blank = records(out, "vlm4d_real")
    assert turns(first) == [
        "<video>\n"
        "Question: How many times does the batter hit the ball to the left?\n"
        "A: 1\n"
        "B: 2\n"
        "C: 3\n"
        "D: 0\n"
        "\n"
        "Do not generate any intermediate reasoning process. Answer directly with the option letter from the given "
        "choices.",
        "A",
    ]
    assert first["videos"] == ["videos_real/davis/baseball.mp4"]
    assert turns(zero)[1] == "D"  # the answer is the integer 0
    assert turns(twice)[1] == "C"
    assert "\nB: By rolling it. \n" in turns(blank)[0] and turns(blank)[1] == "B"
    assert summary(out, "vlm4d_real")["remarks"] == {"several options have the answer's text: the first one counts": 1}

    (synthetic,) = records(out, "vlm4d_synthetic")
    assert turns(synthetic)[1] == "B" and synthetic["videos"] == ["videos_synthetic/synth_002.mp4"]
    assert (zero["id"], synthetic["id"]) == ("real_mc/validation_4", "synthetic_mc/validation_3")


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"answer": 7}, "field `answer`: '7' is not among ['1', '2', '3', '0']"),
        ({"answer": None}, "field `answer`: expected str or int, found None"),
        ({"answer": True}, "field `answer`: expected str or int, found True"),
        ({"choices": ["left", "right"]}, "field `choices`: expected dict, found ['left', 'right']"),
        ({"choices": {"B": 1, "A": 0}}, "field `choices`: expected the letters from A on in order, found ['B', 'A']"),
        ({"choices": {"A": 1, "B": 0.5}}, "field `choices.B`: expected str or int, found 0.5"),
        ({"video": "https://somewhere.org/x.mp4"}, "field `video`: expected videos_real/ or videos_synthetic/ in"),
        ({"video": "videos_real/../../x.mp4"}, "field `video`: 'videos_real/../../x.mp4' is not a path below"),
        ({"question": " "}, None),
        ({"question": "What is in <image>?"}, "field `images`: the text has 1 <image>, but there are 0 images"),
    ],
)
def test_vlm4d_broken(tmp_path, change, expected):
    src = vlm4d_folder(tmp_path / "src", ".")
    write(src / "real_mc.json", [VLM4D_REAL[0], VLM4D_REAL[0] | change])
    if expected is None:  # the prompt around it is not empty
        convert("vlm4d", src, tmp_path / "out")
    else:
        message = refused(tmp_path, "vlm4d")
        assert f"{src}/real_mc.json, record 1 (counted from 0), {expected}" in message
        assert "--skip-bad N" in message


# R4D-Bench


def test_r4d(tmp_path):
    src = r4d_folder(tmp_path / "src", [r4d_item()])
    convert("r4d_bench", src, tmp_path / "out")
    (record,) = records(tmp_path / "out", "r4d_bench")
    assert turns(record) == [
        "<image><video>"
        "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled "
        "<obj_1>, <obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions.\n"
        "\n"
        "How often does <obj_1> turn?\n"
        "\n"
        "Options:\n"
        "(A) 2\n"
        "(B) once\n"
        "(C) \n"
        "(D) 0\n"
        "\n"
        "Answer with only the letter of the correct option.",
        "D",
    ]
    assert record["images"] == ["images/vlm4d/7.png"] and record["videos"] == ["clipped/vlm4d/a.mp4"]
    assert (record["id"], record["kind"], record["benchmark"]) == ("7", "Counting", "vlm4d")


def test_r4d_without_clip_and_without_marks(tmp_path):
    full = {"video": "videos/stibench/b.mp4", "source": "videos/stibench/b.mp4", "options": ["x", "y"], "answer": "y"}
    items = [
        r4d_item(video="clipped/vlm4d/none.mp4", som_image="images/vlm4d/none.png"),
        r4d_item(som_image=None, question=None, **full),
        r4d_item(id="s-1", **full),
    ]
    items[2].pop("som_image")
    src = r4d_folder(tmp_path / "src", items)
    convert("r4d_bench", src, tmp_path / "out")

    no_clip, raw, string_id = records(tmp_path / "out", "r4d_bench")
    assert no_clip["videos"] == ["videos/vlm4d/a.mp4"] and no_clip["images"] == []
    assert turns(no_clip)[0].startswith("<video>How often does <obj_1> turn?\n\nOptions:\n(A) 2\n")
    assert turns(raw)[0].startswith("<video>How often does the dog turn?\n\n") and turns(raw)[1] == "B"
    assert string_id["id"] == "s-1" and string_id["images"] == []
    assert summary(tmp_path / "out", "r4d_bench")["remarks"] == {
        "full video, because there is no clip": 1,
        "set-of-mark image missing: asked without it": 1,
    }


def test_r4d_items_without_gold_letter_are_counted(tmp_path):
    items = [r4d_item(answer=answer) for answer in (None, "", "thrice", 0)] + [r4d_item(answer="2")]
    src = r4d_folder(tmp_path / "src", items)
    convert("r4d", src, tmp_path / "out")
    assert [turns(record)[1] for record in records(tmp_path / "out", "r4d_bench")] == ["D", "A"]
    found = summary(tmp_path / "out", "r4d_bench")
    assert found["left_out"] == {"no valid answer": 3} and found["entries"] == 5
    assert [entry["record"] for entry in found["left_out_entries"]] == [0, 1, 2]
    assert found["notes"] == [r4d.NOTE]


# VSTI-Bench


@pytest.mark.parametrize("folder", [".", "vstibench_train"])
def test_vsti(tmp_path, folder):
    displacement = vsti_raw(question_type="camera_displacement", ground_truth=1.8)
    src = vsti_folder(tmp_path / "src", [vsti_formatted()], [vsti_raw(), displacement], folder=folder)
    write(src / folder / "erratum_dropped_items.json", [{"id": "another"}])
    convert("vsti", src, tmp_path / "out")

    formatted, choice, number = records(tmp_path / "out", "vsti_train")
    assert turns(formatted) == [
        "<video>\nThese are frames of a video.\nWhich of these is the closest?\nOptions:\nA. chair\nB. table\n"
        "Answer with the option's letter from the given choices directly.",
        "B",
    ]
    assert turns(choice) == [
        "<video>\n"
        "These are frames of a video.\n"
        "Which way did the camera move between frame 1 and frame 9 of 32?\n"
        "Options:\n"
        "A. Forward\n"
        "B. Left\n"
        "C. Right\n"
        "D. Backward\n"
        "Answer with the option's letter from the given choices directly.",
        "C",
    ]
    # Asked for the value although the record has options and a letter.
    assert turns(number) == [
        "<video>\n"
        "These are frames of a video.\n"
        "Which way did the camera move between frame 1 and frame 9 of 32?\n"
        "Please answer the question using a single word or phrase.",
        "1.8",
    ]
    assert formatted["videos"] == choice["videos"] == ["scannet/videos/scene0191_00.mp4"]
    assert (formatted["kind"], choice["id"]) == ("camera_obj_rel_dist_v3", "qa_1/0")
    found = summary(tmp_path / "out", "vsti_train")
    assert "2026-07-13" in found["notes"][0]
    assert [len(entry["sha256"]) for entry in found["inputs"]] == [64, 64]


@pytest.mark.parametrize(
    "entry, expected",
    [
        (
            vsti_formatted(question_type="object_counting"),
            "`question_type`: 'object_counting' is none of VSTI-Bench's",
        ),
        (vsti_formatted(id="gone"), "`id`: gone is on the list erratum_dropped_items.json"),
        (vsti_formatted(conversations=[]), "`conversations`: expected question and answer in turns, found []"),
        (vsti_formatted(video=None), "`video`: expected str, found None"),
        (
            vsti_formatted(question_type="camera_displacement"),
            "`conversations[1].value`: expected a number, found 'B'",
        ),
        (
            vsti_formatted(conversations=[{"from": "human", "value": "<image>\nA. x"}, {"from": "gpt", "value": "x"}]),
            "`conversations[1].value`: 'x' is none of the options' letters (A)",
        ),
        (
            vsti_formatted(conversations=[{"from": "gpt", "value": "<image>\nx"}, {"from": "human", "value": "B"}]),
            "`conversations[0].from`: expected human, found 'gpt'",
        ),
        (
            vsti_formatted(conversations=[{"from": "human", "value": "What?"}, {"from": "gpt", "value": "B"}]),
            "`conversations[0].value`: expected to begin with <video>, found 'What?'",
        ),
        (vsti_raw(mc_answer="E"), "`mc_answer`: 'E' is none of the options' letters (A, B, C, D)"),
        (vsti_raw(question_type="camera_obj_abs_dist"), "`ground_truth`: expected a number, found 'Right'"),
        ({"question_type": "camera_obj_abs_dist"}, "`(record)`: neither `conversations` nor `ground_truth`"),
        ("text", "`(record)`: expected an object, found 'text'"),
    ],
)
def test_vsti_broken(tmp_path, entry, expected):
    src = vsti_folder(tmp_path / "src", [vsti_formatted()], [entry])
    write(src / "vstibench_train/erratum_dropped_items.json", [{"id": "gone"}])
    assert f"qa_1.json, record 0 (counted from 0), field {expected}" in refused(tmp_path, "vsti")


# RoboFAC


def test_robofac(tmp_path):
    src = tmp_path / "src"
    videos = ["PickCube-v1/drop/a.mp4", "so100_pick/b.mp4", "Rotation2-gen1/c.mp4", "dataset_success_cleaned/x/d.mp4"]
    write(src / "training_qa.json", [robofac_entry(video) for video in videos])
    write(src / "simulation_data/PickCube-v1/drop/a.mp4")
    write(src / "realworld_data/so100_pick/b.mp4")
    # The annotations have other names for these two folders than the archive.
    write(src / "simulation_data/SpinPullStack-gen1/c.mp4")
    write(src / "simulation_data/success_data/x/d.mp4")
    convert("robofac", src, tmp_path / "out")

    found = records(tmp_path / "out", "robofac")
    assert [record["videos"] for record in found] == [
        ["simulation_data/PickCube-v1/drop/a.mp4"],
        ["realworld_data/so100_pick/b.mp4"],
        ["simulation_data/SpinPullStack-gen1/c.mp4"],
        ["simulation_data/success_data/x/d.mp4"],
    ]
    assert turns(found[0]) == ["<video>\nWhat went wrong?", "It slipped."]
    assert found[0]["kind"] == "PickCube-v1"
    assert not (tmp_path / "out/robofac_test.jsonl").exists()


@pytest.mark.parametrize("file", ["test_qa.json", "test_qa_sim/annos_per_video_split0.json"])
def test_robofac_held_out(tmp_path, file):
    src = tmp_path / "src"
    annos = {
        "Failure detection": [
            {"from": "human", "value": "<image>\nIs this a success?"},
            {"from": "assistant", "value": "No"},
        ],
        "Low-level correction": [{"value": "<video>\nHow to mend it?"}, {"value": "Move 2 cm left."}],
    }
    write(src / file, {"v1": {"video": "PickCube-v1/a.mp4", "task": "PickCube", "annos": annos}})
    write(src / "simulation_data/PickCube-v1/a.mp4")
    convert("robofac", src, tmp_path / "out")

    detection, correction = records(tmp_path / "out", "robofac_test")
    assert turns(detection) == ["<video>\nIs this a success?", "No"]
    assert turns(correction) == ["<video>\nHow to mend it?", "Move 2 cm left."]
    assert (correction["id"], correction["kind"]) == ("v1/Low-level correction", "Low-level correction")


def test_robofac_missing_video_names_all_places(tmp_path):
    write(tmp_path / "src/training_qa.json", [robofac_entry("Rotation-v1/a.mp4")])
    message = refused(tmp_path, "robofac")
    assert (
        "field `video`: no file simulation_data/Rotation-v1/a.mp4 or simulation_data/SpinStack-v1/a.mp4 or" in message
    )


# Wolf


def test_wolf(tmp_path):
    src = tmp_path / "src"
    write(src / "annotations/robotics_annotations.json", {"a.mp4": "A robot lifts a pen.\n"})
    pexels = {"b.mp4": {"output": "A man drives.\n\nHe stops.", "tags": ["Travel & Events"]}}
    write(src / "annotations/Pexels_annotations.json", pexels)
    write(src / "annotations/wolf_driving_index_file.json").write_text("wolf index file\n")
    write(src / "videos/robots/a.mp4")
    write(src / "b.mp4")
    convert("wolf", src, tmp_path / "out")

    pexels, robot = records(tmp_path / "out", "wolf")
    assert turns(robot) == [
        "<video>Describe this video in detail: the scene, the objects and people in it, how they move, and how the "
        "camera moves.",
        "A robot lifts a pen.",
    ]
    assert turns(pexels)[1] == "A man drives.\n\nHe stops."
    assert robot["videos"] == ["videos/robots/a.mp4"] and pexels["videos"] == ["b.mp4"]
    assert (robot["id"], robot["kind"]) == ("a", "robotics_annotations")


@pytest.mark.parametrize(
    "caption, expected",
    [
        ("  ", "field `assistant`: the text is empty"),
        (None, "field `a.mp4`: expected a caption, found None"),
        ({"tags": []}, "field `a.mp4.output`: missing; there are tags"),
        ("A.", "field `a.mp4`: found more than once, keep one"),
    ],
)
def test_wolf_broken(tmp_path, caption, expected):
    write(tmp_path / "src/captions.json", {"a.mp4": caption})
    write(tmp_path / "src/x/a.mp4")
    if caption == "A.":
        write(tmp_path / "src/y/a.mp4")
    assert f"captions.json, record 0 (counted from 0), {expected}" in refused(tmp_path, "wolf")


# SAT


@pytest.mark.parametrize("decoded", [False, True], ids=["bytes", "image type"])
def test_sat(tmp_path, decoded):
    out = tmp_path / "out"
    rows = [sat_row(), sat_row([1]), sat_row([3], image_bytes=[encoded(3, "JPEG")])]
    sat_file(tmp_path / "src/SAT_train.parquet", rows, decoded)
    convert("sat", tmp_path / "src", out)

    two, one, jpeg = records(out, "sat_train")
    assert two["option_order"] == sat.shuffled(0, 3)
    shown = [["rotated left", "rotated right", "did not move"][place] for place in two["option_order"]]
    assert turns(two) == [
        "<image><image>Which way did the camera move?\n"
        "When multiple images are provided, You want to realize that when camera moves left, the objects in the image "
        "move right, and vice versa. And when you are asked about the movement of the same object captured in "
        "different images, you can compare the position of the object relative to other objects in the image to "
        "answer the question.\n"
        "\n"
        f"A. {shown[0]}\n"
        f"B. {shown[1]}\n"
        f"C. {shown[2]}\n"
        "\n"
        "Only output the letter of the correct option and nothing else.",
        "ABC"[shown.index("rotated left")],
    ]
    assert turns(one)[0].startswith("<image>Which")
    assert one["images"] == two["images"][:1]  # equal images are one file
    assert [(out / path).read_bytes() for path in two["images"]] == [encoded(1), encoded(2)]
    assert jpeg["images"][0].endswith(".jpeg")
    assert (two["id"], two["kind"]) == ("SAT_train/0", "ego_movement")


def test_sat_order_of_options_is_spread_and_fixed():
    orders = [tuple(sat.shuffled(row, 2)) for row in range(1000)]
    assert 450 < orders.count((0, 1)) < 550
    assert orders[:6] == [(0, 1), (0, 1), (1, 0), (1, 0), (0, 1), (0, 1)]


def test_sat_splits_are_datasets_of_their_own(tmp_path):
    for name in ("static", "val", "test"):
        sat_file(tmp_path / f"src/SAT_{name}.parquet", [sat_row()])
    converted = convert("sat", tmp_path / "src", tmp_path / "out")
    assert [(dataset.name, dataset.training) for dataset in converted.datasets] == [
        ("sat_static", True),
        ("sat_val", False),
        ("sat_test", False),
    ]


def test_sat_reads_in_batches(tmp_path, monkeypatch):
    monkeypatch.setattr(sat, "_BATCH", 2)
    sat_file(tmp_path / "src/SAT_val.parquet", [sat_row([shade]) for shade in range(5)])
    convert("sat", tmp_path / "src", tmp_path / "out")
    assert [record["id"] for record in records(tmp_path / "out", "sat_val")] == [f"SAT_val/{i}" for i in range(5)]


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"correct_answer": "flew away"}, "`correct_answer`: 'flew away' is not among ["),
        ({"answers": ["only one"]}, "`answers`: expected a list of two or more texts"),
        ({"answers": ["in the first frame", "left"]}, "`answers`: an option is empty"),
        ({"question": None}, "`question`: expected str, found None"),
        ({"image_bytes": []}, "`image_bytes`: expected one or two, found 0"),
        ({"image_bytes": [b"no image"]}, "`image_bytes[0]`: 8 bytes that are no image"),
        ({"image_bytes": [encoded(1), encoded(2)[:-30]]}, "`image_bytes[1]`: "),
        ({"image_bytes": [encoded(1, "JPEG")[:-30]]}, "`image_bytes[0]`: "),
    ],
)
def test_sat_broken(tmp_path, change, expected):
    sat_file(tmp_path / "src/SAT_train.parquet", [sat_row(), sat_row(**change)])
    assert f"SAT_train.parquet, record 1 (counted from 0), field {expected}" in refused(tmp_path, "sat")
    convert("sat", tmp_path / "src", tmp_path / "out", skip_bad=1)
    assert len(records(tmp_path / "out", "sat_train")) == 1


def test_sat_unreadable_files(tmp_path):
    path = sat_file(tmp_path / "src/SAT_train.parquet", [sat_row([shade]) for shade in range(9)])
    good = path.read_bytes()
    path.write_bytes(good[:-20])
    assert f"{path} is not a readable parquet file" in refused(tmp_path, "sat")
    path.write_bytes(good[:4] + bytes(40) + good[44:])
    assert f"{path}, record 0 or soon after, cannot be read" in refused(tmp_path, "sat", skip_bad=9)
    pq.write_table(pa.table({"question": ["?"]}), path)
    assert "has no column image_bytes, answers, question_type, correct_answer; it has question" in refused(
        tmp_path, "sat"
    )
