# SPDX-License-Identifier: Apache-2.0
"""Families that see every frame as one square of tokens: clips, parts, marks and the order of pixels in the host."""

import copy
import dataclasses
import json
import pickle

import av
import numpy as np
import pytest
import torch
from datasets.fingerprint import Hasher
from llamafactory.data import mm_plugin as host_plugins
from llamafactory.data.template import TEMPLATES
from PIL import Image

from rgpt4d_plugin.preview.command import describe
from rgpt4d_plugin.regions.drawing.marks import colour_of
from rgpt4d_plugin.regions.media_entries import Clip
from rgpt4d_plugin.regions.region import RegionError, parse_regions
from rgpt4d_plugin.students import RowMedia, get_family
from rgpt4d_plugin.students.square import SquareFamily
from rgpt4d_plugin.synth4d.clips import encode_mp4
from rgpt4d_plugin.template.clip_reader import ClipReader
from rgpt4d_plugin.template.plugin_classes import with_recorder
from rgpt4d_plugin.video import VideoError
from tests.harness import DATA
from tests.host_parts import host_parts
from tests.tiny_models import FAMILIES, build_tiny_student
from tests.tiny_models import TEMPLATES as TEMPLATE_OF


SQUARES = [family for family in FAMILIES if isinstance(get_family(family), SquareFamily)]
SHARED = ["internvl", "gemma3"]
REAL = [str(DATA / "clips/2.avi"), str(DATA / "clips/4.mp4")]
SIDE = 96
"""Pixels of the square; six patches and three tokens along it."""


@pytest.fixture(scope="module")
def built(assets, tmp_path_factory):
    """Makes the host's objects of a family, once, with the twin of its template."""
    made = {}

    def build(family):
        if family not in made:
            root = tmp_path_factory.mktemp(family)
            sizes = {"hidden": 32, "layers": 2, "vision_hidden": 32, "image": SIDE, "patch": 16}
            student = build_tiny_student(root / "student", family, **sizes)
            template = f"rgpt4d_{TEMPLATE_OF[family].removeprefix('rgpt4d_')}"
            recipe = assets.recipe(root / "out", model_name_or_path=str(student), template=template)
            made[family] = host_parts(recipe | {"video_maxlen": 8, "video_max_pixels": 128 * 128})
        return made[family]

    return build


@pytest.fixture(params=SQUARES)
def parts(request, built):
    return built(request.param)


@pytest.fixture
def family(parts):
    return get_family(parts.config.model_type)


@pytest.fixture(scope="module")
def black(tmp_path_factory):
    """A black video of 12 frames at 4 per second, 160 x 120."""
    path = tmp_path_factory.mktemp("black") / "black.mp4"
    path.write_bytes(encode_mp4(np.zeros((12, 120, 160, 3), dtype=np.uint8), 4.0))
    return str(path)


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    """Makes clips of a number of frames at 2 per second, each frame of one level: a first one, and 10 more each."""
    folder = tmp_path_factory.mktemp("grey")

    def make(frames, first=0, size=(64, 64)):
        path = folder / f"{frames}_{first}.mp4"
        levels = np.arange(frames, dtype=np.uint8)[:, None, None, None] * 10 + first
        path.write_bytes(encode_mp4(np.ascontiguousarray(np.broadcast_to(levels, (frames, *size, 3))), 2.0, crf=0))
        return str(path)

    return make


def picture(level, size=(64, 64)):
    return Image.new("RGB", size, (level,) * 3)


def record(messages, images=(), videos=()):
    turns = [{"role": role, "content": content} for role, content in zip(("user", "assistant") * 4, messages)]
    empty = dict.fromkeys(("_system", "_tools", "_audios"))
    media = {"_images": list(images) or None, "_videos": list(videos) or None}
    return {"_prompt": turns[:-1], "_response": turns[-1:], **empty, **media}


def marked(path, *regions, **kwargs):
    regions = [{"id": f"obj_{n}", "video": 0} | region for n, region in enumerate(regions, start=1)]
    return Clip(path, regions=tuple(parse_regions(regions, 1, 0)), **kwargs).encode()


def read_back(parts, features):
    """(frames of each clip, images) as the model gets them, and the batch."""
    seen = []
    template = parts.recording()
    rows = [(len(feature["images"] or []), len(feature["videos"] or [])) for feature in features]
    with template.mm_plugin.recording(seen.append):
        batch = parts.plain_collator(template)([dict(feature) for feature in features])
    frames = iter([len(clip.frames) for clip in seen])
    rows = [RowMedia(images, tuple(next(frames) for _ in range(clips))) for images, clips in rows]
    family = get_family(parts.config.model_type)
    return family.frames(batch, parts.processor, rows), family.images(batch, parts.processor, rows), batch, seen


def level(picture):
    """Of a grey picture, rounded over what the codec changes."""
    return round(float(picture.mean()) / 10) * 10


def levels(pictures):
    return [[level(frame) for frame in clip] for clip in pictures]


# --- tokens ----------------------------------------------------------------------------------------------------------


def chat(parts, template, *args):
    """The user's message of a record, as text with all its tokens."""
    text = parts.tokenizer.decode(parts.encode(template, *args)["input_ids"])
    return text[text.index("A|") + 2 : text.rindex("|B")]


@pytest.mark.slow
def test_a_clip_has_the_tokens_that_the_models_own_processor_gives_it(parts, family, grey):
    path = grey(5)
    found = chat(parts, parts.template, "A|<video>|B", [], [path])
    if family.name == "Gemma 3":
        frame = parts.processor.full_image_sequence.strip("\n")
        assert found == "\n\n" + "\n\n".join([frame] * 5) + "\n\n"
        return
    frames = [[Image.new("RGB", (64, 64))] * 5]
    text = [f"A|{parts.processor.video_token}|B"]
    inputs = parts.processor(
        text=text,
        videos=frames,
        **({} if family.name == "Video-LLaVA" else {"do_sample_frames": False}),
        return_tensors="pt",
    )
    text = parts.tokenizer.decode(inputs["input_ids"][0])
    assert found == text[text.index("A|") + 2 : text.rindex("|B")]
    assert found.count(family.clip_token) == family.clip_length((5, 3, 3))


@pytest.mark.slow
@pytest.mark.parametrize("images", [1, 2])
def test_an_image_has_the_tokens_that_the_models_own_processor_gives_it(parts, family, images):
    pictures = [Image.new("RGB", size) for size in ((64, 48), (150, 100))][:images]
    placeholder = {"InternVL": "<IMG_CONTEXT>", "Gemma 3": "<start_of_image>"}.get(family.name, "<image>")
    options = {"crop_to_patches": False} if family.name == "InternVL" else {}
    inputs = parts.processor(
        text=["A|" + placeholder * images + "|B"], images=[pictures], return_tensors="pt", **options
    )
    text = parts.tokenizer.decode(inputs["input_ids"][0])
    expected = text[text.index("A|") + 2 : text.rindex("|B")]
    assert chat(parts, parts.template, "A|" + "<image>" * images + "|B", pictures) == expected


def test_without_expansion_each_medium_is_one_token(parts, family, grey, monkeypatch):
    """As servers want it, which expand by themselves."""
    monkeypatch.setattr(parts.template.mm_plugin, "expand_mm_tokens", False)
    messages = [{"role": "user", "content": "<image><video>?"}]
    media = [picture(0)], [grey(3)]
    (found,) = parts.template.mm_plugin.process_messages(messages, *media, [], parts.processor)
    if family.name == "Gemma 3":
        assert found["content"].count("<start_of_image>") == 4 and "<image_soft_token>" not in found["content"]
    elif family.name == "InternVL":
        assert found["content"].count("<IMG_CONTEXT>") == 4
    else:
        assert found["content"] == f"<image>{family.clip_token}?"


def test_tokens_are_counted_without_decoding(parts, grey, monkeypatch):
    template, path = parts.recording(), grey(5)
    expected = parts.encode(template, "<video>What?", videos=[path])["input_ids"]
    regularize = host_plugins.MMPluginMixin._regularize_videos

    def only_lists(self, videos, **kwargs):
        assert all(isinstance(video, list) for video in videos)
        return regularize(self, videos, **kwargs)

    monkeypatch.setattr(host_plugins.MMPluginMixin, "_regularize_videos", only_lists)
    assert parts.encode(template, "<video>What?", videos=[path])["input_ids"] == expected


@pytest.mark.slow
def test_a_clip_is_decoded_once_for_a_batch(parts, grey, monkeypatch):
    feature = parts.encode(parts.recording(), "<image><video>What?", images=[picture(9)], videos=[grey(5)])
    opened = []
    original = host_plugins.av.open
    monkeypatch.setattr(host_plugins.av, "open", lambda path, *a: opened.append(path) or original(path, *a))
    parts.collator(parts.recording())([feature])
    assert len(opened) == 1


def test_a_file_that_does_not_say_its_length_is_decoded_to_count(parts, tmp_path):
    """Matroska; the host asks for eight frames, and the file has five."""
    path = tmp_path / "clip.mkv"
    frames = np.zeros((5, 64, 64, 3), dtype=np.uint8)
    (tmp_path / "clip.mp4").write_bytes(encode_mp4(frames, 2.0))
    with av.open(str(tmp_path / "clip.mp4")) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    feature = parts.encode(parts.recording(), "<video>What?", videos=[str(path)])
    assert [clip.grid for clip in parts.collator(parts.recording())([feature])["p4d"].tokens] == [(5, 3, 3)]


# --- frames ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (96, 48)])
def test_frames_and_images_come_back(parts, grey, size):
    """Through decoding, resizing and normalising, clip by clip, whatever their lengths."""
    features = [
        parts.encode(parts.recording(), "<video>What? <image>", images=[picture(200)], videos=[grey(3, 10, size)]),
        parts.encode(parts.recording(), "Nothing?"),
        parts.encode(parts.recording(), "<image>And <video>or <video>?", [picture(150)], [grey(4, 60), grey(2, 110)]),
    ]
    frames, images, _, seen = read_back(parts, features)
    assert levels(frames) == [[10, 20, 30], [60, 70, 80, 90], [110, 120]]
    assert [level(image) for image in images] == [200, 150]
    assert [frame.shape for frame in (*(clip[0] for clip in frames), *images)] == [(SIDE, SIDE, 3)] * 5
    assert levels([[np.asarray(frame) for frame in clip.frames] for clip in seen]) == levels(frames)


def test_the_middle_that_llava_next_video_sees(built):
    parts = built("llava_next_video")
    family = get_family("llava_next_video")
    assert family.visible_box(160, 120, parts.processor) == (20, 0, 140, 120)
    assert family.visible_box(120, 160, parts.processor) == (0, 20, 120, 140)
    assert family.visible_box(64, 64, parts.processor) == (0, 0, 64, 64)


def core(frame, number=1):
    """Pixels of a mark's own colour, also where resizing mixed them a little."""
    return np.abs(frame.astype(int) - np.array(colour_of(number))).max(axis=-1) < 90


def test_a_mark_is_on_its_frame_alone_and_the_teacher_does_not_see_it(parts, black):
    entry = marked(black, {"time": 1.0, "box": [50, 30, 110, 90]})
    feature = parts.encode(parts.recording(), "<video>What is <obj_1>?", videos=[entry])
    (frames,), _, _, (seen,) = read_back(parts, [feature])
    # 2 frames a second of 3 seconds: frames 0, 2, 4, 6, 8, 11; time 1.0 is frame 4.
    assert [bool(core(frame).any()) for frame in frames] == [False, False, True, False, False, False]
    assert seen.marked == {2: ["<obj_1>"]} and not any(np.asarray(frame).any() for frame in seen.frames)


def test_a_region_that_does_not_fit_is_refused_when_tokens_are_counted(parts, black):
    with pytest.raises(RegionError, match=r"regions\[0\].box: .* leaves the frame of 160 x 120"):
        parts.encode(parts.template, "<video>?", videos=[marked(black, {"frame": 0, "box": [0, 0, 161, 50]})])


def test_a_part_of_a_file_and_p4d_frames(parts, grey):
    """Levels say the numbers of the frames; times count from the part's start."""
    path = grey(24)
    entry = Clip(path, 4.0, 8.0).encode()
    for count, expected in ((None, [8, 9, 10, 11, 12, 13, 14, 15]), (3, [8, 11, 15])):
        template = parts.recording(count)
        feature = parts.encode(template, "<video>What?", videos=[entry])
        batch = parts.collator(template)([feature])["p4d"]
        assert [round(float(frame.float().mean()) / 10) for frame in batch.frames[0]] == expected
        assert batch.timestamps == [[(number - 8) / 2 for number in expected]]
        assert batch.tokens[0].grid == (len(expected), 3, 3)


def test_a_list_of_frames_is_a_clip(parts, tmp_path):
    paths = [str(tmp_path / f"{n}.png") for n in range(3)]
    for n, path in enumerate(paths):
        picture(40 * n).save(path)
    feature = parts.encode(parts.recording(), "<video>What?", videos=[paths])
    frames, _, _, (seen,) = read_back(parts, [feature])
    assert levels(frames) == [[0, 40, 80]] and seen.timestamps == [0.0, 0.5, 1.0]


def test_a_damaged_file_is_found_when_tokens_are_counted(parts, tmp_path):
    cut = tmp_path / "cut.avi"
    with open(REAL[0], "rb") as stream:
        cut.write_bytes(stream.read()[: 2 * 10**5])
    with pytest.raises(VideoError, match="cut.avi is"):
        parts.encode(parts.recording(), "<video>What?", videos=[str(cut)])


def test_a_twin_survives_pickling_and_keeps_its_fingerprint(parts, grey):
    for template in (parts.template, parts.recording(4)):
        before = Hasher.hash(template)
        parts.encode(template, "<video>What?", videos=[grey(5)])
        again = pickle.loads(pickle.dumps(template))
        assert Hasher.hash(template) == before == Hasher.hash(again)
        assert type(again.mm_plugin) is type(template.mm_plugin)
        args = ("<video>What?", [], [grey(5)])
        assert parts.encode(again, *args)["input_ids"] == parts.encode(template, *args)["input_ids"]


# --- clips that cutoff_len cuts --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_cut_clips_are_left_out_with_what_is_left_of_their_tokens(parts, family, grey, monkeypatch):
    """The rest of the row, its whole clips and images, is as it was; the model takes every such batch."""
    template = parts.recording()
    prompt, images = "<image>A? <video>Which of <video><image>?", [picture(150), picture(160)]
    whole = parts.encode(template, prompt, images, [grey(3, 10), grey(3, 60)])
    media = RowMedia(2, (3, 3))
    is_clip, _ = family.visual_tokens(torch.tensor([whole["input_ids"]]), [media], parts.tokenizer)
    positions = is_clip[0].nonzero().flatten().tolist()
    size = family.clip_length((3, 3, 3))
    assert len(positions) == 2 * size
    for kept, clips in ((2 * size, 2), (2 * size - 1, 1), (size + 3, 1), (size, 1), (size - 1, 0), (4, 0), (0, 0)):
        stop = len(whole["input_ids"]) if kept == 2 * size else positions[kept]
        monkeypatch.setattr(parts.data_args, "cutoff_len", stop)
        feature = {**whole, **{key: whole[key][:stop] for key in ("input_ids", "attention_mask", "labels")}}
        collator = parts.collator(template)
        batch = collator([feature])
        p4d = batch["p4d"]
        assert (len(p4d), p4d.left_out) == (clips, 2 - clips), kept
        if clips:
            places = torch.tensor(positions[: 3 * (size // 3)]).view(3, -1)[:, family.tokens_before_step :]
            assert torch.equal(p4d.tokens[0].index, places.flatten())
            assert level(p4d.frames[0].float()) == 20
        # Images behind a clip that was cut are lost too. The one before it is not, unless it had to be shown in tiles
        # now that it is alone. A batch of text alone gets an image of the host's.
        left = {2: 2, 1: 0, 0: 1}[clips] if family.single_image_is_tiled else {2: 2, 1: 1, 0: 1}[clips]
        assert images_of(batch) == left
        parts.model(**{key: value for key, value in batch.items() if torch.is_tensor(value)})


def images_of(batch):
    """Images in a batch whose clips have three frames each."""
    if "pixel_values_images" in batch:
        return len(batch["pixel_values_images"])
    for note in ("image_sizes", "image_tiles"):
        if note in batch:
            return len(batch[note])
    return len(batch["pixel_values"]) - 3 * len(batch["p4d"]) if "pixel_values" in batch else 0


# --- one token for images and clips ----------------------------------------------------------------------------------


@pytest.fixture(params=SHARED)
def shared(request, built):
    return built(request.param)


def test_pixels_follow_tokens(shared, grey):
    """Which the host's do not, where an image stands behind a clip, in its row or in a later one."""
    features = [
        shared.encode(shared.template, "<video>and <image>?", [picture(200)], [grey(3, 10)]),
        shared.encode(shared.template, "<image><image>?", [picture(210), picture(220)]),
        shared.encode(shared.template, "<video><image><video>?", [picture(230)], [grey(2, 60), grey(4, 100)]),
    ]
    batch = shared.plain_collator(shared.template)(features)
    assert levels_of(shared, batch["pixel_values"]) == [10, 20, 30, 200, 210, 220, 60, 70, 230, 100, 110, 120, 130]


def levels_of(parts, pixels):
    """Of the pictures in a batch, in their order."""
    processor = parts.processor.image_processor
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (processor.image_mean, processor.image_std))
    return [level(picture) for picture in (pixels * std + mean) / processor.rescale_factor]


def test_what_cannot_be_told_apart_is_refused(shared, grey):
    """Text that looks like a clip's (InternVL), and a clip of one frame beside an image (Gemma 3)."""
    asked = {"internvl": "Frame1: <image>and <video>?", "gemma3": "<video>and <image>?"}[shared.config.model_type]
    with pytest.raises(ValueError, match="cannot be told apart"):
        shared.encode(shared.template, asked, [picture(0)], [grey(1 if "Frame" not in asked else 3)])
    # Without images beside it, a clip may have one frame.
    feature = shared.encode(shared.recording(), "<video>?", videos=[grey(1)])
    assert shared.collator(shared.recording())([feature])["p4d"].tokens[0].grid == (1, 3, 3)


def test_an_image_in_several_tiles_beside_a_clip(built, grey, monkeypatch):
    parts = built("internvl")
    monkeypatch.setattr(parts.processor, "crop_to_patches", True, raising=False)
    template = parts.recording()
    feature = parts.encode(template, "<video>and <image>?", [picture(200, (192, 96))], [grey(3, 10)])
    (frames,), (image,), batch, _ = read_back(parts, [feature])
    assert levels_of(parts, batch["pixel_values"]) == [10, 20, 30, 200, 200, 200]
    assert levels([frames]) == [[10, 20, 30]] and image.shape == (SIDE, SIDE, 3)
    tokens = parts.collator(template)([feature])["p4d"].tokens
    assert tokens[0].grid == (3, 3, 3) and len(batch["input_ids"][0]) > 6 * 9


def test_gemma3_pan_and_scan_is_for_images_alone(built, grey, monkeypatch):
    parts = built("gemma3")
    monkeypatch.setattr(parts.processor, "image_do_pan_and_scan", True, raising=False)
    with pytest.raises(ValueError, match="image_do_pan_and_scan: must be false for records with videos"):
        parts.encode(parts.template, "<video>?", videos=[grey(3)])


def test_gemma3_token_types(built, grey):
    """Frames and images see themselves both ways; the model does not train without."""
    parts = built("gemma3")
    batch = parts.collator(parts.recording())([parts.encode(parts.recording(), "<video>?", videos=[grey(3)])])
    assert torch.equal(batch["token_type_ids"] == 1, batch["input_ids"] == parts.processor.image_token_id)
    assert int(batch["token_type_ids"].sum()) == 27


# --- templates -------------------------------------------------------------------------------------------------------


def test_a_packed_row_of_llava_onevision_keeps_the_images_of_its_records_apart(built):
    """A record's only image is in tiles, several are not: in a packed row their tokens say so."""
    parts = built("llava_onevision")
    pictures = [picture(20 * n, size) for n, size in enumerate(((150, 100), (64, 48), (60, 90), (96, 96), (120, 60)))]
    alone = [parts.encode(parts.template, "<image>?", images=pictures[:1])]
    alone.append(parts.encode(parts.template, "<image>or <image>?", images=pictures[1:3]))
    alone += [parts.encode(parts.template, "<image>?", images=[image]) for image in pictures[3:]]
    packed = {key: [item for feature in alone for item in feature[key]] for key in ("input_ids", "labels", "images")}
    packed["attention_mask"] = [1] * len(packed["input_ids"])
    batch = parts.plain_collator(parts.template)([packed])
    assert batch["batch_num_images"].tolist() == [1, 2, 1, 1]
    apart = parts.plain_collator(parts.template)([dict(feature) for feature in alone])
    assert torch.equal(batch["pixel_values"], apart["pixel_values"])
    parts.model(**batch)


def test_the_preview_shows_what_the_model_gets(parts, family, black, grey):
    """Grids, tokens, pictures, marks and visual tokens, for `rgpt4d preview`."""
    entry = marked(black, {"time": 1.0, "box": [50, 30, 110, 90]})
    sample = describe(parts, "some", 0, record(["<image>A <obj_1>? <video>", "yes"], [picture(200)], [entry]))
    (clip,), (image,) = sample.clips, sample.images
    assert (clip.grid, clip.tokens, clip.frames.shape) == ((6, 3, 3), 54, (6, SIDE, SIDE, 3))
    assert [bool(core(frame).any()) for frame in clip.frames] == [number == 2 for number in range(6)]
    assert np.prod(image.grid) == image.tokens and level(image.pixels) == 200
    assert sample.count("visual") == family.clip_length((6, 3, 3)) + image.tokens
    assert not sample.notes


def test_llava_onevision_chat_format(built):
    """Qwen2's, as in the released models; an answer ends with the token that ends its turn."""
    parts = built("llava_onevision")
    turns = ["Hello?", "yes", "And?", "no"]
    feature = parts.tokenise(parts.template, record(turns))
    messages = [{"role": role, "content": turn} for role, turn in zip(("user", "assistant") * 2, turns)]
    assert parts.tokenizer.decode(feature["input_ids"]) == parts.processor.apply_chat_template(messages)
    trained = [token for token, label in zip(feature["input_ids"], feature["labels"]) if label != -100]
    assert parts.tokenizer.decode(trained) == "yes<|im_end|>\nno<|im_end|>\n"


def test_the_hosts_own_plugins_stay_as_they_are():
    for name in ("llava_next_video", "intern_vl", "gemma3"):
        assert type(TEMPLATES[name].mm_plugin).__module__ == "llamafactory.data.mm_plugin"
    assert TEMPLATES["gemma3"].mm_plugin.video_token is None


def test_a_run_reads_the_hosts_template_as_its_twin(built, grey):
    """In a run that distils, `template: intern_vl` puts pixels in order too."""
    parts = built("internvl")
    own = with_recorder(TEMPLATES["intern_vl"], None)
    assert isinstance(own.mm_plugin, ClipReader)
    feature = parts.encode(own, "<video>and <image>?", [picture(200)], [grey(3, 10)])
    twin = parts.encode(parts.template, "<video>and <image>?", [picture(200)], [grey(3, 10)])
    assert feature["input_ids"] == twin["input_ids"]
    batch = parts.plain_collator(own)([feature])
    assert levels_of(parts, batch["pixel_values"]) == [10, 20, 30, 200]


def test_records_of_a_dataset(parts, grey, tmp_path):
    """Through the dataset format with regions, as in a recipe."""
    region = {"id": "obj_1", "video": 0, "frame": 2, "box": [10, 10, 50, 50]}
    rows = [
        {
            "messages": [
                {"role": "user", "content": "<video>Is <obj_1> red?"},
                {"role": "assistant", "content": "yes"},
            ],
            "videos": [grey(4, 10)],
            "regions": [region],
        }
    ]
    (tmp_path / "some.json").write_text(json.dumps(rows))
    columns = {"messages": "messages", "videos": "videos", "regions": "regions"}
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    info = {"some": {"file_name": "some.json", "formatting": "rgpt4d", "columns": columns, "tags": tags}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    data_args = copy.copy(parts.data_args)
    data_args.dataset_dir = str(tmp_path)
    there = dataclasses.replace(parts, data_args=data_args)
    (found,) = there.records("some", 1)
    feature = parts.tokenise(parts.recording(), found)
    (frames,), *_ = read_back(parts, [feature])
    assert [bool(core(frame).any()) for frame in frames] == [False, False, True, False]
