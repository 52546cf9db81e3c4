# SPDX-License-Identifier: Apache-2.0
"""The `rgpt4d_<name>` templates: the host's own where nothing is marked, and marks where the regions are."""

import copy
import json
import math
import pickle

import dill
import numpy as np
import pytest
import torch
from datasets.fingerprint import Hasher
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llamafactory.data.mm_plugin import (
    Gemma3Plugin,
    Gemma4Plugin,
    GLM4VPlugin,
    InternVLPlugin,
    LlavaNextVideoPlugin,
    Qwen2VLPlugin,
    Qwen3VLPlugin,
    VideoLlavaPlugin,
)
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin.regions.drawing.marks import colour_of
from rgpt4d_plugin.regions.masks import encode_rle
from rgpt4d_plugin.regions.media_entries import Clip, ImageEntry
from rgpt4d_plugin.regions.region import RegionError, parse_regions
from rgpt4d_plugin.students import get_family
from rgpt4d_plugin.synth4d.clips import encode_mp4
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import TEMPLATES as TEMPLATE_OF
from tests.tiny_models import build_tiny_student


REAL = [str(DATA / "clips/2.avi"), str(DATA / "clips/4.mp4")]
OURS = {"llava_onevision", "nvila"}
"""Templates that the host does not have."""

TWINS = sorted({name.removeprefix("rgpt4d_") for name in TEMPLATES if name.startswith("rgpt4d_")} - OURS)
TOOLS = json.dumps(
    [
        {
            "name": "find",
            "description": "Finds an object.",
            "parameters": {"type": "object", "properties": {"name": {"type": "string", "description": "which"}}},
        }
    ]
)


def build(family, assets, root):
    """Host objects with a twin as their template."""
    sizes = {} if family.startswith("qwen") else {"image": 96, "patch": 16}
    student = build_tiny_student(root / "student", family, hidden=32, layers=2, vision_hidden=32, **sizes)
    template = f"rgpt4d_{TEMPLATE_OF[family].removeprefix('rgpt4d_')}"
    recipe = assets.recipe(root / "out", model_name_or_path=str(student), template=template, video_max_pixels=96 * 96)
    return host_parts(recipe)


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def parts(request, assets, tmp_path_factory):
    """For both of the host's Qwen plugins."""
    return build(request.param, assets, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module", params=["llava_next_video", "video_llava", "internvl", "gemma3", "gemma4", "glm4v"])
def squares(request, assets, tmp_path_factory):
    """For the other families with a template of the host's."""
    return build(request.param, assets, tmp_path_factory.mktemp(request.param))


def record(messages, images=(), videos=(), system=None, tools=None):
    turns = [{"role": role, "content": content} for role, content in messages]
    return {
        "_prompt": turns[:-1],
        "_response": turns[-1:],
        "_system": system,
        "_tools": tools,
        "_images": list(images) or None,
        "_videos": list(videos) or None,
        "_audios": None,
    }


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    paths = []
    for number, size in enumerate(((64, 48), (301, 203))):
        paths.append(str(folder / f"{number}.png"))
        Image.effect_noise(size, 80).convert("RGB").save(paths[-1])
    return paths


def records(pictures):
    """Name -> record: what a dataset may hold."""
    return {
        "text": record([("user", "Hello?"), ("assistant", "yes")]),
        "image": record([("user", "<image>What?"), ("assistant", "a cup")], pictures[:1]),
        "video": record([("user", "<video>What?"), ("assistant", "a cup")], videos=REAL[:1]),
        "two images": record([("user", "<image><image>Which?"), ("assistant", "one")], pictures),
        "both": record([("user", "<image><video>Which? <image>"), ("assistant", "one")], pictures, REAL[1:]),
        "turns": record(
            [("user", "<video>What?"), ("assistant", "a cup"), ("user", "Where?"), ("assistant", "there")],
            videos=REAL[1:],
            system="Be brief.",
        ),
        "tools": record(
            [
                ("user", "<video>Find it."),
                ("function", '{"name": "find", "arguments": {"name": "cup"}}'),
                ("observation", "left"),
                ("assistant", "It is on the left."),
            ],
            videos=REAL[1:],
            tools=TOOLS,
        ),
        "two videos": record([("user", "<video><video>Which?"), ("assistant", "one")], videos=[REAL[1], REAL[1]]),
        "frames": record([("user", "<video>What?"), ("assistant", "a cup")], videos=[pictures[:1] * 3]),
    }


def twins_of(*plugin_classes):
    """Names of the host's templates that have a twin on these plugin classes."""
    return [name for name in TWINS if type(TEMPLATES[name].mm_plugin) in plugin_classes]


def test_every_twin_is_of_a_plugin_class_with_a_processor_here():
    tested = (Qwen2VLPlugin, Qwen3VLPlugin, LlavaNextVideoPlugin, VideoLlavaPlugin, InternVLPlugin, Gemma3Plugin)
    # The host's own GLM templates read no clip: `test_glm4v.py` compares ours with transformers.
    tested += (Gemma4Plugin, GLM4VPlugin)
    assert sorted(twins_of(*tested)) == TWINS != []


@pytest.mark.slow
def test_without_regions_a_twin_gives_the_very_tokens_labels_and_pixels(parts, pictures):
    for name in twins_of(parts.template.mm_plugin.host_class):
        assert_same(parts, pictures, name)


@pytest.mark.slow
def test_without_regions_a_twin_of_squares_gives_the_very_tokens_labels_and_pixels(squares, pictures):
    """Where the host's own template can read the record at all."""
    host_class = squares.template.mm_plugin.host_class
    kinds = {
        # The host gives the video processor an argument that transformers 5 refuses.
        LlavaNextVideoPlugin: ("text", "image", "two images"),
        VideoLlavaPlugin: ("text", "image", "two images"),
        GLM4VPlugin: ("text", "image", "two images"),
        # Several clips of one length: the host joins their frames otherwise, which is as one to the model.
        Gemma4Plugin: ("text", "image", "two images", "video", "both", "turns", "frames"),
        InternVLPlugin: ("text", "image", "two images", "video", "both", "turns", "two videos", "frames"),
        Gemma3Plugin: ("text", "image", "two images"),
    }[host_class]
    for name in twins_of(host_class):
        assert_same(squares, pictures, name, kinds)


def assert_same(parts, pictures, name, kinds=None):
    original, twin = TEMPLATES[name], TEMPLATES[f"rgpt4d_{name}"]
    template_state = {key: value for key, value in vars(twin).items() if key != "mm_plugin"}
    assert template_state == {key: value for key, value in vars(original).items() if key != "mm_plugin"}
    tokens = [token for token in (original.mm_plugin.image_token, original.mm_plugin.video_token) if token]
    known = None not in parts.tokenizer.convert_tokens_to_ids(tokens)
    for kind, example in records(pictures).items():
        if kinds is not None and kind not in kinds:
            continue
        if kind == "frames" and "qwen3" in name:
            continue  # the host's Qwen3-VL plugin cannot count the tokens of a list of frames: it wants a file
        if kind == "two videos" and "Qwen3VL" in type(original.mm_plugin).__name__:
            continue  # the host takes the second clip's times from a second message, which is not there
        expected = parts.tokenise(original, copy.deepcopy(example))
        found = parts.tokenise(twin, copy.deepcopy(example))
        for key in ("input_ids", "labels", "attention_mask"):
            assert found[key] == expected[key], kind
        if known and (expected["images"] or expected["videos"]):
            media = [expected["images"] or [], expected["videos"] or []]
            pixels = [t.mm_plugin._get_mm_inputs(*copy.deepcopy(media), [], parts.processor) for t in (original, twin)]
            assert pixels[0].keys() == pixels[1].keys()
            for key, value in pixels[0].items():
                assert type(pixels[1][key]) is type(value) and np.array_equal(pixels[1][key], value), key


# --- marks -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def black(tmp_path_factory):
    """A black video of 12 frames at 4 per second, 160 x 120."""
    path = tmp_path_factory.mktemp("black") / "black.mp4"
    path.write_bytes(encode_mp4(np.zeros((12, 120, 160, 3), dtype=np.uint8), 4.0))
    return str(path)


def shown(parts, videos=(), images=()):
    """Frames per clip and images, uint8, as they come out of the processor's tensors."""
    inputs = parts.template.mm_plugin._get_mm_inputs(list(images), list(videos), [], parts.processor)
    family = get_family(parts.config.model_type)
    return family.frames(inputs, parts.processor, ()), family.images(inputs, parts.processor, ())


def clip(path, *regions, start=None, end=None, insert=False):
    regions = [{"id": f"obj_{n}", "video": 0} | region for n, region in enumerate(regions, start=1)]
    return Clip(path, start, end, tuple(parse_regions(regions, 1, 0)), insert).encode()


def core(frame, number=1):
    """Pixels of a mark's own colour."""
    return np.abs(frame.astype(int) - np.array(colour_of(number))).max(axis=-1) < 60


def test_a_mark_is_on_its_frame_and_on_no_other(parts, black):
    (frames,), _ = shown(parts, [clip(black, {"time": 1.0, "box": [40, 30, 120, 90]})])
    # 2 frames a second of 3 seconds: frames 0, 2, 4, 6, 8, 11; time 1.0 is frame 4.
    assert [bool(core(frame).any()) for frame in frames] == [False, False, True, False, False, False]


def test_a_track_is_on_all_of_its_frames(parts, black):
    track = [{"frame": frame, "box": [10 * frame, 30, 10 * frame + 40, 90]} for frame in (0, 4, 11)]
    (frames,), _ = shown(parts, [clip(black, {"track": track})])
    assert [bool(core(frame).any()) for frame in frames] == [True, False, True, False, False, True]
    left = [np.flatnonzero(core(frames[at]).any(axis=0))[0] / frames.shape[2] for at in (0, 2, 5)]
    assert left[0] < left[1] < left[2]


def test_the_repeated_frame_of_an_odd_clip_carries_the_mark_too(parts, black):
    entry = clip(black, {"frame": 8, "box": [40, 30, 120, 90]}, start=0.0, end=2.5)
    (frames,), _ = shown(parts, [entry])
    assert len(frames) == 6  # five, and the host's filler
    assert core(frames[4]).any() and np.array_equal(frames[4], frames[5])


def coloured(frame):
    """Pixels of any mark on a black picture, also where resizing mixed a line with its grey casing."""
    return np.ptp(frame.astype(int), axis=-1) > 50


def covered(mask, box, reach):
    """Share of a box's edge, corners left out, that has a pixel of the mask within `reach` pixels."""
    x1, y1, x2, y2 = box
    hits = []
    for lines, along, across in ((mask, (y1, y2), (x1, x2)), (mask.T, (x1, x2), (y1, y2))):
        for line in lines[math.ceil(along[0] + reach) : math.floor(along[1] - reach)]:
            places = np.flatnonzero(line) + 0.5
            hits += [bool(len(places)) and np.abs(places - edge).min() <= reach for edge in across]
    return np.mean(hits)


@pytest.mark.slow
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_outline_is_where_the_region_is_after_the_models_own_resizing(parts, tmp_path_factory, data):
    width, height = (data.draw(st.integers(120, 400)) for _ in range(2))
    x1, y1 = (data.draw(st.floats(0.02, 0.5)) for _ in range(2))
    w, h = (data.draw(st.floats(0.3, 0.45)) for _ in range(2))
    box = [x1 * width, y1 * height, (x1 + w) * width, (y1 + h) * height]
    region = {"id": "obj_1", "image": 0}
    if data.draw(st.booleans()):
        region["box"] = box
    else:
        bitmap = np.zeros((height, width), dtype=bool)
        box = [round(value) for value in box]
        bitmap[box[1] : box[3], box[0] : box[2]] = True
        region["mask"] = encode_rle(bitmap)
    path = tmp_path_factory.mktemp("pictures") / "black.png"
    Image.new("RGB", (width, height)).save(path)
    still = ImageEntry(str(path), regions=tuple(parse_regions([region], 0, 1)))

    _, (picture,) = shown(parts, images=[still.encode()])
    scale = picture.shape[1] / width, picture.shape[0] / height
    box = [value * scale[n % 2] for n, value in enumerate(box)]
    # A pixel of rounding, and half a line; the label may hide a part of the edge.
    reach = 1 + max(1.0, 0.005 * min(picture.shape[:2]))
    assert covered(coloured(picture), box, reach) > 0.55
    moved = [value + 3 * reach for value in box]
    assert covered(coloured(picture), moved, reach) < 0.4


def test_an_image_of_a_dataset_is_marked_and_a_key_frame_is_read_from_the_video(parts, black, pictures):
    regions = tuple(parse_regions([{"id": "obj_2", "image": 0, "box": [10, 10, 50, 40]}], 0, 1))
    key = tuple(parse_regions([{"id": "obj_1", "video": 0, "time": 2.0, "box": [40, 30, 120, 90]}], 1, 0))
    entries = [
        ImageEntry(pictures[0], regions=regions).encode(),
        pictures[1],
        ImageEntry(black, True, key, "tag").encode(),
    ]
    _, (marked, plain, frame) = shown(parts, images=entries)
    assert core(marked, 2).any() and core(frame, 1).any()
    assert plain.shape[:2] != frame.shape[:2]
    assert np.median(frame) == 0


def test_tokens_are_counted_without_decoding_the_key_frame(parts, black, monkeypatch):
    from rgpt4d_plugin.regions import rendering

    key = tuple(parse_regions([{"id": "obj_1", "video": 0, "time": 2.0, "box": [40, 30, 120, 90]}], 1, 0))
    entry = ImageEntry(black, True, key, "tag").encode()
    example = record([("user", "<image>What is <obj_1>?"), ("assistant", "a cup")], [entry])
    monkeypatch.setattr(rendering, "read_frames", lambda *a: pytest.fail("decoded"))
    feature = parts.tokenise(parts.template, example)
    monkeypatch.undo()
    _, (picture,) = shown(parts, images=[entry])
    grid = parts.template.mm_plugin._get_mm_inputs([entry], [], [], parts.processor)["image_grid_thw"][0]
    image_token = parts.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    assert feature["input_ids"].count(image_token) == int(grid.prod()) // parts.processor.image_processor.merge_size**2


# --- parts of files --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counting(tmp_path_factory):
    """40 frames at 8 per second whose grey level is six times their number; and the file of frames 16 to 31 alone."""
    folder = tmp_path_factory.mktemp("counting")
    frames = np.broadcast_to(np.arange(40, dtype=np.uint8)[:, None, None, None] * 6, (40, 64, 96, 3))
    paths = []
    for name, chosen in (("whole", slice(None)), ("part", slice(16, 32))):
        paths.append(str(folder / f"{name}.mp4"))
        (folder / f"{name}.mp4").write_bytes(encode_mp4(np.ascontiguousarray(frames[chosen]), 8.0, crf=0))
    return paths


def test_a_part_of_a_file_is_the_file_cut_out(parts, counting):
    """Tokens, times and pixels are those of a file that holds nothing but the part."""
    whole, part = counting
    entry = Clip(whole, 2.0, 4.0).encode()
    plugin = parts.template.mm_plugin
    examples = [record([("user", "<video>What?"), ("assistant", "a cup")], videos=[video]) for video in (entry, part)]
    tokens = [parts.tokenise(parts.template, example)["input_ids"] for example in examples]
    assert tokens[0] == tokens[1]
    found, expected = (plugin._get_mm_inputs([], [video], [], parts.processor) for video in (entry, part))
    assert found.keys() == expected.keys()
    for key in expected:
        if key == "pixel_values_videos":  # two encodings of the same frames
            assert (found[key] - expected[key]).abs().max() < 0.05
        elif torch.is_tensor(expected[key]):
            assert torch.equal(found[key], expected[key])
        elif key == "video_metadata":
            assert [m.frames_indices for m in found[key]] == [m.frames_indices for m in expected[key]]
        else:
            assert found[key] == pytest.approx(expected[key])
    (frames,), _ = shown(parts, [entry])
    assert [round(float(frame.mean()) / 6) for frame in frames] == [16, 21, 26, 31]


def test_an_inserted_frame_is_shown_in_its_place(parts, counting):
    region = {"frame": 2, "box": [30, 20, 60, 40]}
    with pytest.raises(RegionError, match="missing_frame: insert"):
        shown(parts, [clip(counting[0], region, start=2.0, end=4.0)])
    (frames,), _ = shown(parts, [clip(counting[0], region, start=2.0, end=4.0, insert=True)])
    levels = [round(float(np.median(frame)) / 6) for frame in frames]
    assert levels == [2, 16, 21, 26, 31, 31]
    assert core(frames[0]).any() and not core(frames[1]).any()


def test_p4d_frames_are_spread_over_the_part(parts, counting):
    template = parts.recording(3)
    seen = []
    with template.mm_plugin.recording(seen.append):
        template.mm_plugin._get_mm_inputs([], [Clip(counting[0], 2.0, 4.0).encode()], [], parts.processor)
    assert [round(float(np.asarray(frame).mean()) / 6) for frame in seen[0].frames] == [16, 23, 31]
    assert seen[0].timestamps == pytest.approx([0.0, 7 / 8, 15 / 8])


# --- the teacher, and bad input --------------------------------------------------------------------------------------


def test_the_teacher_sees_no_marks(parts, black):
    template = parts.recording()
    seen = []
    entries = [
        clip(black, {"frame": 0, "box": [40, 30, 120, 90]}, {"frame": 11, "point": [5, 5]}),
        clip(black, {"frame": 5, "box": [40, 30, 120, 90]}, start=1.0, end=2.0),
    ]
    with template.mm_plugin.recording(seen.append):
        inputs = template.mm_plugin._get_mm_inputs([], entries, [], parts.processor)
    family = get_family(parts.config.model_type)
    assert all(core(frames).any() for frames in family.frames(inputs, parts.processor, ()))
    assert all(not np.asarray(frame).any() for found in seen for frame in found.frames)
    assert seen[0].marked == {0: ["<obj_1>"], 5: ["<obj_2>"]}
    assert [len(found.frames) for found in seen] == [6, 2]
    assert seen[1].timestamps == pytest.approx([0.0, 0.75])


@pytest.mark.parametrize(
    "region, message",
    [
        ({"frame": 0, "box": [0, 0, 161, 50]}, r"regions\[0\].box: .* leaves the frame of 160 x 120"),
        ({"time": 3.5, "box": [0, 0, 10, 50]}, r"regions\[0\].time: 3.5 s is past the end of .*12 frames, 3.00 s"),
        ({"frame": 12, "box": [0, 0, 10, 50]}, r"regions\[0\].frame: frame 12 is past the end"),
        ({"frame": 1, "mask": {"size": [4, 4], "counts": [0, 16]}}, r"the mask is 4 x 4 pixels, the frame 160 x 120"),
        ({"frame": 1, "mask": {"size": [120, 160], "counts": [7]}}, r"regions\[0\].mask: "),
    ],
)
def test_what_does_not_fit_the_file_is_refused_when_tokens_are_counted(parts, black, region, message):
    example = record([("user", "<video>What is <obj_1>?"), ("assistant", "a cup")], videos=[clip(black, region)])
    with pytest.raises(RegionError, match=message):
        parts.tokenise(parts.template, example)


@pytest.mark.parametrize("library", [pickle, dill], ids=lambda library: library.__name__)
def test_a_twin_survives_pickling_and_keeps_its_fingerprint(parts, black, library):
    fingerprint = Hasher.hash(parts.template)
    copied = library.loads(library.dumps(parts.template))
    entry = clip(black, {"frame": 0, "box": [40, 30, 120, 90]})
    pixels = [t.mm_plugin._get_mm_inputs([], [entry], [], parts.processor) for t in (parts.template, copied)]
    assert torch.equal(*(inputs["pixel_values_videos"] for inputs in pixels))
    assert Hasher.hash(parts.template) == Hasher.hash(copied) == fingerprint
