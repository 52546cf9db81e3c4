# SPDX-License-Identifier: Apache-2.0
"""Finding a clip's tokens in a batch, on rows written by hand; reading frames back from a processor's outputs."""

import copy
import re
import types
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from llamafactory.data.mm_plugin import get_mm_plugin
from PIL import Image
from transformers import (
    AutoConfig,
    AutoProcessor,
    Ernie4_5_VLMoeVideoProcessor,
    Glm4vVideoProcessor,
    Glm46VVideoProcessor,
)
from transformers.image_utils import SizeDict

from rgpt4d_plugin.students import (
    FAMILIES,
    RowMedia,
    StudentFamily,
    TokenCountError,
    UnsupportedFamilyError,
    get_family,
    locate_clips,
)
from rgpt4d_plugin.students.tokens import ClipTokens
from rgpt4d_plugin.students.unsupported import UNSUPPORTED
from tests.tiny_models import build_tiny_student


TEXT, PAD, VIDEO = 1, 0, 9


def locate(rows, clips_per_row, grids):
    """The clips as (flat positions, grid), None where a clip is cut."""
    found = locate_clips(torch.tensor(rows) == VIDEO, clips_per_row, grids)
    assert all(clip is None or (isinstance(clip, ClipTokens) and clip.index.dtype == torch.int64) for clip in found)
    return [clip and (clip.index.tolist(), clip.grid) for clip in found]


def test_one_run_per_clip():
    """Qwen2-VL and Qwen2.5-VL."""
    rows = [[TEXT, VIDEO, VIDEO, VIDEO, VIDEO, TEXT]]
    assert locate(rows, [1], [(2, 1, 2)]) == [([1, 2, 3, 4], (2, 1, 2))]


def test_text_between_the_steps():
    """Qwen3-VL: each step stands behind the text of its timestamp."""
    rows = [[TEXT, VIDEO, VIDEO, TEXT, TEXT, VIDEO, VIDEO, TEXT, VIDEO, VIDEO]]
    assert locate(rows, [1], [(3, 1, 2)]) == [([1, 2, 5, 6, 8, 9], (3, 1, 2))]


def test_several_clips_of_different_grids_in_one_row():
    rows = [[VIDEO, VIDEO, TEXT, VIDEO, VIDEO, VIDEO, TEXT, VIDEO]]
    grids = [(1, 1, 2), (1, 3, 1), (1, 1, 1)]
    assert locate(rows, [3], grids) == [([0, 1], grids[0]), ([3, 4, 5], grids[1]), ([7], grids[2])]


def test_clips_that_touch_are_split_by_count():
    assert locate([[VIDEO] * 5], [2], [(1, 1, 2), (3, 1, 1)]) == [([0, 1], (1, 1, 2)), ([2, 3, 4], (3, 1, 1))]


def test_rows_with_and_without_clips():
    """Positions count through the whole batch, and rows without a clip take no grid."""
    rows = [[TEXT, TEXT, TEXT, PAD], [TEXT, VIDEO, VIDEO, TEXT], [TEXT, PAD, PAD, PAD], [VIDEO, TEXT, VIDEO, PAD]]
    grids = [(2, 1, 1), (1, 1, 1), (1, 1, 1)]
    assert locate(rows, [0, 1, 0, 2], grids) == [([5, 6], grids[0]), ([12], grids[1]), ([14], grids[2])]


def test_no_clip_at_all():
    assert locate([[TEXT, TEXT], [TEXT, PAD]], [0, 0], []) == []


def test_left_padding():
    rows = [[PAD, PAD, TEXT, VIDEO, VIDEO], [TEXT, VIDEO, VIDEO, VIDEO, TEXT]]
    assert locate(rows, [1, 1], [(2, 1, 1), (3, 1, 1)]) == [([3, 4], (2, 1, 1)), ([6, 7, 8], (3, 1, 1))]


def test_a_clip_that_was_cut_is_none():
    """The clips before it, and those of the rows after it, are found all the same."""
    rows = [[VIDEO, TEXT, VIDEO, VIDEO], [TEXT, VIDEO, VIDEO, TEXT]]
    grids = [(1, 1, 1), (3, 1, 1), (2, 1, 1)]
    assert locate(rows, [2, 1], grids) == [([0], grids[0]), None, ([5, 6], grids[2])]
    assert locate([[TEXT, TEXT]], [1], [(1, 1, 1)]) == [None]


def test_tokens_after_a_clip_are_no_place_of_it_and_must_be_there():
    """LLaVA-OneVision ends a clip with a newline."""
    grids = [(1, 1, 2), (2, 1, 1)]
    is_clip = torch.tensor([[VIDEO] * 3 + [TEXT] + [VIDEO] * 3]) == VIDEO
    found = locate_clips(is_clip, [2], grids, tokens_after_clip=1)
    assert [clip.index.tolist() for clip in found] == [[0, 1], [4, 5]]
    first, second = locate_clips(is_clip[:, :-1], [2], grids, tokens_after_clip=1)
    assert first.index.tolist() == [0, 1] and second is None
    with pytest.raises(TokenCountError, match="has 6 video tokens, its 2 clip.* only 4"):
        locate_clips(is_clip, [2], grids)


@pytest.mark.parametrize(
    ("rows", "clips_per_row", "grids", "message"),
    [
        ([[VIDEO, VIDEO, VIDEO]], [1], [(2, 1, 1)], r"row 0 .* has 3 video tokens, its 1 clip\(s\) only 2"),
        # A neighbour that lacks tokens does not make up for it.
        ([[VIDEO, TEXT], [VIDEO, VIDEO]], [1, 1], [(2, 1, 1), (1, 1, 1)], r"row 1 .* has 2 video tokens"),
        ([[TEXT, VIDEO]], [0], [], r"row 0 .* has 1 video tokens, its 0 clip\(s\) only 0"),
        ([[VIDEO]], [1], [], "1 rows and 0 grids, but clips per row are \\[1\\]"),
        ([[VIDEO], [VIDEO]], [1], [(1, 1, 1)], "2 rows and 1 grids"),
    ],
)
def test_counts_that_do_not_match_are_refused(rows, clips_per_row, grids, message):
    with pytest.raises(TokenCountError, match=message):
        locate(rows, clips_per_row, grids)


def test_times_of_a_question_whose_clip_is_cut_are_refused():
    family = types.SimpleNamespace(clip_tokens=lambda *_: [None])
    with pytest.raises(TokenCountError, match="the tokens of clip 0 are truncated"):
        StudentFamily.timestamps(family, torch.tensor([[VIDEO]]), {}, [0], [1], [[0.0, 0.5]], None, None)


def test_families_by_model_type():
    assert [get_family(name).name for name in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl")] == [
        "Qwen2-VL",
        "Qwen2.5-VL",
        "Qwen3-VL",
    ]
    assert all(model_type in family.model_types for model_type, family in FAMILIES.items())


def test_an_unsupported_family_names_the_nearest_ones():
    with pytest.raises(
        UnsupportedFamilyError, match="does not support base models of type 'llava_next'. Supported"
    ) as error:
        get_family("llava_next")
    assert "by nearness of name: LLaVA-NeXT-Video (llava_next_video), LLaVA-OneVision (llava_onevision)" in str(
        error.value
    )
    assert "docs/adding_a_family.md" in str(error.value)


@pytest.mark.parametrize("model_type", UNSUPPORTED)
def test_a_family_that_is_refused_says_why(model_type):
    family = UNSUPPORTED[model_type]
    with pytest.raises(UnsupportedFamilyError) as error:
        get_family(model_type)
    assert f"of type {model_type!r} ({family.name}): {family.reason}. Supported" in str(error.value)


@pytest.mark.parametrize("processor", [Glm4vVideoProcessor, Glm46VVideoProcessor, Ernie4_5_VLMoeVideoProcessor])
def test_the_host_reads_no_videos_for_glm_and_ernie(processor):
    """If this fails, the host has been mended: ERNIE can be added, and `template.glm4v` may shrink."""
    plugin = get_mm_plugin("ernie_vl" if "Ernie" in processor.__name__ else "glm4v", "<image>", "<video>")
    parts = types.SimpleNamespace(video_processor=processor())
    with pytest.raises(TypeError, match="unexpected keyword argument 'images'"):
        plugin._get_mm_inputs([], [[Image.new("RGB", (64, 64))] * 4], [], parts)


@pytest.mark.parametrize("model_type", ["qwen2_5_omni_thinker", "qwen3_omni_moe_thinker"])
def test_a_thinker_alone_is_in_no_auto_class(model_type):
    """If this fails, transformers has been mended: Qwen's Omni models can be added."""
    with pytest.raises(ValueError, match=f"Unrecognized model identifier: {model_type}"):
        AutoConfig.for_model(model_type)


def test_the_page_on_new_families_shows_a_family_as_it_is():
    root = Path(__file__).parents[2]
    family = (root / "rgpt4d_plugin/students/llava_onevision.py").read_text()
    page = (root / "docs/adding_a_family.md").read_text()
    assert f"```python\n{family}```" in page
    for path in re.findall(r"`((?:rgpt4d_plugin|patches|tests)/[\w/.]+)`", page):
        assert (root / path).exists(), path


# --- what the model sees, read back from its inputs ------------------------------------------------------------------


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def processor(request, tmp_path_factory):
    return AutoProcessor.from_pretrained(build_tiny_student(tmp_path_factory.mktemp("student"), request.param))


@pytest.fixture
def family(processor):
    return get_family("qwen3_vl" if "Qwen3" in type(processor).__name__ else "qwen2_5_vl")


def noise(seed, *shape):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def process_videos(processor, *clips):
    """As the host calls it: frames chosen already."""
    videos = [[Image.fromarray(frame) for frame in clip] for clip in clips]
    return processor.video_processor(videos=videos, return_tensors="pt", do_sample_frames=False)


def test_frames_come_back(processor, family):
    """Clips of different shape and length in one batch; an odd number is filled up with the last frame."""
    clips = [noise(0, 4, 48, 80), noise(1, 3, 64, 32), noise(2, 1, 32, 32), noise(3, 4, 48, 80)]
    inputs = process_videos(processor, *clips)
    found = family.frames(inputs, processor, ())
    assert len(found) == 4
    for clip, back, grid in zip(clips, found, family.video_grids(inputs, processor, ())):
        filled = np.concatenate([clip, clip[-1:]]) if len(clip) % 2 else clip
        assert back.dtype == np.uint8 and np.array_equal(back, filled)
        assert grid == (len(filled) // 2, clip.shape[1] // 16, clip.shape[2] // 16)


@pytest.mark.skipif(transformers.__version__ < "5.3", reason="its `resize` calls the filter otherwise")
def test_resized_frames_come_back_as_resized(processor, family):
    clip = noise(0, 4, 50, 90)
    (found,) = family.frames(process_videos(processor, clip), processor, ())
    video = torch.from_numpy(clip).permute(0, 3, 1, 2)
    size = SizeDict(height=48, width=96)
    resized = processor.video_processor.resize(video, size, resample=processor.video_processor.resample)
    assert np.array_equal(found, resized.permute(0, 2, 3, 1))


def test_bfloat16_inputs_are_exact_to_one_level(processor, family):
    clip = noise(0, 4, 48, 80)
    inputs = dict(process_videos(processor, clip))
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"].bfloat16()
    (found,) = family.frames(inputs, processor, ())
    assert np.abs(found.astype(int) - clip).max() <= 1


@pytest.mark.parametrize("switch", ["do_normalize", "do_rescale"])
def test_frames_of_a_processor_that_leaves_a_step_out(processor, family, switch, monkeypatch):
    monkeypatch.setattr(processor.video_processor, switch, False)
    if switch == "do_rescale":  # mean and deviation are those of [0, 1]: levels of 255 would be scaled far out
        monkeypatch.setattr(processor.video_processor, "do_normalize", False)
    clip = noise(0, 2, 48, 80)
    (found,) = family.frames(process_videos(processor, clip), processor, ())
    assert np.array_equal(found, clip)


def test_images_come_back(processor, family):
    images = [noise(0, 48, 80), noise(1, 64, 64), noise(2, 32, 48)]
    inputs = processor.image_processor([Image.fromarray(image) for image in images], return_tensors="pt")
    found = family.images(inputs, processor, ())
    assert len(found) == 3 and all(np.array_equal(back, image) for back, image in zip(found, images))
    assert family.image_grids(inputs, processor, ()) == [(1, 3, 5), (1, 4, 4), (1, 2, 3)]


def test_nothing_comes_back_from_nothing(processor, family):
    assert family.frames({}, processor, ()) == family.images({}, processor, ()) == []
    assert family.video_grids({}, processor, ()) == family.image_grids({}, processor, ()) == []


# --- families that see every frame as one square ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Makes a family and its processor, once; frames are 64 x 64, of 4 x 4 tokens."""
    made = {}

    def build(name):
        if name not in made:
            made[name] = AutoProcessor.from_pretrained(build_tiny_student(tmp_path_factory.mktemp(name), name))
        return get_family(name), made[name]

    return build


@pytest.mark.parametrize("name", ["llava_next_video", "llava_onevision"])
def test_square_clips_come_back(squares, name):
    family, processor = squares(name)
    clips = [noise(0, 3, 64, 64), noise(1, 3, 64, 64)]
    inputs = process_videos(processor, *clips)
    rows = [RowMedia(), RowMedia(frames=(3, 3))]
    assert family.video_grids(inputs, processor, rows) == [(3, 4, 4)] * 2
    assert all(np.array_equal(back, clip) for back, clip in zip(family.frames(inputs, processor, rows), clips))
    # Clips of different length stand in one row of frames.
    joined = {"pixel_values_videos": inputs["pixel_values_videos"].flatten(0, 1)[None]}
    found = family.frames(joined, processor, [RowMedia(frames=(1, 5))])
    assert [len(clip) for clip in found] == [1, 5] and np.array_equal(np.concatenate(found), np.concatenate(clips))
    assert family.frames({}, processor, [RowMedia()]) == family.images({}, processor, [RowMedia()]) == []
    assert family.video_grids({}, processor, [RowMedia()]) == family.image_grids({}, processor, [RowMedia()]) == []


@pytest.mark.parametrize(
    ("name", "records", "expected"),
    [
        # One tile of 8 x 8 patches, and for 128 x 64 pixels two more with a newline after each of their 8 lines.
        ("llava_next_video", [1, 1], [64 + 128 + 8] * 2),
        ("llava_onevision", [1, 1], [64 + 128 + 8] * 2),
        # Two images of one record have no tiles, and one newline.
        ("llava_onevision", [2], [65] * 2),
    ],
)
def test_tokens_of_tiled_images(squares, name, records, expected):
    family, processor = squares(name)
    images = [Image.fromarray(noise(seed, 64, 128)) for seed in range(2)]
    nested = [[images[sum(records[:n]) + k] for k in range(count)] for n, count in enumerate(records)]
    inputs = processor.image_processor(nested, return_tensors="pt")
    rows = [RowMedia(count) for count in records]
    assert family.image_grids(inputs, processor, rows) == [(1, 1, count) for count in expected]
    assert [image.shape for image in family.images(inputs, processor, rows)] == [(64, 64, 3)] * 2


WRITTEN = {
    "internvl": {
        "image": "<img>TTTT</img>",
        "tiles": "<img>TTTTTTTT</img>",
        "clip": "Frame1: <img>TTTT</img>\nFrame2: <img>TTTT</img>",
    },
    "gemma3": {
        "image": "\n\n<start_of_image>TTTT<end_of_image>\n\n",
        "clip": "\n\n<start_of_image>TTTT<end_of_image>\n\n<start_of_image>TTTT<end_of_image>\n\n",
    },
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(
    "order",
    [
        ["image", "clip"],
        ["clip", "image"],
        ["image", "image", "clip", "image", "clip", "clip"],
        ["clip"],
        ["image", "image"],
        [],
    ],
    ids="-".join,
)
@pytest.mark.parametrize("text", ["", "Which of these? ", "\n", "Frame1:"])
def test_images_and_clips_with_one_token_are_told_apart(squares, name, order, text):
    family, processor = squares(name)
    written = text.join(WRITTEN[name][kind] for kind in order)
    ids = processor.tokenizer.encode(written.replace("T", family.clip_token), add_special_tokens=False)
    row = RowMedia(order.count("image"), (2,) * order.count("clip"))
    found = family.media(ids, row, processor.tokenizer)
    assert [medium.is_clip for medium in found] == [kind == "clip" for kind in order]
    assert [medium.tokens for medium in found] == [8 if kind == "clip" else 4 for kind in order]
    of_clip, of_image = family.visual_tokens(torch.tensor([ids]), [row], processor.tokenizer)
    token = processor.tokenizer.convert_tokens_to_ids(family.clip_token)
    assert torch.equal(of_clip ^ of_image, torch.tensor([ids]) == token)
    assert int(of_clip.sum()) == 8 * order.count("clip")


def test_an_image_of_several_tiles_is_one(squares):
    family, processor = squares("internvl")
    processor = copy.copy(processor)
    processor.image_seq_length = 4
    written = "".join(WRITTEN["internvl"][kind] for kind in ("clip", "tiles", "image"))
    ids = processor.tokenizer.encode(written.replace("T", family.clip_token))
    inputs = {"input_ids": torch.tensor([ids])}
    assert family.image_grids(inputs, processor, [RowMedia(2, (2,))]) == [(1, 1, 8), (1, 2, 2)]


def test_a_last_run_that_may_be_either_is_a_clip(squares):
    """A row that was cut after the first frame: the clip is left out for want of its second."""
    family, processor = squares("gemma3")
    cut = WRITTEN["gemma3"]["clip"].split("<end_of_image>")[0].replace("T", family.clip_token)
    ids = processor.tokenizer.encode(cut, add_special_tokens=False)
    (medium,) = family.media(ids, RowMedia(1, (2,)), processor.tokenizer)
    assert medium.is_clip and medium.tokens == 4


def test_what_llava_next_video_sees_of_a_frame(squares):
    family, processor = squares("llava_next_video")
    assert family.visible_box(80, 48, processor) == (16, 0, 64, 48)
    assert family.visible_box(48, 80, processor) == (0, 16, 48, 64)
    assert family.visible_box(1920, 1080, processor) == (420, 0, 1500, 1080)
    video = copy.copy(processor.video_processor)
    processor = types.SimpleNamespace(video_processor=video)
    video.crop_size = {"height": 32, "width": 32}  # half of what the shorter edge is scaled to
    assert family.visible_box(80, 48, processor) == (28, 12, 52, 36)
