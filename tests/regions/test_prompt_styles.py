# SPDX-License-Identifier: Apache-2.0
"""The words and media of each style."""

import pytest
from PIL import Image

from rgpt4d_plugin.arguments import RegionArguments
from rgpt4d_plugin.regions.media_entries import Clip, decode_clip, decode_image_entry
from rgpt4d_plugin.regions.prompt_styles import apply_style
from rgpt4d_plugin.regions.region import RegionError, parse_regions
from tests.harness import DATA


VIDEO = str(DATA / "clips" / "4.mp4")  # 224 x 224, 30 frames per second, 5 s
RELEASE = (
    "The first image is a set-of-mark annotation of a key frame from the video, with bounding boxes labeled <obj_1>, "
    "<obj_2>, etc. References to <obj_N> in the question correspond to those labeled regions."
)
REGIONS = [
    {"id": "obj_1", "video": 0, "frame": 30, "box": [56, 0, 112, 224]},
    {"id": "obj_2", "video": 0, "time": 1.0, "point": [112, 56]},
]


def user(text):
    return [{"role": "user", "content": text}, {"role": "assistant", "content": "yes"}]


WHOLE = (Clip(VIDEO),)


def styled(style, text="<video>Is <obj_1> left of <obj_2>?", regions=REGIONS, images=(), videos=WHOLE, **options):
    parsed = parse_regions(regions, len(videos), len(images))
    return apply_style(user(text), images, videos, parsed, RegionArguments(style=style, **options))


def test_none_changes_nothing():
    result = styled("none")
    assert result.messages == user("<video>Is <obj_1> left of <obj_2>?")
    assert (result.images, result.videos) == ([], [VIDEO])


def test_som_puts_the_regions_on_the_video_and_leaves_the_words():
    result = styled("som", missing_frame="insert")
    assert result.messages == user("<video>Is <obj_1> left of <obj_2>?")
    clip = decode_clip(result.videos[0])
    assert [region.id for region in clip.regions] == ["obj_1", "obj_2"] and clip.insert_missing


def test_som_image_is_the_layout_of_r4d_bench():
    same_frame = [REGIONS[0], {**REGIONS[1], "time": None, "frame": 30}]
    result = styled("som_image", regions=same_frame)
    assert result.messages == user(f"<image><video>{RELEASE}\n\nIs <obj_1> left of <obj_2>?")
    assert result.videos == [VIDEO]
    (still,) = (decode_image_entry(image) for image in result.images)
    assert (still.path, still.of_video, still.labels, len(still.regions)) == (VIDEO, True, "tag", 2)


def test_som_image_numbers_what_the_release_has_no_sentence_for(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    result = styled("som_image", text="<image>Look. <video>Is <obj_1> near <obj_2>?", images=[str(tmp_path / "a.png")])
    content = result.messages[0]["content"]
    assert content.startswith("<image>Each of the images 2 to 3 is a set-of-mark annotation")
    assert content.endswith("Look. <image><image><video>Is <obj_1> near <obj_2>?")
    assert result.images[0] == str(tmp_path / "a.png")
    assert [decode_image_entry(image).regions[0].id for image in result.images[1:]] == ["obj_1", "obj_2"]


def test_text_says_coordinates_and_times_of_the_clip():
    words = styled("text").messages[0]["content"]
    assert words == (
        "<video>Coordinates are x, y in thousandths of the frame's width and height, from its top left corner. "
        "<obj_1> is the box from (250, 0) to (500, 1000) at 1.00 seconds. <obj_2> is at (500, 250) at 1.00 seconds."
        "\n\nIs <obj_1> left of <obj_2>?"
    )
    late = styled("text", videos=[Clip(VIDEO, 0.5, 2.0)]).messages[0]["content"]
    assert late.count("at 0.50 seconds") == 2
    track = {"track": [{"frame": 0, "box": [0, 0, 112, 112]}, {"frame": 15, "box": [112, 112, 224, 224]}]}
    assert (
        "is the box from (0, 0) to (500, 500) at 0.00 seconds, then the box from (500, 500) to (1000, 1000)"
        in (styled("text", "<video><obj_1>?", [{"id": "obj_1", "video": 0, **track}]).messages[0]["content"])
    )


def test_text_of_an_image_has_no_time(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "a.png")
    regions = [{"id": "obj_1", "image": 0, "polygon": [[20, 0], [100, 0], [60, 50]]}]
    result = styled("text", "<image>What is <obj_1>?", regions, [str(tmp_path / "a.png")], [])
    assert "<obj_1> is the box from (100, 0) to (500, 500).\n\n" in result.messages[0]["content"]


def test_regions_of_an_image_are_marked_on_it_in_both_som_styles(tmp_path):
    path = str(tmp_path / "a.png")
    regions = [{"id": "obj_1", "image": 0, "box": [0, 0, 4, 4]}]
    for style in ("som", "som_image"):
        result = styled(style, "<image><obj_1>?", regions, [path], [])
        assert result.messages == user("<image><obj_1>?")
        assert decode_image_entry(result.images[0]).regions[0].id == "obj_1"


def test_a_region_of_what_is_no_file_is_refused():
    with pytest.raises(RegionError, match=r"regions\[0\]: belongs to video 0, which is no file"):
        styled("som", videos=[["a.png", "b.png"]])
